#!/bin/sh
# launch/supervise over three hosts, network namespaces of this machine: one is cut off while it
# trains, comes back, another is taken away for good; the run goes on with those that are left and
# ends with the bits of one that nothing happened to.
. "$(dirname "$0")/common.sh"
. "$here/../hosts.sh"
supervise=$here/../../launch/supervise

# pace FACTOR: how many times as long rank 0 computes, from the next start on.
pace()
{
    cat >net.yaml <<YAML
data: {type: synthetic, shape: [24], classes: 7, train: 256, test: 64}
model: {layers: [dense: 32, relu, dense: 7]}
train: {batch: 64, lanes: 8, steps: 120}
eval: {every: 0}
log: {tensorboard: false}
checkpoint: {every: 5st, minutes: 0, keep: 2}
comm: {warn_after: 5, abort_after: 30, inject_slow_rank: 0, inject_slow_factor: $1}
YAML
}

# training START: that start has trained.
training()
{
    [ "$(grep -c '"event":"resume"' runs/lost/metrics.jsonl)" -ge $(($1 - 1)) ] &&
        tail -n 1 runs/lost/metrics.jsonl | grep -q '"event":"step"' && [ -e runs/lost/ckpt/latest ]
}

# cable HOST up|down: at the switch, so that the host loses the carrier as if it were pulled.
cable()
{
    nsenter -t "$switch" -n ip link set "p${1#node}" "$2"
}

# Everything on the host is gone at once, without a word to anybody.
take_away()
{
    cable "$1" down
    space=$(readlink "/proc/$(cat "$work/hosts/$1")/ns/net")
    for process in /proc/[0-9]*; do
        [ "$(readlink "$process/ns/net")" != "$space" ] || kill -KILL "${process#/proc/}"
    done 2>/dev/null
}

pace 1
mpi 2 "$lockstep" train net.yaml name=whole checkpoint.every=0 -q ||
    fail "the run that nothing happens to"
hosts_start 3 2
# As ssh: a host without a cable is waited for, one that is not there is refused.
cat >agent <<END
#!/bin/sh
nsenter -t "\$(cat "$work/hosts/\$1")" -n ip link show eth0 | grep -q LOWER_UP || exec sleep 3600
exec "$work/hosts/agent" "\$@"
END
chmod +x agent

pace 1000
unset OMPI_MCA_btl # of tests on one host
hosts_in node0 env BUILD="$build" OMPI_MCA_plm_rsh_agent="$work/agent" \
    PRTE_MCA_plm_ssh_agent="$work/agent" PRTE_MCA_prte_if_include=eth0 \
    OMPI_MCA_btl_tcp_if_include=eth0 OMPI_MCA_oob_tcp_if_include=eth0 \
    OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_hwloc_base_binding_policy=none \
    PRTE_MCA_hwloc_default_binding_policy=none OMPI_MCA_oob_tcp_keepalive_time=2 \
    OMPI_MCA_oob_tcp_keepalive_intvl=1 timeout -k 5 400 \
    "$supervise" --hosts "$work/hosts/file" --wait 1 net.yaml name=lost -q 2>err &
job=$!
await $job training 1
cable node1 down
await $job training 2
cable node1 up
take_away node2
pace 1
wait $job || { cat err; fail "exit code $?"; }
for key in digest trajectory status; do
    [ "$(field runs/lost/summary.json $key)" = "$(field runs/whole/summary.json $key)" ] ||
        { cat err; fail "another $key"; }
done
for line in 'start 1: 6 rank\(s\) on node0:2 node1:2 node2:2' 'no answer from node1: left out' \
    'start 2: 4 rank\(s\) on node0:2 node2:2' 'no answer from node2: left out' \
    'start 3: 4 rank\(s\) on node0:2 node1:2' 'completed: 120 steps'; do
    grep -Eq "$line" runs/lost/supervise.log || { cat err; fail "not in the log: $line"; }
done
cat runs/lost/supervise.log
