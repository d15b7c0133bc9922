/* AdamW: Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019), in
 * PyTorch's form: eps comes after the bias correction, decay is multiplied by the scheduled lr. */
#include "lockstep/cpu.h"
#include "lockstep/optimizer.h"
#include "lockstep/vmath.h"

#include <math.h>

typedef enum AdamDecay { ADAM_DECOUPLED, ADAM_L2 } AdamDecay;

typedef struct AdamwOptions {
    double beta1, beta2, eps;
    int decay;
} AdamwOptions;

/* eps is above 0 because padding has 0 / (sqrt(0) + eps). */
static const Option options[] = {
    { "beta1", OPTION_FLOAT, OPTION_AT(AdamwOptions, beta1), 0, 0.9999999, NULL, "0.9",
      "decay of the mean of gradients" },
    { "beta2", OPTION_FLOAT, OPTION_AT(AdamwOptions, beta2), 0, 0.9999999, NULL, "0.999",
      "decay of the mean of squared gradients" },
    { "eps", OPTION_FLOAT, OPTION_AT(AdamwOptions, eps), 1e-30, 1, NULL, "1e-8",
      "added to the root of the corrected second moment" },
    { "decay", OPTION_CHOICE, OPTION_AT(AdamwOptions, decay), 0, 0, "decoupled|l2", "decoupled",
      "decoupled: w shrinks by lr * weight_decay; l2: weight_decay * w joins the gradient (Adam)" },
    OPTION_END,
};

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const AdamwOptions *o = options_pointer;
    bool decoupled = o->decay == ADAM_DECOUPLED;
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict m = __builtin_assume_aligned(range->state[0], 64);
    float *restrict v = __builtin_assume_aligned(range->state[1], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    const float scale = (float)step->scale;
    const float l2 = (float)(decoupled ? 0 : step->weight_decay);
    const float shrink = (float)(decoupled ? step->lr * step->weight_decay : 0);
    const double mean = optimizer_momentum(step, o->beta1);
    const float beta1 = (float)mean, gain1 = (float)(1 - mean);
    const float beta2 = (float)o->beta2, gain2 = (float)(1 - o->beta2);
    const float rate = (float)(step->lr / (1 - vmath_power(mean, step->t)));
    const float correction = (float)(1 / sqrt(1 - vmath_power(o->beta2, step->t)));
    const float eps = (float)o->eps;
    for (size_t i = 0; i < range->n; i++) {
        float d = scale * g[i] + l2 * w[i];
        m[i] = beta1 * m[i] + gain1 * d;
        v[i] = beta2 * v[i] + gain2 * d * d;
        w[i] = w[i] - shrink * w[i] - rate * m[i] / (sqrtf(v[i]) * correction + eps);
    }
}

extern const OptimizerType ISA_NAME(optimizer_adamw);
const OptimizerType ISA_NAME(optimizer_adamw) = {
    .name = "adamw",
    .help = "Adam with decoupled weight decay (lr 0.001, weight_decay 0.01, no clip_norm)",
    .formula = "m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; "
               "w -= lr wd w + lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)",
    .source = "Loshchilov and Hutter 2019; Kingma and Ba 2015",
    .options = options,
    .options_bytes = sizeof(AdamwOptions),
    .states = 2,
    .state_names = { "mean", "square" },
    .default_lr = 1e-3,
    .default_weight_decay = 0.01,
    .clip_epsilon = 1e-6,
    .update = update,
};
