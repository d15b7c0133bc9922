#!/bin/sh
# A rank that is stopped holds all others: the warning and the end name it, the exit code is 6, and
# the run goes on afterwards to the bits of one that was never stopped.
# ranks: 3 (its own processes)
. "$(dirname "$0")/common.sh"

cat >net.yaml <<'YAML'
data: {type: synthetic, shape: [24], classes: 7, train: 256, test: 64}
model: {layers: [dense: 32, relu, dense: 7]}
train: {batch: 64, lanes: 8, steps: 600}
eval: {every: 0}
checkpoint: {every: 1st, minutes: 0, keep: 2}
comm: {warn_after: 3, abort_after: 8}
YAML
mpi 2 "$lockstep" train net.yaml name=whole checkpoint.every=0 -q ||
    fail "the run that is not stopped"

# Rank 2 computes slowly, or all would be over before rank 1 can be stopped.
# shellcheck disable=SC2016 # the ranks' shells expand it
mpi 3 sh -c 'echo $$ >pid.$OMPI_COMM_WORLD_RANK; exec "$@"' sh \
    "$lockstep" train net.yaml name=part -q \
    comm.inject_slow_rank=2 comm.inject_slow_factor=100 2>err &
job=$!
await $job steps_of part 3
await $job [ -e runs/part/ckpt/latest ]
frozen=$(cat pid.1)
kill -STOP "$frozen"
wait $job
code=$?
[ $code -eq 6 ] || { cat err; fail "exit code $code"; }
for line in 'warning: the ranks have stood still for 3 s' \
    'lockstep: the ranks have stood still for 8 s'; do
    grep -q "^$line; rank 1 on .* (pid $frozen) is stopped or gone, last seen in step " err ||
        { cat err; fail "no line: $line"; }
done
"$lockstep" doctor --postmortem runs/part >out || fail "postmortem"
grep -q "^rank 1 on .* (pid $frozen): last beat " out || { cat out; fail "postmortem of rank 1"; }
mpi 2 "$lockstep" train net.yaml name=part checkpoint.every=0 --resume -q ||
    fail "resume"
for key in digest trajectory; do
    [ "$(field runs/part/summary.json $key)" = "$(field runs/whole/summary.json $key)" ] ||
        fail "$key"
done
grep '^lockstep' err

# A checkpoint may take as long as the disk wants, but not wait for ever for a rank that is stopped.
# Rank 1 is stopped until that is where the others are, which do little else here.
mpi 3 sh -c 'echo $$ >pid.$OMPI_COMM_WORLD_RANK; exec "$@"' sh \
    "$lockstep" train net.yaml name=writes -q 'model.layers=[dense: 262144, relu, dense: 7]' \
    train.batch=8 train.steps=100000 comm.warn_after=1 comm.abort_after=5 2>err &
job=$!
await $job [ -e runs/writes/ckpt/latest ]
frozen=$(cat pid.1)
others_wait_in_checkpoint()
{
    kill -STOP "$frozen"
    sleep 0.1
    "$lockstep" doctor --postmortem runs/writes |
        sed -n '/^rank 0/,/^rank 1/p' | tail -n 2 | grep -q ' checkpoint 0$' && return 0
    kill -CONT "$frozen"
    return 1
}
await $job others_wait_in_checkpoint
wait $job
code=$?
[ $code -eq 6 ] || { cat err; fail "exit code $code in a checkpoint"; }
grep -q "^lockstep: .* rank 1 on .* (pid $frozen) is stopped or gone" err ||
    { cat err; fail "no line about a rank stopped in a checkpoint"; }
grep '^lockstep' err
