#!/bin/sh
# Losses and gradients that are not finite: a run stops, leaves the step out, or goes back to a
# checkpoint; the same bits on any number of ranks, hosts and kinds of memory, and for a run that is
# resumed on the way.
. "$(dirname "$0")/common.sh"

# Sample 1 is not a sample: all its features are 3e38.
cat >net.yaml <<'YAML'
data: {type: synthetic, shape: [24], classes: 7, train: 256, test: 64, outlier: 1, normalize: none}
model: {layers: [dense: 33, relu, dense: 20, layernorm, silu, dense: 7]}
train: {batch: 32, lanes: 8, steps: 30}
optimizer: {type: adamw, lr: 0.01}
eval: {every: 1ep}
checkpoint: {every: 4st, minutes: 0, keep: 100}
seed: 3
YAML

# Squares of its outputs are floats, gradients of its weights are not.
cat >square.yaml <<'YAML'
data: {type: synthetic, kind: teacher, shape: [24], train: 256, test: 64, outlier: 1,
       outlier_value: 1e21, normalize: none}
model: {layers: [dense: 33, relu, dense: 7, relu, dense: 1]}
loss: mse
train: {batch: 32, lanes: 8, steps: 12}
seed: 3
YAML
network=net.yaml

records()
{
    grep -E '"event":"(step|eval|rollback)"' "runs/$1/metrics.jsonl" |
        sed 's/"time_s":[^,]*,//; s/"samples_per_second":[^,]*,//; s/"comm":[^,]*,//' >"$1.records"
    grep -E '^(step|eval)' "runs/$1/metrics.csv" | cut -d , -f 1-4,6-10,13- >>"$1.records"
}

same_run()
{
    for key in status digest trajectory test_loss train_loss steps samples skipped_steps \
        rollbacks; do
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

# cut_back FROM TO STEP: run TO is run FROM as if it had been killed after the checkpoint of STEP.
cut_back()
{
    rm -rf "runs/$2"
    cp -r "runs/$1" "runs/$2"
    rm -f "runs/$2/summary.json" "runs/$2/ckpt/final.safetensors"
    for folder in "runs/$2"/ckpt/step-*; do
        [ "${folder##*-}" -le "$3" ] 2>/dev/null || rm -r "$folder"
    done
}

# trains RANKS NAME OPTION...: 0 ranks is one without mpirun.
trains()
{
    count=$1 name=$2
    shift 2
    mpi "$count" "$lockstep" train "$network" name="$name" --force -q "$@" 2>err ||
        { cat err; fail "$count ranks, $name, $*"; }
}

# value RUN EVENT-PATTERN KEY: of the first such line of metrics.jsonl.
value()
{
    grep -E "$2" "runs/$1/metrics.jsonl" | head -n 1 | sed 's/.*"'"$3"'":"\{0,1\}\([^,"}]*\).*/\1/'
}

# ---- the run stops ----

"$lockstep" train net.yaml name=stop -q 2>err
[ $? -eq 5 ] || { cat err; fail "stop: exit code 5 wanted"; }
bad=$(field runs/stop/summary.json diverged_step)
[ "$bad" -gt 5 ] || fail "the outlier comes in step $bad, too early for what follows"

# ---- the step is left out ----

skip="train.on_diverged=skip"
trains 0 skip $skip
grep -q "^warning: step $bad is left out: its loss is not finite$" err ||
    { cat err; fail "warning"; }
[ "$(field runs/skip/summary.json skipped_steps)" = 4 ] || fail "four steps are left out"
[ "$(value skip "\"step\":$bad,.*\"skipped\":1" digest)" = \
    "$(value skip "\"step\":$((bad - 1)),\"ep" digest)" ] || fail "a step that is left out updates"
for ranks in 2 4; do
    trains $ranks other $skip
    same_run skip other
done
trains 4 other $skip comm.virtual_hosts=2+1+1
same_run skip other
trains 3 other $skip comm.memory=private
same_run skip other
trains 2 other $skip comm.update=replicated
same_run skip other
ranks=0
for step in $((bad / 4 * 4)) 28; do
    ranks=$((ranks % 4 + 1))
    cut_back skip other "$step"
    mpi $ranks "$lockstep" train net.yaml name=other --resume -q $skip 2>err ||
        fail "resume of $step"
    same_run skip other
done

# The gradient alone is not finite, whatever the optimizer does with it; and where everything is
# finite, looking at it beforehand changes no bit.
network=square.yaml
for optimizer in "{type: sgd, lr: 0.1, momentum: 0.9}" "{type: adamw, clip_norm: 1}" \
    "{type: lamb, wrap: [ema: {decay: 0.9}]}" "{type: sgd, lr: 0.1, clip_value: 0.1}" \
    "{type: prodigy}" "{type: sophia}" "{type: shampoo, clip_norm: 1}" \
    "{type: sgd, lr: 0.1, wrap: [agc]}"; do
    trains 0 skip $skip "optimizer=$optimizer"
    grep -q "^warning: step $bad is left out: its gradient is not finite$" err ||
        { cat err; fail "$optimizer: the gradient"; }
    [ "$(value skip "\"step\":$bad,.*\"skipped\":1" digest)" = \
        "$(value skip "\"step\":$((bad - 1)),\"ep" digest)" ] || fail "$optimizer: updates"
    [ "$(field runs/skip/summary.json test_loss)" != null ] || fail "$optimizer: spoilt"
    trains 3 other $skip "optimizer=$optimizer"
    same_run skip other
    trains 0 skip data.outlier=-1 "optimizer=$optimizer"
    trains 0 other $skip data.outlier=-1 "optimizer=$optimizer"
    for key in digest trajectory; do
        [ "$(field runs/skip/summary.json $key)" = "$(field runs/other/summary.json $key)" ] ||
            fail "$optimizer: other bits"
    done
done

network=net.yaml

# Weights that are not finite themselves: no use in going on.
mpi 3 "$lockstep" train square.yaml name=gives_up -q $skip train.diverged_limit=3 \
    "optimizer={type: sgd, lr: 1e9}" data.outlier=-1 2>err
[ $? -eq 5 ] || { cat err; fail "gives up: exit code"; }
grep -q '^warning: 3 steps in a row were not finite: no more are left out$' err ||
    { cat err; fail "gives up"; }
[ "$(grep -c 'is left out' err)" = 3 ] || fail "gives up: three steps"

# ---- back to a checkpoint ----

back="train.on_diverged=rollback"
trains 0 back $back
from=$((bad - 1))
event=$(grep '"event":"rollback"' runs/back/metrics.jsonl | head -n 1)
to=$((from / 4 * 4))
case $event in
*"\"step\":$to,\"from\":$bad,\"loss\":null,"*'"rollbacks":1,"lr_factor":0.5,"passed":1}') ;;
*) fail "rollback event: $event" ;;
esac
[ "$(field runs/back/summary.json rollbacks)" = 4 ] || fail "four rollbacks"
[ "$(field runs/back/summary.json lr_factor)" = 0.0625 ] || fail "lr factor"
[ "$(value back '"event":"step","step":29,' lr)" = 0.000625 ] || fail "learning rate"
steps=$(grep '"event":"step"' runs/back/metrics.jsonl | sed 's/.*"step":\([0-9]*\).*/\1/' |
    tr '\n' ' ')
