/* The list of data sets, and what all of them need. */
#include "lockstep/dataset.h"
#include "lockstep/memory.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#define DATASET(name) extern const DatasetType dataset_##name;
#include "datasets.def"
#undef DATASET

static const DatasetType *const types[] = {
#define DATASET(name) &dataset_##name,
#include "datasets.def"
#undef DATASET
};

const DatasetType *const *dataset_all(int *count)
{
    *count = (int)(sizeof types / sizeof *types);
    return types;
}

const DatasetType *dataset_find(const char *name)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i]->name, name) == 0)
            return types[i];
    return NULL;
}

void dataset_free(Dataset *dataset)
{
    mem_free(dataset->bytes);
    mem_free(dataset->values);
    tokens_free(&dataset->windows.tokens);
    mem_free(dataset->labels);
    mem_free(dataset->targets);
    *dataset = (Dataset){ 0 };
}

size_t dataset_sample_size(const Dataset *dataset)
{
    const int *dim = dataset->shape.dim;
    return dataset->shape.ndim == 1 ? (size_t)dim[0]
                                    : (size_t)dim[0] * (size_t)dim[1] * (size_t)dim[2];
}

static size_t token_bytes(const Dataset *dataset)
{
    const TokenStream *tokens = &dataset->windows.tokens;
    return tokens->count * (size_t)tokens_width(tokens);
}

size_t dataset_bytes(const Dataset *dataset)
{
    if (dataset_has_windows(dataset))
        return token_bytes(dataset);
    size_t count = (size_t)dataset->count, n = dataset_sample_size(dataset);
    size_t sample = dataset->bytes ? n : n * sizeof(float);
    size_t label = dataset->labels ? sizeof(int32_t) : 0;
    return count * (sample + label + (size_t)dataset->target_size * sizeof(float));
}

void dataset_limit(Dataset *dataset, int64_t limit)
{
    if (dataset->count > limit)
        dataset->count = limit;
}

static const char *shape_name(Shape shape, char buffer[64])
{
    if (shape.ndim == 1)
        snprintf(buffer, 64, "(%d)", shape.dim[0]);
    else
        snprintf(buffer, 64, "(%d, %d, %d)", shape.dim[0], shape.dim[1], shape.dim[2]);
    return buffer;
}

bool dataset_check_pair(const Dataset *train, const Dataset *test, Err *err)
{
    char a[64], b[64];
    if (memcmp(&train->shape, &test->shape, sizeof train->shape) != 0)
        return err_set(err, "training samples have shape %s, test samples %s; the same is wanted",
                       shape_name(train->shape, a), shape_name(test->shape, b));
    if (train->target_size != test->target_size)
        return err_set(err, "training samples have %d targets, test samples %d; the same is wanted",
                       train->target_size, test->target_size);
    return true;
}

void dataset_set_digest(Dataset *dataset)
{
    size_t count = (size_t)dataset->count, n = count * dataset_sample_size(dataset);
    size_t k = count * (size_t)dataset->target_size;
    const TokenStream *tokens = &dataset->windows.tokens;
    if (dataset_has_windows(dataset)) {
        uint64_t seed = XXH3_64bits(&dataset->shape, sizeof dataset->shape);
        dataset->digest = XXH3_64bits_withSeed(tokens_data(tokens), token_bytes(dataset), seed);
        return;
    }
    XXH64_hash_t parts[5] = {
        XXH3_64bits(&dataset->shape, offsetof(Shape, vocabulary)),
        dataset->bytes ? XXH3_64bits(dataset->bytes, n) : 0,
        dataset->values ? XXH3_64bits(dataset->values, n * sizeof(float)) : 0,
        dataset->labels ? XXH3_64bits(dataset->labels, count * sizeof(int32_t)) : 0,
        dataset->targets ? XXH3_64bits(dataset->targets, k * sizeof(float)) : 0,
    };
    dataset->digest = XXH3_64bits(parts, sizeof parts);
}
