#!/bin/sh
# The doctor alone, under mpirun, on several hosts: what it says of each, that it finds traps which
# are set here, says what all ranks see once, and its exit codes.
# ranks: 0 2 3 (its own processes)
. "$(dirname "$0")/common.sh"
MPI_TIMEOUT=300 # ranks take turns on one CPU here

# doctor CODE RANKS [COMMAND-BEFORE...] [-- OPTION...]: what it prints is in `out`.
doctor()
{
    wanted=$1 ranks=$2
    shift 2
    mpi "$ranks" "$@" >out 2>err
    code=$?
    [ $code -eq "$wanted" ] ||
        { cat out err; fail "exit code $code, not $wanted: $ranks ranks, $*"; }
}

# said COUNT LINE: so many lines begin so.
said()
{
    [ "$(grep -c "^$2" out)" -eq "$1" ] || { cat out; fail "not $1 times: $2"; }
}

# lacks TEXT
lacks()
{
    ! grep -q "$1" out || { cat out; fail "said: $1"; }
}

# value NAME: the first of that name in the JSON object.
value()
{
    sed -n 's/^ *"'"$1"'": *"\{0,1\}\([^",]*\)"\{0,1\},\{0,1\}$/\1/p' out | head -n 1
}

# above NAME NUMBER
above()
{
    echo "$(value "$1") $2" | awk '{ exit !($1 > $2) }' || { cat out; fail "$1: $(value "$1")"; }
}

doctor 0 0 "$lockstep" doctor
for line in 'Lockstep ' 'ranks      1 on 1 host$' 'MPI        ' 'host  .*: rank 0, ' '  CPU ' \
    '  memory   [0-9]' '  shared   /dev/shm [0-9]' 'store  ' '  .* one rank: nothing to share; ' \
    '0 problems, '; do
    said 1 "$line"
done
said 0 'messages '

doctor 0 2 "$lockstep" doctor --seconds 0.2
said 1 'ranks      2 on 1 host$'
said 1 '  .* barrier .*s, reading a neighbour.s .* GB/s, memory copy .* GB/s a rank$'
said 1 '  ranks 0, 1 of .* latency .*s, .* GB/s$'
said 1 '0 problems, '

doctor 0 3 "$lockstep" doctor --json --seconds 0.1
[ "$(value ranks)" = 3 ] && [ "$(value exit_code)" = 0 ] && [ "$(value shares_memory)" = true ] ||
    { cat out; fail "JSON"; }
for rate in barrier_us shared_read_bytes_per_second copy_bytes_per_second latency_us \
    bytes_per_second shm_bytes memory_bytes; do
    above $rate 0
done
[ "$(grep -c '"pid":' out)" -eq 3 ] || fail "ranks in JSON"
echo "alone, 2 and 3 ranks: page and JSON"

# Traps. All ranks on one CPU:
cpu=$(taskset -cp $$ | sed 's/.*: *\([0-9]*\).*/\1/')
doctor 0 3 taskset -c "$cpu" "$lockstep" doctor --seconds 0.1
if [ "$(nproc --all)" -gt 1 ]; then
    said 1 "warning: 3 ranks are bound to 1 of [0-9]* CPUs ($cpu)"
else
    said 1 'warning: 3 ranks on 1 CPUs: oversubscribed'
fi
lacks 'keep the core from those they wait for'

# A launcher of another library:
SLURM_STEP_NUM_TASKS=4 doctor 6 0 "$lockstep" doctor --seconds 0.1
said 1 'problem: 4 ranks were launched, but each believes that it is alone'
said 1 '1 problem, '

# Ranks of two programs: training refuses them too.
LC_ALL=C sed 's/x86-64-v/x86-64-w/g' "$lockstep" >other && chmod +x other
cat >one.yaml <<'YAML'
data: {type: synthetic, shape: [4], classes: 3, train: 64, test: 16}
model: {layers: [dense: 3]}
train: {batch: 16, lanes: 4, steps: 2}
YAML
doctor 7 2 "$lockstep" doctor --seconds 0.1 : -n 1 ./other doctor --seconds 0.1
said 1 'problem: instruction set: rank 0 on .* has x86-64-v.*, rank 2 on .* has x86-64-w'
doctor 7 1 "$lockstep" train one.yaml -q : -n 1 ./other train one.yaml -q

# Limits of the process:
(
    # shellcheck disable=SC3045 # every sh of ours has it
    ulimit -n 60
    doctor 0 0 "$lockstep" doctor --seconds 0.1
) || exit 1
said 1 'warning: 60 open files a process, 1 ranks may need 68'
[ "$(id -u)" = 0 ] || {
    mkdir locked && chmod 555 locked && cd locked || exit 1
    doctor 0 0 "$lockstep" doctor --seconds 0.1
    cd ..
    said 1 'warning: .*locked: no run folder can be made here'
}

# OpenBLAS told to be slower than the CPU:
isa=$(OPENBLAS_CORETYPE=Nehalem mpi 0 "$lockstep" doctor --json --seconds 0.1 | tee out |
    sed -n 's/.*"isa": "x86-64-\(v.\)".*/\1/p')
case $isa in
v[34])
    [ "$(value blas_core_inherited)" != Nehalem ] || [ "$(value blas_core)" != Nehalem ] &&
        grep -q '"text": "OPENBLAS_CORETYPE=Nehalem is weaker than the CPU' out ||
        { cat out; fail "OPENBLAS_CORETYPE"; }
    ;;
esac
echo "traps of ranks, launchers, programs, limits, OpenBLAS"

# Little room for shared memory: the doctor measures what fits, and training does without.
if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then
    # shellcheck disable=SC2016 # the inner shell expands it
    doctor 0 0 unshare -m sh -c 'mount -t tmpfs -o size=40m tmpfs /dev/shm &&
        head -c 1000000 /dev/zero >/dev/shm/vader_segment.gone && exec "$@"' \
        sh mpirun -n 2 --oversubscribe --bind-to none "$lockstep" doctor --seconds 0.1
    said 1 'warning: /dev/shm has .* MB free of 4.* MB'
    said 1 'warning: /dev/shm holds files of dead jobs: 1, 1\.0'
    said 1 '  .* barrier '
    ! grep -q warning err || { cat err; fail "a second warning"; }
    echo "a small /dev/shm"
fi

. "$here/../hosts.sh"
hosts_start 3 2
hosts_mpi --host node0:2,node1:2,node2:1 "$lockstep" doctor --seconds 0.3 >out 2>err ||
    { cat out err; fail "three hosts"; }
said 1 'ranks      5 on 3 hosts$'
said 3 'host       node[012]: rank'
said 2 '  node[01]  .*barrier .*reading a neighbour'
said 1 '  node2  .*one rank: nothing to share'
for pair in 'node0 - node1' 'node1 - node2' 'node2 - node0' 'ranks 0, 1 of node0'; do
    said 1 "  $pair  *latency .*s, .* GB/s$"
done
said 1 'note: several hosts are one machine (node0, node1, node2)'
echo "three hosts"
