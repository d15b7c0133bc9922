/* Counter-based random numbers on Philox4x32-10 (Salmon et al. 2011; the Random123 headers). */
#include "lockstep/random.h"
#include "lockstep/error.h"
#include "lockstep/kernels.h"

#include <Random123/philox.h>
#include <math.h>
#include <string.h>

static void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4])
{
    philox4x32_ctr_t c = { { counter[0], counter[1], counter[2], counter[3] } };
    philox4x32_key_t k = { { key[0], key[1] } };
    philox4x32_ctr_t out = philox4x32(c, k);
    for (int i = 0; i < 4; i++)
        words[i] = out.v[i];
}

/* (seed, purpose), then (a, b), are each hashed into the next key, so all 288 bits take part. */
RandomKey random_key(uint64_t seed, RandomPurpose purpose, uint64_t a, uint64_t b)
{
    static const uint32_t start[2] = { 0x4c6f636bu, 0x73746570u }; /* "Lockstep" */
    uint32_t run[4], stream[4];
    philox((uint32_t[4]){ (uint32_t)seed, (uint32_t)(seed >> 32), (uint32_t)purpose, 0 }, start,
           run);
    philox((uint32_t[4]){ (uint32_t)a, (uint32_t)(a >> 32), (uint32_t)b, (uint32_t)(b >> 32) }, run,
           stream);
    return (RandomKey){ { stream[0], stream[1] }, { stream[2], stream[3] } };
}

void random_words(RandomKey key, uint64_t index, uint32_t words[4])
{
    philox((uint32_t[4]){ (uint32_t)index, (uint32_t)(index >> 32), key.high[0], key.high[1] },
           key.key, words);
}

uint32_t random_word(RandomKey key, uint64_t index)
{
    uint32_t words[4];
    random_words(key, index / 4, words);
    return words[index % 4];
}

static double word_to_uniform(uint32_t word)
{
    return ((double)word + 0.5) * 0x1p-32;
}

double random_uniform(RandomKey key, uint64_t index)
{
    return word_to_uniform(random_word(key, index));
}

/* Natural logarithm for 0 < x < 1 by the series of 2 atanh(s), so that bits do not depend on
 * libm. */
static double log_series(double x)
{
    int exponent;
    double m = frexp(x, &exponent); /* exact; m in [0.5, 1) */
    if (m < 0.70710678118654752440) {
        m *= 2;
        exponent--;
    }
    double s = (m - 1) / (m + 1), s2 = s * s, sum = 0;
    for (int k = 21; k >= 1; k -= 2)
        sum = sum * s2 + 1.0 / k;
    return 2 * s * sum + exponent * 0.69314718055994530942;
}

static double ratio(const double p[8], const double q[8], double r)
{
    double above = p[7], below = q[7];
    for (int i = 6; i >= 0; i--) {
        above = above * r + p[i];
        below = below * r + q[i];
    }
    return above / below;
}

