/* Vectors of the ISA level a file is compiled for (GCC vector extension, which clang has too), for
 * the per-level kernel files (cpu.h). */
#ifndef LOCKSTEP_VECTOR_H
#define LOCKSTEP_VECTOR_H

#include "lockstep/fused.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

/* VECTOR floats fill one register; it divides 16. */
#if defined __AVX512F__
#define VECTOR 16
#elif defined __AVX__
#define VECTOR 8
#else
#define VECTOR 4
#endif
typedef float Vector __attribute__((vector_size(VECTOR * sizeof(float))));
typedef float VectorAnywhere __attribute__((vector_size(VECTOR * sizeof(float)), aligned(4)));

/* The same number in every lane. */
#if VECTOR == 16
#define SPREAD(f)                                                                                  \
    ((Vector){ (f), (f), (f), (f), (f), (f), (f), (f), (f), (f), (f), (f), (f), (f), (f), (f) })
#elif VECTOR == 8
#define SPREAD(f) ((Vector){ (f), (f), (f), (f), (f), (f), (f), (f) })
#else
#define SPREAD(f) ((Vector){ (f), (f), (f), (f) })
#endif

/* a b + c, see fused.h. */
#if defined __AVX512F__
static inline Vector vector_fused(Vector a, Vector b, Vector c)
{
    return (Vector)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
#elif defined __FMA__
static inline Vector vector_fused(Vector a, Vector b, Vector c)
{
    return (Vector)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
#elif FUSED
static inline Vector vector_fused(Vector a, Vector b, Vector c)
{
    for (int i = 0; i < VECTOR; i++)
        c[i] = fused(a[i], b[i], c[i]);
    return c;
}
#else
static inline Vector vector_fused(Vector a, Vector b, Vector c)
{
    return a * b + c;
}
#endif

static inline Vector vector_load(const float *x)
{
    return *(const VectorAnywhere *)x;
}

static inline void vector_store(float *x, Vector value)
{
    *(VectorAnywhere *)x = value;
}

/* The first `part` (1 .. VECTOR) floats at x, zeros behind them. */
static inline Vector vector_load_part(const float *x, int part)
{
    Vector value = { 0 };
    if (part == VECTOR)
        return vector_load(x);
    for (int i = 0; i < part; i++)
        value[i] = x[i];
    return value;
}

static inline void vector_store_part(float *x, Vector value, int part)
{
    if (part == VECTOR) {
        vector_store(x, value);
        return;
    }
    for (int i = 0; i < part; i++)
        x[i] = value[i];
}

#endif
