#!/bin/sh
# `lockstep report`: pages of runs and studies, the test against a reference, damaged input, no
# gnuplot; and what a browser makes of the pages (tests/interop/pages.py).
. "$(dirname "$0")/common.sh"

cat > net.yaml <<'YAML'
data: {type: synthetic, shape: [12], classes: 4, train: 512, test: 128}
model: {layers: [dense: 16, relu, dense: 4]}
train: {batch: 32, lanes: 2, epochs: 3}
optimizer: {type: sgd, lr: 0.1, momentum: 0.9}
eval: {every: 8st}
YAML
for seed in 1 2 3; do
    "$lockstep" train net.yaml -q name=fast-$seed output=fast seed=$seed || fail "training"
    "$lockstep" train net.yaml -q name=slow-$seed output=slow seed=$seed optimizer.lr=0.004 ||
        fail "training"
done

# says WANTED COMMAND...: the command's output (both streams) holds the text, its exit code is
# $code.
code=0
says()
{
    wanted=$1
    shift
    got=$("$@" 2>&1)
    found=$?
    [ $found -eq $code ] || fail "$*: exit code $found, not $code: $got"
    echo "$got" | grep -qF -- "$wanted" || fail "$*: '$got' without '$wanted'"
}
# has FILE TEXT...
has()
{
    file=$1
    shift
    for text in "$@"; do
        grep -qF -- "$text" "$file" || fail "$file: no '$text'"
    done
}

# ---- runs ----

says 'after 48 steps at batch 32, 3 epochs' "$lockstep" report fast/fast-1
has fast/fast-1/report.html '<h1>Run fast/fast-1</h1>' 'momentum: 0.9' \
    'train net.yaml -q name=fast-1' "$(field fast/fast-1/summary.json digest)"
has fast/fast-1/report.csv 'fast/fast-1,completed,sgd,32,48,3,'
pictures=0
if command -v gnuplot >/dev/null; then
    pictures=1
    has fast/fast-1/report.html '<h3>Accuracy</h3>' '<h3>Gradient norm</h3>' 'stroke='
fi

# The same bytes from the same input.
cp fast/fast-1/report.html first.html
"$lockstep" report fast/fast-1 -q >/dev/null || fail "again"
cmp first.html fast/fast-1/report.html || fail "another page from the same run"

says '6 runs: best is fast-' "$lockstep" report fast slow --out all.html
has all.html '<td>slow-3</td>' 'fast-2: the command'
[ "$(wc -l <all.csv)" -eq 7 ] || fail "all.csv: $(cat all.csv)"

# What probes saw.
"$lockstep" train net.yaml -q name=probed probes.every=4st optimizer.type=lars || fail "probes"
"$lockstep" report runs/probed -q >/dev/null || fail "report of probes"
[ $pictures -eq 0 ] ||
    has runs/probed/report.html '<h3>Noise scale</h3>' '<h3>Trust ratio by tensor</h3>'

# Names are text, never markup.
mkdir odd
cp -r fast/fast-1 'odd/<b>&"a"'
says '1 rank.' "$lockstep" report 'odd/<b>&"a"'
cp -r fast/fast-2 odd/b
says '<b>&"a" with' "$lockstep" report odd
has odd/report.html '&lt;b&gt;&amp;&quot;a&quot;'
! grep -q '<b>&' odd/report.html || fail "a name is markup"

# ---- against a reference ----

# Three seeds can be dealt in twenty ways: 1 of 20 is not below 0.05. Six can.
says 'no slowdown seen: mean test error' "$lockstep" report slow --against fast --out no.html
for seed in 4 5 6; do
    "$lockstep" train net.yaml -q name=fast-$seed output=fast seed=$seed || fail "training"
    "$lockstep" train net.yaml -q name=slow-$seed output=slow seed=$seed optimizer.lr=0.004 ||
        fail "training"
done
code=1
says 'slower: mean steps to accuracy 0.5' "$lockstep" report slow --against fast \
    --target accuracy=0.5 --out yes.html
has yes.html 'Against the reference' 'p (permutation)'
code=0
says 'no slowdown seen' "$lockstep" report fast --against slow --target accuracy=0.5 --out no.html
says 'cannot tell: 1 value against 6' "$lockstep" report fast/fast-1 --against slow --out one.html

# ---- a study ----

# Steps 40 (1 + 300/B) at the best learning rate 0.1 sqrt(B/32); three seeds; the largest diverges.
mkdir -p study
{
    printf 'trial,status,train.batch,optimizer.lr,seed,steps,samples,epochs,seconds,train_loss,'
    printf 'test_loss,test_accuracy,best_loss,best_accuracy,target_step,target_samples,'
    echo 'target_seconds,digest,trajectory,message'
    awk 'BEGIN {
        for (batch = 32; batch <= 2048; batch *= 2)
            for (lr = 0.05; lr < 2; lr *= 2)
                for (seed = 1; seed <= 3; seed++)
                    trial(batch, lr, seed, log(lr / (0.1 * sqrt(batch / 32))) / log(2))
    }
    function trial(batch, lr, seed, off, steps) {
        steps = int(40 * (1 + 300 / batch) * (1 + 0.3 * off * off) * (0.96 + 0.02 * seed))
        if (off > 3) {
            printf "t%d,diverged,%d,%g,%d,9", ++count, batch, lr, seed
            print ",,,,,,,,,,,,,,the loss is <nan> & gone"
        } else {
            printf "t%d,target,%d,%g,%d,%d,%d", ++count, batch, lr, seed, steps, steps * batch
            printf ",1,2,0.3,0.4,0.9,0.4,0.9,%d,%d,%g,", steps, steps * batch, steps / 100
            print "d,t,"
        }
    }'
} > study/trials.csv
cat > study/study.yaml <<'YAML'
arms_by: [train.batch]
YAML
says 'critical batch about 310' "$lockstep" report study
has study/report.html 'critical batch about 310' 'square-root scaling fits, linear does not' \
    'the loss is &lt;nan&gt; &amp; gone' 'arms_by: [train.batch]' 'lockstep train study/trials/t1/'
