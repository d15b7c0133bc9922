#!/bin/sh
# launch/supervise: a run whose ranks and mpirun are killed and whose rank is frozen ends with the
# bits of one that was not; what cannot get better is not tried again; it gives up; signals save.
# ranks: 1, 2 and 3 (its own processes)
. "$(dirname "$0")/common.sh"
export BUILD="$build"
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
comm: {warn_after: 3, abort_after: 10, inject_slow_rank: 0, inject_slow_factor: $1}
YAML
}

# starts_are RUN N: it was started so many times or, on a machine so slow that the watchdog bites,
# more often.
starts_are()
{
    found=$(grep -c ': [0-9]* rank(s) on ' "runs/$1/supervise.log")
    [ "$found" -ge "$2" ] || fail "$1: $found starts, $2 wanted"
}

# logged RUN PATTERN
logged()
{
    grep -Eq "$2" "runs/$1/supervise.log" || fail "$1: not in the log: $2"
}

ends_like_whole()
{
    for key in digest trajectory status; do
        [ "$(field "runs/$1/summary.json" $key)" = "$(field runs/whole/summary.json $key)" ] ||
            fail "$1: another $key"
    done
}

# training RUN START: that start has trained.
training()
{
    [ "$(grep -c '"event":"resume"' "runs/$1/metrics.jsonl")" -ge $(($2 - 1)) ] &&
        tail -n 1 "runs/$1/metrics.jsonl" | grep -q '"event":"step"' && [ -e "runs/$1/ckpt/latest" ]
}

# rank_pid RUN RANK
rank_pid()
{
    "$lockstep" doctor --postmortem "runs/$1" | sed -n "s/^rank $2 on .* (pid \([0-9]*\)).*/\1/p"
}

parent()
{
    sed -n 's/^PPid:[[:space:]]*//p' "/proc/$1/status"
}

pace 1
mpi 2 "$lockstep" train net.yaml name=whole checkpoint.every=0 -q ||
    fail "the run that is not stopped"

# ---- a rank is killed, mpirun is killed, a rank is frozen ----

pace 1000
"$supervise" -n 3 --wait 0 net.yaml name=struck -q 2>err &
job=$!
await $job training struck 1
kill -KILL "$(rank_pid struck 1)"
await $job training struck 2
memory=$(sed -n 's|.* \(/dev/shm/[^ ]*\)$|\1|p' "/proc/$(rank_pid struck 2)/maps" | sort -u)
[ -n "$memory" ] || fail "no shared memory"
kill -KILL "$(parent "$(rank_pid struck 2)")"
await $job training struck 3
for file in $memory; do
    [ ! -e "$file" ] || fail "$file is left of the second start"
done
frozen=$(rank_pid struck 1)
kill -STOP "$frozen"
pace 1
wait $job || { cat err; fail "struck: exit code $?"; }
ends_like_whole struck
starts_are struck 4
logged struck 'start 1 failed .* exit code 137 \(signal 9\)'
logged struck 'start 3 failed .* exit code 6 \(a rank was lost .* rank 1 on .* is stopped or gone'
logged struck "completed: 120 steps, digest $(field runs/whole/summary.json digest)"
ended "$frozen" || fail "the frozen rank is still there"
cut -d ' ' -f 2- runs/struck/supervise.log >kept
sed -n 's/^[^ ]*supervise: [^ ]* //p' err >said
cmp -s kept said || fail "the log of the run folder is not what was said"

# ---- signals: saved, and the same command goes on ----

pace 1000
session=0
for signal in TERM:143 USR1:138; do
    session=$((session + 1))
    "$supervise" -n 2 net.yaml name=stopped -q 2>err &
    job=$!
    await $job training stopped $session
    kill -"${signal%:*}" $job
    wait $job
    code=$?
    [ $code -eq "${signal#*:}" ] || { cat err; fail "$signal: exit code $code"; }
    [ "$(field runs/stopped/summary.json status)" = interrupted ] ||
        { cat err; fail "$signal: no summary"; }
    last=$(field runs/stopped/summary.json steps)
    [ -d "runs/stopped/ckpt/step-$last" ] || fail "$signal: nothing saved at step $last"
    logged stopped "interrupted and saved at step $last"
done
pace 1
"$supervise" -n 1 net.yaml name=stopped -q 2>err || { cat err; fail "the third session"; }
ends_like_whole stopped
starts_are stopped 3

# ---- what a new start would meet again ----

"$supervise" net.yaml train.batch=x 2>err
[ $? -eq 2 ] && [ "$(wc -l <err)" -eq 1 ] || { cat err; fail "bad configuration"; }
"$supervise" -n 2 --wait 0 net.yaml name=stopped seed=2 -q 2>err
[ $? -eq 4 ] || { cat err; fail "another seed: exit code"; }
[ "$(grep -c 'exit code 4 .*: the run was made with other settings' runs/stopped/supervise.log)" \
    -eq 1 ] || { cat err; fail "another seed: the log"; }
"$supervise" -n 2 --wait 0 net.yaml name=nodata 'data={type: idx, folder: nowhere}' -q 2>err
[ $? -eq 3 ] && [ "$(grep -c 'rank(s) on' err)" -eq 1 ] || { cat err; fail "bad data"; }

# ---- giving up ----

# A program that makes a checkpoint in its first $progress starts and always ends as `act` says.
mkdir -p fake runs/fake/ckpt
: >runs/fake/metrics.jsonl
cat >fake/lockstep <<END
#!/bin/sh
case "\$*" in *--lanes | *--folder) exec "$lockstep" "\$@" ;; esac
echo \$\$ >>pids
number=\$(wc -l <pids)
[ "\$number" -gt "\$(cat progress)" ] || mkdir "runs/fake/ckpt/step-\$number"
. ./act
END
chmod +x fake/lockstep

# gives_up CODE STARTS OPTION...
gives_up()
{
    wanted=$1 starts=$2
    shift 2
    rm -rf pids runs/fake/ckpt/step-*
    BUILD=fake "$supervise" -n 1 "$@" net.yaml name=fake 2>err
    code=$?
    [ $code -eq "$wanted" ] || { cat err; fail "$(cat act): exit code $code"; }
    [ "$(wc -l <pids)" -eq "$starts" ] || { cat err; fail "$(cat act): not $starts starts"; }
    while read -r pid; do
        ended "$pid" || fail "$(cat act): process $pid is left"
    done <pids
}

echo 0 >progress
for code in 2 3 4 5 7; do
    echo "exit $code" >act
    gives_up $code 1
done
echo 'exit 0' >act # without a summary
gives_up 1 2 --wait 0 --failures 2
# shellcheck disable=SC2016 # its pid
echo 'kill -KILL $$' >act
gives_up 137 3 --wait 0 --failures 3
echo 4 >progress
gives_up 137 6 --wait 0 --failures 2
echo 0 >progress
echo 'sleep 1000' >act
gives_up 137 1 --wait 0 --failures 1 --begin 1
grep -q 'training has not begun within 1 s: killed' err || { cat err; fail "no word of --begin"; }
grep -q 'given up after 1 failures .*; newest: none$' err || { cat err; fail "no last line"; }
cat runs/struck/supervise.log
