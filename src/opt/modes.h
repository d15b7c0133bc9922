/* A tensor as a matrix along each of its dimensions ("modes"), for methods with a preconditioner
 * per dimension (Shampoo, SOAP). Everything is in double and in a fixed order.
 *
 * Along dimension d a tensor is (A, D, C): A = the dimensions before, C = those behind it. */
#ifndef LOCKSTEP_OPT_MODES_H
#define LOCKSTEP_OPT_MODES_H

#include "lockstep/layout.h"

typedef struct Mode {
    int A, D, C;
} Mode;
Mode mode_of(const LayoutTensor *tensor, int dimension);

/* s (D, D) = keep * s + take * X X^T, X the matrix (D, A C) of x. */
void mode_gram(Mode mode, const double *x, double keep, double take, double *s);

/* y = x with every vector along the dimension multiplied by m (D, D), or by m^T. y is not x. */
void mode_multiply(Mode mode, const double *x, const double *m, bool transposed, double *y);

#endif
