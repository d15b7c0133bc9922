#!/bin/sh
# `bench step` measures a step, `bench kernels` kernels by themselves; both print a table or JSON
# and leave nothing behind. What they measure is not asserted.
. "$(dirname "$0")/common.sh"

cat >c.yaml <<'YAML'
data: {type: synthetic, shape: [3, 8, 8], classes: 10, train: 200, test: 16}
model:
  layers: [conv2d: {channels: 16, kernel: 3, name: stem}, residual: {body: [relu]}, flatten,
           dense: 10]
train: {batch: 32, lanes: 4, epochs: 1}
YAML
mpi 2 "$lockstep" bench step c.yaml >table || fail "the table"
for word in stem '(add)' 3.dense forward exchange 'samples/s on 2 rank' 'limits of one core' \
    'GFLOP/s' 'GB/s' '(loss, packing' 'exposed reduction' \
    'memory a rank: weights' 'process at most'; do
    grep -qF -e "$word" table || { cat table; fail "the table lacks $word"; }
done
"$lockstep" bench step c.yaml --json >json || fail "JSON"
[ "$(field json ranks)" = 1 ] || fail "JSON: ranks"
for key in backward_ms backward_gflops forward_peak_percent forward_gb_per_second \
    backward_bandwidth_percent exposed_reduction_ms exposed_reduction_percent activations \
    waiting_ms \
    optimizer_state process_peak loss_and_packing_ms peak_gflops triad_gb_per_second; do
    grep -q "\"$key\": [0-9]" json || { cat json; fail "JSON: $key"; }
done
[ ! -e runs ] || fail "a run folder was made"
mpi 2 "$lockstep" bench step c.yaml optimizer.lr=1e9 2>err && fail "diverged, but exit code 0"
grep -q 'try a smaller optimizer.lr' err || fail "diverged: no message"

# rows FILE PATTERN COUNT: as many lines of the table match.
rows() {
    [ "$(grep -cE "$2" "$1")" = "$3" ] || { cat "$1"; fail "not $3 rows: $2"; }
}
number=' +[0-9]+\.[0-9]+'
times=$number$number$number
mpi 2 "$lockstep" bench reduce c.yaml --seconds 0.1 >table || fail "reduce"
for sum in 'fixed tree' 'order of ranks' MPI_Allreduce; do
    rows table "^$sum$times\$" 1
done
mpi 2 "$lockstep" bench reduce c.yaml --seconds 0.1 --json >json || fail "reduce: JSON"
grep -q '"tree_ratio": [0-9]' json || { cat json; fail "reduce: JSON"; }
mpi 2 "$lockstep" bench reduce c.yaml comm.virtual_hosts=2 2>err && fail "reduce: two hosts"
grep -q 'ranks on one host and plain sums' err || { cat err; fail "reduce: two hosts"; }
kernels() {
    mpi "$1" "$lockstep" bench kernels --seconds 0.001 --filter "$2" ${3-}
}
kernels 2 'r20 64-64' >table || fail "kernels: convolutions"
rows table 'x86-64-v. .*in use' 1
rows table "^  (24 KB|768 KB|12 MB|48 MB|192 MB)$times\$" 5
rows table '^convolutions .*median ms' 1
for part in forward 'data gradient' 'weight gradient'; do
    rows table "^  conv2d (winograd|direct) .* $part$times$number GFLOP/s .* % of peak" 2
done
rows table "weights packed$times *\$" 2
rows table "$times" 13 # eight, and five of memory
kernels 0 SGD >table || fail "kernels: sgd" # in any case
rows table "^  sgd, .*$times$number GB/s .* % of .*$number ns a parameter" 1
kernels 0 '1024 x 10 b' >table || fail "kernels: products"
rows table "^  OpenBLAS .*$times$number GFLOP/s" 3
kernels 0 'cross_entropy (10)' --json >json || fail "kernels: JSON"
for key in peak_gflops x86-64-v2 bytes copy_gb_per_second median_ms min_ms max_ms repeats \
    gb_per_second bandwidth_percent gelements_per_second; do
    grep -q "\"$key\": [0-9]" json || { cat json; fail "kernels: JSON: $key"; }
done
grep -qE '"(gflops|peak_percent)"' json && fail "kernels: JSON: a rate that does not apply"
[ "$(field json kernel)" = 'softmax_cross_entropy (10) b1024' ] || fail "kernels: JSON: kernel"
[ "$(field json group)" = losses ] || fail "kernels: JSON: group"
[ ! -e runs ] || fail "kernels: a run folder was made"
