#!/bin/sh
# A study gives the same table for any number of ranks and groups, pruned or not; what is done is
# not done again; a trial that fails or diverges is a row; what is left over is named.
. "$(dirname "$0")/common.sh"

cat >net.yaml <<'YAML'
data: {type: synthetic, shape: [16], classes: 4, train: 256, test: 64, noise: 2}
model: {layers: [dense: 32, relu, dense: 4]}
train: {batch: 32, lanes: 4, epochs: 2}
optimizer: {type: sgd, lr: 0.1}
log: {tensorboard: false}
YAML
cat >s.yaml <<'YAML'
base: net.yaml
set: {train.epochs: 4, train.target_accuracy: 0.6}
arms:
  - {name: sgd, optimizer.type: sgd}
  - {name: lars, optimizer.type: lars, ranges: {optimizer.lr: {from: 0.5, to: 8, scale: log}}}
grid: {train.batch: [32, 64]}
search:
  {type: halton, trials: 3, ranges: {optimizer.lr: {from: 0.001, to: 1e8, scale: log}}}
seeds: 2
YAML

# table NAME: trials.csv without the columns that tell the time
table()
{
    awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) late[i] = $i ~ /seconds/ }
        { for (i = 1; i <= NF; i++) if (!late[i]) printf "%s,", $i; print "" }' \
        "studies/$1/trials.csv"
}

# same NAME WANTED: their tables are
same()
{
    table "$1" >got
    table "$2" >wanted
    cmp -s got wanted || {
        diff wanted got
        fail "$1 is not $2"
    }
}

prune='prune={type: halving, rungs: [1ep, 2ep]}'
"$lockstep" study s.yaml name=one -q || fail "a study"
"$lockstep" study s.yaml name=pruned "$prune" -q || fail "a pruned study"
[ "$(wc -l <studies/one/trials.csv)" = 25 ] || fail "not 24 rows"
[ "$(wc -l <studies/pruned/trials.csv)" = 25 ] || fail "not 24 rows, pruned"
for status in completed diverged pruned; do
    grep -q ",$status,.*" studies/pruned/trials.csv || fail "none is $status"
done
[ "$(grep -c ,pruned, studies/pruned/trials.csv)" -ge 8 ] || fail "too few are pruned"
awk -F, '$2 == "completed" && $3 == "sgd"' studies/pruned/trials.csv | cut -d, -f1-10,12-16 >some
while read -r row; do
    cut -d, -f1-10,12-16 studies/one/trials.csv | grep -qF "$row" || fail "pruning changes: $row"
done <some

for split in '2 1' '3 1' '3 2' '4 2'; do
    # shellcheck disable=SC2086
    set -- $split
    mpi "$1" "$lockstep" study s.yaml ranks="$2" name="pruned$1$2" "$prune" 2>said ||
        fail "split $split, pruned"
    same "pruned$1$2" pruned
    [ -z "$(grep ': pruned at ' said | cut -d ' ' -f 2 | sort | uniq -d)" ] ||
        { cat said; fail "split $split, pruned twice"; }
done
mpi 3 "$lockstep" study s.yaml ranks=2 name=split -q || fail "two groups"
same split one

# Pruned ones go on where they are when they are asked to; others are not touched.
digests=$(cat studies/one/trials/*/metrics.jsonl | cksum)
"$lockstep" study s.yaml name=pruned -q || fail "no longer pruned"
same pruned one
mv s.yaml net.yaml .. && "$lockstep" study studies/pruned/study.yaml -q ||
    fail "the study from its own folder"
mv ../s.yaml ../net.yaml .
same pruned one
"$lockstep" study s.yaml name=one -q || fail "a study that is done"
[ "$digests" = "$(cat studies/one/trials/*/metrics.jsonl | cksum)" ] || fail "trained twice"

# Two jobs on one study.
"$lockstep" study s.yaml name=two -q &
other=$!
"$lockstep" study s.yaml name=two -q || fail "the first of two jobs"
wait $other || fail "the second of two jobs"
same two one
[ "$(cat studies/two/trials/*/metrics.jsonl | grep -c '"event":"start"')" = 24 ] ||
    fail "two jobs have trained a trial twice"

# A longer grid keeps what is done; another base is another trial, and says what is left.
"$lockstep" study s.yaml name=two seeds=3 -q || fail "a seed more"
[ "$(cat studies/two/trials/*/metrics.jsonl | grep -c '"event":"start"')" = 36 ] ||
    fail "a seed more: not 12 new trials"
"$lockstep" study s.yaml name=two seeds=1 set.train.epochs=1 -q 2>err || fail "other trials"
grep -q 'two/trials: 36 trials of another plan, not in the table: ' err || {
    cat err
    fail "nothing said of what is left over"
}
[ "$(wc -l <studies/two/trials.csv)" = 13 ] || fail "left-over trials are in the table"

