/* The limits that kernels are measured against: multiply-adds in registers, bytes from memory,
 * functions over an array. */
#include "lockstep/cpu.h"
#include "lockstep/kernels.h"
#include "lockstep/vector.h"
#include "lockstep/vmath.h"

/* Twelve chains hide the latency of a multiply-add on every CPU of these levels; they have names
 * because gcc keeps an array of vectors in memory. */
#define CHAINS(X) X(a) X(b) X(c) X(d) X(e) X(f) X(g) X(h) X(i) X(j) X(k) X(l)

/* Tells the compiler that every chain has changed, or it would compute equal chains once. */
#ifdef __x86_64__
#define KEEP                                                                                       \
    __asm__ volatile(""                                                                            \
                     : "+x"(a), "+x"(b), "+x"(c), "+x"(d), "+x"(e), "+x"(f), "+x"(g), "+x"(h),     \
                       "+x"(i), "+x"(j), "+x"(k), "+x"(l))
#else
#define KEEP __asm__ volatile("" ::: "memory")
#endif

static double multiply_adds(long rounds, float *sink)
{
    const Vector factor = SPREAD(0.999f), term = SPREAD(1e-3f);
    Vector sum = { 0 };
#define START(x) Vector x = { 0 };
    CHAINS(START)
    KEEP;
    for (long round = 0; round < rounds; round++) {
#define STEP(x) x = vector_fused(x, factor, term);
        CHAINS(STEP)
        KEEP;
    }
#define GATHER(x) sum += x;
    CHAINS(GATHER)
    *sink = sum[0];
    return (double)rounds * 12 * 2 * VECTOR;
}

/* The factor keeps the compiler from calling memcpy, whose stores may bypass the caches. */
static double copy(float *y, const float *a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = 0.5f * a[i];
    return 2 * (double)n * sizeof(float);
}

static double triad(float *y, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = a[i] + 0.5f * b[i];
    return 3 * (double)n * sizeof(float);
}

static double update(float *y, const float *a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += 0.5f * a[i];
    return 3 * (double)n * sizeof(float);
}

#define OVER_ARRAY(name)                                                                           \
    static void over_##name(float *y, const float *x, size_t n)                                    \
    {                                                                                              \
        for (size_t i = 0; i < n; i++)                                                             \
            y[i] = vmath_##name(x[i]);                                                             \
    }
OVER_ARRAY(exp)
OVER_ARRAY(log)
OVER_ARRAY(tanh)

/* Phi(x) and the density: what GELU is made of, forward and backward. */
static void over_normal(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float density, distribution = vmath_normal(x[i], &density);
        y[i] = distribution + density;
    }
}

extern const PeakKernels ISA_NAME(kernels_peak);
const PeakKernels ISA_NAME(kernels_peak) = {
    .multiply_adds = multiply_adds,
    .copy = copy,
    .triad = triad,
    .update = update,
    .exp = over_exp,
    .log = over_log,
    .tanh = over_tanh,
    .normal = over_normal,
};
