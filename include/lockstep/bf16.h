/* Matrix products of bfloat16 operands: C (M, N) = A (M, K) B (K, N), where A and B are rounded to
 * bfloat16 (round to nearest even; denormal numbers to 0) and everything is added up in float.
 *
 * Operands are packed: lines (rows of A, columns of B) times depth (k) in tiles of 16 lines x 32
 * values of k, zeros where an operand ends inside a tile. A tile has 1 KiB and looks like this:
 *
 *   left  (A):  [16 lines][32 k]            right (B):  [16 pairs of k][16 lines][2 k]
 *
 * and the tiles of 16 lines follow one another along k, then those of the next 16 lines.
 *
 * Three families of kernels know them: amx (tile products of the AMX-BF16 extension), avx512
 * (vdpbf16ps) and portable (operands as floats, multiply-adds of the ISA level in use). They see
 * the same rounded operands and differ in the order of the sums, so the family is part of a run's
 * identity. Within a family the order depends on K alone. */
#ifndef LOCKSTEP_BF16_H
#define LOCKSTEP_BF16_H

#include "lockstep/error.h"
#include "lockstep/matmul.h"

#include <stdint.h>

#define BF16_LINES 16 /* of a tile */
#define BF16_DEPTH 32 /* of a tile */
#define BF16_TILE (BF16_LINES * BF16_DEPTH)

typedef enum Bf16Side { BF16_LEFT, BF16_RIGHT } Bf16Side;

/* An operand as it is stored in float: element (line, k) at x[line * step + k], or, turned, at
 * x[k * step + line]. */
typedef struct Bf16Source {
    int lines, depth;
    const float *x;
    size_t step;
    bool turned;
} Bf16Source;

typedef struct Bf16Product {
    int M, N, K;
    const uint16_t *a, *b; /* left and right operands */
    float *c;
    size_t c_step;
    Epilogue end;
} Bf16Product;

/* Numbers of an operand: uint16_t, to be aligned to 64 bytes. */
size_t bf16_numbers(int lines, int depth);

void bf16_pack(Bf16Side side, const Bf16Source *source, uint16_t *to);
void bf16_multiply(const Bf16Product *product);

/* "auto" (the fastest that this CPU and compute.isa allow), "amx", "avx512" or "portable"; false if
 * the CPU or the operating system lacks it. Before any operand is packed. */
bool bf16_set_kernel(const char *name, Err *err);
const char *bf16_kernel(void); /* in use: "amx", ... */

/* A family. */
typedef struct Bf16Kernels {
    const char *name;
    void (*pack)(Bf16Side side, const Bf16Source *source, uint16_t *to);
    void (*begin)(void); /* around the blocks of a product; NULL: nothing */
    void (*end)(void);
    /* The sums of 1 or 2 times 1 or 2 tiles of C: tiles of lines are `depth` tiles apart in a and
     * b; rows of sums are `step` floats apart. */
    void (*block)(int left, int right, int depth, const uint16_t *a, const uint16_t *b, float *sums,
                  size_t step);
} Bf16Kernels;

#endif
