#!/bin/sh
# Gradients in 16 bits and compressed gradients: the same bits for every number of ranks, on one
# host and on several, after a resume, and fewer bytes between hosts.
. "$(dirname "$0")/common.sh"

cat >net.yaml <<'YAML'
data: {type: synthetic, shape: [3, 8, 8], classes: 5, train: 120, test: 50, augment: [flip]}
model:
  layers:
    - conv2d: {channels: 20, kernel: 3, padding: 1, bias: false}
    - batchnorm: {ghost: 2}
    - relu
    - residual: {body: [conv2d: {channels: 20, kernel: 3, padding: 1}, batchnorm, dropout: 0.1]}
    - global_avgpool
    - dense: 40
    - relu
    - dense: 5
train: {batch: 32, lanes: 8, steps: 7}
optimizer: {type: sgd, lr: 0.05, momentum: 0.9}
eval: {every: 2st}
checkpoint: {every: 3st, keep: 100, minutes: 0}
YAML

bits()
{
    echo "$(field "runs/$1/summary.json" digest) $(field "runs/$1/summary.json" trajectory)"
}

# train NAME RANKS OPTION...
train()
{
    name=$1 ranks=$2
    shift 2
    mpi "$ranks" "$lockstep" train net.yaml "$@" name="$name" --force -q >log 2>&1 ||
        { cat log; fail "$* on $ranks ranks"; }
}

# stopped FROM TO STEP: run TO is run FROM as if it had been killed after that checkpoint.
stopped()
{
    rm -rf "runs/$2"
    cp -r "runs/$1" "runs/$2"
    rm -f "runs/$2/summary.json" "runs/$2/ckpt/final.safetensors"
    for folder in "runs/$2"/ckpt/step-*; do
        [ "${folder##*-}" -le "$3" ] || rm -r "$folder"
    done
}

train fp32 2 comm.virtual_hosts=2
wide=$(field runs/fp32/summary.json sent_bytes)
for way in comm.wire=bf16 comm.wire=fp16 "comm.compress={type: topk, ratio: 0.02}" \
    comm.compress=sign "comm.compress={type: powersgd, rank: 2}"; do
    first=
    for other in 1 "3 comm.memory=private" "3 comm.update=replicated" \
        "4 comm.virtual_hosts=2 comm.bucket=0.005 comm.overlap=polling" \
        "5 comm.virtual_hosts=1+3+1 comm.update=replicated" "2 comm.virtual_hosts=2"; do
        # shellcheck disable=SC2086
        train all ${other%% *} "$way" ${other#"${other%% *}"}
        first=${first:-$(bits all)}
        [ "$(bits all)" = "$first" ] || fail "$way: $other gives $(bits all), not $first"
    done
    [ "$first" != "$(bits fp32)" ] || fail "$way changes nothing"
    narrow=$(field runs/all/summary.json sent_bytes)
    [ $((narrow * 10)) -lt $((wide * 7)) ] || fail "$way: $narrow bytes a step, $wide in fp32"
    # The checkpoint of step 3, of two hosts; then of three ranks.
    for other in 3 "4 comm.virtual_hosts=3+1"; do
        stopped all part 3
        # shellcheck disable=SC2086
        mpi ${other%% *} "$lockstep" train net.yaml "$way" ${other#"${other%% *}"} \
            name=part --resume -q >log 2>&1 || { cat log; fail "$way: resume on $other"; }
        [ "$(bits part)" = "$first" ] || fail "$way: resumed on $other: $(bits part), not $first"
    done
    echo "$way: $first, $narrow bytes a step and host, $wide in fp32"
done

# alike OPTION...: the same weights on one rank, and on hosts of two and of uneven many.
alike()
{
    train all 1 "$@"
    cp runs/all/ckpt/final.safetensors one
    for hosts in 2+2 1+2; do
        train all $((${hosts%+2} + 2)) "$@" comm.virtual_hosts=$hosts
        cmp -s one runs/all/ckpt/final.safetensors || fail "$*: other weights on hosts $hosts"
    done
}
# Batch norm's statistics of averaged weights are taken anew, past the error memories.
alike comm.compress=topk 'optimizer.wrap=[swa]'
alike comm.compress=powersgd 'optimizer.wrap=[ema]'
alike comm.wire=fp16 'train.grow=[{at: 3st, batch: 64}]'
train all 2 comm.compress=topk

# A checkpoint is not gone on from with another compression.
stopped all part 3
if mpi 1 "$lockstep" train net.yaml comm.compress=sign name=part --resume -q 2>out; then
    fail "resumed with another compressor"
fi
grep -q 'comm.compress.type' out || { cat out; fail "does not name comm.compress.type"; }

# refuses "MESSAGE" OPTION...
refuses()
{
    message=$1
    shift
    if mpi 1 "$lockstep" train net.yaml name=refused "$@" -q 2>out; then
        fail "$* is not refused"
    fi
    grep -qF "$message" out || { cat out; fail "$*: another message"; }
}
refuses 'comm.compress.type: unknown compressor "tipk"; did you mean "topk"?' comm.compress=tipk
refuses 'a type is wanted' comm.compress.whole=3
refuses 'fp32 is wanted there' comm.compress=topk comm.wire=bf16
refuses 'no error memory yet' comm.compress=sign 'train.grow=[{at: 2st, batch: 64}]'
refuses 'a second gradient' comm.compress=sign optimizer=sophia
refuses '3 found, a power of two' comm.wire=fp16 comm.wire_scale=3
