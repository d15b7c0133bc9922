/* Micro-batches: which samples a lane holds, and how they become floats. */
#include "lockstep/random.h"
#include "parts.h"

#include <string.h>

#define AHEAD 4                /* samples */
#define EVERY_EPOCH UINT64_MAX /* in the place of an epoch: words that no epoch changes */

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
    if (dataset_has_windows(&loader->train))
        return windows_start(&loader->train.windows, loader->seed, epoch, position,
                             loader->shuffle);
    return ordered(loader, order_key(loader, epoch), position);
}

int loader_batch_size(const Loader *loader, int64_t step)
{
    return batch_plan_at(&loader->plan, step).size;
}

int64_t loader_targets(const Loader *loader, int64_t step)
{
    const Windows *windows = &loader->train.windows;
    int targets = !dataset_has_windows(&loader->train) ? 1
                  : windows->masks > 0                 ? windows->masks
                                                       : windows->length;
    return (int64_t)targets * loader_batch_size(loader, step);
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

static void read_values(const Loader *loader, const Dataset *set, size_t index, float *x)
{
    size_t n = loader->sample_size;
    if (set->bytes)
        convert(loader, set->bytes + index * n, x);
    else
        memcpy(x, set->values + index * n, n * sizeof *x);
}

/* Sample `index` of the set to place `at` of the batch; returns its values. */
static float *place_sample(Loader *loader, const Dataset *set, int64_t index, int at)
{
    size_t n = loader->sample_size, from = (size_t)index, k = (size_t)set->target_size;
    float *x = loader->x + (size_t)at * n;
    read_values(loader, set, from, x);
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
    RandomKey steady = random_key(loader->seed, RANDOM_AUGMENT, EVERY_EPOCH, (uint64_t)index);
    AugmentSample sample = {
        .shape = loader->shape, .x = x, .scratch = loader->scratch, .epoch = epoch
    };
    for (int i = 0; i < loader->augment_count; i++) {
        random_words(key, (uint64_t)i, sample.random);
        random_words(steady, (uint64_t)i, sample.steady);
        loader->augment[i].type->apply(loader->augment[i].options, &sample);
    }
}

static void place_window(Loader *loader, int64_t epoch, int64_t position, int at)
{
    const Windows *windows = &loader->train.windows;
    size_t place = (size_t)at * (size_t)windows->length;
    loader->index[at] = loader_sample(loader, epoch, position);
    windows_fill(windows, loader->seed, epoch, loader->index[at], loader->tokens + place,
                 loader->labels + place);
}

static void place_test_window(Loader *loader, int64_t index, int at)
{
    const Windows *windows = &loader->test.windows;
    size_t place = (size_t)at * (size_t)windows->length;
    windows_cover(windows, loader->seed, index, loader->tokens + place, loader->labels + place);
}

static const Batch *hand_out(Loader *loader, const Dataset *set, int count)
{
    loader->batch = (Batch){ .count = count,
                             .x = loader->x,
                             .tokens = loader->tokens,
                             .labels = set->targets ? NULL : loader->labels,
                             .targets = set->targets ? loader->targets : NULL };
    return &loader->batch;
}

const Batch *loader_lane(Loader *loader, int64_t step, int lane)
{
    const Lanes *lanes = loader->lanes;
    BatchPlace place = batch_plan_at(&loader->plan, step);
    int64_t epoch = place.epoch, first = place.position + lanes_offset(lanes, lane);
    int count = lanes_samples(lanes, lane, place.size);
    if (loader->tokens) {
        for (int i = 0; i < count; i++)
            place_window(loader, epoch, first + i, i);
        return hand_out(loader, &loader->train, count);
    }
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

static const Batch *plain_test(Loader *loader, int64_t first, int count)
{
    for (int i = 0; i < count; i++) {
        if (loader->tokens)
            place_test_window(loader, first + i, i);
        else
            place_sample(loader, &loader->test, first + i, i);
    }
    return hand_out(loader, &loader->test, count);
}

static const Batch *plain_train(Loader *loader, int64_t first, int count)
{
    for (int i = 0; i < count; i++) {
        if (loader->tokens)
            place_window(loader, 0, first + i, i);
        else
            place_sample(loader, &loader->train, loader_sample(loader, 0, first + i), i);
    }
    return hand_out(loader, &loader->train, count);
}

const Batch *loader_plain(Loader *loader, bool test, int64_t first, int count)
{
    expect(count <= loader->max_batch);
    return test ? plain_test(loader, first, count) : plain_train(loader, first, count);
}

const Batch *loader_chunk(Loader *loader, int64_t chunk)
{
    int64_t first = chunk * loader->max_batch, left = loader->test.count - first;
    return plain_test(loader, first, left < loader->max_batch ? (int)left : loader->max_batch);
}

const Batch *loader_chunk_view(Loader *loader, int64_t chunk, View view)
{
    const Batch *batch = loader_chunk(loader, chunk);
    for (int i = 0; i < batch->count; i++) {
        float *x = loader->x + (size_t)i * loader->sample_size;
        if (view.mirror)
            image_mirror(x, loader->shape);
        if (view.down != 0 || view.right != 0)
            image_shift(x, loader->shape, view.down, view.right, FILL_REFLECT, loader->scratch);
    }
    return batch;
}

void loader_train_sample(Loader *loader, int64_t index, float *x)
{
    read_values(loader, &loader->train, (size_t)index, x);
}
