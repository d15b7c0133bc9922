/* What data hands to a network: one micro-batch, and what a network hands back: sums over
 * samples. */
#ifndef LOCKSTEP_BATCH_H
#define LOCKSTEP_BATCH_H

#include <stdint.h>

/* Shape of one sample: (F) features or (C, H, W) an image. Unused dimensions are 1. */
typedef struct Shape {
    int ndim; /* 1 or 3 */
    int dim[3];
} Shape;

typedef struct Batch {
    int count;             /* B samples, may be 0 */
    const float *x;        /* (B, F) or (B, C, H, W), plain row-major; borrowed */
    const int32_t *labels; /* (B) class numbers, or NULL; borrowed */
    const float *targets;  /* (B, K) regression targets, or NULL; borrowed */
} Batch;

/* Sums over samples, each sample once; divide by `count` at the very end. */
typedef struct Tally {
    double loss;    /* sum of the samples' losses */
    double correct; /* samples whose largest output is the label; 0 where that means nothing */
    double count;   /* samples */
} Tally;

#endif
