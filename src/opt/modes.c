/* Products along one dimension of a tensor. */
#include "modes.h"
#include "lockstep/lapack.h"

Mode mode_of(const LayoutTensor *tensor, int dimension)
{
    Mode mode = { 1, tensor->shape[dimension], 1 };
    for (int d = 0; d < tensor->ndim; d++)
        *(d < dimension ? &mode.A : &mode.C) *= d == dimension ? 1 : tensor->shape[d];
    return mode;
}

/* The last dimension is a matrix (A, D) as it is; others are A matrices (D, C). */
void mode_gram(Mode m, const double *x, double keep, double take, double *s)
{
    if (m.C == 1) {
        gemm_double(true, false, m.D, m.D, m.A, take, x, m.D, x, m.D, keep, s, m.D);
        return;
    }
    for (int a = 0; a < m.A; a++) {
        const double *part = x + (ptrdiff_t)a * m.D * m.C;
        gemm_double(false, true, m.D, m.D, m.C, take, part, m.C, part, m.C, a == 0 ? keep : 1, s,
                    m.D);
    }
}

void mode_multiply(Mode m, const double *x, const double *by, bool transposed, double *y)
{
    if (m.C == 1) {
        gemm_double(false, !transposed, m.A, m.D, m.D, 1, x, m.D, by, m.D, 0, y, m.D);
        return;
    }
    for (int a = 0; a < m.A; a++) {
        ptrdiff_t at = (ptrdiff_t)a * m.D * m.C;
        gemm_double(transposed, false, m.D, m.C, m.D, 1, by, m.D, x + at, m.C, 0, y + at, m.C);
    }
}
