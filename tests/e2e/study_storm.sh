#!/bin/sh
# SIGKILL of the whole job at random moments while it trains a pruned study on two to four ranks;
# the same command goes on and must end with the table of a study that was never stopped.
# study_storm.sh BUILD [KILLS [SEED]]: 4 kills in CI.
. "$(dirname "$0")/common.sh"
kills=${2:-4}
seed=${3:-1}

cat >net.yaml <<'YAML'
data: {type: synthetic, shape: [32], classes: 4, train: 512, test: 64, noise: 2}
model: {layers: [dense: 256, batchnorm, relu, dense: 4]}
train: {batch: 32, lanes: 4, epochs: 30}
optimizer: {type: sgd, momentum: 0.9, lr: 0.1}
log: {tensorboard: false}
checkpoint: {every: 10st, keep: 2}
YAML
cat >s.yaml <<'YAML'
base: net.yaml
set: {train.target_accuracy: 0.7}
grid: {train.batch: [32, 64], optimizer.lr: [0.001, 0.01, 0.1, 1e9]}
seeds: 2
prune: {type: median, rungs: [5ep, 15ep]}
YAML

# random N: 0 to N - 1 into $number, the same for the same seed.
random()
{
    seed=$(((seed * 1103515245 + 12345) % 2147483648))
    number=$((seed / 65536 % $1))
}

table()
{
    awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) late[i] = $i ~ /seconds/ }
        { for (i = 1; i <= NF; i++) if (!late[i]) printf "%s,", $i; print "" }' \
        "studies/$1/trials.csv"
}

began=$(date +%s%N)
mpi 2 "$lockstep" study s.yaml name=whole -q || fail "the study that is not stopped"
longest=$((($(date +%s%N) - began) / 10000000)) # hundredths of a second
table whole >wanted
for status in completed diverged pruned; do
    grep -q ",$status," wanted || fail "none is $status"
done

done_kills=0 ends=0 resumes=0
while :; do
    random 3
    ranks=$((number + 2))
    rm -f pid.*
    setsid mpirun -n "$ranks" --oversubscribe --bind-to none \
        sh -c 'echo $$ >pid.$OMPI_COMM_WORLD_RANK; exec "$@"' sh \
        "$lockstep" study s.yaml name=storm ranks=$((1 + number % 2)) -q </dev/null >log 2>&1 &
    job=$!
    if [ $done_kills -lt "$kills" ]; then
        random "$longest"
        sleep "$(printf '%d.%02d' $((number / 100)) $((number % 100)))"
        { cat pid.* && echo $job; } 2>/dev/null | xargs kill -KILL 2>/dev/null &&
            done_kills=$((done_kills + 1))
    fi
    (sleep 120 && kill -KILL $job) 2>/dev/null &
    guard=$!
    wait $job
    code=$?
    kill $guard 2>/dev/null
    if [ $code -eq 0 ]; then
        table storm >got
        cmp -s got wanted || {
            diff wanted got
            fail "after $done_kills kills the table is another"
        }
        resumes=$((resumes + $(cat studies/storm/trials/*/metrics.jsonl |
            grep -c '"event":"resume"')))
        ends=$((ends + 1))
        [ $done_kills -lt "$kills" ] || break
        rm -rf studies/storm
    elif [ $code -ne 137 ]; then
        cat log
        fail "after $done_kills kills: exit code $code"
    fi
done
echo "$done_kills kills, $resumes resumes of trials, $ends studies that ended with the same table"
