/* A method of convolution: how conv2d computes y, dx and dW. One file per method in this folder.
 *
 * Images are nChw16c: x (B, C/16, H, W, 16), y (B, OC/16, OH, OW, 16). Weights are
 * (OC, C/groups, KH, KW). */
#ifndef LOCKSTEP_NN_CONV_H
#define LOCKSTEP_NN_CONV_H

#include "lockstep/cpu.h"
#include "lockstep/error.h"

#include <stddef.h>

typedef struct ConvShape {
    int C, H, W, OC, OH, OW;
    int KH, KW, stride, padding, dilation, groups;
    int max_batch;
    bool first; /* no data gradient will be asked for */
} ConvShape;

typedef struct ConvMethod {
    const char *name;

    /* Can it compute this shape? The error says why not. */
    bool (*fits)(const ConvShape *shape, Err *err);

    /* Is it likely to be the fastest? Methods are asked in the order of conv2d's list. */
    bool (*pays)(const ConvShape *shape);

    /* Floats that the three passes use at `scratch`; nothing there lives from one to the next. */
    size_t (*scratch)(const ConvShape *shape);

    /* Packed weights and plans; adds the bytes they take. Freed with release. */
    void *(*create)(const ConvShape *shape, size_t *bytes);
    void (*release)(void *state);

    /* The weights are new; `gradients`: data_gradient will be asked for before the next pack. */
    void (*pack)(void *state, const float *w, bool gradients);

    /* bias (OC/16 * 16), or NULL. Missing channels of y and dx become zero. A sample's y and dx do
     * not depend on its place in the batch. */
    void (*forward)(void *state, int batch, const float *x, const float *bias, float *y,
                    float *scratch);
    void (*data_gradient)(void *state, int batch, const float *dy, float *dx, float *scratch);
    void (*weight_gradient)(void *state, int batch, const float *x, const float *dy, float *dw,
                            float *scratch);
} ConvMethod;

extern const ConvMethod ISA_NAME(conv_direct);
extern const ConvMethod ISA_NAME(conv_winograd);

#endif
