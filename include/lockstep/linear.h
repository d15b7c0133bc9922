/* The three products of a linear map, y = x W^T + b, in either precision:
 *
 *   forward          y (rows, units)     = x (rows, features) W^T        W (units, features)
 *   data gradient    dx (rows, features) = dy (rows, units) W
 *   weight gradient  dW (units, features) = dy^T x
 *
 * What dense layers, attention and heads have in common. In fp32 W is used as it is; in bf16 its
 * two operands are packed once a step. Rows are samples, or positions of sequences. Bits of a row
 * of y and dx do not depend on the other rows. */
#ifndef LOCKSTEP_LINEAR_H
#define LOCKSTEP_LINEAR_H

#include "lockstep/matmul.h"
#include "lockstep/precision.h"

#include <stdint.h>

typedef struct Linear {
    int features, units;
    Precision precision;
    const float *w;     /* (units, features); borrowed, set by linear_weights */
    uint16_t *forward;  /* W as right operand of y, bf16 only; owned */
    uint16_t *backward; /* of dx; NULL if no data gradient will be asked for */
} Linear;

void linear_init(Linear *linear, int features, int units, Precision precision, bool data_gradient);
void linear_free(Linear *linear);
size_t linear_bytes(const Linear *linear); /* memory it keeps */

/* Floats of scratch memory (64-byte aligned) that the products of up to `rows` rows need. */
size_t linear_scratch(int features, int units, Precision precision, int rows);

/* The weights are new, or elsewhere. */
void linear_weights(Linear *linear, const float *w);

void linear_forward(const Linear *linear, int rows, const float *x, const Epilogue *end, float *y,
                    float *scratch);
void linear_data_gradient(const Linear *linear, int rows, const float *dy, float *dx,
                          float *scratch);

/* `add`: dw is one of the summands. */
void linear_weight_gradient(const Linear *linear, int rows, const float *x, const float *dy,
                            bool add, float *dw, float *scratch);

#endif
