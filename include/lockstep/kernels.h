/* Kernels that more than one family needs: element-wise passes over arenas, compiled once per ISA
 * level (src/base/kernels). Pointers to floats are 64-byte aligned and n is a multiple of
 * LAYOUT_ALIGN floats, so no element is ever computed by a loop remainder and bits do not depend on
 * where a range is cut. */
#ifndef LOCKSTEP_KERNELS_H
#define LOCKSTEP_KERNELS_H

#include "lockstep/cpu.h"
#include "lockstep/random.h"
#include "lockstep/wire.h"

#include <stddef.h>

typedef struct Kernels {
    void (*add)(float *y, const float *a, const float *b,
                size_t n);                           /* y = a + b; y may be a or b */
    void (*scale)(float *y, float factor, size_t n); /* y = factor * y */
    void (*clamp)(float *y, float limit, size_t n);  /* y = min(max(y, -limit), limit) */
    void (*keep_add)(float *w, float keep, const float *g, size_t n); /* w = keep * w + g */
    double (*squares)(const float *x, size_t n);                      /* sum of x^2, fixed order */
    double (*sum)(const float *x, size_t n);                          /* sum of x, fixed order */
    double (*dot)(const float *a, const float *b, size_t n);          /* sum of a b, fixed order */
    /* y = a_factor * a + b_factor * b, every product and the sum rounded; y may be a or b. */
    void (*blend)(float *y, float a_factor, const float *a, float b_factor, const float *b,
                  size_t n);
    uint64_t (*digest)(const void *data, size_t bytes); /* XXH3, any bytes */

    /* Words of `groups` groups of four, numbers first_group .. : x (4 * groups), any alignment. */
    void (*random_groups)(RandomKey key, uint64_t first_group, uint32_t *x, size_t groups);

    /* 16-bit sums (wire.h), any n and alignment: y = round(round(a) + round(b)), y may be a or b; y
     * = round(x), y may be x; and their bits. bf16 or fp16 only. */
    void (*wire_add)(const Wire *wire, float *y, const float *a, const float *b, size_t n);
    void (*wire_round)(const Wire *wire, float *y, const float *x, size_t n);
    void (*wire_pack)(const Wire *wire, uint16_t *to, const float *from, size_t n); /* rounds */
    void (*wire_unpack)(const Wire *wire, float *to, const uint16_t *from, size_t n);
    /* The normal number of each word, as random_normal makes it; any n and alignment. */
    void (*normals)(const uint32_t *words, float *x, size_t n);
} Kernels;

const Kernels *kernels(void); /* of the level in use */

/* Loops that do nothing but run into the machine's limits, for benchmarks. n floats, aligned as
 * above; passes over memory return the bytes they read and write. */
typedef struct PeakKernels {
    double (*multiply_adds)(long rounds, float *sink);  /* in registers; returns FLOPs done */
    double (*copy)(float *y, const float *a, size_t n); /* y = k a */
    double (*triad)(float *y, const float *a, const float *b, size_t n); /* y = a + k b */
    double (*update)(float *y, const float *a, size_t n);                /* y = y + k a */

    /* Functions of vmath.h over an array: y = f(x). */
    void (*exp)(float *y, const float *x, size_t n);
    void (*log)(float *y, const float *x, size_t n);
    void (*tanh)(float *y, const float *x, size_t n);
    void (*normal)(float *y, const float *x, size_t n);
} PeakKernels;

const PeakKernels *peak_kernels(Isa isa); /* of any level that this CPU has */

#endif
