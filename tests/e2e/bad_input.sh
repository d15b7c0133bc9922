#!/bin/sh
# Bad input to the whole program: one message with the place, what was found and what was wanted,
# said once whatever the number of ranks, and the right exit code. Files and single options are
# tested closer to their readers: tests/base/test_bad_config.c, tests/data/test_bad_files.c.
. "$(dirname "$0")/common.sh"

cat >c.yaml <<'YAML'
data: {type: synthetic, shape: [32], classes: 10, train: 64, test: 16}
model: {layers: [dense: 16, relu, dense: 10]}
train: {batch: 32, lanes: 4, epochs: 1}
YAML
cat >image.yaml <<'YAML'
data: {type: synthetic, shape: [3, 8, 8], classes: 10, train: 64, test: 16}
model: {layers: [conv2d: {channels: 4, kernel: 3}, flatten, dense: 10]}
train: {batch: 32, lanes: 4, epochs: 1}
YAML

cat >idx.yaml <<'YAML'
data: {type: idx, folder: missing}
model: {layers: [flatten, dense: 10]}
train: {batch: 32, lanes: 4, epochs: 1}
YAML
printf 'base: c.yaml\ngrid: {train.batch: [32]}\n' >study.yaml
mkdir -p plain/x
echo text >plain/x/file
"$lockstep" train c.yaml name=old -q || fail "a good run"
cp -r runs/old old
rm old/ckpt/final.safetensors

# check RANKS CODE ARGUMENTS MESSAGE: ARGUMENTS are words for the shell
check()
{
    eval "set -- $1 $2 \"\$4\" $3"
    ranks=$1 code=$2
    printf 'lockstep: %s\n' "$3" >wanted
    shift 3
    mpi "$ranks" "$lockstep" "$@" >out 2>err </dev/null
    got=$?
    grep '^lockstep: ' err >ours # mpirun's own remarks about the exit code are not ours
    if [ $got -ne "$code" ] || ! cmp -s ours wanted; then
        echo "arguments: $*"
        echo "exit code $got, wanted $code"
        diff wanted ours
        cat err
        fail "case $cases"
    fi
}

# @optimizers@ in a message: every name, so that a new one changes no test
optimizers=$("$lockstep" list optimizers | sed -n 's/^  \([a-z0-9_]*\) .*/\1/p' |
    paste -sd, | sed 's/,/, /g')

cases=0
exec 3<"$here/../bad/program.txt"
while read -r ranks code arguments <&3; do
    case $ranks in '' | '#'*) continue ;; esac
    IFS= read -r message <&3
    message=$(printf '%s\n' "$message" | sed "s/@optimizers@/$optimizers/")
    cases=$((cases + 1))
    check "$ranks" "$code" "$arguments" "$message"
done
[ $cases -ge 40 ] || fail "only $cases cases in program.txt"

# What only one rank finds wrong ends all of them, and is said once.
mpi 2 sh -c 'exec "$0" train c.yaml name=alone -q train.lanes=$((4 - OMPI_COMM_WORLD_RANK))' \
    "$lockstep" 2>err
[ $? -eq 2 ] && [ "$(grep -c '^lockstep: rank 1 on .*: train.lanes=3: 3 is neither' err)" = 1 ] ||
    { cat err; fail "one rank has a bad setting"; }

# Divergence is a result: exit code 5, a summary that says when, the same step for any number of
# ranks.
for ranks in 1 3; do
    mpi $ranks "$lockstep" train c.yaml optimizer.lr=1e9 train.epochs=20 name=diverged$ranks \
        -q 2>err
    [ $? -eq 5 ] || fail "diverged on $ranks ranks: wrong exit code"
    [ "$(field runs/diverged$ranks/summary.json status)" = diverged ] || fail "diverged: status"
    [ "$(field runs/diverged$ranks/summary.json diverged_step)" = 4 ] || fail "diverged: step"
    grep -q '^warning: diverged in step 4: the loss or the gradient is not finite' err ||
        fail "diverged: message"
done
# No step follows that would see it.
"$lockstep" train c.yaml optimizer.lr=1e9 train.steps=3 name=last -q 2>err
[ $? -eq 5 ] && [ "$(field runs/last/summary.json diverged_step)" = 4 ] ||
    { cat err; fail "divergence by the last step"; }
echo "$cases refusals, each with its message and exit code"
