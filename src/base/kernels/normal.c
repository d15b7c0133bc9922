/* Normal numbers of many random words: the bits of random_normal, by the same operations in the
 * same order (Wichura 1988, algorithm AS 241), a vector of them at a time. The 85 % of the words
 * near the middle take one quotient of polynomials; the rest are collected, since theirs begins
 * with a logarithm and a root. A word has 32 bits, so no number lies beyond |x| = 6.3 (r = 4.78)
 * and AS 241's third quotient, for r > 5, is never asked for. */
#include "lockstep/cpu.h"
#include "lockstep/kernels.h"

#include <math.h>

enum { CHUNK = 256 };

/* The probability of a word, less a half: (word + 0.5) / 2^32 - 0.5, exact. */
static inline double centred(uint32_t word)
{
    return ((double)(int32_t)(word ^ 0x80000000u) + 0.5) * 0x1p-32;
}

static inline double middle(double q)
{
    double r = 0.180625 - q * q;
    double above = 2.5090809287301226727e3, below = 5.2264952788528545610e3;
    above = above * r + 3.3430575583588128105e4;
    above = above * r + 6.7265770927008700853e4;
    above = above * r + 4.5921953931549871457e4;
    above = above * r + 1.3731693765509461125e4;
    above = above * r + 1.9715909503065514427e3;
    above = above * r + 1.3314166789178437745e2;
    above = above * r + 3.3871328727963666080e0;
    below = below * r + 2.8729085735721942674e4;
    below = below * r + 3.9307895800092710610e4;
    below = below * r + 2.1213794301586595867e4;
    below = below * r + 5.3941960214247511077e3;
    below = below * r + 6.8718700749205790830e2;
    below = below * r + 4.2313330701600911252e1;
    below = below * r + 1.0;
    return q * (above / below);
}

/* ln p for 0 < p < 1: log_series of src/base/random.c. */
static inline double log_series(double p)
{
    union {
        double d;
        uint64_t u;
    } bits = { .d = p };
    int32_t exponent = (int32_t)(bits.u >> 52) - 1022;
    bits.u = (bits.u & 0x000fffffffffffffu) | 0x3fe0000000000000u; /* in [0.5, 1) */
    double m = bits.d;
    exponent = m < 0.70710678118654752440 ? exponent - 1 : exponent;
    m = m < 0.70710678118654752440 ? 2 * m : m;
    double s = (m - 1) / (m + 1), s2 = s * s, sum = 1.0 / 21;
    sum = sum * s2 + 1.0 / 19;
    sum = sum * s2 + 1.0 / 17;
    sum = sum * s2 + 1.0 / 15;
    sum = sum * s2 + 1.0 / 13;
    sum = sum * s2 + 1.0 / 11;
    sum = sum * s2 + 1.0 / 9;
    sum = sum * s2 + 1.0 / 7;
    sum = sum * s2 + 1.0 / 5;
    sum = sum * s2 + 1.0 / 3;
    sum = sum * s2 + 1.0;
    return 2 * s * sum + exponent * 0.69314718055994530942;
}

/* |x| of a word whose smaller tail is p < 0.075. */
static inline double far(double p)
{
    double r = sqrt(-log_series(p)) - 1.6;
    double above = 7.74545014278341407640e-4, below = 1.05075007164441684324e-9;
    above = above * r + 2.27238449892691845833e-2;
    above = above * r + 2.41780725177450611770e-1;
    above = above * r + 1.27045825245236838258e0;
    above = above * r + 3.64784832476320460504e0;
    above = above * r + 5.76949722146069140550e0;
    above = above * r + 4.63033784615654529590e0;
    above = above * r + 1.42343711074968357734e0;
    below = below * r + 5.47593808499534494600e-4;
    below = below * r + 1.51986665636164571966e-2;
    below = below * r + 1.48103976427480074590e-1;
    below = below * r + 6.89767334985100004550e-1;
    below = below * r + 1.67638483018380384940e0;
    below = below * r + 2.05319162663775882187e0;
    below = below * r + 1.0;
    return above / below;
}

static void chunk_of_normals(const uint32_t *restrict words, float *restrict x, size_t n)
{
    double q[CHUNK], p[CHUNK];
    uint16_t place[CHUNK];
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        q[i] = centred(words[i]);
        x[i] = (float)middle(q[i]);
    }
    for (size_t i = 0; i < n; i++) {
        place[count] = (uint16_t)i;
        count += fabs(q[i]) > 0.425;
    }
    for (size_t k = 0; k < count; k++)
        p[k] = 0.5 - fabs(q[place[k]]);
    for (size_t k = 0; k < count; k++)
        p[k] = far(p[k]);
    for (size_t k = 0; k < count; k++)
        x[place[k]] = (float)copysign(p[k], q[place[k]]);
}

extern void ISA_NAME(normals_of_words)(const uint32_t *words, float *x, size_t n);
void ISA_NAME(normals_of_words)(const uint32_t *words, float *x, size_t n)
{
    for (size_t i = 0; i < n; i += CHUNK)
        chunk_of_normals(words + i, x + i, n - i < CHUNK ? n - i : CHUNK);
}
