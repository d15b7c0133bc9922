/* From data set to micro-batch: sample order, normalisation, augmentation. Everything random is a
 * function of (seed, epoch, sample), so a sample looks the same whichever rank or lane shows it. */
#ifndef LOCKSTEP_LOADER_H
#define LOCKSTEP_LOADER_H

#include "lockstep/batch.h"
#include "lockstep/dataset.h"
#include "lockstep/lanes.h"

/* One augmentation: one file in src/data, one line in src/data/augmentations.def. */
typedef struct AugmentType {
    const char *name, *help, *source;
    const Option *options;
    size_t options_bytes;
    bool (*check)(const void *options, Shape shape, Err *err); /* or NULL */
    /* Changes one normalised sample (C, H, W) in place; `scratch` has as many floats as the sample;
     * key: (seed, RANDOM_AUGMENT + position of the augmentation, epoch, sample). */
    void (*apply)(const void *options, uint64_t seed, int position, int64_t epoch, int64_t sample,
                  Shape shape, float *x, float *scratch);
} AugmentType;
const AugmentType *augment_find(const char *name);
const AugmentType *const *augment_all(int *count);

#define LOADER_MAX_AUGMENT 8

typedef struct Loader {
    Dataset train, test;
    Shape shape;
    uint64_t seed;
    int64_t steps_per_epoch;
    int64_t epoch_samples; /* samples used per epoch: train.count, or less with last_batch: drop */
    const Lanes *lanes;    /* borrowed */
    int normalize;         /* none | auto | given */
    float mean[4], std[4]; /* per channel; features use entry 0 */
    struct {
        const AugmentType *type;
        void *options;
    } augment[LOADER_MAX_AUGMENT];
    int augment_count;
    bool shuffle, drop_last;
    float *x, *scratch, *targets; /* one lane; owned */
    int32_t *labels;
    int max_batch;
} Loader;

/* Reads the `data` section {type: ..., normalize, shuffle, last_batch, augment: [...], train_limit,
 * test_limit, type's options} and loads the files. lanes is borrowed. */
bool loader_init(Loader *loader, const Config *config, ConfigNode *node, uint64_t seed,
                 const Lanes *lanes, Err *err);
void loader_free(Loader *loader);

/* Samples in the global batch of step (0-based): the full batch, or less at the end of an epoch. */
int loader_batch_size(const Loader *loader, int64_t step);

/* The micro-batch of `lane` in `step`: normalised and augmented. Borrowed until the next call; count 0
 * if the lane is empty. */
const Batch *loader_lane(Loader *loader, int64_t step, int lane);

/* Evaluation: chunk c of the test set, in file order, chunks of the lane size, the last one short; no
 * augmentation. loader_chunks gives how many. */
int64_t loader_chunks(const Loader *loader);
const Batch *loader_chunk(Loader *loader, int64_t chunk);

/* Data-set index of position `position` of epoch `epoch`: a pure function of (seed, epoch, position). */
int64_t loader_sample(const Loader *loader, int64_t epoch, int64_t position);

#endif
