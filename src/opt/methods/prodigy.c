/* Prodigy: Adam that finds its lr from how far the weights have come, Mishchenko and Defazio 2024,
 * in the form of the official program: lr stays 1, d is the estimate of the distance to the
 * solution; moments are scaled by the d that they were made with; the step of d's change still
 * moves by the old one. */
#include "lockstep/cpu.h"
#include "lockstep/optimizer.h"
#include "lockstep/vmath.h"

#include <math.h>
#include <string.h>

typedef struct ProdigyOptions {
    double beta1, beta2, beta3, eps, d0, d_coef, growth_rate;
    bool bias_correction, safeguard_warmup;
    int decay;
} ProdigyOptions;

enum { PRODIGY_DECOUPLED, PRODIGY_L2 };

/* eps is above 0 because padding has 0 / (sqrt(0) + d eps). */
static const Option options[] = {
    { "beta1", OPTION_FLOAT, OPTION_AT(ProdigyOptions, beta1), 0, 0.9999999, NULL, "0.9",
      "decay of the mean of gradients" },
    { "beta2", OPTION_FLOAT, OPTION_AT(ProdigyOptions, beta2), 0, 0.9999999, NULL, "0.999",
      "decay of the mean of squared gradients" },
    { "beta3", OPTION_FLOAT, OPTION_AT(ProdigyOptions, beta3), 0, 1, NULL, "0",
      "decay of the sums behind d; 0: the root of beta2" },
    { "eps", OPTION_FLOAT, OPTION_AT(ProdigyOptions, eps), 1e-30, 1, NULL, "1e-8",
      "times d, added to the root of the second moment" },
    { "d0", OPTION_FLOAT, OPTION_AT(ProdigyOptions, d0), 1e-30, 1e9, NULL, "1e-6",
      "the first estimate of the distance" },
    { "d_coef", OPTION_FLOAT, OPTION_AT(ProdigyOptions, d_coef), 1e-9, 1e9, NULL, "1",
      "factor of the estimate: the one thing to tune" },
    { "growth_rate", OPTION_FLOAT, OPTION_AT(ProdigyOptions, growth_rate), 1, 1e300, NULL, "1e300",
      "largest growth of d in a step" },
    { "bias_correction", OPTION_BOOL, OPTION_AT(ProdigyOptions, bias_correction), 0, 0, NULL,
      "false", "multiply the rate by Adam's sqrt(1 - beta2^t) / (1 - beta1^t)" },
    { "safeguard_warmup", OPTION_BOOL, OPTION_AT(ProdigyOptions, safeguard_warmup), 0, 0, NULL,
      "false", "leave lr out of the estimate's denominator, for schedules with a warm-up" },
    { "decay", OPTION_CHOICE, OPTION_AT(ProdigyOptions, decay), 0, 0, "decoupled|l2", "decoupled",
      "decoupled: w shrinks by d * lr * weight_decay; l2: weight_decay * w joins the gradient" },
    OPTION_END,
};

enum { MEAN, SQUARE, SUM, START };                   /* states */
enum { D, D_MAX, NUMERATOR, D_BEFORE, RATE, STILL }; /* scalars; the first three are kept */

static void start(const void *options_pointer, const OptimizerRange *range)
{
    (void)options_pointer;
    memcpy(range->state[START], range->w, range->n * sizeof *range->w);
}

static double beta3_of(const ProdigyOptions *o)
{
    return o->beta3 > 0 ? o->beta3 : sqrt(o->beta2);
}

static void begin(const void *options_pointer, MethodStep *step)
{
    const ProdigyOptions *o = options_pointer;
    double *s = step->scalars;
    if (step->t == 1)
        s[D] = s[D_MAX] = o->d0;
    s[D_BEFORE] = s[D];
    s[RATE] = s[D]; /* times lr */
    if (o->bias_correction)
        s[RATE] *= sqrt(1 - vmath_power(o->beta2, step->t)) / (1 - vmath_power(o->beta1, step->t));
}

