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
