/* Adan: Nesterov momentum by differences of gradients, Xie et al. 2022, in the form of the official
 * program: decay is proximal, w /= 1 + lr wd after the step, or decoupled before it (its no_prox).
 * Its betas are the paper's 1 - beta. The difference of the first step is zero. */
#include "../states.h"
#include "lockstep/cpu.h"
#include "lockstep/vmath.h"

#include <math.h>

typedef enum AdanDecay { ADAN_PROXIMAL, ADAN_DECOUPLED } AdanDecay;

typedef struct AdanOptions {
    double beta1, beta2, beta3, eps;
    int decay;
} AdanOptions;

/* eps is above 0 because padding has 0 / (sqrt(0) + eps). */
static const Option options[] = {
    { "beta1", OPTION_FLOAT, OPTION_AT(AdanOptions, beta1), 0, 0.9999999, NULL, "0.98",
      "decay of the mean of gradients" },
    { "beta2", OPTION_FLOAT, OPTION_AT(AdanOptions, beta2), 0, 0.9999999, NULL, "0.92",
      "decay of the mean of differences of gradients" },
    { "beta3", OPTION_FLOAT, OPTION_AT(AdanOptions, beta3), 0, 0.9999999, NULL, "0.99",
      "decay of the mean of squares" },
    { "eps", OPTION_FLOAT, OPTION_AT(AdanOptions, eps), 1e-30, 1, NULL, "1e-8",
      "added to the root of the corrected mean of squares" },
    { "decay", OPTION_CHOICE, OPTION_AT(AdanOptions, decay), 0, 0, "proximal|decoupled", "proximal",
      "proximal: w is divided by 1 + lr * weight_decay after the step; decoupled: w shrinks by lr "
      "* weight_decay before it" },
    OPTION_END,
};

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const AdanOptions *o = options_pointer;
    bool proximal = o->decay == ADAN_PROXIMAL;
    double decay = step->lr * step->weight_decay;
    const float scale = (float)step->scale, shrink = (float)(proximal ? 0 : decay);
    const float pull = (float)(proximal ? decay / (1 + decay) : 0); /* w / (1 + c) = w - pull w */
    const float beta1 = (float)o->beta1, gain1 = (float)(1 - o->beta1);
    const float beta2 = (float)o->beta2, gain2 = (float)(1 - o->beta2);
    const float beta3 = (float)o->beta3, gain3 = (float)(1 - o->beta3);
    const float rate1 = (float)(step->lr / (1 - vmath_power(o->beta1, step->t)));
    const float rate2 = (float)(step->lr * o->beta2 / (1 - vmath_power(o->beta2, step->t)));
    const float correction = (float)(1 / sqrt(1 - vmath_power(o->beta3, step->t)));
    const float eps = (float)o->eps;
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict m = __builtin_assume_aligned(range->state[0], 64);
    float *restrict v = __builtin_assume_aligned(range->state[1], 64);
    float *restrict n = __builtin_assume_aligned(range->state[2], 64);
    float *restrict before = __builtin_assume_aligned(range->state[3], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    for (size_t i = 0; step->t == 1 && i < range->n; i++)
        before[i] = scale * g[i];
    NO_OVERLAP /* six arrays: too many for the compiler to check */
    for (size_t i = 0; i < range->n; i++) {
        float d = scale * g[i], change = d - before[i], ahead = d + beta2 * change;
        before[i] = d;
        m[i] = beta1 * m[i] + gain1 * d;
        n[i] = beta2 * n[i] + gain2 * change;
        v[i] = beta3 * v[i] + gain3 * ahead * ahead;
        float u = (rate1 * m[i] + rate2 * n[i]) / (sqrtf(v[i]) * correction + eps);
        float x = w[i] - shrink * w[i] - u;
        w[i] = x - pull * x;
    }
}

extern const OptimizerType ISA_NAME(optimizer_adan);
const OptimizerType ISA_NAME(optimizer_adan) = {
    .name = "adan",
    .help = "Nesterov momentum by differences of gradients (lr 0.001, no weight_decay, no "
            "clip_norm)",
    .formula = "c = g - g_(t-1); m = b1 m + (1 - b1) g; n = b2 n + (1 - b2) c; "
               "v = b3 v + (1 - b3) (g + b2 c)^2; w -= lr (m / (1 - b1^t) + b2 n / (1 - b2^t)) / "
               "(sqrt(v / (1 - b3^t)) + eps); w /= 1 + lr wd",
    .source = "Xie et al. 2022",
    .options = options,
    .options_bytes = sizeof(AdanOptions),
    .states = 4,
    .state_names = { "mean", "square", "difference", "previous" },
    .flops = 26,
    .default_lr = 1e-3,
    .clip_epsilon = 1e-6,
    .update = update,
};
