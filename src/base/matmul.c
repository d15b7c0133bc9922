/* Picks the matrix products of the ISA level in use. */
#include "lockstep/matmul.h"
#include "lockstep/cpu.h"

extern const MatmulKernels matmul_kernels_v2;
#ifdef __x86_64__
extern const MatmulKernels matmul_kernels_v3, matmul_kernels_v4;
#endif

const MatmulKernels *matmul_kernels(void)
{
#ifdef __x86_64__
    if (cpu_isa() == ISA_V4)
        return &matmul_kernels_v4;
    if (cpu_isa() == ISA_V3)
        return &matmul_kernels_v3;
#endif
    return &matmul_kernels_v2;
}

size_t matmul_scratch(int M, int K)
{
    const int rows = M < MATMUL_ROWS ? M : MATMUL_ROWS, depth = K < MATMUL_DEPTH ? K : MATMUL_DEPTH;
    return (size_t)(rows + 8) * (size_t)depth; /* whole tiles of up to 8 rows */
}

void matmul(const Matmul *product, float *scratch)
{
    if (product->M > 0 && product->N > 0)
        matmul_kernels()->product(product, scratch);
}

void matmul_column_sums(int rows, int columns, const float *x, bool add, float *to)
{
    matmul_kernels()->column_sums(rows, columns, x, add, to);
}

void matmul_turn(int rows, int columns, const float *from, bool add, float *to)
{
    matmul_kernels()->turn(rows, columns, from, add, to);
}
