/* AdEMAMix: AdamW with a second, slow mean of gradients, Pagliardini et al. 2024, in the form of
 * the official program: only the fast mean is corrected for its bias; alpha grows linearly and
 * beta3 by its half-life over a warm-up. */
#include "../moments.h"
#include "lockstep/cpu.h"

typedef struct AdemamixOptions {
    MomentOptions moments;
    double beta3, alpha;
    int64_t alpha_warmup, beta3_warmup;
    int decay;
} AdemamixOptions;

static const Option options[] = {
    MOMENT_OPTIONS(AdemamixOptions, "0.9", "0.999", "1e-8"),
    { "beta3", OPTION_FLOAT, OPTION_AT(AdemamixOptions, beta3), 0, 0.9999999, NULL, "0.9999",
      "decay of the slow mean" },
    { "alpha", OPTION_FLOAT, OPTION_AT(AdemamixOptions, alpha), 0, 1e6, NULL, "2",
      "weight of the slow mean beside the fast one" },
    { "alpha_warmup", OPTION_INT, OPTION_AT(AdemamixOptions, alpha_warmup), 0, 1e15, NULL, "0",
      "steps over which alpha grows from 0; the paper: those of the whole run; 0: none" },
    { "beta3_warmup", OPTION_INT, OPTION_AT(AdemamixOptions, beta3_warmup), 0, 1e15, NULL, "0",
      "steps over which beta3 grows from beta1; the paper: those of the whole run; 0: none" },
    DECAY_OPTION(AdemamixOptions, "decoupled"),
    OPTION_END,
};

static double alpha_at(const AdemamixOptions *o, int64_t t)
{
    return t < o->alpha_warmup ? o->alpha * (double)t / (double)o->alpha_warmup : o->alpha;
}

/* A mean's memory in steps is about ln(1/2) / ln(beta) - 1: that grows linearly. */
static double memory(double beta)
{
    return log(0.5) / log(beta + 1e-8) - 1;
}

static double beta3_at(const AdemamixOptions *o, int64_t t)
{
    if (t >= o->beta3_warmup)
        return o->beta3;
    double share = (double)t / (double)o->beta3_warmup;
    double steps = (1 - share) * memory(o->moments.beta1) + share * memory(o->beta3);
    return pow(0.5, 1 / (steps + 1));
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const AdemamixOptions *o = options_pointer;
    const MomentStep s = moment_step(&o->moments, o->decay, step);
    double decay3 = beta3_at(o, step->t);
    const float beta3 = (float)decay3, gain3 = (float)(1 - decay3);
    const float rate_slow = (float)(step->lr * alpha_at(o, step->t));
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict m = __builtin_assume_aligned(range->state[0], 64);
    float *restrict v = __builtin_assume_aligned(range->state[1], 64);
    float *restrict slow = __builtin_assume_aligned(range->state[2], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    for (size_t i = 0; i < range->n; i++) {
        float d = s.scale * g[i] + s.l2 * w[i];
        m[i] = s.beta1 * m[i] + s.gain1 * d;
        v[i] = s.beta2 * v[i] + s.gain2 * d * d;
        slow[i] = beta3 * slow[i] + gain3 * d;
        float u = (s.rate * m[i] + rate_slow * slow[i]) / (sqrtf(v[i]) * s.correction + s.eps);
        w[i] = w[i] - s.shrink * w[i] - u;
    }
}

extern const OptimizerType ISA_NAME(optimizer_ademamix);
const OptimizerType ISA_NAME(optimizer_ademamix) = {
    .name = "ademamix",
    .help = "AdamW with a second, slow mean of gradients (lr 0.001, weight_decay 0.01, no "
            "clip_norm)",
    .formula = "m, v as Adam; n = b3 n + (1 - b3) g; w -= lr wd w + "
               "lr (m / (1 - b1^t) + alpha n) / (sqrt(v / (1 - b2^t)) + eps)",
    .source = "Pagliardini et al. 2024",
    .options = options,
    .options_bytes = sizeof(AdemamixOptions),
    .states = 3,
    .state_names = { "mean", "square", "slow_mean" },
    .flops = 23,
    .default_lr = 1e-3,
    .default_weight_decay = 0.01,
    .clip_epsilon = 1e-6,
    .update = update,
};
