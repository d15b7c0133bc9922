#!/bin/sh
# SIGTERM and SIGINT: the step is finished, the summary says "interrupted", the exit is orderly.
# ranks: 1 and 3 (its own processes)
. "$(dirname "$0")/common.sh"

cat >long.yaml <<'YAML'
data: {type: synthetic, shape: [24], classes: 7, train: 256, test: 64}
model: {layers: [dense: 32, relu, dense: 7]}
train: {batch: 64, lanes: 8, epochs: 1000000}
YAML

for signal in INT TERM; do
    "$lockstep" train long.yaml name="one$signal" log.metrics=1000st eval.every=0 -q &
    pid=$!
    await $pid steps_of "one$signal" 3
    kill -$signal $pid
    wait $pid || fail "SIG$signal: exit code $?"
    [ "$(field runs/one$signal/summary.json status)" = interrupted ] ||
        fail "SIG$signal: no summary"
    last=$(tail -n 1 "runs/one$signal/metrics.csv" | cut -d , -f 2)
    [ "$(field runs/one$signal/summary.json steps)" = "$last" ] ||
        fail "SIG$signal: the last record is of step $last"
    "$lockstep" eval "runs/one$signal" -q >/dev/null ||
        fail "SIG$signal: weights cannot be evaluated"
done

# One rank of three gets the signal: all stop after the same step.
mpi 3 sh -c 'echo $$ >pid.$OMPI_COMM_WORLD_RANK; exec "$0" train long.yaml name=three -q' \
    "$lockstep" &
job=$!
await $job steps_of three 3
kill -TERM "$(cat pid.1)"
wait $job || fail "one rank of three: exit code $?"
[ "$(field runs/three/summary.json status)" = interrupted ] || fail "one rank of three: no summary"
echo "interrupted runs end in order"
