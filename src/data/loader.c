/* Micro-batches: which samples a lane holds, and how they become floats. */
#include "lockstep/loader.h"
#include "lockstep/random.h"

#include <string.h>

#define AHEAD 4 /* samples */

static RandomKey order_key(const Loader *loader, int64_t epoch)
{
    return random_key(loader->seed, RANDOM_ORDER, (uint64_t)epoch, 0);
}

static int64_t ordered(const Loader *loader, RandomKey key, int64_t position)
{
    if (!loader->shuffle)
        return position;
    return (int64_t)random_permute(key, (uint64_t)position, (uint64_t)loader->train.count);
}

int64_t loader_sample(const Loader *loader, int64_t epoch, int64_t position)
{
    return ordered(loader, order_key(loader, epoch), position);
}

int loader_batch_size(const Loader *loader, int64_t step)
{
    int64_t first = step % loader->steps_per_epoch * loader->lanes->batch;
    int64_t left = loader->epoch_samples - first;
    return left < loader->lanes->batch ? (int)left : loader->lanes->batch;
}

int64_t loader_targets(const Loader *loader, int64_t step)
{
    return loader_batch_size(loader, step);
}

/* bytes (C, H, W) -> x (C, H, W), by each channel's table */
static void convert(const Loader *loader, const uint8_t *bytes, float *x)
{
    size_t plane = loader->sample_size / (size_t)loader->channels;
    for (int c = 0; c < loader->channels; c++) {
        const float *table = loader->table + c * 256;
        for (size_t i = 0; i < plane; i++)
            x[i] = table[bytes[i]];
        bytes += plane;
        x += plane;
    }
}

/* Sample `index` of the set to place `at` of the batch; returns its values. */
static float *place_sample(Loader *loader, const Dataset *set, int64_t index, int at)
{
    size_t n = loader->sample_size, from = (size_t)index, k = (size_t)set->target_size;
    float *x = loader->x + (size_t)at * n;
    if (set->bytes)
        convert(loader, set->bytes + from * n, x);
    else
        memcpy(x, set->values + from * n, n * sizeof *x);
    if (set->labels)
        loader->labels[at] = set->labels[from];
    if (set->targets)
        memcpy(loader->targets + (size_t)at * k, set->targets + from * k, k * sizeof *x);
    return x;
}

/* Samples of a shuffled set lie anywhere in memory: fetching them early halves the time. */
static void prefetch_sample(const Loader *loader, const Dataset *set, int64_t index)
{
    if (!set->bytes)
        return;
    const uint8_t *bytes = set->bytes + (size_t)index * loader->sample_size;
    for (size_t i = 0; i < loader->sample_size; i += 64)
        __builtin_prefetch(bytes + i);
}

static void augment_sample(Loader *loader, int64_t epoch, int64_t index, float *x)
{
    if (loader->augment_count == 0)
        return;
    RandomKey key = random_key(loader->seed, RANDOM_AUGMENT, (uint64_t)epoch, (uint64_t)index);
    AugmentSample sample = { .shape = loader->shape, .x = x, .scratch = loader->scratch };
    for (int i = 0; i < loader->augment_count; i++) {
        random_words(key, (uint64_t)i, sample.random);
        loader->augment[i].type->apply(loader->augment[i].options, &sample);
    }
}

static const Batch *hand_out(Loader *loader, const Dataset *set, int count)
{
    loader->batch = (Batch){ .count = count,
                             .x = loader->x,
                             .labels = set->labels ? loader->labels : NULL,
                             .targets = set->targets ? loader->targets : NULL };
    return &loader->batch;
}

const Batch *loader_lane(Loader *loader, int64_t step, int lane)
{
    const Lanes *lanes = loader->lanes;
    int64_t epoch = step / loader->steps_per_epoch;
    int64_t first = step % loader->steps_per_epoch * lanes->batch + lanes_offset(lanes, lane);
    int count = lanes_samples(lanes, lane, loader_batch_size(loader, step));
    RandomKey key = order_key(loader, epoch);
    for (int i = 0; i < count; i++)
        loader->index[i] = ordered(loader, key, first + i);
    for (int i = 0; i < count; i++) {
        if (i + AHEAD < count)
            prefetch_sample(loader, &loader->train, loader->index[i + AHEAD]);
        float *x = place_sample(loader, &loader->train, loader->index[i], i);
        augment_sample(loader, epoch, loader->index[i], x);
    }
    return hand_out(loader, &loader->train, count);
}

int64_t loader_chunks(const Loader *loader)
{
    return (loader->test.count + loader->max_batch - 1) / loader->max_batch;
}

const Batch *loader_chunk(Loader *loader, int64_t chunk)
{
    int64_t first = chunk * loader->max_batch, left = loader->test.count - first;
    int count = left < loader->max_batch ? (int)left : loader->max_batch;
    for (int i = 0; i < count; i++)
        place_sample(loader, &loader->test, first + i, i);
    return hand_out(loader, &loader->test, count);
}
