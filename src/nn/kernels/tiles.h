/* Products of small matrices that live in the L1 and L2 caches, used where they lie: nothing is
 * packed. With AVX-512 a tile of 14 rows x 2 vectors of C stays in registers, with AVX2 and below
 * 6 x 2.
 *
 * Every element of C is one chain of multiply-adds over k in order, started from what C holds, so
 * its bits do not depend on which rows and columns are computed with it. */
#ifndef LOCKSTEP_NN_TILES_H
#define LOCKSTEP_NN_TILES_H

#include "../image.h"
#include "lockstep/cpu.h"

/* Memory that will be wanted soon, (rows, floats) of each array: every tile asks for a few rows of
 * it, so that it comes while the tile computes. */
typedef struct Ahead {
    struct AheadArray {
        const float *at;
        size_t stride; /* floats */
    } arrays[7];
    int count;  /* arrays */
    int floats; /* of a row */
    int rows;   /* still to be asked for */
} Ahead;

/* C (rows, columns) = C * keep + op(A) B. Rows of B and C begin at multiples of 64 bytes, so
 * `columns` is a multiple of VECTOR. Strides are floats. */
typedef struct Tiles {
    int rows, columns, K;
    const float *a;
    size_t a_stride;
    bool a_transposed; /* A is stored as (K, rows); else as (rows, K) */
    const float *b;    /* (K, columns) */
    size_t b_stride;
    float *c;
    size_t c_stride;
    bool add;          /* false: C is overwritten */
    const float *keep; /* (rows): factor of each row of C before adding; NULL: 1 */
    Ahead *ahead;      /* or NULL */
} Tiles;

#define tiles_multiply ISA_NAME(tiles_multiply)
void tiles_multiply(const Tiles *tiles);

#endif
