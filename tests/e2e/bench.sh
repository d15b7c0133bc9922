#!/bin/sh
# `bench step` measures a step, prints a table or JSON, and leaves nothing behind.
. "$(dirname "$0")/common.sh"

cat >c.yaml <<'YAML'
data: {type: synthetic, shape: [3, 8, 8], classes: 10, train: 200, test: 16}
model:
  layers: [conv2d: {channels: 16, kernel: 3, name: stem}, residual: {body: [relu]}, flatten,
           dense: 10]
train: {batch: 32, lanes: 4, epochs: 1}
YAML
mpi 2 "$lockstep" bench step c.yaml >table || fail "the table"
for word in stem '(add)' 3.dense forward exchange 'samples/s on 2 rank' 'limits of one core'; do
    grep -qF -e "$word" table || { cat table; fail "the table lacks $word"; }
done
"$lockstep" bench step c.yaml --json >json || fail "JSON"
[ "$(field json ranks)" = 1 ] || fail "JSON: ranks"
grep -q '"backward_ms": [0-9]' json || fail "JSON: layers"
[ ! -e runs ] || fail "a run folder was made"
mpi 2 "$lockstep" bench step c.yaml optimizer.lr=1e9 2>err && fail "diverged, but exit code 0"
grep -q 'try a smaller optimizer.lr' err || fail "diverged: no message"
