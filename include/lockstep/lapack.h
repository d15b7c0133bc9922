/* Linear algebra in double through OpenBLAS and its LAPACK: for preconditioners. One thread, work
 * space of a fixed size and memory aligned to 64 bytes, so that bits depend on the matrix alone
 * (docs/numerics.md). */
#ifndef LOCKSTEP_LAPACK_H
#define LOCKSTEP_LAPACK_H

#include <stdbool.h>
#include <stddef.h>

/* As gemm (gemm.h), in double. */
void gemm_double(bool trans_a, bool trans_b, int M, int N, int K, double alpha, const double *a,
                 int lda, const double *b, int ldb, double beta, double *c, int ldc);

/* Doubles of scratch memory for the functions below. */
size_t lapack_scratch(int n);

/* Symmetric a (n, n) -> its eigenvectors as rows, eigenvalues ascending in `values` (n). False if
 * it does not converge, which happens with numbers that are not finite. */
bool lapack_eigen(int n, double *a, double *values, double *scratch);

/* The rows of a (n, n), made orthonormal one after the other: row i is a combination of rows 0 to i
 * (QR by Householder reflections; signs as LAPACK has them). */
bool lapack_orthogonal(int n, double *a, double *scratch);

#endif
