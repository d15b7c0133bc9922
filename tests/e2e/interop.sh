#!/bin/sh
# Other programs read what a run leaves, and `lockstep eval` reads what another program wrote.
# Needs Python 3; the libraries that it has are used, the others are named as skipped.
. "$(dirname "$0")/common.sh"

python=$(command -v python3) || {
    echo "no python3"
    exit 77
}

cat > net.yaml <<'YAML'
data: {type: synthetic, shape: [3, 6, 6], classes: 4, train: 96, test: 40}
model: {layers: [conv2d: {channels: 8, kernel: 3}, batchnorm, relu, flatten, dense: 4]}
train: {batch: 16, lanes: 4, epochs: 3}
optimizer: {type: sgd, lr: 0.05, momentum: 0.9}
eval: {every: 1ep}
YAML
mpi 2 "$lockstep" train net.yaml name=a output=runs -q || fail "training"

for script in "metrics.py runs/a" "events.py runs/a" \
    "weights.py runs/a/ckpt/final.safetensors new.safetensors"; do
    # shellcheck disable=SC2086
    "$python" -B "$here/../interop/"$script || fail "$script"
done

before=$("$lockstep" eval runs/a) || fail "eval"
mv new.safetensors runs/a/ckpt/final.safetensors
after=$("$lockstep" eval runs/a) || fail "eval of weights written by another program"
[ "${before%, step *}" = "${after%, step *}" ] || fail "eval: '$before' became '$after'"
echo "$after"

# Checkpoints. PyTorch and NumPy are Debian's, so its Python is the one to ask.
[ -x /usr/bin/python3 ] && python=/usr/bin/python3
mpi 3 "$lockstep" train net.yaml name=c checkpoint.every=4 -q || fail "training with checkpoints"
mkdir out
"$lockstep" ckpt export runs/c step-16 --out plain.safetensors || fail "export"
"$lockstep" ckpt export runs/c step-16 --out npy || fail "export to npy"
"$python" -B "$here/../interop/checkpoints.py" runs/c/ckpt/step-16 plain.safetensors npy out
code=$?
[ $code -ne 77 ] || exit 0
[ $code -eq 0 ] || fail "checkpoints.py"
for kind in half brain; do
    [ -e out/$kind.safetensors ] || continue
    "$lockstep" ckpt import out/$kind.safetensors --out $kind.safetensors || fail "import: $kind"
    "$python" -B "$here/../interop/imported.py" $kind.safetensors out/$kind.npz || fail "$kind"
done

# Doubles that are floats come back as those: a new run starts with the weights of the old one.
"$lockstep" ckpt import out/double.safetensors --out start.safetensors || fail "import: double"
"$lockstep" train net.yaml name=d -q train.weights=start.safetensors train.steps=1 || fail "start"
before=$("$lockstep" eval runs/c --checkpoint step-16) || fail "eval of a checkpoint"
after=$("$lockstep" eval runs/c --checkpoint start.safetensors) || fail "eval of an import"
[ "${before%, step *}" = "${after%, step *}" ] || fail "eval: '$before' became '$after'"
