#!/bin/sh
# Ends before the last step: a target, a stop in order, a budget of seconds. The target is the same
# evaluation on any number of ranks and after a resume; parts make the same run as the whole.
. "$(dirname "$0")/common.sh"

cat >net.yaml <<'YAML'
data: {type: synthetic, shape: [16], classes: 4, train: 512, test: 128, noise: 2}
model: {layers: [dense: 32, relu, dense: 4]}
train: {batch: 32, lanes: 8, epochs: 6}
optimizer: {type: sgd, lr: 0.05}
schedule: {type: cosine}
log: {tensorboard: false}
eval: {every: 5st}
YAML

# wanted RUN FIELD VALUE
wanted()
{
    [ "$(field "runs/$1/summary.json" "$2")" = "$3" ] ||
        fail "$1: $2 is $(field "runs/$1/summary.json" "$2"), not $3"
}

# bits RUN
bits()
{
    echo "$(field "runs/$1/summary.json" digest) $(field "runs/$1/summary.json" trajectory)"
}

"$lockstep" train net.yaml name=whole -q || fail "the whole run"
[ -z "$(field runs/whole/summary.json target_step)" ] || fail "a target that nobody asked for"

# The first evaluation with an accuracy that is there, from the records of the whole run.
accuracy=$(sed -n 's/.*"event":"eval","step":25,.*"accuracy":\([0-9.]*\),.*/\1/p' \
    runs/whole/metrics.jsonl)
first=$(awk -F '"step":|,"epoch"|"accuracy":|,"count"' -v least="$accuracy" \
    '/"event":"eval"/ && $4 + 0 >= least + 0 { print $2; exit }' runs/whole/metrics.jsonl)
[ -n "$accuracy" ] && [ -n "$first" ] || fail "no evaluation after step 25"

for ranks in 1 3; do
    mpi $ranks "$lockstep" train net.yaml name=target$ranks train.target_accuracy="$accuracy" -q ||
        fail "a target on $ranks ranks"
    wanted target$ranks status completed
    wanted target$ranks target_step "$first"
    wanted target$ranks target_samples $((32 * first))
    [ "$(bits target$ranks)" = "$(bits whole)" ] || fail "a target changes the run"
done
mpi 2 "$lockstep" train net.yaml name=stopped train.target_accuracy="$accuracy" \
    train.stop_at_target=true -q || fail "stop at the target"
wanted stopped status target
wanted stopped steps "$first"
[ ! -e runs/stopped/ckpt/latest ] || fail "a checkpoint of a run that has ended"
"$lockstep" train net.yaml name=loss train.target_loss=1e-6 -q || fail "a target that is not met"
wanted loss status completed
wanted loss target_step null

# In parts, the target being met in the first: the same run, and the target is remembered.
for part in 30st 1.5ep 2560sa 0; do
    mpi 2 "$lockstep" train net.yaml name=parts train.stop_at=$part checkpoint.resume=auto \
        train.target_accuracy="$accuracy" -q || fail "stop at $part"
    case $part in
    30st) wanted parts steps 30 && wanted parts status interrupted ;;
    1.5ep) wanted parts steps 30 ;; # behind it already
    2560sa) wanted parts steps 80 ;;
    esac
    wanted parts target_step "$first"
done
wanted parts status completed
[ "$(bits parts)" = "$(bits whole)" ] || fail "parts: $(bits parts), the whole: $(bits whole)"
"$lockstep" diff runs/whole runs/parts >difference || {
    cat difference
    fail "parts differ from the whole"
}

# Another target is another question.
"$lockstep" train net.yaml name=other train.stop_at=30st train.target_accuracy="$accuracy" -q
"$lockstep" train net.yaml name=other train.target_accuracy=1.0 -q --resume || fail "another target"
[ "$(field runs/other/summary.json target_step)" != "$first" ] || fail "the old target is kept"

# Seconds: it ends, says why, has evaluated, and goes on with more of them.
"$lockstep" train net.yaml name=late train.epochs=100000 train.seconds=0.3 -q || fail "seconds"
wanted late status time_limit
tail -n 3 runs/late/metrics.jsonl | grep -q '"event":"eval"' || fail "no evaluation at the end"
steps=$(field runs/late/summary.json steps)
"$lockstep" train net.yaml name=late train.epochs=100000 train.seconds=0.3 -q --resume
wanted late steps "$steps"
"$lockstep" train net.yaml name=late train.epochs=100000 train.seconds=0.5 -q --resume
[ "$(field runs/late/summary.json steps)" -gt "$steps" ] || fail "no step with more seconds"

# A length in samples is one in steps.
"$lockstep" train net.yaml name=samples train.samples=2560 -q || fail "samples"
wanted samples steps 80

# refused WORDS MESSAGE
refused()
{
    # shellcheck disable=SC2086
    "$lockstep" train net.yaml name=refused $1 -q 2>err && fail "taken: $1"
    grep -qF "$2" err || { cat err && fail "not said: $2"; }
}
refused "train.target_accuracy=0.5 train.target_loss=1" "one of the two is the target"
refused "train.stop_at_target=true" "train.target_accuracy or train.target_loss is missing"
refused "train.samples=10 train.steps=5" "one of the two says how long to train"
refused "loss=mse data.kind=linear data.outputs=4 train.target_accuracy=0.5" \
    "knows no right and wrong"
