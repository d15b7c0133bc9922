/* What the relatives of Adam share: decaying means of gradients and of their squares.
 *
 *   d = scale g + l2 w
 *   m = beta1 m + gain1 d        v = beta2 v + gain2 d^2
 *   w -= shrink w + rate m / (sqrt(v) correction + eps)
 *
 * with rate = lr / (1 - beta1^t), correction = 1 / sqrt(1 - beta2^t). Static, for files that are
 * compiled once per ISA level. */
#ifndef LOCKSTEP_OPT_MOMENTS_H
#define LOCKSTEP_OPT_MOMENTS_H

#include "decay.h"
#include "lockstep/vmath.h"

#include <math.h>

typedef struct MomentOptions {
    double beta1, beta2, eps;
} MomentOptions;

/* The option rows of a struct with `MomentOptions moments`. eps is above 0 because padding has
 * 0 / (sqrt(0) + eps). */
#define MOMENT_OPTIONS(type, otherwise1, otherwise2, otherwise_eps)                                \
    { "beta1", OPTION_FLOAT, OPTION_AT(type, moments.beta1),  0, 0.9999999,                        \
      NULL,    otherwise1,   "decay of the mean of gradients" },                                   \
        { "beta2", OPTION_FLOAT, OPTION_AT(type, moments.beta2),          0, 0.9999999,            \
          NULL,    otherwise2,   "decay of the mean of squared gradients" },                       \
    {                                                                                              \
        "eps", OPTION_FLOAT, OPTION_AT(type, moments.eps), 1e-30, 1, NULL, otherwise_eps,          \
            "added to the root of the second moment"                                               \
    }

typedef struct MomentStep {
    float scale, l2, shrink;
    float beta1, gain1, beta2, gain2;
    float rate, correction, eps;
} MomentStep;

static inline MomentStep moment_step(const MomentOptions *o, int decay, const TensorStep *step)
{
    const double beta1 = optimizer_momentum(step, o->beta1);
    return (MomentStep){
        .scale = (float)step->scale,
        .l2 = (float)decay_l2(decay, step),
        .shrink = (float)decay_shrink(decay, step),
        .beta1 = (float)beta1,
        .gain1 = (float)(1 - beta1),
        .beta2 = (float)o->beta2,
        .gain2 = (float)(1 - o->beta2),
        .rate = (float)(step->lr / (1 - vmath_power(beta1, step->t))),
        .correction = (float)(1 / sqrt(1 - vmath_power(o->beta2, step->t))),
        .eps = (float)o->eps,
    };
}

/* eps added before the root is corrected: (sqrt(v) + eps) correction. */
static inline void moment_eps_uncorrected(MomentStep *s, const MomentOptions *o,
                                          const TensorStep *step)
{
    s->eps = (float)(o->eps / sqrt(1 - vmath_power(o->beta2, step->t)));
}

#endif
