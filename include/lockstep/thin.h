/* Products of a matrix M (rows, columns) with thin ones of few rows: P (rank, rows), Q (rank,
 * columns), all row by row. Every sum in one order that depends on the shape alone, the same at all
 * ISA levels. */
#ifndef LOCKSTEP_THIN_H
#define LOCKSTEP_THIN_H

#include <stddef.h>

typedef struct Thin {
    size_t rows, columns, rank;
} Thin;

typedef struct ThinKernels {
    void (*times)(const Thin *shape, const float *m, const float *q, float *p);    /* P = Q M^T */
    void (*turned)(const Thin *shape, const float *m, const float *p, float *q);   /* Q = P M */
    void (*subtract)(const Thin *shape, float *m, const float *p, const float *q); /* M -= P^T Q */
    /* y = values [first, first + n) of P^T Q, in M's order. */
    void (*expand)(const Thin *shape, const float *p, const float *q, size_t first, size_t n,
                   float *y);
} ThinKernels;

const ThinKernels *thin_kernels(void); /* of the level in use */

/* Makes the rows of x (rank, n) orthogonal to one another and of norm 1, from the first to the last
 * (modified Gram-Schmidt, twice, in double); what is left of a row that depends on those before
 * becomes 0. */
void thin_orthonormal(float *x, size_t rank, size_t n);

#endif
