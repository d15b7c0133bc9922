#!/bin/sh
# The promise: the same digest and trajectory for every number of ranks, for a perceptron with
# spectral norm, a convolutional network with batch and group norm, dropout and augmentation, a
# transformer and a recurrent network, with each optimizer, in fp32 and bf16, in shared memory and
# by messages, sharded and replicated, on one host and on several (make-believe ones).
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
    - residual: {body: [conv2d: {channels: 24, kernel: 3, padding: 1}, batchnorm: {ghost: 2}]}
    - relu
    - residual: {body: [conv2d: {channels: 24, kernel: 3, padding: 1}, batchnorm, relu]}
    - dropout: 0.3
    - avgpool: {kernel: 2, stride: 1}
    - global_avgpool
    - dense: 5
train: {batch: 32, lanes: 8, epochs: 2}
eval: {every: 1ep}
YAML

cat > gpt.yaml <<'YAML'
data: {type: text, file: text, tokenizer: byte, length: 24, train_limit: 200, test_limit: 40}
model:
  init: normal(0.05)
  layers:
    - embedding: {features: 36, name: tokens}
    - positional
    - repeat:
        times: 2
        body:
          - residual: {body: [layernorm, attention: {heads: 3, causal: true, dropout: 0.1}]}
          - residual: {body: [layernorm, dense: 80, gelu, dense: 36, dropout: 0.1]}
    - layernorm
    - dense: {tie: tokens}
train: {batch: 32, lanes: 8, epochs: 1}
eval: {every: 1ep}
YAML
cat > rnn.yaml <<'YAML'
data: {type: text, file: text, tokenizer: byte, length: 12, train_limit: 200, test_limit: 40}
model:
  init: torch
  layers:
    - embedding: 20
    - residual: {body: [lstm: 25], shortcut: [gru: {units: 25, reverse: true, initial: learned}]}
    - dropout: 0.1
    - rnn: {units: 30, recurrent_init: orthogonal}
    - dense: 256
