/* The second door to OpenBLAS: products in double, and what LAPACK knows of symmetric and of
 * orthogonal matrices. */
#include "lockstep/lapack.h"
#include "lockstep/error.h"

#include <cblas.h>

/* Fortran's names; matrices are column-major, every argument is a pointer. */
void dsyevd_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w,
             double *work, const int *lwork, int *iwork, const int *liwork, int *info);
void dgeqrf_(const int *m, const int *n, double *a, const int *lda, double *tau, double *work,
             const int *lwork, int *info);
void dorgqr_(const int *m, const int *n, const int *k, double *a, const int *lda, const double *tau,
             double *work, const int *lwork, int *info);

void gemm_double(bool trans_a, bool trans_b, int M, int N, int K, double alpha, const double *a,
                 int lda, const double *b, int ldb, double beta, double *c, int ldc)
{
    if (M == 0 || N == 0)
        return;
    cblas_dgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans,
                trans_b ? CblasTrans : CblasNoTrans, M, N, K, alpha, a, lda, b, ldb, beta, c, ldc);
}

/* What dsyevd asks for, its ints behind its doubles, and enough for blocks of 64 columns; always
 * the same, so that the blocking is. */
static size_t eigen_doubles(int n)
{
    return 1 + 6 * (size_t)n + 2 * (size_t)n * (size_t)n;
}

size_t lapack_scratch(int n)
{
    return eigen_doubles(n) + 66 * (size_t)n + 64;
}

/* A symmetric matrix is its own transpose; eigenvectors come as the columns of a column-major
 * matrix, which are the rows of ours. */
bool lapack_eigen(int n, double *a, double *values, double *scratch)
{
    int info = 0, lwork = (int)eigen_doubles(n), liwork = 3 + 5 * n;
    int *iwork = (int *)(void *)(scratch + lwork);
    dsyevd_("V", "L", &n, a, &n, values, scratch, &lwork, iwork, &liwork, &info);
    return info == 0;
}

bool lapack_orthogonal(int n, double *a, double *scratch)
{
    int info = 0, lwork = 66 * n;
    dgeqrf_(&n, &n, a, &n, scratch, scratch + n, &lwork, &info);
    if (info == 0)
        dorgqr_(&n, &n, &n, a, &n, scratch, scratch + n, &lwork, &info);
    return info == 0;
}
