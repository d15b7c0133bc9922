/* The one kernel that a sum needs, in plain C. */
#include "lockstep/kernels.h"

static void add(float *out, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = a[i] + b[i];
}

const Kernels *kernels(void)
{
    static const Kernels plain = { .add = add };
    return &plain;
}