/* Inverse of the normal distribution: Wichura 1988, algorithm AS 241 (PPND16), about 1e-16. */
static double normal_quantile(double p)
{
    static const double a[8] = { 3.3871328727963666080e0,  1.3314166789178437745e+2,
                                 1.9715909503065514427e+3, 1.3731693765509461125e+4,
                                 4.5921953931549871457e+4, 6.7265770927008700853e+4,
                                 3.3430575583588128105e+4, 2.5090809287301226727e+3 };
    static const double b[8] = { 1.0,
                                 4.2313330701600911252e+1,
                                 6.8718700749205790830e+2,
                                 5.3941960214247511077e+3,
                                 2.1213794301586595867e+4,
                                 3.9307895800092710610e+4,
                                 2.8729085735721942674e+4,
                                 5.2264952788528545610e+3 };
    static const double c[8] = { 1.42343711074968357734e0,  4.63033784615654529590e0,
                                 5.76949722146069140550e0,  3.64784832476320460504e0,
                                 1.27045825245236838258e0,  2.41780725177450611770e-1,
                                 2.27238449892691845833e-2, 7.74545014278341407640e-4 };
    static const double d[8] = { 1.0,
                                 2.05319162663775882187e0,
                                 1.67638483018380384940e0,
                                 6.89767334985100004550e-1,
                                 1.48103976427480074590e-1,
                                 1.51986665636164571966e-2,
                                 5.47593808499534494600e-4,
                                 1.05075007164441684324e-9 };
    static const double e[8] = { 6.65790464350110377720e0,  5.46378491116411436990e0,
                                 1.78482653991729133580e0,  2.96560571828504891230e-1,
                                 2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                 2.71155556874348757815e-5, 2.01033439929228813265e-7 };
    static const double f[8] = { 1.0,
                                 5.99832206555887937690e-1,
                                 1.36929880922735805310e-1,
                                 1.48753612908506148525e-2,
                                 7.86869131145613259100e-4,
                                 1.84631831751005468180e-5,
                                 1.42151175831644588870e-7,
                                 2.04426310338993978564e-15 };
    double q = p - 0.5;
    if (fabs(q) <= 0.425)
        return q * ratio(a, b, 0.180625 - q * q);
    double r = sqrt(-log_series(q < 0 ? p : 1 - p));
    double x = r <= 5 ? ratio(c, d, r - 1.6) : ratio(e, f, r - 5);
    return q < 0 ? -x : x;
}

double random_normal(RandomKey key, uint64_t index)
{
    return normal_quantile(random_uniform(key, index));
}

uint32_t random_below(RandomKey key, uint64_t index, uint32_t n)
{
    return (uint32_t)(((uint64_t)random_word(key, index) * n) >> 32);
}

/* The words [at, at + n) of one group of four. */
static void copy_part(RandomKey key, uint64_t group, size_t at, uint32_t *x, size_t n)
{
    uint32_t words[4];
    random_words(key, group, words);
    memcpy(x, words + at, n * sizeof *x);
}

/* The rest of a group, whole groups, the beginning of one. */
void random_fill_words(RandomKey key, uint64_t first, uint32_t *x, size_t n)
{
    size_t at = (size_t)(first % 4);
    uint64_t group = first / 4;
    if (at > 0) {
        size_t part = 4 - at < n ? 4 - at : n;
        copy_part(key, group++, at, x, part);
        x += part;
        n -= part;
    }
    kernels()->random_groups(key, group, x, n / 4);
    if (n % 4 > 0)
        copy_part(key, group + n / 4, 0, x + n / 4 * 4, n % 4);
}

void random_fill_normal(RandomKey key, uint64_t first, float *x, size_t n)
{
    uint32_t words[256];
    for (size_t i = 0; i < n;) {
        size_t take = n - i < 256 ? n - i : 256;
        random_fill_words(key, first + i, words, take);
        kernels()->normals(words, x + i, take);
        i += take;
    }
}

void random_add_normal(RandomKey key, uint64_t first, float scale, float *x, size_t n)
{
    float normal[256];
    for (size_t i = 0; i < n;) {
        size_t take = n - i < 256 ? n - i : 256;
        random_fill_normal(key, first + i, normal, take);
        for (size_t k = 0; k < take; k++)
            x[i + k] += scale * normal[k];
        i += take;
    }
}

/* One pass of a six-round Feistel network over pairs of `bits`-bit halves. */
static uint64_t feistel(RandomKey key, uint64_t x, unsigned bits)
{
    uint64_t mask = ((uint64_t)1 << bits) - 1, left = x >> bits, right = x & mask;
    for (uint64_t round = 0; round < 6; round++) {
        uint32_t words[4];
        random_words(key, round << 48 | right, words);
        uint64_t next = left ^ (words[0] & mask);
        left = right;
        right = next;
    }
    return left << bits | right;
}

uint64_t random_permute(RandomKey key, uint64_t index, uint64_t n)
{
    expect(index < n && n <= (uint64_t)1 << 62);
    unsigned bits = 1;
    while (((uint64_t)1 << (2 * bits)) < n)
        bits++;
    do /* the domain is less than 4n (n >= 2): a few rounds lead back below n */
        index = feistel(key, index, bits);
    while (index >= n);
    return index;
}
