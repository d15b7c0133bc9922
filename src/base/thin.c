/* Thin matrices: the kernels of the ISA level in use, and Gram-Schmidt. */
#include "lockstep/thin.h"
#include "lockstep/cpu.h"

#include <math.h>

#define DEPENDENT 1e-6 /* of a row's norm: less is rounding */

extern const ThinKernels kernels_thin_v2;
#ifdef __x86_64__
extern const ThinKernels kernels_thin_v3, kernels_thin_v4;
#endif

const ThinKernels *thin_kernels(void)
{
#ifdef __x86_64__
    if (cpu_isa() == ISA_V4)
        return &kernels_thin_v4;
    if (cpu_isa() == ISA_V3)
        return &kernels_thin_v3;
#endif
    return &kernels_thin_v2;
}

static double dot(const float *a, const float *b, size_t n)
{
    double sums[8] = { 0 };
    for (size_t i = 0; i + 8 <= n; i += 8)
        for (size_t k = 0; k < 8; k++)
            sums[k] += (double)a[i + k] * (double)b[i + k];
    for (size_t i = n / 8 * 8; i < n; i++)
        sums[i % 8] += (double)a[i] * (double)b[i];
    for (size_t k = 1; k < 8; k++)
        sums[0] += sums[k];
    return sums[0];
}

void thin_orthonormal(float *x, size_t rank, size_t n)
{
    for (size_t k = 0; k < rank; k++) {
        float *row = x + k * n;
        double before = sqrt(dot(row, row, n));
        for (size_t j = 0; j < 2 * k; j++) { /* twice: the first time leaves rounding behind */
            const float *other = x + j % k * n;
            double share = dot(row, other, n);
            for (size_t i = 0; i < n; i++)
                row[i] = (float)((double)row[i] - share * (double)other[i]);
        }
        double norm = sqrt(dot(row, row, n));
        double factor = norm <= DEPENDENT * before ? 0 : 1 / norm;
        for (size_t i = 0; i < n; i++)
            row[i] = (float)(factor * (double)row[i]);
    }
}
