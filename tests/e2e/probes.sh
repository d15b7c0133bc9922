#!/bin/sh
# Probes of training steps: the same rows for every number of ranks, however they are spread and
# whoever updates what; after a resume, whatever was lost; and no step is another for being probed.
. "$(dirname "$0")/common.sh"

cat >net.yaml <<'YAML'
data: {type: synthetic, shape: [3, 8, 8], classes: 5, train: 118, test: 40, augment: [flip]}
model:
  layers:
    - conv2d: {channels: 20, kernel: 3, padding: 1, bias: false}
    - batchnorm: {ghost: 2}
    - relu
    - residual: {body: [conv2d: {channels: 40, kernel: 3, padding: 1}, batchnorm, relu,
                        conv2d: {channels: 20, kernel: 3, padding: 1}, dropout: 0.1]}
    - global_avgpool
    - dense: 40
    - relu
    - dense: 5
train: {batch: 32, lanes: 8, steps: 13}
optimizer: {type: lars, lr: 1, momentum: 0.9}
eval: {every: 0}
checkpoint: {every: 1st, keep: 100, minutes: 0}
probes: {every: 3st, distance: true, cosine: true}
YAML

# train NAME RANKS OPTION...
train()
{
    name=$1 ranks=$2
    shift 2
    mpi "$ranks" "$lockstep" train net.yaml "$@" name="$name" --force -q >log 2>&1 ||
        { cat log; fail "$* on $ranks ranks"; }
}

bits()
{
    echo "$(field "runs/$1/summary.json" digest) $(field "runs/$1/summary.json" trajectory)"
}

# found RUN: everything that its probes have left behind.
found()
{
    cat "runs/$1/probes.csv"
    grep '"event":"probe"' "runs/$1/metrics.jsonl"
}

# same RUN WHAT: as `first` in every bit.
same()
{
    found "$1" >other
    cmp -s first other || { diff first other | head -4; fail "$2: other probes"; }
}

ways='1|3 comm.memory=private comm.update=replicated
4 comm.virtual_hosts=2 comm.bucket=0.005 comm.overlap=polling
5 comm.virtual_hosts=1+3+1 comm.bucket=0.002|4 comm.domain=numa comm.virtual_domains=2'

# everywhere OPTION...: the same rows in every way, and the steps of a run that is not probed.
everywhere()
{
    train plain 2 "$@" probes.every=0
    rm -f first
    echo "$ways" | tr '|' '\n' >list
    while read -r ranks options; do
        # shellcheck disable=SC2086
        train run "$ranks" "$@" $options </dev/null
        [ -e first ] || found run >first
        same run "$* $ranks $options"
        [ "$(bits run)" = "$(bits plain)" ] || fail "$*: probes have changed the steps"
    done <list
    echo "$*: $(grep -c , first) rows"
}

everywhere
grep -q '^12,.*,update_cosine,' first || fail "no cosine in the last rows"
ways='1|3 comm.virtual_hosts=2'
everywhere "optimizer={type: lamb, lr: 0.01, trust_clip: true}" comm.wire=bf16
everywhere "optimizer={type: muon, lr: 0.01, clip_value: 0.01}" "train.grow=[{at: 5st, batch: 64}]"
everywhere "optimizer={type: sophia, lr: 0.01, wrap: [ema]}" train.on_diverged=skip
everywhere train.reduce=adasum probes.noise=false
everywhere "comm.compress={type: topk, ratio: 0.1}" probes.noise=false probes.every=1st

# A run that is killed behind any checkpoint and goes on with other ranks.
for way in "optimizer.lr=1" "optimizer={type: muon, lr: 0.01}"; do
    train whole 2 "$way"
    found whole >first
    for step in 2 3 11; do
        rm -rf runs/part
        cp -r runs/whole runs/part
        rm runs/part/summary.json
        for folder in runs/part/ckpt/step-*; do
            [ "${folder##*-}" -le $step ] || rm -r "$folder"
        done
        mpi 3 "$lockstep" train net.yaml "$way" name=part --resume -q >log 2>&1 ||
            { cat log; fail "resume after step $step"; }
        same part "resumed after step $step"
    done
done

# Other probes than those of the checkpoint are no reason not to go on.
rm -rf runs/part/ckpt/step-*[3-9] runs/part/summary.json
for other in probes.every=0 probes.cosine=false probes.noise=false probes.every=1st; do
    rm -rf runs/other
    cp -r runs/part runs/other
    mpi 2 "$lockstep" train net.yaml "$way" name=other "$other" --resume -q >log 2>&1 ||
        { cat log; fail "$other at a resume"; }
    [ "$(bits other)" = "$(bits whole)" ] || fail "$other: other steps"
done

# What a dry run says about memory is what a run takes.
mpi 2 "$lockstep" train net.yaml --dry-run >log 2>&1 || fail "dry run"
grep -q '^probes every 3st: noise .*: .*memory in that' log ||
    { cat log; fail "no probes in the plan"; }

# refused WORDS OPTION...
refused()
{
    words=$1
    shift
    "$lockstep" train net.yaml "$@" name=no >log 2>&1
    [ $? -eq 2 ] || { cat log; fail "$*: not refused"; }
    grep -q "$words" log || { cat log; fail "$*: another message"; }
}
refused 'probes.noise: .*train.lanes is 1' train.lanes=1
refused 'probes.noise: Adasum' train.reduce=adasum
refused 'probes.noise: compressed' comm.compress=sign
refused 'probes.every: with train.local' "train.local={steps: 2}"
refused 'there is no trained tensor "1.batchnorm.running_mean"' \
    "probes.scale_invariant=[1.batchnorm.running_mean]"

# A run that goes back to a checkpoint has one row of each step that it has kept.
cat >net.yaml <<'YAML'
data: {type: synthetic, shape: [24], classes: 7, train: 256, test: 64, outlier: 1, normalize: none}
model: {layers: [dense: 33, relu, dense: 7]}
train: {batch: 32, lanes: 8, steps: 20, on_diverged: rollback}
optimizer: {type: adamw, lr: 0.01}
checkpoint: {every: 3st, minutes: 0, keep: 100}
probes: {every: 1st, distance: true, cosine: true}
YAML
for ranks in 1 3; do
    train back $ranks
    [ "$(field runs/back/summary.json rollbacks)" -gt 0 ] || fail "it has not gone back"
    [ $ranks -eq 1 ] && found back >first
    same back "rollbacks on $ranks ranks"
done
tail -n +2 runs/back/probes.csv | cut -d , -f 1-3 | sort | uniq -d | grep . && fail "rows twice"
tail -n +2 runs/back/probes.csv | cut -d , -f 1 | sort -cn || fail "steps out of order"
