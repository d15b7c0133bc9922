/* What data hands to a network: one micro-batch, and what a network hands back: sums over
 * samples. */
#ifndef LOCKSTEP_BATCH_H
#define LOCKSTEP_BATCH_H

#include <stdint.h>

/* Shape of one sample: (F) features, (T, F) a sequence or (C, H, W) an image. Unused dimensions are
 * 1. */
typedef struct Shape {
    int ndim;
    int dim[3];
    int vocabulary; /* V > 0: the sample is (T) token ids 0 .. V-1, not numbers */
} Shape;

#define LABEL_IGNORED (-1) /* a position without a target: no loss, no gradient, not counted */

typedef struct Batch {
    int count;             /* B samples, may be 0 */
    const float *x;        /* (B, F) or (B, C, H, W), plain row-major, or NULL; borrowed */
    const int32_t *tokens; /* (B, T), exactly one of x and tokens is there; borrowed */
    const int32_t
        *labels;          /* (B) class numbers, or (B, T) one for each position; LABEL_IGNORED where
                              there is none; or NULL; borrowed */
    const float *targets; /* (B, K) regression targets, or NULL; borrowed */
} Batch;

/* Sums over targets, each target once; divide by `count` at the very end. A target is a sample, or
 * a position of a sequence whose label is not ignored. */
typedef struct Tally {
    double loss;    /* sum of the targets' losses */
    double correct; /* targets whose largest output is the label; 0 where that means nothing */
    double count;   /* targets */
} Tally;

#endif
