/* Sums along a row of floats: doubles by position modulo ROW_WIDTH, folded in a fixed order, so
 * that the bits are those of the values alone. Products of floats are exact in double. Private to
 * src/nn. */
#ifndef LOCKSTEP_NN_ROWS_H
#define LOCKSTEP_NN_ROWS_H

#include "lockstep/vmath.h"

#include <stddef.h>

enum { ROW_WIDTH = 16 }; /* partial sums; a multiple of every vector length */

static inline double row_sum(const float *x, size_t n)
{
    double sum[ROW_WIDTH] = { 0 };
    size_t whole = n / ROW_WIDTH * ROW_WIDTH;
    for (size_t i = 0; i < whole; i += ROW_WIDTH)
        for (size_t k = 0; k < ROW_WIDTH; k++)
            sum[k] += (double)x[i + k];
    for (size_t i = whole; i < n; i++)
        sum[i - whole] += (double)x[i];
    return vmath_fold(sum);
}

/* The sum of a b. */
static inline double row_dot(const float *a, const float *b, size_t n)
{
    double sum[ROW_WIDTH] = { 0 };
    size_t whole = n / ROW_WIDTH * ROW_WIDTH;
    for (size_t i = 0; i < whole; i += ROW_WIDTH)
        for (size_t k = 0; k < ROW_WIDTH; k++)
            sum[k] += (double)a[i + k] * (double)b[i + k];
    for (size_t i = whole; i < n; i++)
        sum[i - whole] += (double)a[i] * (double)b[i];
    return vmath_fold(sum);
}

/* The largest value; NaN is never the largest. */
static inline float row_largest(const float *x, size_t n)
{
    float top[ROW_WIDTH];
    for (size_t k = 0; k < ROW_WIDTH; k++)
        top[k] = -__builtin_inff();
    size_t whole = n / ROW_WIDTH * ROW_WIDTH;
    for (size_t i = 0; i < whole; i += ROW_WIDTH)
        for (size_t k = 0; k < ROW_WIDTH; k++)
            top[k] = x[i + k] > top[k] ? x[i + k] : top[k];
    for (size_t i = whole; i < n; i++)
        top[i - whole] = x[i] > top[i - whole] ? x[i] : top[i - whole];
    float a[ROW_WIDTH / 2], b[ROW_WIDTH / 4];
    for (size_t k = 0; k < ROW_WIDTH / 2; k++)
        a[k] = top[k] > top[k + ROW_WIDTH / 2] ? top[k] : top[k + ROW_WIDTH / 2];
    for (size_t k = 0; k < ROW_WIDTH / 4; k++)
        b[k] = a[k] > a[k + ROW_WIDTH / 4] ? a[k] : a[k + ROW_WIDTH / 4];
    float even = b[0] > b[2] ? b[0] : b[2], odd = b[1] > b[3] ? b[1] : b[3];
    return even > odd ? even : odd;
}

#endif
