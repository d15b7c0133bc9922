/* exp, log, tanh, the normal distribution and what follows from them in float, as plain C that the
 * compiler turns into vector code: no branch, no call, no table, no libm, so bits depend neither on
 * the libm version nor on the position in a loop. For the per-level kernel files (cpu.h).
 *
 * Largest errors against double, over every 13th float of the whole range (tests/nn/test_vmath.c),
 * in ulp of the result; first without FMA (x86-64-v2), then with it (v3, v4):
 *
 *   vmath_exp             0.96   0.98
 *   vmath_log             0.83   0.83
 *   vmath_tanh            1.31   1.31
 *   vmath_sigmoid         2.36   2.36
 *   vmath_softplus        2.77   2.77
 *   vmath_expm1_negative  2.40   2.40
 *   vmath_cbrt            1.87   1.91
 *   vmath_normal          7.45   7.03   for |x| <= 2; 66.3 below: the rounding of x^2 / 2 grows
 *         its density     2.85   2.83   for |x| <= 2; 64.8 beyond
 *
 * Polynomials: minimax fits of the stated functions on the stated intervals (Chebyshev fits in 30
 * digits). NaN in, NaN out. */
#ifndef LOCKSTEP_VMATH_H
#define LOCKSTEP_VMATH_H

#include "lockstep/fused.h"

#include <stdint.h>

#define VMATH_INLINE static inline __attribute__((always_inline, unused))

typedef union VmathBits {
    float f;
    int32_t i;
    uint32_t u;
} VmathBits;

VMATH_INLINE float vmath_abs(float x)
{
    VmathBits bits = { .f = x };
    bits.u &= 0x7fffffffu;
    return bits.f;
}

VMATH_INLINE float vmath_copysign(float magnitude, float sign)
{
    VmathBits m = { .f = magnitude }, s = { .f = sign };
    m.u = (m.u & 0x7fffffffu) | (s.u & 0x80000000u);
    return m.f;
}

/* e^x. Results below 2^-126 are 0 (no denormal numbers enter a network), above 2^128 infinite. x =
 * n ln 2 + r, |r| <= ln 2 / 2; e^r = 1 + r + r^2 p(r); 2^n in two factors, each a normal number. */
VMATH_INLINE float vmath_exp(float x)
{
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it leaves an integer in the low bits */
    float a = x > 89.0f ? 89.0f : x;
    a = a < -88.0f ? -88.0f : a;
    VmathBits n = { .f = fused(a, 1.44269504088896341f, round) };
    float whole = n.f - round;
    float r = fused(-whole, 0.693359375f, a); /* ln 2 in two parts: the first product is exact */
    r = fused(whole, 2.12194440054690583e-4f, r);
    float p = 1.9891981314e-4f;
    p = fused(p, r, 1.39345419283e-3f);
    p = fused(p, r, 8.33331002423e-3f);
    p = fused(p, r, 4.16664568097e-2f);
    p = fused(p, r, 1.66666666825e-1f);
    p = fused(p, r, 5.00000001429e-1f);
    p = fused(p, r * r, r) + 1.0f;
    uint32_t exponent = n.u - 0x4b400000u; /* n, two's complement */
    uint32_t half = (uint32_t)((int32_t)exponent >> 1);
    VmathBits low = { .u = (half + 127u) << 23 };
    VmathBits high = { .u = (exponent - half + 127u) << 23 };
    float y = p * low.f * high.f;
    return x < -87.3365448f ? 0.0f : y;
}

/* ln x. x = 2^n m, m in [sqrt(1/2), sqrt(2)), z = m - 1; ln m = z - z^2/2 + z^3 p(z).
 * 0 gives -infinity, denormal and negative numbers NaN. */
VMATH_INLINE float vmath_log(float x)
{
    VmathBits bits = { .f = x };
    uint32_t shifted =
        bits.u - 0x3f3504f3u; /* bits of sqrt(1/2): exponent field counts from there */
    float n = (float)((int32_t)shifted >> 23);
    VmathBits m = { .u = (shifted & 0x007fffffu) + 0x3f3504f3u };
    float z = m.f - 1.0f;
    float p = -6.20150011902e-2f;
    p = fused(p, z, 1.05308647389e-1f);
    p = fused(p, z, -1.06461916382e-1f);
    p = fused(p, z, 1.10377833591e-1f);
    p = fused(p, z, -1.24507433209e-1f);
    p = fused(p, z, 1.42865245478e-1f);
    p = fused(p, z, -1.66680015231e-1f);
    p = fused(p, z, 2.00000100397e-1f);
    p = fused(p, z, -2.4999990275e-1f);
    p = fused(p, z, 3.33333332812e-1f);
    float z2 = z * z;
    float y = fused(-0.5f, z2, fused(p, z2 * z, n * -2.12194440054690583e-4f));
    y = fused(n, 0.693359375f, z + y);
    y = x < 3.40282347e38f ? y : x; /* infinity and NaN as they are */
    y = x < 1.17549435e-38f ? (x == 0.0f ? -__builtin_inff() : __builtin_nanf("")) : y;
    return y;
}

