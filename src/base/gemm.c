/* The one door to OpenBLAS. */
#include "lockstep/gemm.h"

#include <cblas.h>

void gemm(bool trans_a, bool trans_b, int M, int N, int K, float alpha, const float *a, int lda,
          const float *b, int ldb, float beta, float *c, int ldc)
{
    if (M == 0 || N == 0)
        return;
    cblas_sgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans,
                trans_b ? CblasTrans : CblasNoTrans, M, N, K, alpha, a, lda, b, ldb, beta, c, ldc);
}
