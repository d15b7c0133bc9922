/* AdaBound, AMSBound and AdaBoundW: Adam whose rate per weight is kept between two bounds that
 * close in on final_lr. Luo et al. 2019, in the form of its official program: eps uncorrected,
 * final_lr follows the schedule. Static, for files that are compiled once per ISA level. */
#ifndef LOCKSTEP_OPT_BOUND_H
#define LOCKSTEP_OPT_BOUND_H

#include "moments.h"

typedef struct BoundOptions {
    MomentOptions moments;
    int decay;
    bool amsbound;
    double final_lr, gamma;
} BoundOptions;

#define BOUND_OPTIONS(decay_otherwise, amsbound_otherwise)                                         \
    MOMENT_OPTIONS(BoundOptions, "0.9", "0.999", "1e-8"),                                          \
        DECAY_OPTION(BoundOptions, decay_otherwise),                                               \
        { "amsbound",                                                                              \
          OPTION_BOOL,                                                                             \
          OPTION_AT(BoundOptions, amsbound),                                                       \
          0,                                                                                       \
          0,                                                                                       \
          NULL,                                                                                    \
          amsbound_otherwise,                                                                      \
          "divide by the root of the largest second moment so far (AMSBound)" },                   \
        { "final_lr",                                                                              \
          OPTION_FLOAT,                                                                            \
          OPTION_AT(BoundOptions, final_lr),                                                       \
          0,                                                                                       \
          1e9,                                                                                     \
          NULL,                                                                                    \
          "0.1",                                                                                   \
          "the rate that both bounds go to, that of SGD, at the config's lr" },                    \
    {                                                                                              \
        "gamma", OPTION_FLOAT, OPTION_AT(BoundOptions, gamma), 1e-12, 1e6, NULL, "0.001",          \
            "how fast the bounds close in"                                                         \
    }

static unsigned bound_state_mask(const void *options)
{
    const BoundOptions *o = options;
    return o->amsbound ? 7 : 3;
}

static inline __attribute__((always_inline)) void bound_elements(const MomentStep s,
                                                                 const OptimizerRange *range,
                                                                 float lower, float upper,
                                                                 bool amsbound)
{
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict m = __builtin_assume_aligned(range->state[0], 64);
    float *restrict v = __builtin_assume_aligned(range->state[1], 64);
    float *restrict top = __builtin_assume_aligned(range->state[2], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    for (size_t i = 0; i < range->n; i++) {
        float d = s.scale * g[i] + s.l2 * w[i];
        m[i] = s.beta1 * m[i] + s.gain1 * d;
        v[i] = s.beta2 * v[i] + s.gain2 * d * d;
        float square = v[i];
        if (amsbound)
            square = top[i] = top[i] > square ? top[i] : square;
        float rate = s.rate / (sqrtf(square) * s.correction + s.eps);
        rate = rate < lower ? lower : rate;
        rate = rate > upper ? upper : rate;
        w[i] = w[i] - s.shrink * w[i] - rate * m[i];
    }
}

static void bound_update(const void *options, const TensorStep *step, const OptimizerRange *range)
{
    const BoundOptions *o = options;
    MomentStep s = moment_step(&o->moments, o->decay, step);
    moment_eps_uncorrected(&s, &o->moments, step);
    double last = o->final_lr * schedule_factor(step), age = o->gamma * (double)step->t;
    float lower = (float)(last * (1 - 1 / (age + 1))), upper = (float)(last * (1 + 1 / age));
    if (o->amsbound)
        bound_elements(s, range, lower, upper, true);
    else
        bound_elements(s, range, lower, upper, false);
}

#endif
