/* LAMB: Adam's direction, scaled per layer to the norm of its weights. You et al. 2020, Algorithm
 * 2, with bias correction, phi the identity, decay inside the direction, and the global gradient
 * norm clipped at 1 before the moments as NVIDIA's LAMB does (Apex; the paper has no clip:
 * clip_norm 0). */
#include "lockstep/cpu.h"
#include "lockstep/optimizer.h"
#include "lockstep/vmath.h"

#include <math.h>

typedef enum LambDecay { LAMB_INSIDE, LAMB_DECOUPLED, LAMB_L2 } LambDecay;

typedef struct LambOptions {
    double beta1, beta2, eps, norm_clamp, ratio_eps, ratio_min, ratio_max;
    int decay;
    bool bias_correction, grad_averaging, trust_clip;
} LambOptions;

/* eps is above 0 because padding has 0 / (sqrt(0) + eps). */
static const Option options[] = {
    { "beta1", OPTION_FLOAT, OPTION_AT(LambOptions, beta1), 0, 0.9999999, NULL, "0.9",
      "decay of the mean of gradients" },
    { "beta2", OPTION_FLOAT, OPTION_AT(LambOptions, beta2), 0, 0.9999999, NULL, "0.999",
      "decay of the mean of squared gradients" },
    { "eps", OPTION_FLOAT, OPTION_AT(LambOptions, eps), 1e-30, 1, NULL, "1e-6",
      "added to the root of the corrected second moment" },
    { "bias_correction", OPTION_BOOL, OPTION_AT(LambOptions, bias_correction), 0, 0, NULL, "true",
      "divide the moments by 1 - beta^t" },
    { "grad_averaging", OPTION_BOOL, OPTION_AT(LambOptions, grad_averaging), 0, 0, NULL, "true",
      "the gradient enters the mean times 1 - beta1; false: times 1" },
    { "decay", OPTION_CHOICE, OPTION_AT(LambOptions, decay), 0, 0, "inside|decoupled|l2", "inside",
      "inside: weight_decay * w joins the direction; decoupled: w shrinks by lr * weight_decay "
      "first; l2: weight_decay * w joins the gradient behind the clip (Apex, mode 0)" },
    { "trust_clip", OPTION_BOOL, OPTION_AT(LambOptions, trust_clip), 0, 0, NULL, "false",
      "ratios above 1 become 1 (LAMBC)" },
    { "norm_clamp", OPTION_FLOAT, OPTION_AT(LambOptions, norm_clamp), 0, 1e9, NULL, "0",
      "largest |w| in the ratio, 10 in some ports; 0: none" },
    { "ratio_eps", OPTION_FLOAT, OPTION_AT(LambOptions, ratio_eps), 0, 1, NULL, "0",
      "added to the ratio's denominator, 1e-6 in some ports" },
    { "ratio_min", OPTION_FLOAT, OPTION_AT(LambOptions, ratio_min), 0, 1e9, NULL, "0",
      "smallest ratio, 0.01 in DeepSpeed" },
    { "ratio_max", OPTION_FLOAT, OPTION_AT(LambOptions, ratio_max), 0, 1e9, NULL, "0",
      "largest ratio, 10 in DeepSpeed and in the paper's first version; 0: none" },
    OPTION_END,
};

static unsigned needs(const void *options_pointer)
{
    (void)options_pointer;
    return OPTIMIZER_NORM_W | OPTIMIZER_NORM_U;
}

/* Scalars of one step; direction u = rate * m / (sqrt(v) * correction + eps) + decay * w. */
typedef struct LambStep {
    float rate, correction, eps, decay;
} LambStep;

static LambStep lamb_step(const LambOptions *o, const TensorStep *step)
{
    double first =
        o->bias_correction ? 1 - vmath_power(optimizer_momentum(step, o->beta1), step->t) : 1;
    double second = o->bias_correction ? 1 - vmath_power(o->beta2, step->t) : 1;
    return (LambStep){ .rate = (float)(1 / first),
                       .correction = (float)(1 / sqrt(second)),
                       .eps = (float)o->eps,
                       .decay = (float)(o->decay == LAMB_INSIDE ? step->weight_decay : 0) };
}

