#!/bin/sh
# The promise: the same digest and trajectory for every number of ranks, for a perceptron with
# spectral norm and for a convolutional network with batch and group norm, dropout and augmentation,
# with each optimizer, in shared memory and by messages.
. "$(dirname "$0")/common.sh"

cat > mlp.yaml <<'YAML'
data: {type: synthetic, shape: [24], classes: 7, train: 200, test: 90}
model: {layers: [dense: 33, relu, dropout: 0.2, spectralnorm_dense: 20, layernorm, silu, dense: 7]}
loss: {type: softmax_cross_entropy, label_smoothing: 0.1}
train: {batch: 64, lanes: 8, epochs: 3}
schedule: {type: cosine, warmup: 3st}
eval: {every: 1ep}
YAML
cat > cnn.yaml <<'YAML'
data:
  type: synthetic
  shape: [3, 10, 10]
  classes: 5
  train: 120
  test: 50
  augment: [flip, crop: {pad: 2}, cutout: {size: 4}]
model:
  zero_gamma: true
  layers:
    - conv2d: {channels: 20, kernel: 3, padding: 1, bias: false}
    - batchnorm: {ghost: 2}
    - relu
    - maxpool: 2
    - conv2d: {channels: 20, kernel: 3, padding: 1, method: winograd}
    - residual:
        body:
          - conv2d: {channels: 24, kernel: 3, padding: 1, stride: 2}
          - batchnorm
          - gelu
          - conv2d: {channels: 24, kernel: 3, padding: 1, groups: 2}
          - groupnorm: 3
        shortcut: [conv2d: {channels: 24, kernel: 1, stride: 2}]
    - dropout: 0.3
    - avgpool: {kernel: 2, stride: 1}
    - global_avgpool
    - dense: 5
train: {batch: 32, lanes: 8, epochs: 2}
eval: {every: 1ep}
YAML

run=0
for network in mlp cnn; do
    for optimizer in "type=sgd lr=0.1 momentum=0.9 weight_decay=1e-3" "type=lars lr=1.0" \
        "type=lamb lr=0.01" "type=adamw lr=0.01 clip_norm=1"; do
        first=
        for ranks in 1 2 3 4 5 7 8; do
            run=$((run + 1))
            set -- # the options of this run
            for option in $optimizer; do
                set -- "$@" "optimizer.$option"
            done
            mpi "$ranks" "$lockstep" train "$network.yaml" "$@" name="r$run" -q >log 2>&1 ||
                { cat log; fail "$network, $optimizer, $ranks ranks"; }
            summary=runs/r$run/summary.json
            bits="$(field "$summary" digest) $(field "$summary" trajectory)"
            [ ${#bits} -eq 33 ] || fail "no digest in summary.json: '$bits'"
            first=${first:-$bits}
            [ "$bits" = "$first" ] ||
                fail "$network, $optimizer: $ranks ranks give $bits, 1 rank $first"
        done
        for ranks in 3 4; do
            run=$((run + 1))
            mpi "$ranks" "$lockstep" train "$network.yaml" "$@" name="r$run" comm.memory=private \
                -q >log 2>&1 || { cat log; fail "$network, $optimizer, $ranks ranks, messages"; }
            bits="$(field "runs/r$run/summary.json" digest)"
            [ "$bits" = "${first%% *}" ] ||
                fail "$network, $optimizer: messages give $bits, not $first"
        done
        echo "$network, ${optimizer%% *}: $first for 1 2 3 4 5 7 8 ranks"
    done
done

# The digests can differ: another seed gives other bits, and diff finds the first step.
mpi 2 "$lockstep" train mlp.yaml seed=2 name=other -q || fail "seed 2"
"$lockstep" diff runs/r1 runs/r2 >/dev/null || fail "diff says that 1 and 2 ranks differ"
if "$lockstep" diff runs/r1 runs/other >out; then
    fail "diff says that seeds 1 and 2 are the same run"
fi
grep -q 'step 1' out || { cat out; fail "diff does not name step 1"; }
