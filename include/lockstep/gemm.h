/* Matrix products: C = alpha * op(A) op(B) + beta * C, row-major, float, through OpenBLAS (the only
 * file that includes cblas.h), one thread. For equal shapes, core and transposes the bits do not
 * depend on alignment or on repeats; they do depend on M, which is why lanes have fixed shapes. */
#ifndef LOCKSTEP_GEMM_H
#define LOCKSTEP_GEMM_H

#include <stdbool.h>

/* op(A) is M x K, op(B) is K x N, C is M x N; lda, ldb, ldc are row strides in floats of the stored
 * matrices. M, N or K may be 0. */
void gemm(bool trans_a, bool trans_b, int M, int N, int K, float alpha, const float *a, int lda,
          const float *b, int ldb, float beta, float *c, int ldc);

#endif
