/* Data sets: one file in src/data, one line in src/data/datasets.def. A set is loaded whole into
 * memory, as bytes where the file has bytes; every rank holds it (a node-shared copy comes with the
 * communication layer). Files are hostile: every length is checked against the file's size. */
#ifndef LOCKSTEP_DATASET_H
#define LOCKSTEP_DATASET_H

#include "lockstep/batch.h"
#include "lockstep/config.h"
#include "lockstep/windows.h"

#define DATASET_MAX_CHANNELS OPTION_FLOATS_MAX

typedef struct Dataset {
    Shape shape;       /* of a sample: (C, H, W), C <= DATASET_MAX_CHANNELS, (F), or (T) tokens */
    int64_t count;     /* samples */
    int classes;       /* 0: regression */
    uint8_t *bytes;    /* (count, C, H, W) or (count, F), or NULL */
    float *values;     /* (count, F), or NULL */
    Windows windows;   /* samples and labels in one; length 0: none. Exactly one of bytes, values
                          and windows is there */
    int32_t *labels;   /* (count), all in 0 .. classes-1, or NULL */
    bool per_position; /* a label for each position of a sequence, not one for the sample */
    float *targets;    /* (count, K), or NULL; exactly one of labels, targets and
                          windows is there */
    int target_size;   /* K */
    uint64_t digest;   /* XXH3 of shape, samples and labels or targets */
} Dataset;

/* What a loader asks for. A type may stop reading at the limits; the caller cuts what is more. */
typedef struct DatasetRequest {
    uint64_t seed;
    int64_t train_limit, test_limit; /* samples; INT64_MAX: all */
} DatasetRequest;

typedef struct DatasetType {
    const char *name, *help, *source;
    const Option *options;
    size_t options_bytes;
    /* Cross-checks options without touching files; NULL: nothing to check. */
    bool (*check)(const void *options, Err *err);
    /* Loads both splits, all members but the digest. Messages name the file, what was found and
     * what was wanted. After an error the caller still calls dataset_free on both. */
    bool (*load)(const void *options, const DatasetRequest *request, Dataset *train, Dataset *test,
                 Err *err);
} DatasetType;

const DatasetType *dataset_find(const char *name); /* NULL if there is none */
const DatasetType *const *dataset_all(int *count);
void dataset_free(Dataset *dataset);

/* The samples are windows on a stream of tokens. */
static inline bool dataset_has_windows(const Dataset *dataset)
{
    return dataset->windows.length > 0;
}

/* Values in one sample. */
size_t dataset_sample_size(const Dataset *dataset);

/* Memory it takes. */
size_t dataset_bytes(const Dataset *dataset);

/* Keeps the first `limit` samples. */
void dataset_limit(Dataset *dataset, int64_t limit);

/* Both splits: same sample shape, same classes and target size. */
bool dataset_check_pair(const Dataset *train, const Dataset *test, Err *err);

/* Sets dataset->digest. */
void dataset_set_digest(Dataset *dataset);

/* Reads a whole file, inflating .gz (zlib) and .xz (liblzma) by magic number; the result has at
 * most `limit` bytes (more is an error). *data is mem_alloc'ed, owned by the caller. */
bool file_read(const char *path, size_t limit, uint8_t **data, size_t *bytes, Err *err);

#endif
