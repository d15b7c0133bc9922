/* AdaMax: Adam with the infinity norm, Kingma and Ba 2015, section 7.1, in PyTorch's form: eps
 * joins |g|, so a weight that never had a gradient divides by eps. */
#include "../moments.h"
#include "lockstep/cpu.h"

typedef struct AdamaxOptions {
    MomentOptions moments;
    int decay;
} AdamaxOptions;

static const Option options[] = {
    MOMENT_OPTIONS(AdamaxOptions, "0.9", "0.999", "1e-8"),
    DECAY_OPTION(AdamaxOptions, "l2"),
    OPTION_END,
};

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const AdamaxOptions *o = options_pointer;
    const MomentStep s = moment_step(&o->moments, o->decay, step);
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict m = __builtin_assume_aligned(range->state[0], 64);
    float *restrict u = __builtin_assume_aligned(range->state[1], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    for (size_t i = 0; i < range->n; i++) {
        float d = s.scale * g[i] + s.l2 * w[i];
        float size = vmath_abs(d) + s.eps, faded = s.beta2 * u[i];
        m[i] = s.beta1 * m[i] + s.gain1 * d;
        u[i] = size > faded ? size : faded;
        w[i] = w[i] - s.shrink * w[i] - s.rate * m[i] / u[i];
    }
}

extern const OptimizerType ISA_NAME(optimizer_adamax);
const OptimizerType ISA_NAME(optimizer_adamax) = {
    .name = "adamax",
    .help = "Adam with the largest instead of the mean size of gradients (lr 0.002, no "
            "weight_decay, no clip_norm)",
    .formula = "g += wd w; m = b1 m + (1 - b1) g; u = max(b2 u, |g| + eps); "
               "w -= lr m / (1 - b1^t) / u",
    .source = "Kingma and Ba 2015, section 7.1",
    .options = options,
    .options_bytes = sizeof(AdamaxOptions),
    .states = 2,
    .state_names = { "mean", "largest" },
    .flops = 14,
    .default_lr = 2e-3,
    .clip_epsilon = 1e-6,
    .update = update,
};
