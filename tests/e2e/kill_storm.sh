#!/bin/sh
# SIGKILL of a random rank, of mpirun, or of the whole job, at random moments, most of them while a
# checkpoint is being written; the run goes on on another random number of ranks and must end with
# the bits of a run that was never stopped. kill_storm.sh BUILD [KILLS [SEED]]: 6 kills in CI.
. "$(dirname "$0")/common.sh"
kills=${2:-6}
seed=${3:-1}

cat >net.yaml <<'YAML'
data: {type: synthetic, shape: [3, 8, 8], classes: 5, train: 200, test: 50, augment: [flip]}
model:
  layers:
    - conv2d: {channels: 16, kernel: 3, padding: 1, bias: false}
    - batchnorm: {ghost: 4}
    - relu
    - dropout: 0.1
    - global_avgpool
    - dense: 200
    - relu
    - dense: 5
train: {batch: 32, lanes: 8, steps: 60}
optimizer: {type: adamw, lr: 0.01}
eval: {every: 7st}
log: {tensorboard: false}
checkpoint: {every: 1st, keep: 2, minutes: 0}
YAML

# random N: 0 to N - 1 into $number, the same for the same seed.
random()
{
    seed=$(((seed * 1103515245 + 12345) % 2147483648))
    number=$((seed / 65536 % $1))
}

bits()
{
    echo "$(field "runs/$1/summary.json" digest) $(field "runs/$1/summary.json" trajectory)"
}

mpi 2 "$lockstep" train net.yaml name=whole -q || fail "the run that is not stopped"
wanted=$(bits whole)
began=$(date +%s%N)
mpi 8 "$lockstep" train net.yaml name=eight -q || fail "the run on eight ranks"
longest=$((($(date +%s%N) - began) / 10000000)) # hundredths of a second

# Starts the job in a session of its own; its pid is in $job, those of its ranks in pid.*.
start()
{
    rm -f pid.*
    setsid mpirun -n "$1" --oversubscribe --bind-to none \
        sh -c 'echo $$ >pid.$OMPI_COMM_WORLD_RANK; exec "$@"' sh \
        "$lockstep" train net.yaml name=storm checkpoint.resume=auto -q </dev/null >log 2>&1 &
    job=$!
}

# Kills what $1 names; 0 if it was still there.
strike()
{
    case $1 in
    0) victim=rank && kill -KILL "$(cat "pid.$2" 2>/dev/null || echo 0x)" ;;
    1) victim=mpirun && kill -KILL $job ;;
    *) victim=job && { cat pid.* && echo $job; } | xargs kill -KILL ;;
    esac 2>/dev/null
}

done_kills=0 ends=0 by_rank=0 by_mpirun=0 by_job=0 resumes=0
while :; do
    random 8
    ranks=$((number + 1))
    start $ranks
    if [ $done_kills -lt "$kills" ]; then
        random "$longest"
        sleep "$(printf '%d.%02d' $((number / 100)) $((number % 100)))"
        random 3
        who=$number
        random $ranks
        if strike $who "$number"; then
            done_kills=$((done_kills + 1))
            eval "by_$victim=\$((by_$victim + 1))"
        fi
    fi
    (sleep 60 && kill -KILL $job) 2>/dev/null &
    guard=$!
    wait $job
    code=$?
    kill $guard 2>/dev/null
    [ $code -ne 137 ] || [ "$(wc -l <log)" -lt 1000 ] || fail "the job hangs"
    if [ $code -eq 0 ] && [ -e runs/storm/summary.json ]; then
        [ "$(bits storm)" = "$wanted" ] || {
            cat log
            fail "after $done_kills kills: $(bits storm), not $wanted"
        }
        [ "$(grep -c '"event":"step"' runs/storm/metrics.jsonl)" = 60 ] || {
            cut -c 1-60 runs/storm/metrics.jsonl
            fail "after $done_kills kills: not 60 records of steps"
        }
        resumes=$((resumes + $(grep -c '"event":"resume"' runs/storm/metrics.jsonl)))
        ends=$((ends + 1))
        [ $done_kills -lt "$kills" ] || break
        rm -rf runs/storm
    fi
    ! grep -E 'is not used|none of the|expected ' log || fail "a checkpoint was not whole"
done
echo "$done_kills kills ($by_rank of a rank, $by_mpirun of mpirun, $by_job of the job)," \
    "$resumes resumes, $ends runs that ended with $wanted"