static double direction(const void *options_pointer, const TensorStep *step,
                        const OptimizerRange *range)
{
    const LambOptions *o = options_pointer;
    const LambStep s = lamb_step(o, step);
    const float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict m = __builtin_assume_aligned(range->state[0], 64);
    float *restrict v = __builtin_assume_aligned(range->state[1], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    const float scale = (float)step->scale;
    const float l2 = (float)(o->decay == LAMB_L2 ? step->weight_decay : 0);
    const double mean = optimizer_momentum(step, o->beta1);
    const float beta1 = (float)mean, gain1 = (float)(o->grad_averaging ? 1 - mean : 1);
    const float beta2 = (float)o->beta2, gain2 = (float)(1 - o->beta2);
    double sums[16] = { 0 };
    for (size_t i = 0; i < range->n; i += 16)
        for (size_t k = i; k < i + 16; k++) {
            float d = scale * g[k] + l2 * w[k];
            m[k] = beta1 * m[k] + gain1 * d;
            v[k] = beta2 * v[k] + gain2 * d * d;
            float u = s.rate * m[k] / (sqrtf(v[k]) * s.correction + s.eps) + s.decay * w[k];
            sums[k - i] += (double)u * (double)u;
        }
    return vmath_fold(sums);
}

static double trust_ratio(const void *options_pointer, const TensorStep *step, bool *clamped)
{
    const LambOptions *o = options_pointer;
    double norm = step->norm_w; /* decoupled decay comes before the norm */
    if (o->decay == LAMB_DECOUPLED)
        norm *= fabs(1 - step->lr * step->weight_decay);
    bool capped = o->norm_clamp > 0 && norm > o->norm_clamp;
    if (capped)
        norm = o->norm_clamp;
    double free = norm > 0 && step->norm_u > 0 ? norm / (step->norm_u + o->ratio_eps) : 1;
    double ratio = free;
    if (ratio < o->ratio_min)
        ratio = o->ratio_min;
    if (o->ratio_max > 0 && ratio > o->ratio_max)
        ratio = o->ratio_max;
    if (o->trust_clip && ratio > 1)
        ratio = 1;
    *clamped = capped || ratio < free || ratio > free;
    return ratio;
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const LambOptions *o = options_pointer;
    const LambStep s = lamb_step(o, step);
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    const float *restrict m = __builtin_assume_aligned(range->state[0], 64);
    const float *restrict v = __builtin_assume_aligned(range->state[1], 64);
    const float lr = (float)(step->lr * step->trust);
    const float shrink = (float)(o->decay == LAMB_DECOUPLED ? step->lr * step->weight_decay : 0);
    for (size_t i = 0; i < range->n; i++) {
        float u = s.rate * m[i] / (sqrtf(v[i]) * s.correction + s.eps) + s.decay * w[i];
        w[i] = w[i] - shrink * w[i] - lr * u;
    }
}

extern const OptimizerType ISA_NAME(optimizer_lamb);
const OptimizerType ISA_NAME(optimizer_lamb) = {
    .name = "lamb",
    .help = "Adam's direction with a trust ratio per layer, for large batches (lr 0.001, "
            "weight_decay 0.01, "
            "clip_norm 1)",
    .formula = "g /= max(1, |g| / clip_norm); m, v as Adam; u = m / (1 - b1^t) / (sqrt(v / (1 - "
               "b2^t)) + eps) "
               "+ wd w; w -= lr (|w| / |u|, 1 if a norm is 0) u",
    .source = "You et al. 2020",
    .options = options,
    .options_bytes = sizeof(LambOptions),
    .states = 2,
    .state_names = { "mean", "square" },
    .flops = 32,
    .default_lr = 1e-3,
    .default_weight_decay = 0.01,
    .default_clip_norm = 1,
    .clip_epsilon = 0,
    .needs = needs,
    .direction = direction,
    .trust_ratio = trust_ratio,
    .update = update,
};
