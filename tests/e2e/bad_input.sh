#!/bin/sh
# Bad input to the whole program: one message with the place, what was found and what was wanted, said
# once whatever the number of ranks, and the right exit code. Files and single options are tested closer
# to their readers: tests/base/test_bad_config.c, tests/data/test_bad_files.c.
. "$(dirname "$0")/common.sh"

cat >c.yaml <<'YAML'
data: {type: synthetic, shape: [32], classes: 10, train: 64, test: 16}
model: {layers: [dense: 16, relu, dense: 10]}
train: {batch: 32, lanes: 4, epochs: 1}
YAML
cat >image.yaml <<'YAML'
data: {type: synthetic, shape: [3, 8, 8], classes: 10, train: 64, test: 16}
model: {layers: [conv2d: {channels: 4, kernel: 3}, flatten, dense: 10]}
train: {batch: 32, lanes: 4, epochs: 1}
YAML

cat >idx.yaml <<'YAML'
data: {type: idx, folder: missing}
model: {layers: [flatten, dense: 10]}
train: {batch: 32, lanes: 4, epochs: 1}
YAML
mkdir -p plain/x
echo text >plain/x/file
"$lockstep" train c.yaml name=old -q || fail "a good run"
cp -r runs/old old
rm old/ckpt/final.safetensors

cases=0
# refuse RANKS CODE MESSAGE ARGUMENT...
refuse()
{
    ranks=$1 code=$2 message=$3
    shift 3
    cases=$((cases + 1))
    mpi "$ranks" "$lockstep" "$@" >out 2>err </dev/null
    got=$?
    # mpirun's own remarks about the exit code are not ours
    grep '^lockstep: ' err >ours
    printf 'lockstep: %s\n' "$message" >wanted
    if [ $got -ne "$code" ] || ! cmp -s ours wanted; then
        echo "arguments: $*"
        echo "exit code $got, wanted $code"
        diff wanted ours
        cat err
        fail "case $cases"
    fi
}

refuse 0 2 'unknown command "tran"; did you mean "train"?; see `lockstep --help`' \
    tran
refuse 0 2 'train: which configuration? for example: lockstep train configs/fashion_cnn.yaml' \
    train
refuse 0 2 'unknown option "--dry-rum"; did you mean "--dry-run"?; see `lockstep --help`' \
    train --dry-rum c.yaml
refuse 0 2 'none.yaml: cannot be read: No such file or directory' \
    train none.yaml
refuse 0 2 'plain: a folder; a config file is wanted' \
    train plain
refuse 0 2 'diff: which two run folders? for example: lockstep diff runs/a runs/b' \
    diff a
refuse 0 4 'none: not a run folder: metrics.jsonl: No such file or directory' \
    diff none c.yaml
refuse 0 2 'eval: which run folder? for example: lockstep eval runs/fashion_cnn' \
    eval
refuse 0 2 'none/config.yaml: cannot be read: No such file or directory' \
    eval none
refuse 0 2 'list: unknown list "layrs"; did you mean "layers"? (layers, losses, initializers, optimizers, schedules, datasets, augmentations, config)' \
    list layrs
refuse 0 2 'list: unknown layer "denze"; did you mean "dense"? (avgpool, batchnorm, conv2d, dense, dropout, flatten, gelu, global_avgpool, layernorm, maxpool, relu, sigmoid, tanh, repeat, residual)' \
    list layers denze
refuse 0 2 'command line: nonsense: an option is written key=value, like optimizer.lr=0.1' \
    train c.yaml nonsense
refuse 0 2 'command line: model.layers[0].dense.units=x: "x" is not a whole number' \
    train c.yaml 'model.layers[0].dense.units=x'
refuse 0 2 'command line: model.layers[9]=relu: index 9 is out of range, model.layers has 3 entries (counted from 0)' \
    train c.yaml 'model.layers[9]=relu'
refuse 0 2 'command line: model.layers=[]: a list of at least one layer is wanted' \
    train c.yaml 'model.layers=[]'
refuse 0 2 'command line: model.layers=[dense: 5]: the network'\''s output is (5), the data set needs (10): change the last layer' \
    train c.yaml 'model.layers=[dense: 5]'
refuse 0 2 'command line: model.layers=[{dense: 10, relu: 1}]: model.layers[0]: a layer'\''s name or a map of one layer is wanted, found a map of another size' \
    train c.yaml 'model.layers=[{dense: 10, relu: 1}]'
refuse 0 2 'command line: model.layers=[residual: {body: [dense: 7]}, dense: 10]: model.layers[0]: residual 0.residual: its body gives (7), its input is (32); the same shape is needed: give it a `shortcut`' \
    train c.yaml 'model.layers=[residual: {body: [dense: 7]}, dense: 10]'
refuse 0 2 'command line: model.layers=[conv2d: {channels: 4, kernel: 3}]: model.layers[0].conv2d: layer 0.conv2d gets (32): it needs an image (C, H, W)' \
    train c.yaml 'model.layers=[conv2d: {channels: 4, kernel: 3}]'
refuse 0 2 'command line: model.layers=[dense: 10]: model.layers[0].dense: layer 0.dense gets (3, 8, 8): it needs a vector (F): put flatten or global_avgpool before it' \
    train image.yaml 'model.layers=[dense: 10]'
