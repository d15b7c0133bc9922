/* Initial weights, keyed by (seed, tensor, element). Schemes:
 *   he_normal he_uniform he_truncated              std = sqrt(2 / fan_in)      He et al. 2015
 *   he_normal_out he_uniform_out he_truncated_out  std = sqrt(2 / fan_out)
 *   xavier_normal xavier_uniform xavier_truncated  std = sqrt(2 / (fan_in + fan_out))  Glorot 2010
 *   lecun_normal lecun_uniform lecun_truncated     std = sqrt(1 / fan_in)      LeCun et al. 1998
 *   orthogonal                                     Saxe et al. 2014 (rows or columns orthonormal)
 *   torch                                          U(+-1/sqrt(fan_in)): PyTorch's default
 *   dirac                                          Zagoruyko and Komodakis 2017: filter i passes
 *                                                  channel i on; filters without one as torch
 *   whiten(eps)                                    Page 2018: eigenvectors of the second moments of
 *                                                  input patches, each over sqrt(eigenvalue + eps),
 *                                                  largest eigenvalue first; behind all of them the
 *                                                  same with the other sign
 *   normal(s) uniform(s) truncated(s)              std = s
 *   constant(c) zeros ones
 * Uniform forms have the stated std: bound = sqrt(3) * std. Truncated: cut at 2 sigma, rescaled to
 * std. An optional gain multiplies: "xavier_uniform*1.6667" is Glorot's for tanh (5/3). */
#ifndef LOCKSTEP_INITIALIZER_H
#define LOCKSTEP_INITIALIZER_H

#include "lockstep/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct InitializerInput {
    uint64_t seed;
    uint64_t tensor; /* number of the tensor in the layout */
    int fan_in, fan_out;
    int rows, columns;      /* the tensor as a matrix: shape[0] x the rest */
    int kernel_h, kernel_w; /* of a convolution, for dirac; 0: 1 */
    int groups;             /* of a convolution, for dirac; 0: 1 */
    /* (columns, columns) E[x x^T] of a row's inputs x, for whiten, or NULL */
    const double *moments;
} InitializerInput;

/* Fills w[0 .. rows*columns). Error: unknown scheme (nearest spelling offered). orthogonal takes
 * 4 min(rows, columns)^2 max(rows, columns) flops, about 1 s for 1024 x 1024. */
bool initializer_fill(const char *scheme, const InitializerInput *input, float *w, Err *err);

/* Does the scheme look at the data, that is, want `moments`? */
bool initializer_wants_moments(const char *scheme);

/* Checks a scheme's spelling without filling anything. */
bool initializer_check(const char *scheme, Err *err);

/* Names and one-line descriptions, for `lockstep list`. Ends with a NULL name. */
typedef struct InitializerInfo {
    const char *name, *help;
} InitializerInfo;
const InitializerInfo *initializer_all(void);

#endif
