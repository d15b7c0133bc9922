/* Matrix products of our own. C (M, N) = A (M, K) B (K, N), row-major floats, with what follows a
 * product done while its results are in the cache.
 *
 * A result is a sum over k in a fixed order that depends on K alone: chains of multiply-adds over
 * MATMUL_DEPTH values of k, added up in order. So the bits of a row depend neither on M nor on the
 * row's place, and those of a column neither on N nor on its place. How the work is cut is told in
 * docs/products.md. */
#ifndef LOCKSTEP_MATMUL_H
#define LOCKSTEP_MATMUL_H

#include <stdbool.h>
#include <stddef.h>

#define MATMUL_DEPTH 256
#define MATMUL_ROWS 1024 /* most rows of C that are worked on at a time */

typedef enum Activation {
    ACTIVATION_NONE,
    ACTIVATION_RELU,
    ACTIVATION_GELU,
    ACTIVATION_GELU_TANH,
} Activation;

/* c = activation([c +] sum [+ bias]) */
typedef struct ProductEnd {
    bool add;          /* c is one of the summands */
    const float *bias; /* (N), or NULL */
    Activation activation;
    float *before; /* (M, N): what the activation sees is written here too, rows as far apart as
                      those of c; or NULL */
} ProductEnd;

typedef struct Matmul {
    int M, N, K; /* M or N may be 0; K >= 1 */
    const float *a;
    size_t a_step; /* floats from a stored row of A to the next */
    bool a_turned; /* stored as (K, M) */
    const float *b;
    size_t b_step;
    bool b_turned; /* stored as (N, K) */
    float *c;
    size_t c_step;
    ProductEnd end;
} Matmul;

/* Floats of scratch memory (64-byte aligned) for a product whose A is stored turned; others need
 * none. */
size_t matmul_scratch(int M, int K);

/* c must not overlap a, b or scratch. */
void matmul(const Matmul *product, float *scratch);

/* A block of C whose sums are complete. */
typedef struct MatmulBlock {
    int rows, columns, first_row, first_column; /* in C */
    const float *sums;                          /* whole multiples of 16 floats a row can be read */
    size_t sums_step;
    float *c; /* of the whole of C */
    size_t c_step;
} MatmulBlock;

/* sum over the rows of x (rows, columns), in double, in row order: db of a dense layer. `add`: to
 * is one of the summands. */
void matmul_column_sums(int rows, int columns, const float *x, bool add, float *to);

/* to (rows, columns) = the turned from (columns, rows), or += it */
void matmul_turn(int rows, int columns, const float *from, bool add, float *to);

typedef struct MatmulKernels {
    void (*product)(const Matmul *product, float *scratch);
    void (*finish)(const ProductEnd *end, const MatmulBlock *block); /* sums may be c's own place */
    void (*column_sums)(int rows, int columns, const float *x, bool add, float *to);
    void (*turn)(int rows, int columns, const float *from, bool add, float *to);
} MatmulKernels;

const MatmulKernels *matmul_kernels(void); /* of the ISA level in use */

#endif
