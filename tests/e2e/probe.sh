#!/bin/sh
# `probe` finds the same, to the last digit, on any number of ranks; it writes its files and leaves
# the run's alone. What it refuses is in tests/bad/program.txt.
# ranks: 0 2 3 4 5 (its own processes)
. "$(dirname "$0")/common.sh"

cat >net.yaml <<'YAML'
data: {type: synthetic, shape: [3, 8, 8], classes: 5, train: 96, test: 40}
model:
  layers:
    [conv2d: {channels: 6, kernel: 3, padding: 1}, batchnorm, relu, dropout: 0.3, flatten, dense: 5]
optimizer: {type: sgd, lr: 0.05, momentum: 0.9}
train: {batch: 32, lanes: 8, steps: 9}
checkpoint: {every: 3st, minutes: 0, keep: 20, best: loss}
eval: {every: 3st}
YAML
"$lockstep" train net.yaml name=a -q || fail "train"
find runs/a -type f -exec cksum {} + | sort >before

# probe RANKS WHICH PROBE [OPTION...]: output and files into the folder out-RANKS.
probe()
{
    ranks=$1 which=$2 name=$3
    shift 2
    mkdir -p files "out-$ranks"
    mpi "$ranks" "$lockstep" probe runs/a --checkpoint "$which" --out files "$@" >out ||
        fail "probe $* on $ranks ranks"
    for file in out files/*; do
        cp "$file" "out-$ranks/$name.$(basename "$file")"
    done
    rm -r files
}

# some RANKS: some probes; all RANKS: every one.
some()
{
    probe "$1" final hessian samples=80 iterations=12
    probe "$1" final sharpness dimensions=7 iterations=3 samples=48
    probe "$1" 3 lca steps=4 mode=train
    probe "$1" final fisher samples=12
}
all()
{
    some "$1"
    probe "$1" final density vectors=2 iterations=6 points=4 grid=20
    probe "$1" 6 trace vectors=3 set=test mode=train
    probe "$1" best product samples=33
    probe "$1" final stability samples=10 iterations=4
    probe "$1" final noise group=4
    probe "$1" final covariance samples=31
    probe "$1" final interpolate grid=7
    probe "$1" final surface grid=4 samples=50
}
all 0
all 3
some 2
some 4
some 5
for ranks in 2 3 4 5; do
    for file in "out-$ranks"/*; do
        cmp "$file" "out-0/$(basename "$file")" || fail "$file is not what one rank finds"
    done
done
echo "$(ls out-0 | wc -l) files of one rank, the same on 2 to 5"
[ "$(ls out-3 | wc -l)" -eq "$(ls out-0 | wc -l)" ] || fail "other files on 3 ranks"

# In the run folder two files are new, and none is another.
"$lockstep" probe runs/a hessian iterations=4 >out || fail "probe into the run folder"
find runs/a -type f ! -name 'probe-*' -exec cksum {} + | sort | cmp - before ||
    fail "the run's files have changed"
[ "$(find runs/a -name 'probe-*' | sort | paste -sd ' ')" = \
    "runs/a/probe-hessian.csv runs/a/probe-hessian.json" ] || fail "files: $(ls runs/a)"
grep -q '"command": "lockstep probe runs/a hessian iterations=4"' runs/a/probe-hessian.json ||
    fail "the command is not in the file"

# A config without a run: where training would begin, and nothing is written.
mkdir empty
cp net.yaml none.yaml
"$lockstep" probe none.yaml noise >out || fail "probe of a config"
[ ! -e runs/none ] || fail "a folder is made"
grep -q '^noise of runs/none, init (step 0)' out || fail "head: $(head -1 out)"

# The weights are those that eval tests: an average, where the optimizer keeps one.
"$lockstep" train net.yaml name=ema 'optimizer={type: adamw, lr: 0.02, wrap: [ema: {decay: 0.8}]}' \
    -q || fail "train with ema"
for which in final step-6 step-9; do
    "$lockstep" eval runs/ema --checkpoint $which >told || fail "eval of $which"
    "$lockstep" probe runs/ema --checkpoint $which noise group=4 set=test --out empty >out ||
        fail "probe of $which"
    [ "$(sed 's/.*(step [0-9]*): loss \([^,]*\),.*/\1/;q' out | xargs printf '%.6f')" = \
        "$(sed 's/test loss \([^,]*\),.*/\1/' told)" ] ||
        fail "$which: $(head -1 out), but $(cat told)"
done

# Gradients of the probe are exact, whatever training does to its own.
"$lockstep" probe runs/a hessian iterations=4 --out empty >plain || fail "probe"
for change in comm.wire=bf16 'comm.compress={type: topk, ratio: 0.1}'; do
    "$lockstep" probe runs/a hessian iterations=4 "$change" --out empty >changed ||
        fail "probe with $change"
    cmp changed plain || fail "$change changes what is found"
done
