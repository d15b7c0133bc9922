#!/bin/sh
# launch/slurm.sbatch with a Slurm that is made up: told that its time is over it saves the run and
# asks to be queued again; the next time it goes on to the bits of a run that was not interrupted; a
# node that does not answer is left out.
. "$(dirname "$0")/common.sh"
export BUILD="$build"
ln -s "$here/../../launch" launch

# pace FACTOR: how many times as long rank 0 computes.
pace()
{
    cat >net.yaml <<YAML
data: {type: synthetic, shape: [24], classes: 7, train: 256, test: 64}
model: {layers: [dense: 32, relu, dense: 7]}
train: {batch: 64, lanes: 8, steps: 60}
eval: {every: 0}
log: {tensorboard: false}
checkpoint: {every: 5st, minutes: 0, keep: 2}
comm: {inject_slow_rank: 0, inject_slow_factor: $1}
YAML
}

mkdir bin
cat >bin/scontrol <<END
#!/bin/sh
case "\$1 \$2 \$3" in
"show hostnames here,gone") uname -n && echo gone ;;
"requeue 77 ") echo again >>"$work/queue" ;;
*) exit 1 ;;
esac
END
cat >bin/srun <<'END'
#!/bin/sh
case "$*" in
*--nodelist=gone*) exit 1 ;;
esac
END
chmod +x bin/*
: >queue

# As slurmd does it: a copy of the script, far from its place.
cp launch/slurm.sbatch bin/script
sh -n bin/script || fail "the script is not one of sh"
job()
{
    cd / || exit 1
    exec env PATH="$work/bin:$PATH" SLURM_SUBMIT_DIR="$work" SLURM_JOB_ID=77 \
        SLURM_JOB_NODELIST=here,gone SLURM_NTASKS_PER_NODE=2 "$work/bin/script" "$@"
}

training()
{
    [ -e runs/turns/ckpt/latest ] && grep -q '"event":"step"' runs/turns/metrics.jsonl
}

pace 1
mpi 2 "$lockstep" train net.yaml name=whole checkpoint.every=0 -q || fail "the whole run"
pace 1000
(job net.yaml name=turns -q) >log 2>&1 &
batch=$!
await $batch training
kill -USR1 $batch
wait $batch || { cat log; fail "first turn: exit code $?"; }
[ "$(cat queue)" = again ] || { cat log; fail "it did not ask to be queued again"; }
[ "$(field runs/turns/summary.json status)" = interrupted ] || fail "nothing was saved"
pace 1
(job net.yaml name=turns -q) >>log 2>&1 || { cat log; fail "second turn: exit code $?"; }
[ "$(wc -l <queue)" -eq 1 ] || { cat log; fail "queued again at the end"; }
for key in digest trajectory status; do
    [ "$(field runs/turns/summary.json $key)" = "$(field runs/whole/summary.json $key)" ] ||
        fail "another $key"
done
grep -q 'no answer from gone: left out' log || { cat log; fail "the lost node"; }
grep -q "start 1: 2 rank(s) on $(uname -n):2;" log || { cat log; fail "ranks"; }

# What does not get better is not queued again.
(job net.yaml name=turns seed=2 -q) >>log 2>&1
[ $? -eq 4 ] && [ "$(wc -l <queue)" -eq 1 ] || { cat log; fail "a refused change"; }
(job) >log 2>&1
[ $? -eq 2 ] && grep -q '^usage: sbatch' log || { cat log; fail "usage"; }
cat runs/turns/supervise.log