/* Moments, and what this range adds to <g, w_0 - w> and to |s|_1. */
static void gather(const void *options_pointer, const TensorStep *step, const OptimizerRange *range,
                   double *sums)
{
    const ProdigyOptions *o = options_pointer;
    const float *restrict w = __builtin_assume_aligned(range->w, 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    const float *restrict w0 = __builtin_assume_aligned(range->state[START], 64);
    float *restrict m = __builtin_assume_aligned(range->state[MEAN], 64);
    float *restrict v = __builtin_assume_aligned(range->state[SQUARE], 64);
    float *restrict s = __builtin_assume_aligned(range->state[SUM], 64);
    const double d = step->globals[D], rate = step->globals[RATE] * step->lr;
    const double share = d / o->d0 * (o->safeguard_warmup ? d : rate);
    const float scale = (float)step->scale;
    const float l2 = (float)(o->decay == PRODIGY_L2 ? step->weight_decay : 0);
    const float beta1 = (float)o->beta1, gain1 = (float)(d * (1 - o->beta1));
    const float beta2 = (float)o->beta2, gain2 = (float)(d * d * (1 - o->beta2));
    const float beta3 = (float)beta3_of(o), gain3 = (float)share;
    double dots[16] = { 0 }, sizes[16] = { 0 };
    for (size_t i = 0; i < range->n; i += 16)
        for (size_t k = i; k < i + 16; k++) {
            float x = scale * g[k] + l2 * w[k];
            m[k] = beta1 * m[k] + gain1 * x;
            v[k] = beta2 * v[k] + gain2 * x * x;
            s[k] = beta3 * s[k] + gain3 * x;
            dots[k - i] += (double)x * (double)(w0[k] - w[k]);
            sizes[k - i] += (double)vmath_abs(s[k]);
        }
    sums[0] = step->lr > 0 ? d / o->d0 * rate * vmath_fold(dots) : 0;
    sums[1] = vmath_fold(sizes);
}

static void decide(const void *options_pointer, MethodStep *step)
{
    const ProdigyOptions *o = options_pointer;
    double *s = step->scalars;
    s[STILL] = step->sums[1] <= 0;
    if (step->sums[1] <= 0)
        return; /* no gradient yet: nothing is known, nothing moves */
    s[NUMERATOR] = beta3_of(o) * s[NUMERATOR] + step->sums[0];
    double guess = o->d_coef * s[NUMERATOR] / step->sums[1];
    if (step->lr <= 0)
        return;
    if (s[D] == o->d0 && guess > s[D])
        s[D] = guess;
    s[D_MAX] = guess > s[D_MAX] ? guess : s[D_MAX];
    s[D] = fmin(s[D_MAX], s[D] * o->growth_rate);
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const ProdigyOptions *o = options_pointer;
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    const float *restrict m = __builtin_assume_aligned(range->state[MEAN], 64);
    const float *restrict v = __builtin_assume_aligned(range->state[SQUARE], 64);
    const double rate = step->globals[RATE] * step->lr;
    const float move = (float)rate, eps = (float)(step->globals[D] * o->eps);
    const float shrink = (float)(o->decay == PRODIGY_DECOUPLED ? rate * step->weight_decay : 0);
    if (step->globals[STILL] > 0)
        return;
    for (size_t i = 0; i < range->n; i++)
        w[i] = w[i] - shrink * w[i] - move * m[i] / (sqrtf(v[i]) + eps);
}

extern const OptimizerType ISA_NAME(optimizer_prodigy);
const OptimizerType ISA_NAME(optimizer_prodigy) = {
    .name = "prodigy",
    .help = "Adam that finds its own lr: leave lr at 1 (lr 1, no weight_decay, no clip_norm)",
    .formula = "m = b1 m + (1 - b1) d g; v = b2 v + (1 - b2) d^2 g^2; s = b3 s + d^2 lr / d0 g; "
               "r = b3 r + d^2 lr / d0 <g, w_0 - w>; w -= lr d m / (sqrt(v) + d eps); "
               "d = max(d, d_coef r / |s|_1)",
    .source = "Mishchenko and Defazio 2024",
    .options = options,
    .options_bytes = sizeof(ProdigyOptions),
    .states = 4,
    .state_names = { "mean", "square", "sum", "start" },
    .flops = 24,
    .floats = 13,
    .scalars = { "d", "d_max", "numerator" },
    .default_lr = 1,
    .clip_epsilon = 1e-6,
    .sums = 2,
    .start = start,
    .begin = begin,
    .gather = gather,
    .decide = decide,
    .update = update,
};