train: {batch: 32, lanes: 8, epochs: 1}
eval: {every: 1ep}
YAML
cat "$here"/../../docs/*.md > text

# train NETWORK RANKS OPTION...: bits of that run in $bits.
run=0
train()
{
    run=$((run + 1))
    trained=$1 ranks=$2
    shift 2
    mpi "$ranks" "$lockstep" train "$trained.yaml" "$@" name="r$run" -q >log 2>&1 ||
        { cat log; fail "$trained, $*, $ranks ranks"; }
    bits="$(field "runs/r$run/summary.json" digest) $(field "runs/r$run/summary.json" trajectory)"
    [ ${#bits} -eq 33 ] || fail "no digest in summary.json: '$bits'"
}

# same NETWORK "RANK COUNTS" OPTION...: all of them give the same bits, also by messages, and if
# every rank updates all weights.
same()
{
    network=$1 counts=$2 first=
    shift 2
    for ranks in $counts; do
        train "$network" "$ranks" "$@"
        first=${first:-$bits}
        [ "$bits" = "$first" ] || fail "$network, $*: $ranks ranks give $bits, 1 rank $first"
    done
    for other in "3 comm.memory=private" "3 comm.update=replicated" \
        "3 comm.memory=private comm.update=replicated" "2 comm.virtual_hosts=2" \
        "4 comm.virtual_hosts=2 comm.bucket=0.01 comm.overlap=polling" \
        "3 comm.virtual_hosts=2+1 comm.overlap=off" \
        "5 comm.virtual_hosts=1+3+1 comm.update=replicated comm.bucket=0.02"; do
        # shellcheck disable=SC2086
        train "$network" ${other%% *} "$@" ${other#* }
        [ "$bits" = "$first" ] || fail "$network, $*: $other gives $bits, not $first"
    done
    echo "$network, $*: $first for $counts ranks"
}

for network in mlp cnn; do
    same $network "1 2 3 4 5 6 7 8" optimizer.type=sgd optimizer.lr=0.1 optimizer.momentum=0.9 \
        optimizer.weight_decay=1e-3
    same $network "1 2 3 4 5 6 7 8" optimizer.type=lars optimizer.lr=1.0
    same $network "1 2 3 4 5 6 7 8" optimizer.type=lamb optimizer.lr=0.01
    same $network "1 2 3 4 5 6 7 8" optimizer.type=adamw optimizer.lr=0.01 optimizer.clip_norm=1
done
# A batch that grows in the middle of an epoch, a schedule that watches the loss.
same mlp "1 2 3 4 5 8" "train.grow=[{at: 1.5ep, batch: 128}, {at: 3ep, batch: 512}]" \
    train.epochs=5 schedule.type=plateau schedule.patience=0 schedule.every=0.5ep optimizer.lr=0.5
same cnn "1 2 3 8" "train.grow=[{at: 3st, batch: 64}]" schedule.type=plateau \
    schedule.metric=test_loss schedule.patience=0 eval.every=1st optimizer.lr=0.5
# Wrappers around a method; weights that are averages, with statistics of their own: the same file.
same cnn "1 2 3 4 8" optimizer.type=lamb optimizer.lr=0.01 \
    "optimizer.wrap=[noise, agc, centralize, clip_layer, lookahead: {k: 2}, swa: {every: 2st}]"
for back in 1 2 3 4 5; do
    cmp "runs/r$run/ckpt/final.safetensors" "runs/r$((run - back))/ckpt/final.safetensors" ||
        fail "averaged weights differ"
done
# Adasum over the tree; lanes with weights of their own, from the start and later, and what is
# evaluated between two averages.
same cnn "1 2 3 4 5 8" train.reduce=adasum optimizer.lr=0.1 optimizer.momentum=0.9
same mlp "1 2 3 5 8" train.reduce=adasum optimizer.type=adamw optimizer.lr=0.01
same cnn "1 2 3 4 5 8" "train.local={steps: 3}" optimizer.lr=0.1 optimizer.momentum=0.9
evals() { grep '"event":"eval"' "runs/$1/metrics.jsonl" | sed 's/"time_s":[^,]*,//'; }
same mlp "1 2 3 4 5 8" "train.local={steps: 3, after: 4st, state: average}" eval.every=1st \
    optimizer.type=adamw optimizer.lr=0.01
[ "$(evals "r$run" | wc -l)" -eq 12 ] && [ "$(evals "r$run")" = "$(evals "r$((run - 9))")" ] ||
    fail "evaluations between two averages differ"
same gpt "1 2 3 4 5 6 7 8" optimizer.type=adamw optimizer.lr=0.003 optimizer.clip_norm=1
same gpt "1 2 3 4 8" optimizer.type=lamb optimizer.lr=0.01 data.objective=masked
same rnn "1 2 3 4 8" optimizer.type=adamw optimizer.lr=0.003
same rnn "1 2 3 4 8" optimizer.type=adamw optimizer.lr=0.003 compute.precision=bf16
same cnn "1 2 3 4 8" optimizer.type=sgd optimizer.lr=0.1 compute.precision=bf16
same gpt "1 2 3 4 8" optimizer.type=adamw optimizer.lr=0.003 compute.precision=bf16

# A copy of the weights and the state for every domain of a host: domains NETWORK OPTION...
domains()
{
    network=$1
    shift
    train "$network" 1 "$@"
    first=$bits
    for other in "2 comm.virtual_domains=2" "5 comm.virtual_domains=3" \
        "4 comm.virtual_domains=2 comm.virtual_hosts=2 comm.bucket=0.01" \
        "5 comm.virtual_domains=2 comm.virtual_hosts=3+2 comm.overlap=off"; do
        # shellcheck disable=SC2086
        train "$network" ${other%% *} "$@" comm.domain=numa ${other#* }
        [ "$bits" = "$first" ] || fail "$network, $*: $other gives $bits, not $first"
    done
    echo "$network, $*: $first for any domains"
}
domains mlp optimizer.type=sgd optimizer.lr=0.1
domains mlp optimizer.type=adamw optimizer.lr=0.01 optimizer.clip_norm=1
domains cnn optimizer.type=lars optimizer.lr=1.0
domains cnn optimizer.type=lamb optimizer.lr=0.01 \
    "optimizer.wrap=[noise, agc, centralize, clip_layer, lookahead: {k: 2}, swa: {every: 2st}]"
domains cnn optimizer.type=muon optimizer.lr=0.01 comm.wire=bf16
domains mlp train.reduce=adasum optimizer.lr=0.05
domains mlp "train.grow=[{at: 1.5ep, batch: 128}]" optimizer.lr=0.05

# The digests can differ: another seed gives other bits, and diff finds the first step.
mpi 2 "$lockstep" train mlp.yaml seed=2 name=other -q || fail "seed 2"
"$lockstep" diff runs/r1 runs/r2 >/dev/null || fail "diff says that 1 and 2 ranks differ"
if "$lockstep" diff runs/r1 runs/other >out; then
    fail "diff says that seeds 1 and 2 are the same run"
fi
grep -q 'step 1' out || { cat out; fail "diff does not name step 1"; }

# Sums without the promise say so.
mpi 2 "$lockstep" train mlp.yaml train.reduce=fast name=fast >log 2>&1 || fail "train.reduce=fast"
grep -q '^reduction .*NOT the same bits' log && grep -q '^step .* reduce fast$' log ||
    { cat log; fail "the log does not say that these are other bits"; }
[ "$(field runs/fast/summary.json reduction)" = fast ] || fail "nor does the summary"
"$lockstep" diff runs/r1 runs/fast >out
grep -q '^train.reduce=fast: .* not promised' out || { cat out; fail "nor does diff"; }
