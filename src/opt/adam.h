/* Adam, AdamW and AMSGrad: one update, different defaults. Kingma and Ba 2015; Loshchilov and
 * Hutter 2019; Reddi et al. 2018. Static, for files that are compiled once per ISA level. */
#ifndef LOCKSTEP_OPT_ADAM_H
#define LOCKSTEP_OPT_ADAM_H

#include "moments.h"

typedef struct AdamOptions {
    MomentOptions moments;
    int decay;
    bool amsgrad, eps_hat;
} AdamOptions;

#define ADAM_OPTIONS(decay_otherwise, amsgrad_otherwise)                                           \
    MOMENT_OPTIONS(AdamOptions, "0.9", "0.999", "1e-8"),                                           \
        DECAY_OPTION(AdamOptions, decay_otherwise),                                                \
        { "amsgrad",                                                                               \
          OPTION_BOOL,                                                                             \
          OPTION_AT(AdamOptions, amsgrad),                                                         \
          0,                                                                                       \
          0,                                                                                       \
          NULL,                                                                                    \
          amsgrad_otherwise,                                                                       \
          "divide by the root of the largest second moment so far, before its correction" },       \
    {                                                                                              \
        "eps_hat", OPTION_BOOL, OPTION_AT(AdamOptions, eps_hat), 0, 0, NULL, "false",              \
            "eps joins the root before the correction: the paper's epsilon hat, TensorFlow"        \
    }

static unsigned adam_state_mask(const void *options)
{
    const AdamOptions *o = options;
    return o->amsgrad ? 7 : 3;
}

static inline __attribute__((always_inline)) void
adam_elements(const MomentStep s, const OptimizerRange *range, bool amsgrad)
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
        if (amsgrad)
            square = top[i] = top[i] > square ? top[i] : square;
        w[i] = w[i] - s.shrink * w[i] - s.rate * m[i] / (sqrtf(square) * s.correction + s.eps);
    }
}

static void adam_update(const void *options, const TensorStep *step, const OptimizerRange *range)
{
    const AdamOptions *o = options;
    MomentStep s = moment_step(&o->moments, o->decay, step);
    if (o->eps_hat)
        moment_eps_uncorrected(&s, &o->moments, step);
    if (o->amsgrad)
        adam_elements(s, range, true);
    else
        adam_elements(s, range, false);
}

#endif
