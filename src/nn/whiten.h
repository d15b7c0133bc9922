/* Whitening filters from images, for the initialiser `whiten`. Private to src/nn. */
#ifndef LOCKSTEP_NN_WHITEN_H
#define LOCKSTEP_NN_WHITEN_H

#include "lockstep/model.h"

#define WHITEN_MAX_VALUES 128 /* of a patch */

/* Second moments E[p p^T] of all patches p of (C, KH, KW) values of up to 5,000 samples that lie
 * evenly in the source, in double: (n, n) with n = C * KH * KW, owned by the caller. */
double *whiten_moments(const SampleSource *source, Shape image, int kernel_h, int kernel_w);

/* w (filters, n) from the eigenvectors of `moments` (n, n): filter i is gain * v_i /
 * sqrt(lambda_i + eps), eigenvalues from the largest down; filter n + i is minus filter i. filters
 * <= 2 n. The largest entry of an eigenvector is positive. */
void whiten_fill(const double *moments, int n, int filters, double eps, double gain, float *w);

#endif
