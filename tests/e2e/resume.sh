#!/bin/sh
# A run that goes on from a checkpoint is the run that was never stopped: digest, trajectory and
# every record, for each optimizer, in the middle of an epoch, on 1 to 8 ranks, with dropout and
# batch norm. What may not change is refused by name; what is stopped by a signal saves.
. "$(dirname "$0")/common.sh"

cat >mlp.yaml <<'YAML'
data: {type: synthetic, shape: [24], classes: 7, train: 200, test: 90}
model: {layers: [dense: 33, relu, dropout: 0.2, spectralnorm_dense: 20, layernorm, silu, dense: 7]}
train: {batch: 64, lanes: 8, steps: 11}
schedule: {type: cosine, warmup: 3st}
eval: {every: 3st}
checkpoint: {every: 2st, keep: 100, minutes: 0}
YAML
cat >cnn.yaml <<'YAML'
data: {type: synthetic, shape: [3, 8, 8], classes: 5, train: 120, test: 50, augment: [flip]}
model:
  layers:
    - conv2d: {channels: 20, kernel: 3, padding: 1, bias: false}
    - batchnorm: {ghost: 2}
    - relu
    - residual: {body: [conv2d: {channels: 20, kernel: 3, padding: 1}, batchnorm, dropout: 0.1]}
    - global_avgpool
    - dense: 5
train: {batch: 32, lanes: 8, steps: 7}
eval: {every: 2st}
checkpoint: {every: 1st, keep: 100, minutes: 0}
YAML

# records RUN: what the run has recorded of steps and evaluations, without times.
records()
{
    grep -E '"event":"(step|eval)"' "runs/$1/metrics.jsonl" |
        sed 's/"time_s":[^,]*,//; s/"samples_per_second":[^,]*,//; s/"comm":[^,]*,//' >"$1.records"
    grep -E '^(step|eval)' "runs/$1/metrics.csv" | cut -d , -f 1-4,6-10,13- >>"$1.records"
}

# cut_back FROM TO STEP: run TO is run FROM as if it had been killed after the checkpoint of STEP.
cut_back()
{
    rm -rf "runs/$2"
    cp -r "runs/$1" "runs/$2"
    rm -f "runs/$2/summary.json" "runs/$2/ckpt/final.safetensors"
    for folder in "runs/$2"/ckpt/step-*; do
        [ "${folder##*-}" -le "$3" ] || rm -r "$folder"
    done
}

same_run()
{
    for key in digest trajectory test_loss best_accuracy train_loss steps samples; do
        [ "$(field "runs/$1/summary.json" $key)" = "$(field "runs/$2/summary.json" $key)" ] ||
            fail "$2: $key is not that of $1"
    done
    records "$1"
    records "$2"
    cmp -s "$1.records" "$2.records" || {
        diff "$1.records" "$2.records" | head
        fail "$2: other records than $1"
    }
}

ranks=0
# resumes NETWORK OPTION...: the run on two ranks, and the same from two of its checkpoints.
resumes()
{
    network=$1
    shift
    mpi 2 "$lockstep" train "$network.yaml" "$@" name=whole --force -q || fail "$network $*"
    for step in $steps; do
        ranks=$((ranks % 8 + 1))
        cut_back whole part $step
        mpi $ranks "$lockstep" train "$network.yaml" "$@" name=part --resume -q ||
            fail "$network $*: resume of step $step on $ranks ranks"
        same_run whole part
        grep -q '"event":"resume","step":'$step',"resumes":1,"ranks":'$ranks, \
            runs/part/metrics.jsonl || fail "no resume event"
    done
}

for method in $("$lockstep" list optimizers | sed -n 's/^  \([a-z0-9_]*\) .*/\1/p'); do
    lr=0.01
    [ "$method" = sgd ] && lr='0.1 optimizer.momentum=0.9'
    # shellcheck disable=SC2086 # two words
    steps='2 8' resumes mlp optimizer.type=$method optimizer.lr=$lr optimizer.clip_norm=1
    methods="${methods:-} $method"
done
[ "$(echo "$methods" | wc -w)" -ge 4 ] || fail "methods:$methods"
# State of wrappers, of a schedule that watches the loss, of a batch that grows.
steps='2 6' resumes mlp "optimizer={type: lamb, lr: 0.01, wrap: [ema: {decay: 0.9}]}"
steps='4 8' resumes mlp "schedule={type: plateau, patience: 1}" optimizer.lr=0.3
steps='2 6 8' resumes mlp "train.grow=[{at: 5st, batch: 128}, {at: 8st, batch: 256}]"
# Lanes with weights of their own: before they part, there, in between, at an average.
steps='2 4 6 8' resumes mlp "train.local={steps: 4, after: 4st}" optimizer.lr=0.1 \
    optimizer.momentum=0.9
steps='2 6' resumes mlp "train.local={steps: 4, state: average}" optimizer.type=adamw \
    comm.update=replicated
steps='2 6' resumes mlp train.reduce=adasum optimizer.type=adamw

steps='1 5' resumes cnn optimizer.lr=0.1 optimizer.momentum=0.9
steps='4' resumes cnn optimizer.type=adamw comm.update=replicated
cut_back whole part 4
mpi 3 "$lockstep" train cnn.yaml optimizer.type=adamw comm.virtual_hosts=2+1 name=part --resume \
    -q || fail "two hosts go on"
cut_back part again 6
mpi 2 "$lockstep" train cnn.yaml optimizer.type=adamw name=again --resume -q ||
    fail "what two hosts have written"
same_run whole again
steps='2 3' resumes cnn optimizer.type=lamb comm.memory=private

