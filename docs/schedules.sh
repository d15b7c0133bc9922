#!/bin/sh
# Draws docs/schedules.svg from the learning rates of real runs: docs/schedules.sh LOCKSTEP
set -eu
lockstep=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
cat > run.yaml <<'YAML'
data: {type: synthetic, shape: [4], classes: 2, train: 160, test: 16}
model: {layers: [dense: 2]}
train: {batch: 16, lanes: 1, epochs: 10}
optimizer: {type: sgd, lr: 1}
eval: {every: 0}
YAML

# panel TITLE SCHEDULE: 100 steps in 10 epochs, drawn 210 x 130 in rows of four.
count=0
panel()
{
    "$lockstep" train run.yaml -q name="$count" schedule="$2"
    awk -F, -v title="$1" -v x0=$((30 + count % 4 * 235)) -v y0=$((30 + count / 4 * 190)) '
        function x(epoch) { return sprintf("%.1f", x0 + 21 * epoch) }
        function y(lr) { return sprintf("%.1f", y0 + 130 - 125 * lr) }
        BEGIN {
            printf "<rect x=\"%d\" y=\"%d\" width=\"210\" height=\"130\" fill=\"#fafafa\" stroke=\"#ccc\"/>\n", x0, y0
            printf "<text x=\"%d\" y=\"%d\">%s</text>\n<polyline points=\"", x0, y0 - 7, title
        }
        $1 == "step" { printf "%s,%s %s,%s ", x($3 - 0.1), y($8), x($3), y($8) }
        END {
            printf "\"/>\n"
            for (e = 0; e <= 10; e += 5)
                printf "<text class=\"tick\" x=\"%s\" y=\"%d\">%s%d</text>\n", x(e), y0 + 145, e == 5 ? "epoch " : "", e
        }' "runs/$count/metrics.csv" >> panels
    count=$((count + 1))
}
: > panels
panel 'step, milestones' '{type: step, milestones: [3ep, 6ep, 8ep], gamma: 0.3, warmup: 1ep}'
panel 'cosine, warm-up 1ep' '{type: cosine, warmup: 1ep}'
panel 'poly, power 2, warm-up 1ep' '{type: poly, warmup: 1ep}'
panel 'wsd' '{type: wsd, warmup: 1ep, decay: 3ep}'
panel 'onecycle' '{type: onecycle}'
panel 'sgdr, growth 2' '{type: sgdr, cycle: 1.45ep, growth: 2}'
panel 'cyclic, triangular2' '{type: cyclic, up: 1.25ep, mode: triangular2}'
panel 'exponential' '{type: exponential, gamma: 0.7, every: 1ep}'
panel 'inverse_time' '{type: inverse_time}'
panel 'inverse_sqrt, warm-up 1ep' '{type: inverse_sqrt, warmup: 1ep}'
panel 'stagewise' '{type: stagewise, first: 1.4ep}'
panel 'sequence' '{type: sequence, parts: [{type: onecycle, length: 4ep}, {type: cosine, length: 3ep}, {type: poly, power: 1}]}'
{
    echo '<svg xmlns="http://www.w3.org/2000/svg" width="960" height="590" font-family="sans-serif" font-size="13">'
    echo '<style>polyline { fill: none; stroke: #1f5fa8; stroke-width: 2 } .tick { font-size: 10px; fill: #666; text-anchor: middle }</style>'
    echo '<rect width="960" height="590" fill="white"/>'
    cat panels
    echo '</svg>'
} > "$here/schedules.svg"
