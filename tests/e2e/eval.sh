#!/bin/sh
# `eval` of a checkpoint tells what the training run told at that step, for optimizers that evaluate
# an average of the weights too, on any number of ranks; `eval` of the run, what it ended with.
# ranks: 0 2 3 (its own processes)
. "$(dirname "$0")/common.sh"

cat >net.yaml <<'YAML'
data: {type: synthetic, shape: [3, 8, 8], classes: 5, train: 128, test: 60}
model:
  layers: [conv2d: {channels: 8, kernel: 3, padding: 1}, batchnorm, relu, flatten, dense: 5]
train: {batch: 16, lanes: 4, steps: 9, grow: [{at: 4st, batch: 32}]}
eval: {every: 2st}
checkpoint: {every: 1st, minutes: 0, keep: 20}
YAML

# told RUN STEP: loss and accuracy that the run has recorded.
told()
{
    sed -n 's/^{"event":"eval","step":'"$2"',.*"loss":\([^,]*\),"accuracy":\([^,}]*\).*/\1 \2/p' \
        "runs/$1/metrics.jsonl" | awk '{ printf "test loss %.6f, test accuracy %.4f", $1, $2 }'
}

# same RUN STEP RANKS [OPTION...]: eval says it too.
same()
{
    run=$1 step=$2 ranks=$3
    shift 3
    mpi "$ranks" "$lockstep" eval "runs/$run" "$@" >out || fail "eval $run $*"
    wanted=$(told "$run" "$step")
    [ -n "$wanted" ] || fail "$run: no evaluation at step $step"
    case $(cat out) in
    "$wanted "*", step $step") ;;
    *) fail "$run, $*, $ranks ranks: $(cat out), not $wanted" ;;
    esac
}

# run NAME OPTION...
run()
{
    name=$1
    shift
    mpi 2 "$lockstep" train net.yaml name="$name" "$@" -q || fail "train $*"
    same "$name" 9 0
    same "$name" 9 0 --checkpoint latest
    same "$name" 6 3 --checkpoint step-6
    echo "$name: $(told "$name" 6); at the end $(told "$name" 9)"
}

run plain
run ema 'optimizer={type: adamw, lr: 0.02, wrap: [ema: {decay: 0.8}]}'
run swa 'optimizer={type: sgd, lr: 0.1, momentum: 0.9, wrap: [swa: {start: 3st, every: 1st}]}'
run lookahead 'optimizer={type: sgd, lr: 0.1, wrap: [lookahead: {k: 4}]}'
run schedulefree 'optimizer={type: schedulefree_adamw, lr: 0.02}' schedule.type=constant
same ema 9 3 --checkpoint step-9

# The weights that were trained are in the file, and others than their average.
mpi 0 "$lockstep" eval runs/ema --checkpoint runs/ema/ckpt/step-6/model.safetensors >out ||
    fail "eval of a file"
case $(cat out) in
"$(told ema 6) "*) fail "the average is that of the file" ;;
esac