[ "$steps" = "$(seq 1 30 | tr '\n' ' ')" ] || fail "every step once: $steps"
for ranks in 2 4; do
    trains $ranks other $back
    same_run back other
done
trains 3 other $back comm.virtual_hosts=2+1
same_run back other
trains 3 other $back comm.memory=private
same_run back other
trains 2 other $back comm.update=replicated
same_run back other
# Checkpoints by other causes, or few that stay, are no other places to go back to.
trains 0 other $back checkpoint.keep=1 checkpoint.best=loss eval.every=1st
trains 0 skip $back checkpoint.keep=2 eval.every=1st
same_run skip other
for step in 4 "$to" $((to + 12)); do
    ranks=$((ranks % 4 + 1))
    cut_back back other "$step"
    mpi $ranks "$lockstep" train net.yaml name=other --resume -q $back 2>err ||
        fail "resume of $step"
    same_run back other
done

# What a rollback does is what a resume with a smaller learning rate does: a straight line, and
# steps that lead away from it until they are small enough. Powers of two: exact products.
cat >line.yaml <<'YAML'
data: {type: synthetic, kind: linear, shape: [24], train: 256, test: 64}
model: {layers: [dense: 1]}
loss: mse
train: {batch: 32, lanes: 8, steps: 40, on_diverged: rollback, rollback_skip: 0}
optimizer: {type: sgd, lr: 16}
eval: {every: 0}
checkpoint: {every: 4st, minutes: 0, keep: 100}
YAML
mpi 2 "$lockstep" train line.yaml name=line -q 2>err || { cat err; fail "line"; }
last=$(grep '"event":"rollback"' runs/line/metrics.jsonl | tail -n 1)
to=$(echo "$last" | sed 's/.*"step":\([0-9]*\).*/\1/')
[ "$(echo "$last" | sed 's/.*"rollbacks":\([0-9]*\).*/\1/')" -ge 3 ] || fail "line: $last"
grep -q 'back to step 20, ' err ||
    { cat err; fail "no further than the last time: not before that"; }
factor=$(field runs/line/summary.json lr_factor)
saved=$(field "runs/line/ckpt/step-$to/state.json" lr_factor)
cut_back line other "$to"
mpi 3 "$lockstep" train line.yaml name=other --resume -q --allow-change=optimizer.lr \
    optimizer.lr="$(awk "BEGIN { printf \"%.17g\", 16 * $factor / $saved }")" 2>err ||
    { cat err; fail "line: resume with another lr"; }
for key in digest trajectory; do
    [ "$(field runs/line/summary.json $key)" = "$(field runs/other/summary.json $key)" ] ||
        fail "a resume with a smaller learning rate: another $key"
done
for step in 4 24; do
    cut_back line other $step
    mpi 3 "$lockstep" train line.yaml name=other --resume -q 2>err || fail "line: resume of $step"
    same_run line other
done

# No more than so many; nothing to go back to.
mpi 2 "$lockstep" train net.yaml name=limit -q $back train.diverged_limit=2 2>err
[ $? -eq 5 ] && grep -q 'is not finite after 2 rollbacks: no more$' err ||
    { cat err; fail "limit"; }
"$lockstep" train net.yaml name=none -q $back checkpoint.every=16 2>err
[ $? -eq 5 ] &&
    grep -q "^warning: step $bad is not finite: runs/none/ckpt: no checkpoint to go back" err ||
    { cat err; fail "no checkpoint"; }
"$lockstep" train net.yaml name=none -q --force $back checkpoint.every=0 2>err
[ $? -eq 2 ] && grep -q 'goes back to a checkpoint of checkpoint.every, which is 0' err ||
    { cat err; fail "no checkpoints wanted"; }
# A run that has stopped goes on with another rule.
"$lockstep" train net.yaml name=stop -q --resume $skip 2>err || { cat err; fail "stop, then skip"; }
[ "$(field runs/stop/summary.json status)" = completed ] || fail "stop, then skip: not completed"
