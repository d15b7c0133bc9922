/* Data sets: one file in src/data, one line in src/data/datasets.def. A set is loaded whole into memory,
 * as bytes where the file has bytes; every rank holds it (a node-shared copy comes with the
 * communication layer). Files are hostile: every length is checked against the file's size. */
#ifndef LOCKSTEP_DATASET_H
#define LOCKSTEP_DATASET_H

#include "lockstep/batch.h"
#include "lockstep/config.h"

typedef struct Dataset {
    Shape shape;     /* of a sample: (C, H, W) or (F) */
    int64_t count;   /* samples */
    int classes;     /* 0: regression */
    uint8_t *bytes;  /* (count, C, H, W) pixels, or NULL */
    float *values;   /* (count, F), or NULL */
    int32_t *labels; /* (count), or NULL */
    float *targets;  /* (count, K), or NULL */
    int target_size; /* K */
    uint64_t digest; /* of pixels and labels */
} Dataset;

typedef struct DatasetType {
    const char *name, *help, *source;
    const Option *options;
    size_t options_bytes;
    /* Loads both splits. Messages name the file, what was found and what was wanted. */
    bool (*load)(const void *options, uint64_t seed, Dataset *train, Dataset *test, Err *err);
    /* The same shapes and class count without reading the sample files, for --dry-run; NULL: load. */
} DatasetType;

const DatasetType *dataset_find(const char *name);
const DatasetType *const *dataset_all(int *count);
void dataset_free(Dataset *dataset);

/* Reads a whole file, inflating .gz (zlib) and .xz (liblzma) by magic number; the result has at most
 * `limit` bytes (more is an error). *data is mem_alloc'ed, owned by the caller. */
bool file_read(const char *path, size_t limit, uint8_t **data, size_t *bytes, Err *err);

#endif