/* |x| < 0.625: x + x^3 p(x^2); beyond: 1 - 2 / (e^2|x| + 1). */
VMATH_INLINE float vmath_tanh(float x)
{
    float a = vmath_abs(x), s = x * x;
    float p = 2.29274481618e-3f;
    p = fused(p, s, -8.34394551584e-3f);
    p = fused(p, s, 2.1768918651e-2f);
    p = fused(p, s, -5.39592595772e-2f);
    p = fused(p, s, 1.33333035569e-1f);
    p = fused(p, s, -3.33333331721e-1f);
    float near = fused(x, s * p, x);
    float far = vmath_copysign(1.0f - 2.0f / (vmath_exp(2.0f * a) + 1.0f), x);
    return a < 0.625f ? near : far;
}

/* The cube root of x >= 0; denormal numbers give 0. A third of the exponent, to 3 %, then Halley's
 * step twice, each of which triples the digits: y (y^3 + 2 x) / (2 y^3 + x), overflow avoided. */
VMATH_INLINE float vmath_cbrt(float x)
{
    VmathBits bits = { .f = x };
    bits.u = bits.u / 3u + 0x2a5119f2u;
    float y = bits.f, z = x * 0.25f;
    for (int i = 0; i < 2; i++) {
        float cube = y * y * (0.25f * y);
        y = y - y * ((cube - z) / (cube + cube + z));
    }
    return x < 1.17549435e-38f ? 0.0f : y;
}

/* The normal distribution function Phi(x), and its density. With a = |x| and u = 1 / (1 + 0.27 a):
 * Phi(-a) = e^(-a^2 / 2) u p(u), p fitted over 0 <= a <= 14, and Phi(a) = 1 - Phi(-a). */
VMATH_INLINE float vmath_normal(float x, float *density)
{
    float a = vmath_abs(x), e = vmath_exp(-0.5f * a * a);
    float u = 1.0f / fused(0.27f, a, 1.0f);
    float p = 2.91070282181e-2f;
    p = fused(p, u, -1.27242119885e-1f);
    p = fused(p, u, 1.71444687402e-1f);
    p = fused(p, u, -7.12139170019e-2f);
    p = fused(p, u, 1.09277206473e-1f);
    p = fused(p, u, 7.140606254e-2f);
    p = fused(p, u, 1.01980367006e-1f);
    p = fused(p, u, 1.07518603261e-1f);
    p = fused(p, u, 1.07722093059e-1f);
    float tail = e * (u * p);
    *density = 0.398942280401432678f * e; /* 1 / sqrt(2 pi) */
    return x < 0.0f ? tail : 1.0f - tail;
}

/* 1 / (1 + e^-x). Neither form overflows: e^-|x| is at most 1. */
VMATH_INLINE float vmath_sigmoid(float x)
{
    float e = vmath_exp(-vmath_abs(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

/* ln(1 + e^x) = max(x, 0) + ln(1 + e), e = e^-|x|; ln(1 + e) = 2 atanh(s), s = e / (2 + e) <= 1/3,
 * by its series, which keeps the digits of small results. */
VMATH_INLINE float vmath_softplus(float x)
{
    float e = vmath_exp(-vmath_abs(x));
    float s = e / (2.0f + e), s2 = s * s;
    float p = 2.0f / 15.0f;
    p = fused(p, s2, 2.0f / 13.0f);
    p = fused(p, s2, 2.0f / 11.0f);
    p = fused(p, s2, 2.0f / 9.0f);
    p = fused(p, s2, 2.0f / 7.0f);
    p = fused(p, s2, 2.0f / 5.0f);
    p = fused(p, s2, 2.0f / 3.0f);
    float log = fused(p, s2 * s, 2.0f * s);
    return (x < 0.0f ? 0.0f : x) + log;
}

/* e^x - 1 for x <= 0: 2 t / (1 - t), t = tanh(x / 2), where nothing cancels. */
VMATH_INLINE float vmath_expm1_negative(float x)
{
    float t = vmath_tanh(0.5f * x);
    return 2.0f * t / (1.0f - t);
}

/* ln x in double, for one number at a time (a loss): 2 atanh(s), s = (m-1)/(m+1), to about 1 ulp.
 * */
VMATH_INLINE double vmath_log_double(double x)
{
    union {
        double d;
        uint64_t u;
    } bits = { .d = x };
    if (!(x >= 2.2250738585072014e-308 && x <= 1.7976931348623157e308))
        return x == 0 ? -__builtin_inf() : x > 0 ? x : __builtin_nan("");
    uint64_t shifted = bits.u - 0x3fe6a09e667f3bcdu; /* bits of sqrt(1/2) */
    double n = (double)((int64_t)shifted >> 52);
    bits.u = (shifted & 0x000fffffffffffffu) + 0x3fe6a09e667f3bcdu;
    double s = (bits.d - 1) / (bits.d + 1), s2 = s * s, sum = 0;
    for (int k = 21; k >= 3; k -= 2)
        sum = sum * s2 + 1.0 / k;
    return 2 * s + (2 * s * (s2 * sum) + n * 0.69314718055994530942);
}

/* base^exponent, exponent >= 0, by repeated squaring: plain products. */
VMATH_INLINE double vmath_power(double base, int64_t exponent)
{
    double result = 1;
    for (; exponent > 0; exponent >>= 1, base *= base)
        if (exponent & 1)
            result *= base;
    return result;
}

/* The sum of sixteen partial sums, pairwise: the same order at every level. */
VMATH_INLINE double vmath_fold(const double s[16])
{
    double a[8], b[4];
    for (int i = 0; i < 8; i++)
        a[i] = s[i] + s[i + 8];
    for (int i = 0; i < 4; i++)
        b[i] = a[i] + a[i + 4];
    return (b[0] + b[2]) + (b[1] + b[3]);
}

#endif
