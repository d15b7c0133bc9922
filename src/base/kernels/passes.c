/* Element-wise passes and fixed-order sums over arenas. n is a multiple of 16 floats, so loops have
 * no remainder and an element's arithmetic does not depend on where a range starts. */
#include "lockstep/cpu.h"
#include "lockstep/kernels.h"
#include "lockstep/vmath.h"
#include "wire.h"

/* The library's code with this level's vectors, which are twice as fast; the digests are the
 * same. */
#define XXH_INLINE_ALL
#include <xxhash.h>

static float *aligned(float *x)
{
    return __builtin_assume_aligned(x, 64);
}

static const float *aligned_const(const float *x)
{
    return __builtin_assume_aligned(x, 64);
}

/* Sixteen floats; as a type of its own because y may be a or b, which keeps gcc from vectorising
 * the plain loop. */
typedef float Sixteen __attribute__((vector_size(64), may_alias));

static void add(float *y, const float *a, const float *b, size_t n)
{
    Sixteen *out = (Sixteen *)aligned(y);
    const Sixteen *left = (const Sixteen *)aligned_const(a);
    const Sixteen *right = (const Sixteen *)aligned_const(b);
    for (size_t i = 0; i < n / 16; i++)
        out[i] = left[i] + right[i];
}

static void scale(float *y, float factor, size_t n)
{
    y = aligned(y);
    for (size_t i = 0; i < n; i++)
        y[i] *= factor;
}

static void clamp(float *y, float limit, size_t n)
{
    y = aligned(y);
    for (size_t i = 0; i < n; i++) {
        float above = y[i] < -limit ? -limit : y[i];
        y[i] = above > limit ? limit : above;
    }
}

static void keep_add(float *w, float keep, const float *g, size_t n)
{
    w = aligned(w);
    g = aligned_const(g);
    for (size_t i = 0; i < n; i++)
        w[i] = keep * w[i] + g[i];
}

static uint64_t digest(const void *data, size_t bytes)
{
    return XXH3_64bits(data, bytes);
}

/* The product is exact in double, so contraction cannot change it. */
static double squares(const float *x, size_t n)
{
    double s[16] = { 0 };
    x = aligned_const(x);
    for (size_t i = 0; i < n; i += 16)
        for (size_t k = 0; k < 16; k++)
            s[k] += (double)x[i + k] * (double)x[i + k];
    return vmath_fold(s);
}

static double sum(const float *x, size_t n)
{
    double s[16] = { 0 };
    x = aligned_const(x);
    for (size_t i = 0; i < n; i += 16)
        for (size_t k = 0; k < 16; k++)
            s[k] += (double)x[i + k];
    return vmath_fold(s);
}

/* Exact products, as in squares. */
static double dot(const float *a, const float *b, size_t n)
{
    double s[16] = { 0 };
    a = aligned_const(a);
    b = aligned_const(b);
    for (size_t i = 0; i < n; i += 16)
        for (size_t k = 0; k < 16; k++)
            s[k] += (double)a[i + k] * (double)b[i + k];
    return vmath_fold(s);
}

static void blend(float *y, float a_factor, const float *a, float b_factor, const float *b,
                  size_t n)
{
    Sixteen *out = (Sixteen *)aligned(y);
    const Sixteen *left = (const Sixteen *)aligned_const(a);
    const Sixteen *right = (const Sixteen *)aligned_const(b);
    for (size_t i = 0; i < n / 16; i++)
        out[i] = a_factor * left[i] + b_factor * right[i];
}

extern void ISA_NAME(philox_groups)(RandomKey key, uint64_t group, uint32_t *x, size_t groups);
extern void ISA_NAME(normals_of_words)(const uint32_t *words, float *x, size_t n);

extern const Kernels ISA_NAME(kernels_passes);
const Kernels ISA_NAME(kernels_passes) = {
    .add = add,
    .scale = scale,
    .clamp = clamp,
    .keep_add = keep_add,
    .squares = squares,
    .sum = sum,
    .dot = dot,
    .blend = blend,
    .digest = digest,
    .random_groups = ISA_NAME(philox_groups),
    .wire_add = ISA_NAME(wire_add),
    .wire_round = ISA_NAME(wire_round),
    .wire_pack = ISA_NAME(wire_pack),
    .wire_unpack = ISA_NAME(wire_unpack),
    .normals = ISA_NAME(normals_of_words),
};
