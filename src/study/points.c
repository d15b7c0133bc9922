/* Quasi-random points, each a function of its index alone: a search that is made longer keeps the
 * points it has. */
#include "lockstep/study.h"

double study_halton(int64_t index, int dimension)
{
    static const int primes[STUDY_MAX_DIMENSIONS] = { 2,  3,  5,  7,  11, 13, 17, 19,
                                                      23, 29, 31, 37, 41, 43, 47, 53 };
    expect(index >= 0 && dimension >= 0 && dimension < STUDY_MAX_DIMENSIONS);
    int64_t base = primes[dimension];
    int64_t inverse = 0, scale = 1; /* exact until the one division */
    for (; index > 0; index /= base) {
        inverse = inverse * base + index % base;
        scale *= base;
    }
    return (double)inverse / (double)scale;
}

/* Primitive polynomials (degree, inner coefficients) and initial direction numbers of dimensions 2
 * and up: Joe and Kuo's table new-joe-kuo-6. */
typedef struct Direction {
    int degree;
    uint32_t coefficients, initial[6];
} Direction;

static const Direction directions[STUDY_MAX_DIMENSIONS - 1] = {
    { 1, 0, { 1 } },
    { 2, 1, { 1, 3 } },
    { 3, 1, { 1, 3, 1 } },
    { 3, 2, { 1, 1, 1 } },
    { 4, 1, { 1, 1, 3, 3 } },
    { 4, 4, { 1, 3, 5, 13 } },
    { 5, 2, { 1, 1, 5, 5, 17 } },
    { 5, 4, { 1, 1, 5, 5, 5 } },
    { 5, 7, { 1, 1, 7, 11, 19 } },
    { 5, 11, { 1, 1, 5, 1, 1 } },
    { 5, 13, { 1, 1, 1, 3, 11 } },
    { 5, 14, { 1, 3, 5, 5, 31 } },
    { 6, 1, { 1, 3, 3, 9, 7, 49 } },
    { 6, 13, { 1, 1, 1, 15, 21, 21 } },
    { 6, 16, { 1, 3, 1, 13, 27, 49 } },
};

enum { BITS = 32 };

/* As binary fractions: v_i = m_i / 2^i (Joe and Kuo 2008, equation 3). */
static void direction_numbers(int dimension, uint32_t v[BITS])
{
    const Direction *d = &directions[dimension > 0 ? dimension - 1 : 0];
    int given = dimension > 0 ? d->degree : BITS; /* van der Corput: all m_i are 1 */
    for (int i = 0; i < given; i++)
        v[i] = (dimension > 0 ? d->initial[i] : 1) << (BITS - 1 - i);
    for (int i = given; i < BITS; i++) {
        v[i] = v[i - given] ^ (v[i - given] >> given);
        for (int k = 1; k < given; k++)
            if (d->coefficients >> (given - 1 - k) & 1)
                v[i] ^= v[i - k];
    }
}

double study_sobol(int64_t index, int dimension)
{
    uint32_t v[BITS], x = 0;
    expect(index >= 0 && index < (int64_t)1 << BITS);
    expect(dimension >= 0 && dimension < STUDY_MAX_DIMENSIONS);
    uint32_t gray = (uint32_t)index ^ ((uint32_t)index >> 1);
    direction_numbers(dimension, v);
    for (int i = 0; i < BITS; i++)
        if (gray >> i & 1)
            x ^= v[i];
    return (double)x / 4294967296.0;
}
