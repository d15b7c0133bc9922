#!/bin/sh
# The promise across real hosts, as network namespaces: the same bits on 1, 2, 3 and 4 hosts, with
# uneven ranks a host, ranks of a host that are not neighbours, each algorithm, sums that travel
# early or late, in buckets of any size, sharded and replicated. Where the kernel lends cards, over
# links of 1 Gbit/s and 200 us.
. "$(dirname "$0")/common.sh"
. "$here/../hosts.sh"

cat >net.yaml <<'YAML'
data: {type: synthetic, shape: [3, 10, 10], classes: 5, train: 64, test: 20}
model:
  layers:
    - conv2d: {channels: 20, kernel: 3, padding: 1}
    - batchnorm
    - relu
    - residual: {body: [conv2d: {channels: 20, kernel: 3, padding: 1}, batchnorm, relu]}
    - global_avgpool
    - dense: 300
    - relu
    - dense: 5
train: {batch: 32, lanes: 16, epochs: 2}
optimizer: {type: adamw, lr: 0.01, clip_norm: 1}
eval: {every: 1ep}
YAML

# bits NAME: of a finished run.
bits()
{
    echo "$(field "runs/$1/summary.json" digest) $(field "runs/$1/summary.json" trajectory)"
}

mpi 1 "$lockstep" train net.yaml name=one -q >log 2>&1 || { cat log; fail "one rank"; }
wanted=$(bits one)
if [ -w /dev/net/tun ]; then
    hosts_start 4 3 1gbit 200
else
    hosts_start 4 3
fi
run=0

# same MPI-OPTIONS CONFIG-OPTIONS
same()
{
    run=$((run + 1))
    # shellcheck disable=SC2086
    hosts_mpi $1 "$lockstep" train net.yaml name="h$run" $2 -q >log 2>&1 ||
        { cat log; fail "$1, $2"; }
    [ "$(bits "h$run")" = "$wanted" ] || fail "$1, $2: $(bits "h$run"), not $wanted"
    echo "$1, $2: $wanted"
}

same "--host node0:2" ""
same "--host node0:1,node1:1" ""
same "--host node0:2,node1:2" "comm.overlap=off"
same "--host node0:3,node1:1" "comm.bucket=0.002 comm.overlap=polling"
same "--host node0:2,node1:2,node2:1 --map-by node" "comm.bucket=0.01"
same "--host node0:2,node1:3,node2:1,node3:2 --map-by node" "comm.update=replicated"
same "--host node0:3,node1:2,node2:1" "comm.memory=private"
for algorithm in direct halving ring; do
    same "--host node0:1,node1:2,node2:1" "comm.algorithm=$algorithm"
    same "--host node0:2,node1:2,node2:2,node3:2" "comm.algorithm=$algorithm comm.bucket=0.01"
done
