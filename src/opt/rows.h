/* Rows of a whole tensor: what belongs to one output, [r] of the first dimension. Sums are taken in
 * double in sixteen parts, element k in part k mod 16, so their order does not depend on how the
 * compiler does it. */
#ifndef LOCKSTEP_OPT_ROWS_H
#define LOCKSTEP_OPT_ROWS_H

#include "lockstep/optimizer.h"
#include "lockstep/vmath.h"

/* A tensor of one dimension is one row. */
static inline size_t row_count(const LayoutTensor *tensor)
{
    return tensor->ndim > 1 ? (size_t)tensor->shape[0] : 1;
}

static inline double row_sum(const float *x, size_t n)
{
    double sums[16] = { 0 };
    size_t whole = n / 16 * 16;
    for (size_t i = 0; i < whole; i += 16)
        for (size_t k = 0; k < 16; k++)
            sums[k] += (double)x[i + k];
    for (size_t k = 0; k < n - whole; k++)
        sums[k] += (double)x[whole + k];
    return vmath_fold(sums);
}

static inline double row_squares(const float *x, size_t n)
{
    double sums[16] = { 0 };
    size_t whole = n / 16 * 16;
    for (size_t i = 0; i < whole; i += 16)
        for (size_t k = 0; k < 16; k++)
            sums[k] += (double)x[i + k] * (double)x[i + k];
    for (size_t k = 0; k < n - whole; k++)
        sums[k] += (double)x[whole + k] * (double)x[whole + k];
    return vmath_fold(sums);
}

#endif
