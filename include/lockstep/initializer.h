/* Initial weights, keyed by (seed, tensor, element). Schemes:
 *   he_normal he_uniform he_truncated              std = sqrt(2 / fan_in)      He et al. 2015
 *   he_normal_out he_uniform_out he_truncated_out  std = sqrt(2 / fan_out)
 *   xavier_normal xavier_uniform xavier_truncated  std = sqrt(2 / (fan_in + fan_out))  Glorot 2010
 *   lecun_normal lecun_uniform lecun_truncated     std = sqrt(1 / fan_in)      LeCun et al. 1998
 *   orthogonal                                     Saxe et al. 2014 (rows or columns orthonormal)
 *   torch                                          U(+-1/sqrt(fan_in)): PyTorch's default
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
    int rows, columns; /* the tensor as a matrix: shape[0] x the rest */
} InitializerInput;

/* Fills w[0 .. rows*columns). Error: unknown scheme (nearest spelling offered). orthogonal takes
 * 4 min(rows, columns)^2 max(rows, columns) flops, about 1 s for 1024 x 1024. */
bool initializer_fill(const char *scheme, const InitializerInput *input, float *w, Err *err);

/* Checks a scheme's spelling without filling anything. */
bool initializer_check(const char *scheme, Err *err);

/* Names and one-line descriptions, for `lockstep list`. Ends with a NULL name. */
typedef struct InitializerInfo {
    const char *name, *help;
} InitializerInfo;
const InitializerInfo *initializer_all(void);

#endif