refuse 0 2 'command line: model.layers=[conv2d: {channels: 4, kernel: 11}, flatten, dense: 10]: model.layers[0].conv2d: layer 0.conv2d gets (3, 8, 8): a 11 x 11 kernel with padding 0 and dilation 1 needs a larger image' \
    train image.yaml 'model.layers=[conv2d: {channels: 4, kernel: 11}, flatten, dense: 10]'
refuse 0 2 'command line: model.layers=[conv2d: {channels: 4, kernel: 3, groups: 2}, flatten, dense: 10]: model.layers[0].conv2d: layer 0.conv2d gets (3, 8, 8): groups: 2 must divide the 3 input and 4 output channels' \
    train image.yaml 'model.layers=[conv2d: {channels: 4, kernel: 3, groups: 2}, flatten, dense: 10]'
refuse 0 2 'command line: model.layers=[maxpool: 9, flatten, dense: 10]: model.layers[0].maxpool: layer 0.maxpool gets (3, 8, 8): a 9 x 9 kernel with padding 0 and dilation 1 needs a larger image' \
    train image.yaml 'model.layers=[maxpool: 9, flatten, dense: 10]'
refuse 0 2 'layer 0.batchnorm: ghost: 3 samples do not divide a lane of 8 samples' \
    train image.yaml 'model.layers=[batchnorm: {ghost: 3}, flatten, dense: 10]'
refuse 0 2 'command line: model.layers=[repeat: {times: 0, body: [relu]}, flatten, dense: 10]: model.layers[0].repeat.times: 0 is out of range, wanted 1 to 10000' \
    train image.yaml 'model.layers=[repeat: {times: 0, body: [relu]}, flatten, dense: 10]'
refuse 0 2 'command line: loss=mse: mse wants target values, the data set has class labels' \
    train c.yaml loss=mse
refuse 0 2 'command line: optimizer.momentum=1.5: 1.5 is out of range, wanted 0 to 1' \
    train c.yaml optimizer.momentum=1.5
refuse 0 2 'command line: optimizer=sdg: optimizer.type: unknown optimizer "sdg"; did you mean "sgd"? (optimizers: adamw, lamb, lars, sgd)' \
    train c.yaml optimizer=sdg
refuse 0 2 'command line: schedule.lr_scaling=linear: schedule: lr_scaling needs base_batch, the global batch that optimizer.lr is for' \
    train c.yaml schedule.lr_scaling=linear
refuse 0 2 'command line: train.batch=30: 30 found, a multiple of the 4 lanes wanted' \
    train c.yaml train.batch=30
refuse 0 2 'command line: train.lanes=3: 3 is neither auto nor a power of two from 1 to 4096' \
    train c.yaml train.lanes=3
refuse 0 2 'command line: train.steps=5: train.epochs is given as well; one of the two says how long to train' \
    train c.yaml train.epochs=1 train.steps=5
refuse 5 2 '5 ranks for 4 lanes: start at most 4 ranks, or set train.lanes to a power of two of at least 5 (this changes the results)' \
    train c.yaml
refuse 3 2 'command line: train.lr=1: unknown option (options here: batch, lanes, epochs, steps)' \
    train c.yaml train.lr=1
refuse 3 3 'missing: there is no such folder' \
    train idx.yaml
refuse 0 3 'plain: no file train-images-idx3-ubyte, train-images.idx3-ubyte (nor with .gz or .xz) there' \
    train idx.yaml data.folder=plain
refuse 0 2 'command line: compute.isa=v9: unknown level "v9"; did you mean "v2"? (levels: auto, v2, v3, v4)' \
    train c.yaml compute.isa=v9
refuse 0 2 'command line: name=a/b: "a/b" is not a folder name: 1 to 100 characters without / or blanks, not beginning with . or -' \
    train c.yaml name=a/b
refuse 3 2 'runs/old: exists; use --force to replace it, or name=OTHER' \
    train c.yaml name=old
refuse 0 2 'plain/x: exists; use --force to replace it, or name=OTHER' \
    train c.yaml output=plain name=x
refuse 0 2 'plain/x: holds files but no run (no metrics.jsonl): not replaced; use name=OTHER' \
    train c.yaml output=plain name=x --force
refuse 0 2 'c.yaml: cannot make the folder: Not a directory' \
    train c.yaml output=c.yaml
refuse 0 2 '/proc/x: cannot make the folder: No such file or directory' \
    train c.yaml output=/proc/x
refuse 0 4 'old/ckpt/final.safetensors: No such file or directory' \
    eval old

# Divergence is a result: exit code 5, a summary that says when, the same step for any number of ranks.
for ranks in 1 3; do
    mpi $ranks "$lockstep" train c.yaml optimizer.lr=1e9 train.epochs=20 name=diverged$ranks -q 2>err
    [ $? -eq 5 ] || fail "diverged on $ranks ranks: wrong exit code"
    [ "$(field runs/diverged$ranks/summary.json status)" = diverged ] || fail "diverged: status"
    [ "$(field runs/diverged$ranks/summary.json diverged_step)" = 4 ] || fail "diverged: step"
    grep -q '^warning: diverged in step 4: the loss or the gradient is not finite' err ||
        fail "diverged: message"
done
echo "$cases refusals, each with its message and exit code"