# Twice, and the events of TensorBoard go on.
cut_back whole part 2
mpi 3 "$lockstep" train cnn.yaml optimizer.type=lamb comm.memory=private name=part --resume -q ||
    fail "first resume"
cut_back part again 5
mpi 2 "$lockstep" train cnn.yaml optimizer.type=lamb comm.memory=private name=again --resume -q ||
    fail "second resume"
same_run whole again
[ "$(grep -c '"event":"resume"' runs/again/metrics.jsonl)" = 2 ] || fail "two resume events wanted"
[ "$(find runs/again/tb -type f | wc -l)" -eq 3 ] || fail "three event files wanted"

# A run that has ended goes on to its end: nothing happens.
"$lockstep" train cnn.yaml optimizer.type=lamb name=again --resume -q || fail "resume of the end"
same_run whole again

# ---- what may not change ----

cut_back whole part 3
refused()
{
    "$lockstep" train cnn.yaml optimizer.type=lamb name=part --resume -q "$@" 2>err
    [ $? -eq 4 ] || fail "$*: not refused"
}
refused seed=2 train.batch=64 optimizer.lr=0.5
grep -q '^  optimizer.lr  *0.001 then, 0.5 now$' err && grep -q '^  seed  *1 then, 2 now$' err &&
    grep -q '^  train.batch  *32 then, 64 now$' err &&
    grep -q -e '--allow-change=optimizer.lr,seed,train.batch,identity.train_data,' err ||
    { cat err; fail "the list of differences"; }
refused train.lanes=4
refused optimizer.type=sgd
refused data.train=150
refused seed=2 --allow-change=optimizer
cp -r runs/part runs/kept
"$lockstep" train cnn.yaml optimizer.type=lamb name=part --resume -q log.metrics=2st \
    eval.every=0 train.steps=9 optimizer.lr=0.5 --allow-change=optimizer,train.steps ||
    fail "changes that are allowed"
[ "$(field runs/part/summary.json steps)" = 9 ] || fail "two more steps wanted"
mv runs/kept runs/other
"$lockstep" train cnn.yaml optimizer.type=adamw name=other --resume -q \
    --allow-change=optimizer || fail "another optimizer"

# ---- there is nothing to resume ----

"$lockstep" train cnn.yaml name=none --resume -q 2>err
[ $? -eq 4 ] && grep -q 'runs/none: there is no run to resume from' err || fail "no run"
"$lockstep" train cnn.yaml name=none checkpoint.resume=auto -q || fail "resume: auto, no run"
rm -r runs/none/ckpt/step-* runs/none/summary.json
"$lockstep" train cnn.yaml name=none checkpoint.resume=auto -q || fail "resume: auto, killed early"
mpi 2 "$lockstep" train cnn.yaml name=plain -q checkpoint.every=0 || fail "no checkpoints"
has_checkpoint()
{
    [ -n "$(find "runs/$1/ckpt" -name 'step-*')" ]
}
has_checkpoint plain && fail "checkpoints nobody asked for"
"$lockstep" train cnn.yaml name=plain --resume -q checkpoint.every=0 ||
    fail "a run that has ended without checkpoints"

# ---- signals ----

"$lockstep" train mlp.yaml train.steps=100000 name=stopped eval.every=0 checkpoint.every=0 -q &
pid=$!
await $pid steps_of stopped 3
kill -TERM $pid
wait $pid || fail "stopped: exit code"
last=$(field runs/stopped/summary.json steps)
[ -d "runs/stopped/ckpt/step-$last" ] || fail "nothing saved at step $last"
"$lockstep" train mlp.yaml train.steps=$((last + 3)) --allow-change=train.steps name=stopped \
    eval.every=0 checkpoint.every=0 --resume -q || fail "stopped: resume"
[ "$(field runs/stopped/summary.json steps)" = $((last + 3)) ] || fail "stopped: steps"

# Stopped where an evaluation is due, which the schedule watches: the next session makes up for it.
long="eval.every=1st train.steps=1200 schedule.type=plateau schedule.warmup=0 checkpoint.every=0"
# shellcheck disable=SC2086 # words
"$lockstep" train mlp.yaml $long name=whole --force -q || fail "plateau"
rm -r runs/part
# shellcheck disable=SC2086
"$lockstep" train mlp.yaml $long name=part -q &
pid=$!
await $pid steps_of part 3
kill -TERM $pid
wait $pid || fail "plateau: exit code"
[ "$(field runs/part/summary.json status)" = interrupted ] || fail "plateau: ended too soon"
# shellcheck disable=SC2086
MPI_TIMEOUT=400 mpi 2 "$lockstep" train mlp.yaml $long name=part --resume -q ||
    fail "plateau: resume"
same_run whole part

# ---- what stays ----

"$lockstep" train mlp.yaml name=keep checkpoint.every=1 checkpoint.keep=2 checkpoint.keep_every=4 \
    checkpoint.best=loss optimizer.lr=0.05 eval.every=1st -q || fail "keep"
best=$(cat runs/keep/ckpt/best)
for step in 4 8 10 11 "${best#step-}"; do
    [ -d "runs/keep/ckpt/step-$step" ] || fail "step-$step is not kept"
done
[ "$(cat runs/keep/ckpt/latest)" = step-11 ] || fail "latest"
"$lockstep" eval runs/keep --checkpoint best >out || fail "eval of the best"
grep -q ", step ${best#step-}$" out || fail "eval: $(cat out)"
"$lockstep" eval runs/keep --checkpoint step-8 >/dev/null || fail "eval of step-8"
"$lockstep" train mlp.yaml name=keep checkpoint.every=0 -q --force || fail "force"
has_checkpoint keep && fail "--force leaves checkpoints"

echo "methods:$methods"
