/* The scalar product of doubles, in one order everywhere. For files that are compiled once, without
 * contraction. Private to src/nn. */
#ifndef LOCKSTEP_NN_DOT_H
#define LOCKSTEP_NN_DOT_H

#include <stddef.h>

static inline double dot(const double *a, const double *b, size_t n)
{
    enum { WIDTH = 8 }; /* partial sums, so that the compiler may use vectors */
    double part[WIDTH] = { 0 };
    size_t whole = n / WIDTH * WIDTH;
    for (size_t i = 0; i < whole; i += WIDTH)
        for (size_t k = 0; k < WIDTH; k++)
            part[k] += a[i + k] * b[i + k];
    for (size_t i = whole; i < n; i++)
        part[i - whole] += a[i] * b[i];
    double sum = 0;
    for (int k = 0; k < WIDTH; k++)
        sum += part[k];
    return sum;
}

#endif