# Trials that cannot be trained are rows; --retry tries them again.
cat >odd.yaml <<'YAML'
base: net.yaml
grid:
  train.batch: [32, 33, x]
  data.type: [synthetic, idx]
set: {data.folder: missing}
YAML
sed 's/synthetic, shape/synthetic, folder: none, shape/' net.yaml >ignored.yaml
mpi 2 "$lockstep" study odd.yaml -q || fail "trials that fail"
[ "$(grep -c ,failed, studies/odd/trials.csv)" = 6 ] || {
    cat studies/odd/trials.csv
    fail "not six that fail"
}
grep -q ',33,synthetic,.*,"train.batch=33: 33 found, a multiple of the 4 lanes wanted"$' \
    studies/odd/trials.csv || fail "no message"
"$lockstep" study odd.yaml --retry 'set={}' 'grid={train.batch: [32, 33]}' 2>err || fail "--retry"
grep -q '\[2/2\]' err || {
    cat err
    fail "not tried again"
}

# More ranks in a group than a trial has lanes.
"$lockstep" study s.yaml name=few set.train.lanes=2 arms=null 'search=null' -q || fail "two lanes"
mpi 4 "$lockstep" study s.yaml name=few4 ranks=4 set.train.lanes=2 arms=null 'search=null' -q ||
    fail "two lanes for four ranks"
same few4 few

# A group whose ranks disagree ends the job, once and with its message.
mpi 4 "$lockstep" study s.yaml name=flip ranks=2 set.comm.inject_flip_rank=1 \
    set.comm.memory=private set.comm.update=replicated -q 2>err
[ $? -eq 7 ] && grep -q '^lockstep: .*rank 1' err || {
    cat err
    fail "a flipped bit: no exit code 7"
}

# A signal to one rank: its trial is saved, and the study goes on from there.
"$lockstep" study s.yaml name=long set.train.epochs=20000 arms=null seeds=1 search=null &
pid=$!
# shellcheck disable=SC2016
await $pid sh -c 'grep -q "\"event\":\"step\"" studies/long/trials/*/metrics.jsonl'
kill -TERM $pid
wait $pid || fail "SIGTERM: exit code $?"
cat studies/long/trials/*/ckpt/latest >latest || fail "SIGTERM: no checkpoint"
"$lockstep" study s.yaml name=long set.train.epochs=20000 arms=null seeds=1 search=null \
    --status >out
grep -q 'stopped on the way: ' out && grep -q 'not begun' out && grep -q '0 of 2' out || {
    cat out
    fail "--status"
}
"$lockstep" study s.yaml --dry-run >out || fail "--dry-run"
grep -q '^24 trials of 12 settings in 4 arms: at most 24.6 k samples' out || {
    cat out
    fail "--dry-run"
}

# What is measured is a column, and measured again only if it is asked for otherwise; a key that the
# probe does not find fails the trial; expectations are read before anything is trained.
measured()
{
    "$lockstep" study s.yaml name=measured seeds=1 grid.train.batch='[32]' \
        arms=null search='{type: grid, ranges: {optimizer.lr: {from: 0.1, to: 0.2, points: 2}}}' \
        "$@" -q
}
measured 'measure={noise: {samples: 64, take: [noise_scale]}}' \
    'expect=[{claim: c, value: {metric: noise.noise_scale}, above: 0}]' >said || fail "measured"
grep -q '1 of 1 as expected' said || { cat said; fail "no word of what was expected"; }
grep -q ',noise.noise_scale,message$' studies/measured/trials.csv || fail "no column"
[ "$(grep -c ',completed,' studies/measured/trials.csv)" = 2 ] || fail "not measured"
cp studies/measured/trials.csv before
measured 'measure={noise: {samples: 128, take: [noise_scale]}}' >said || fail "measured otherwise"
cmp -s before studies/measured/trials.csv && fail "the old values stay"
measured 'measure={noise: {samples: 128, take: [noise_scal]}}' >said || fail "a wrong key"
[ "$(grep -c 'failed.*measure.noise.take: the probe finds no' studies/measured/trials.csv)" = 2 ] ||
    { cat studies/measured/trials.csv; fail "a wrong key is no message"; }
measured 'measure={noise: {samples: 128, take: [noise_scale]}}' --retry >said || fail "mended"
[ "$(grep -c ',completed,' studies/measured/trials.csv)" = 2 ] || fail "mended, and still failed"
"$lockstep" study s.yaml name=never 'expect=[{claim: c, value: {metric: acc}, above: 1}]' 2>said
[ $? -eq 2 ] && grep -q 'unknown metric "acc"' said || { cat said; fail "a wrong expectation"; }
[ ! -e studies/never ] || fail "begun with a wrong expectation"
