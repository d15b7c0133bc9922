#!/bin/sh
# launch/local: how many ranks it starts, what it passes on, and how Ctrl-C ends a run.
. "$(dirname "$0")/common.sh"
export BUILD="$build"
unset OMPI_MCA_orte_execute_quiet OMPI_MCA_mpi_yield_when_idle # a reader has none of these
root=$here/../..
local=$root/launch/local

cat >net.yaml <<'YAML'
data: {type: synthetic, shape: [24], classes: 7, train: 256, test: 64}
model: {layers: [dense: 32, relu, dense: 7]}
train: {batch: 64, lanes: 8, epochs: 2}
YAML

# ranks_are NAME N: the run of that name had N ranks.
ranks_are()
{
    found=$(field "runs/$1/summary.json" ranks)
    [ "$found" = "$2" ] || fail "$1: $found ranks, $2 wanted"
}

cores=$(script= && . "$root/launch/common.sh" && cores)
[ "$cores" -ge 1 ] && [ "$cores" -le "$(nproc --all)" ] || fail "$cores cores"
"$local" train net.yaml name=all -q || fail "all cores: exit code $?"
ranks_are all $((cores < 8 ? cores : 8))
"$local" train net.yaml name=one train.lanes=1 -q || fail "one lane: exit code $?"
ranks_are one 1
"$local" -n 3 train net.yaml name=three -q || fail "three ranks: exit code $?"
ranks_are three 3
"$lockstep" diff runs/all runs/three >out || { cat out; fail "ranks change the bits"; }
"$local" eval runs/three >out 2>err || { cat err; fail "eval: exit code $?"; }
grep -q '^test loss' out || { cat out; fail "eval says nothing"; }

# The program's exit code and its one message, with and without mpirun.
for ranks in 1 3; do
    "$local" -n $ranks train net.yaml name=three -q >out 2>err
    [ $? -eq 2 ] || fail "existing folder, $ranks ranks: wrong exit code"
    [ "$(wc -l <err)" -eq 1 ] || { cat err; fail "existing folder, $ranks ranks: one line wanted"; }
done
"$local" train net.yaml optimiser=sgd >out 2>err
[ $? -eq 2 ] && [ "$(wc -l <err)" -eq 1 ] || { cat err; fail "wrong key: one line wanted"; }
"$local" -n 0 train net.yaml >out 2>err
[ $? -eq 2 ] || fail "-n 0 is taken"

# --foreground: the signal is sent once, not to the group as well.
for ranks in 1 3; do
    timeout --foreground -s INT 4 "$local" -n $ranks train net.yaml name=stop$ranks -q \
        train.epochs=1000000
    [ $? -eq 124 ] || fail "stop, $ranks ranks: the run ended by itself"
    status=$(field runs/stop$ranks/summary.json status)
    [ "$status" = interrupted ] || fail "stop, $ranks ranks: status \"$status\""
done
echo "launch/local: $cores cores"
