/* From data set to micro-batch: sample order, normalisation, augmentation, windows of tokens.
 * Everything random is a function of (seed, epoch, sample), so a sample looks the same whichever
 * rank or lane shows it.
 *
 * Nothing here is collective. */
#ifndef LOCKSTEP_LOADER_H
#define LOCKSTEP_LOADER_H

#include "lockstep/batch.h"
#include "lockstep/batch_plan.h"
#include "lockstep/dataset.h"
#include "lockstep/lanes.h"

/* What an augmentation gets. */
typedef struct AugmentSample {
    Shape shape;        /* (C, H, W) */
    float *x;           /* (C, H, W), normalised; changed in place */
    float *scratch;     /* as large as x */
    uint32_t random[4]; /* words of (seed, RANDOM_AUGMENT, epoch, sample), number
                           4 * position .. 4 * position + 3, position being its place in the list */
    int64_t epoch;      /* 0-based */
    uint32_t steady[4]; /* words like `random`, but the same in every epoch */
} AugmentSample;

/* One augmentation of images: one file in src/data, one line in src/data/augmentations.def. */
typedef struct AugmentType {
    const char *name, *help, *source;
    const Option *options;
    size_t options_bytes;
    bool (*check)(const void *options, Shape shape, Err *err); /* or NULL */
    void (*apply)(const void *options, const AugmentSample *sample);
} AugmentType;
const AugmentType *augment_find(const char *name);
const AugmentType *const *augment_all(int *count);

#define LOADER_MAX_AUGMENT 8

typedef struct Augmentation {
    const AugmentType *type;
    void *options;
    ConfigNode *node; /* for messages; borrowed from the config */
} Augmentation;

typedef struct Loader {
    const DatasetType *type;
    Dataset train, test;
    Shape shape;
    size_t sample_size; /* values in a sample */
    uint64_t seed;
    int64_t steps_per_epoch; /* of the batch that a run begins with */
    int64_t epoch_samples; /* samples used per epoch: train.count, or less with last_batch: drop */
    BatchPlan plan;        /* which step takes which samples; the caller may make it grow */
    const Lanes *lanes;    /* borrowed */
    bool normalize;        /* false: bytes / 255, floats as they are */
    int channels;          /* entries of mean and std: C of images, 1 of features */
    float mean[DATASET_MAX_CHANNELS], std[DATASET_MAX_CHANNELS]; /* of bytes / 255, or of floats */
    float *table; /* (channels, 256): byte -> normalised value; NULL for float data */
    Augmentation augment[LOADER_MAX_AUGMENT];
    int augment_count;
    bool shuffle, drop_last;
    Batch batch;                  /* handed out; points at the five below */
    float *x, *scratch, *targets; /* (max_batch, sample), (sample), (max_batch, K); owned */
    int32_t *tokens;              /* (max_batch, T), or NULL; then there are no x and scratch */
    int32_t *labels;              /* (max_batch), or (max_batch, T) */
    int64_t *index;               /* (max_batch) data-set index of each */
    int max_batch;                /* samples of a full lane */
    bool data_error;              /* an error of loader_init was about files, not config */
} Loader;

/* Reads the `data` section {type: ..., normalize, mean, std, shuffle, last_batch, augment: [...],
 * train_limit, test_limit, type's options} and loads the files. config and lanes are borrowed.
 * After an error nothing has to be freed, and loader->data_error tells files from config. */
bool loader_init(Loader *loader, const Config *config, ConfigNode *node, uint64_t seed,
                 const Lanes *lanes, Err *err);
void loader_free(Loader *loader);

/* "normalize mean 0.286041, std 0.353024; augment flip, crop" into buffer; returns buffer. */
char *loader_text(const Loader *loader, char *buffer, size_t size);

/* Samples in the global batch of step (0-based): the full batch, or less at the end of an epoch. */
int loader_batch_size(const Loader *loader, int64_t step);

/* Targets of that batch (batch.h): what the loss gradient is divided by. */
int64_t loader_targets(const Loader *loader, int64_t step);

/* The micro-batch of `lane` in `step`: normalised and augmented. Borrowed until the next call;
 * count 0 if the lane is empty. */
const Batch *loader_lane(Loader *loader, int64_t step, int lane);

/* Evaluation: chunk c of the test set, in file order, chunks of the lane size, the last one short;
 * no augmentation. loader_chunks gives how many. */
int64_t loader_chunks(const Loader *loader);
const Batch *loader_chunk(Loader *loader, int64_t chunk);

/* Another look at a test image: mirrored left to right or not, then y[i, j] = x[i + down, j +
 * right], the image reflected at its border. */
typedef struct View {
    bool mirror;
    int down, right;
} View;

/* loader_chunk, every image seen through `view`. Samples are images with sides greater than the
 * shift. */
const Batch *loader_chunk_view(Loader *loader, int64_t chunk, View view);

/* Training sample `index`, normalised but not augmented: x (sample_size). */
void loader_train_sample(Loader *loader, int64_t index, float *x);

/* Samples first .. first + count - 1 (count <= max_batch) in an order of their own, plain: of the
 * training set those of epoch 0, not augmented; of the test set in file order. Borrowed like a
 * lane. */
const Batch *loader_plain(Loader *loader, bool test, int64_t first, int count);

/* Data-set index of position `position` of epoch `epoch`, of a window its first token: a pure
 * function of (seed, epoch, position). */
int64_t loader_sample(const Loader *loader, int64_t epoch, int64_t position);

/* The options that every data set has, for `lockstep list`. */
extern const Option loader_common_options[];

#endif
