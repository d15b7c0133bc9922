/* AdaBelief: Adam that divides by the spread of gradients around their mean, Zhuang et al. 2020.
 * eps joins the second moment in every step, as in the paper's algorithm, and the corrected root
 * once more. */
#include "../moments.h"
#include "../rectify.h"
#include "lockstep/cpu.h"

typedef struct AdabeliefOptions {
    MomentOptions moments;
    int decay, below;
    bool amsgrad, rectify;
} AdabeliefOptions;

static const Option options[] = {
    MOMENT_OPTIONS(AdabeliefOptions, "0.9", "0.999", "1e-16"),
    DECAY_OPTION(AdabeliefOptions, "decoupled"),
    { "amsgrad", OPTION_BOOL, OPTION_AT(AdabeliefOptions, amsgrad), 0, 0, NULL, "false",
      "divide by the root of the largest spread so far, before its correction" },
    { "rectify", OPTION_BOOL, OPTION_AT(AdabeliefOptions, rectify), 0, 0, NULL, "false",
      "rectify the rate as RAdam does, threshold 5 (default of the official program since 0.1)" },
    BELOW_OPTION(AdabeliefOptions),
    OPTION_END,
};

static unsigned state_mask(const void *options_pointer)
{
    const AdabeliefOptions *o = options_pointer;
    return o->amsgrad ? 7 : 3;
}

static inline __attribute__((always_inline)) void
elements(const MomentStep s, const OptimizerRange *range, float ground, bool adaptive, bool amsgrad)
{
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict m = __builtin_assume_aligned(range->state[0], 64);
    float *restrict v = __builtin_assume_aligned(range->state[1], 64);
    float *restrict top = __builtin_assume_aligned(range->state[2], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    for (size_t i = 0; i < range->n; i++) {
        float d = s.scale * g[i] + s.l2 * w[i];
        m[i] = s.beta1 * m[i] + s.gain1 * d;
        v[i] = s.beta2 * v[i] + s.gain2 * (d - m[i]) * (d - m[i]) + ground;
        float spread = v[i], u = s.rate * m[i];
        if (amsgrad)
            spread = top[i] = top[i] > spread ? top[i] : spread;
        if (adaptive)
            u /= sqrtf(spread) * s.correction + s.eps;
        w[i] = w[i] - s.shrink * w[i] - u;
    }
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const AdabeliefOptions *o = options_pointer;
    MomentStep s = moment_step(&o->moments, o->decay, step);
    float ground = (float)o->moments.eps;
    bool adaptive = true;
    if (o->rectify) {
        double rectified = rectification(o->moments.beta2, step->t, 5);
        adaptive = rectified > 0;
        moment_eps_uncorrected(&s, &o->moments, step);
        s.rate *= adaptive ? (float)rectified : o->below == BELOW_MOMENTUM;
    }
    if (!adaptive)
        elements(s, range, ground, false, false);
    else if (o->amsgrad)
        elements(s, range, ground, true, true);
    else
        elements(s, range, ground, true, false);
}

extern const OptimizerType ISA_NAME(optimizer_adabelief);
const OptimizerType ISA_NAME(optimizer_adabelief) = {
    .name = "adabelief",
    .help = "Adam that divides by the spread of gradients around their mean (lr 0.001, no "
            "weight_decay, no clip_norm)",
    .formula = "m = b1 m + (1 - b1) g; s = b2 s + (1 - b2) (g - m)^2 + eps; "
               "w -= lr wd w + lr m / (1 - b1^t) / (sqrt(s / (1 - b2^t)) + eps)",
    .source = "Zhuang et al. 2020",
    .options = options,
    .options_bytes = sizeof(AdabeliefOptions),
    .states = 3,
    .state_names = { "mean", "spread", "largest_spread" },
    .flops = 20,
    .state_mask = state_mask,
    .default_lr = 1e-3,
    .clip_epsilon = 1e-6,
    .update = update,
};
