#!/bin/sh
# A bit that flips in one copy of the weights ends the run with exit code 7 and one message that
# names the tensor and the rank: one step later for nothing where copies are updated side by side,
# at the next reading otherwise. No checkpoint of wrong weights is written, and the run goes on from
# the last one to the bits of the run that had no fault.
. "$(dirname "$0")/common.sh"

cat >net.yaml <<'YAML'
data: {type: synthetic, shape: [24], classes: 7, train: 256, test: 64}
model: {layers: [dense: 90, relu, dense: 90, relu, dense: 7]}
train: {batch: 64, lanes: 8, steps: 14}
optimizer: {type: adamw, lr: 0.01}
eval: {every: 0}
checkpoint: {every: 4st, minutes: 0, keep: 100}
YAML
flip="comm.inject_flip_rank=1 comm.inject_flip_step=6 comm.inject_flip_tensor=2.dense.weight"
mpi 2 "$lockstep" train net.yaml name=whole checkpoint.every=0 -q || fail "the run without a fault"

# flips RANKS NEWEST MESSAGE OPTION...: the run fails with the message, its newest checkpoint is
# NEWEST, and goes on from there.
flips()
{
    ranks=$1 newest=$2 message=$3
    shift 3
    rm -rf runs/part
    # shellcheck disable=SC2086 # words
    mpi "$ranks" "$lockstep" train net.yaml name=part -q $flip "$@" 2>err
    code=$?
    [ $code -eq 7 ] || { cat err; fail "$ranks ranks, $*: exit code $code"; }
    [ "$(grep -c '^lockstep:' err)" = 1 ] || { cat err; fail "$ranks ranks, $*: one message"; }
    grep -q "^lockstep: $message" err || { cat err; fail "$ranks ranks, $*: not: $message"; }
    grep '^lockstep:' err
    [ "$(cat runs/part/ckpt/latest)" = "step-$newest" ] || fail "$*: $(cat runs/part/ckpt/latest)"
    find runs/part/ckpt -name 'step-*' | grep -qv 'step-[0-9]*$' &&
        fail "$*: something is left over"
    mpi 3 "$lockstep" train net.yaml name=part --resume -q || fail "$*: resume"
    for key in digest trajectory; do
        [ "$(field runs/part/summary.json $key)" = "$(field runs/whole/summary.json $key)" ] ||
            fail "$*: $key"
    done
}
digest='digest [0-9a-f]\{16\}'

# Copies that are updated side by side: hosts, or every rank its own.
flips 4 4 "replicas differ after step 7: tensor 2.dense.weight on rank 2 (host 2, .*): $digest, \
[0-9a-f]\{16\} on rank 0 (host 0); the optimizer's state is the same; no checkpoint" \
    comm.virtual_hosts=4 comm.inject_flip_rank=2
flips 4 4 "replicas differ after step 7: tensor 2.dense.weight on rank 2 (host 1, .*): $digest, \
[0-9a-f]\{16\} on rank 0 (host 0)" comm.virtual_hosts=2+2 comm.inject_flip_rank=3
flips 4 4 "replicas differ after step 7: tensor 2.dense.weight on rank 2 (host 0, .*): $digest, \
[0-9a-f]\{16\} on rank 0 (host 0); the optimizer's state is the same; no checkpoint" \
    comm.domain=numa comm.virtual_domains=2 comm.inject_flip_rank=2
flips 3 4 "replicas differ after step 7: tensor 2.dense.weight on rank 1 (host 0, .*): $digest, \
[0-9a-f]\{16\} on rank 0 (host 0)" comm.update=replicated
flips 3 4 "replicas differ after step 7: tensor 2.dense.weight on rank 0 (host 0, .*): $digest, \
[0-9a-f]\{16\} on rank 1 (host 0)" comm.update=replicated comm.inject_flip_rank=0

# What is read where it lies: one copy of a host, an own copy that another rank updates.
memory="after step 6 weights have changed in memory: tensor 2.dense.weight on rank"
flips 2 4 "$memory 0 (host 0, .*): $digest, [0-9a-f]\{16\} when it was written; no checkpoint" \
    comm.check_every=3st
flips 3 4 "$memory 1 (host 0, .*): $digest, [0-9a-f]\{16\} when it was written" \
    comm.memory=private comm.check_every=2st
flips 1 4 "$memory 0 (host 0, .*): $digest, [0-9a-f]\{16\} when it was written" \
    comm.inject_flip_rank=0 comm.check_every=1st
flips 4 4 "$memory 2 (host 1, .*): $digest, [0-9a-f]\{16\} when it was written; the optimizer's \
state is the same" comm.virtual_hosts=2+2 comm.inject_flip_rank=2 comm.check_every=6st
memory="after step 8 weights have changed in memory: tensor 0.dense.bias on rank 0"
flips 2 4 "$memory" comm.inject_flip_step=8 comm.inject_flip_tensor=0.dense.bias
memory="after step 14 weights have changed in memory: tensor 0.dense.weight on rank 0"
flips 2 12 "$memory" comm.inject_flip_step=14 comm.inject_flip_tensor=

# Weight decay that goes into the momentum takes the fault along.
decay="optimizer={type: sgd, lr: 0.1, momentum: 0.9, weight_decay: 0.1}"
# shellcheck disable=SC2086
mpi 3 "$lockstep" train net.yaml name=decay -q $flip "$decay" comm.virtual_hosts=3 2>err
code=$?
[ $code -eq 7 ] && grep -q "tensor 2.dense.weight on rank 1 .*; the optimizer's state differs as \
well, first in 2.dense.weight/" err || { cat err; fail "momentum: exit code $code"; }

# Nobody looks, nobody says anything.
# shellcheck disable=SC2086
mpi 2 "$lockstep" train net.yaml name=blind -q $flip comm.virtual_hosts=2 comm.check_every=0 ||
    fail "without the check"
# shellcheck disable=SC2086
mpi 2 "$lockstep" train net.yaml name=nobody -q $flip comm.inject_flip_rank=2 2>err
[ $? -eq 2 ] && grep -q 'comm.inject_flip_rank: 2 found, there are 2 ranks' err ||
    fail "no such rank"
"$lockstep" train net.yaml name=nobody -q comm.inject_flip_rank=0 comm.inject_flip_tensor=x 2>err
[ $? -eq 2 ] && grep -q 'comm.inject_flip_tensor: there is no tensor x' err || fail "no such tensor"
