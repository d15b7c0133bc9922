/* Sums of layers that normalise rows of features, for rows that stay in the first-level cache:
 * float sums of at most ROWNORM_RUN numbers in the vector registers, folded in a fixed order and
 * added in double. Private to src/nn/layers. */
#ifndef LOCKSTEP_NN_ROWNORM_H
#define LOCKSTEP_NN_ROWNORM_H

#include "image.h"

enum {
    ROWNORM_RUN = 1024,
    ROWNORM_WAYS = 4, /* vectors summed side by side, so that additions need not wait */
    ROWNORM_STEP = ROWNORM_WAYS * VECTOR,
    ROWNORM_ROWS = 32, /* rows whose parameter gradients are float sums */
};

typedef struct RownormSums {
    Vector way[ROWNORM_WAYS];
} RownormSums;

/* Four floats: a quarter, a half or the whole of a vector. */
typedef float RownormQuad __attribute__((vector_size(16)));

static inline double rownorm_fold(const RownormSums *sums)
{
    union {
        Vector whole;
        RownormQuad quad[VECTOR / 4];
    } sum = { .whole = (sums->way[0] + sums->way[1]) + (sums->way[2] + sums->way[3]) };
    RownormQuad total = sum.quad[0];
    for (int i = 1; i < VECTOR / 4; i++)
        total += sum.quad[i];
    return (double)((total[0] + total[2]) + (total[1] + total[3]));
}

/* Zero beyond the first `part` lanes. */
static inline Vector rownorm_cut(Vector value, int part)
{
    for (int i = part; i < VECTOR; i++)
        value[i] = 0;
    return value;
}

/* How many of the row's floats from i on fit a vector. */
static inline int rownorm_part(size_t i, size_t end)
{
    return end - i < VECTOR ? (int)(end - i) : VECTOR;
}

static inline size_t rownorm_end(size_t first, size_t n)
{
    return n - first < ROWNORM_RUN ? n : first + ROWNORM_RUN;
}

/* The sum of x. */
static inline double rownorm_sum(const float *x, size_t n)
{
    double total = 0;
    for (size_t first = 0; first < n; first += ROWNORM_RUN) {
        size_t i = first, end = rownorm_end(first, n);
        RownormSums sums = { { { 0 } } };
        for (; i + ROWNORM_STEP <= end; i += ROWNORM_STEP)
            for (int k = 0; k < ROWNORM_WAYS; k++)
                sums.way[k] += vector_load(x + i + k * VECTOR);
        for (; i < end; i += VECTOR)
            sums.way[0] += vector_load_part(x + i, rownorm_part(i, end));
        total += rownorm_fold(&sums);
    }
    return total;
}

/* The sum of (x - mean)^2. */
static inline double rownorm_squares(const float *x, float mean, size_t n)
{
    double total = 0;
    for (size_t first = 0; first < n; first += ROWNORM_RUN) {
        size_t i = first, end = rownorm_end(first, n);
        RownormSums sums = { { { 0 } } };
        for (; i + ROWNORM_STEP <= end; i += ROWNORM_STEP)
            for (int k = 0; k < ROWNORM_WAYS; k++) {
                Vector distance = vector_load(x + i + k * VECTOR) - mean;
                sums.way[k] = vector_fused(distance, distance, sums.way[k]);
            }
        for (; i < end; i += VECTOR) {
            int part = rownorm_part(i, end);
            Vector distance = rownorm_cut(vector_load_part(x + i, part) - mean, part);
            sums.way[0] = vector_fused(distance, distance, sums.way[0]);
        }
        total += rownorm_fold(&sums);
    }
    return total;
}

/* The sums of e and of e (x - mean), e = gain dy. */
static inline void rownorm_gradient(const float *x, float mean, const float *gain, const float *dy,
                                    size_t n, double *sum, double *product)
{
    *sum = *product = 0;
    for (size_t first = 0; first < n; first += ROWNORM_RUN) {
        size_t i = first, end = rownorm_end(first, n);
        RownormSums sums = { { { 0 } } }, products = { { { 0 } } };
        for (; i + ROWNORM_STEP <= end; i += ROWNORM_STEP)
            for (int k = 0; k < ROWNORM_WAYS; k++) {
                size_t at = i + (size_t)k * VECTOR;
                Vector e = vector_load(gain + at) * vector_load(dy + at);
                sums.way[k] += e;
                const Vector distance = vector_load(x + at) - mean;
                products.way[k] = vector_fused(e, distance, products.way[k]);
            }
        for (; i < end; i += VECTOR) {
            int part = rownorm_part(i, end);
            Vector e = vector_load_part(gain + i, part) * vector_load_part(dy + i, part);
            sums.way[0] += e; /* zero behind the row's end */
            const Vector distance = vector_load_part(x + i, part) - mean;
            products.way[0] = vector_fused(e, distance, products.way[0]);
        }
        *sum += rownorm_fold(&sums);
        *product += rownorm_fold(&products);
    }
}

/* total += part, and part = 0: after at most ROWNORM_ROWS rows. */
static inline void rownorm_flush(float *part, double *total, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        total[i] += (double)part[i];
        part[i] = 0;
    }
}

#endif