[ "$(wc -l <study/report.csv)" -eq 8 ] || fail "study/report.csv"
cp study/report.html first.html
"$lockstep" report study -q --pictures pictures >/dev/null || fail "again"
cmp first.html study/report.html || fail "another page from the same study"
if [ $pictures -eq 1 ]; then
    has study/report.html '<h3>Steps to target</h3>' '<h3>Best learning rate</h3>' 'perfect scaling'
    has pictures/steps-to-target.svg '<svg xmlns=' '--c1:' '</svg>'
fi
says 'no slowdown seen' "$lockstep" report study/trials.csv --against study --out same.html

# What `lockstep study` answers at its end, and its report.
cat > small.yaml <<'YAML'
base: net.yaml
set: {train.target_accuracy: 0.5, eval.every: 1st}
grid: {train.batch: [16, 32, 64], optimizer.lr: [0.02, 0.1, 0.5]}
seeds: 2
expect:
  - claim: a larger batch needs fewer steps
    value: {metric: target_step, train.batch: 64}
    below: {metric: target_step, train.batch: 16}
YAML
says 'To accuracy 0.5: ' mpi 2 "$lockstep" study small.yaml
has studies/small/summary.json '"goal": "steps"' '"target": "accuracy 0.5"' '"b_crit"' \
    '"claim": "a larger batch needs fewer steps"'
cp studies/small/summary.json first.json
says 'expected' "$lockstep" study small.yaml -q
cmp first.json studies/small/summary.json || fail "another answer from the same trials"
says 'To accuracy 0.5: ' "$lockstep" report studies/small -q
has studies/small/report.html '<h2>What was expected</h2>' 'batch 64' 'base: '

# ---- without gnuplot ----

mkdir empty
says 'gnuplot is not installed (Debian package gnuplot-nox)' env PATH="$work/empty" "$lockstep" \
    report fast/fast-1 --out plain.html
has plain.html '<b>No pictures:</b> gnuplot is not installed' '<td>fast-1</td>'
printf '#!/bin/sh\necho "no fonts" >&2\nexit 1\n' > empty/gnuplot
chmod +x empty/gnuplot
says 'no pictures: gnuplot failed: no fonts' env PATH="$work/empty:/bin:/usr/bin" "$lockstep" \
    report fast/fast-1 --out plain.html

# ---- what is wrong ----

code=2
says 'report: which runs or study?' "$lockstep" report
says 'report: --target "accuracy": accuracy=NUMBER or loss=NUMBER is wanted' "$lockstep" report \
    fast --target accuracy
code=4
says 'report: nothing: No such file or directory' "$lockstep" report nothing
says 'report: empty: no run, no study and no folder of runs: no metrics.jsonl and no trials' \
    "$lockstep" report empty
says 'report: net.yaml: not a folder; a run, a study or a table (.csv) is wanted' "$lockstep" \
    report net.yaml
says 'report: study: a study comes alone in a report' "$lockstep" report fast/fast-1 study
says 'a study can be compared with a study only, and runs with runs' "$lockstep" report study \
    --against fast
says 'away/report.html: cannot write: No such file or directory' "$lockstep" report fast/fast-1 \
    --out away/report.html
head -c 900 study/trials.csv > cut.csv
says 'report: cut.csv:' "$lockstep" report cut.csv
cp -r fast/fast-1 damaged
sed -i '3s/.*/{"event": "step", /' damaged/metrics.jsonl
says 'report: damaged/metrics.jsonl:3: not JSON: ' "$lockstep" report damaged
sed -i '3s/.*/{"event": "step"}/' damaged/metrics.jsonl
says 'report: damaged/metrics.jsonl:3: no "step"' "$lockstep" report damaged
echo '{' > damaged/summary.json
sed -i 3d damaged/metrics.jsonl
says 'report: damaged/summary.json:' "$lockstep" report damaged

# A killed run: no summary, half a last line. That is no error.
code=0
rm damaged/summary.json
head -c -9 fast/fast-1/metrics.jsonl > damaged/metrics.jsonl
says 'Not ended; so far test accuracy' "$lockstep" report damaged
has damaged/report.html 'the last record is cut: it was killed, or goes on'

# ---- in a browser ----

browser=$(command -v chromium || command -v chromium-browser) || browser=
python=$(command -v python3) || python=
if [ $pictures -eq 0 ] || [ -z "$browser" ] || [ -z "$python" ]; then
    echo "not looked at in a browser: gnuplot, chromium and python3 are needed"
    exit 0
fi
mkdir shots many
"$lockstep" report fast slow -q --out many/report.html >/dev/null || fail "many runs"
"$python" -B "$here/../interop/pages.py" "$browser" shots runs/probed/report.html \
    study/report.html many/report.html damaged/report.html || fail "pages.py"
