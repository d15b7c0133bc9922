/* RMSprop in its two public forms, PyTorch's (rmsprop) and TensorFlow's (rmsprop_tf): where the
 * mean of squares begins, where eps goes and where lr goes. Hinton 2012, lecture 6e, has neither
 * eps nor momentum. Static, for files that are compiled once per ISA level. */
#ifndef LOCKSTEP_OPT_RMSPROP_H
#define LOCKSTEP_OPT_RMSPROP_H

#include "decay.h"
#include "states.h"

#include <math.h>

typedef struct RmspropOptions {
    double alpha, eps, momentum;
    bool centered, lr_in_momentum;
    int decay;
} RmspropOptions;

#define RMSPROP_OPTIONS(alpha_otherwise, eps_otherwise, eps_help, momentum_otherwise,              \
                        lr_otherwise)                                                              \
    { "alpha", OPTION_FLOAT,    OPTION_AT(RmspropOptions, alpha),        0, 0.9999999,             \
      NULL,    alpha_otherwise, "decay of the mean of squared gradients" },                        \
        { "eps",         OPTION_FLOAT, OPTION_AT(RmspropOptions, eps), 1e-30, 1, NULL,             \
          eps_otherwise, eps_help },                                                               \
        { "momentum",                                                                              \
          OPTION_FLOAT,                                                                            \
          OPTION_AT(RmspropOptions, momentum),                                                     \
          0,                                                                                       \
          1,                                                                                       \
          NULL,                                                                                    \
          momentum_otherwise,                                                                      \
          "share of the velocity that survives a step; 0: no velocity" },                          \
        { "centered",                                                                              \
          OPTION_BOOL,                                                                             \
          OPTION_AT(RmspropOptions, centered),                                                     \
          0,                                                                                       \
          0,                                                                                       \
          NULL,                                                                                    \
          "false",                                                                                 \
          "divide by the spread around the mean gradient" },                                       \
        { "lr_in_momentum",                                                                        \
          OPTION_BOOL,                                                                             \
          OPTION_AT(RmspropOptions, lr_in_momentum),                                               \
          0,                                                                                       \
          0,                                                                                       \
          NULL,                                                                                    \
          lr_otherwise,                                                                            \
          "lr inside the velocity, so a drop of lr reaches old velocity late" },                   \
        DECAY_OPTION(RmspropOptions, "l2")

enum { RMSPROP_SQUARE, RMSPROP_MOMENTUM, RMSPROP_MEAN };
#define RMSPROP_STATE_NAMES                                                                        \
    {                                                                                              \
        "square", "momentum", "mean"                                                               \
    }

static unsigned rmsprop_state_mask(const void *options)
{
    const RmspropOptions *o = options;
    return 1u << RMSPROP_SQUARE | (o->momentum > 0 ? 1u << RMSPROP_MOMENTUM : 0) |
           (o->centered ? 1u << RMSPROP_MEAN : 0);
}

typedef struct RmspropStep {
    float scale, l2, shrink, alpha, gain, momentum;
    float under, beside; /* eps under the root and beside it */
    float in, out;       /* lr inside the velocity and outside */
} RmspropStep;

static inline __attribute__((always_inline)) void rmsprop_elements(const RmspropStep s,
                                                                   const OptimizerRange *range,
                                                                   bool centered,
                                                                   bool with_momentum)
{
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict v = __builtin_assume_aligned(range->state[RMSPROP_SQUARE], 64);
    float *restrict b = __builtin_assume_aligned(range->state[RMSPROP_MOMENTUM], 64);
    float *restrict mean = __builtin_assume_aligned(range->state[RMSPROP_MEAN], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    for (size_t i = 0; i < range->n; i++) {
        float d = s.scale * g[i] + s.l2 * w[i];
        v[i] = s.alpha * v[i] + s.gain * d * d;
        float square = v[i];
        if (centered) {
            mean[i] = s.alpha * mean[i] + s.gain * d;
            square -= mean[i] * mean[i];
            square = square > 0 ? square : 0; /* in float it may fall below */
        }
        float u = s.in * d / (sqrtf(square + s.under) + s.beside);
        if (with_momentum)
            u = b[i] = s.momentum * b[i] + u;
        w[i] = w[i] - s.shrink * w[i] - s.out * u;
    }
}

static inline void rmsprop_any(const RmspropOptions *o, const TensorStep *step, bool eps_inside,
                               const OptimizerRange *range)
{
    const RmspropStep s = { .scale = (float)step->scale,
                            .l2 = (float)decay_l2(o->decay, step),
                            .shrink = (float)decay_shrink(o->decay, step),
                            .alpha = (float)o->alpha,
                            .gain = (float)(1 - o->alpha),
                            .momentum = (float)optimizer_momentum(step, o->momentum),
                            .under = (float)(eps_inside ? o->eps : 0),
                            .beside = (float)(eps_inside ? 0 : o->eps),
                            .in = (float)(o->lr_in_momentum ? step->lr : 1),
                            .out = (float)(o->lr_in_momentum ? 1 : step->lr) };
    if (o->centered && o->momentum > 0)
        rmsprop_elements(s, range, true, true);
    else if (o->centered)
        rmsprop_elements(s, range, true, false);
    else if (o->momentum > 0)
        rmsprop_elements(s, range, false, true);
    else
        rmsprop_elements(s, range, false, false);
}

#endif
