/* Lion: the sign of an interpolation of gradient and mean, Chen et al. 2023. One state. Its lr is 3
 * to 10 times below AdamW's, its weight decay as much above. sign(0) = 0. */
#include "../decay.h"
#include "lockstep/cpu.h"

typedef struct LionOptions {
    double beta1, beta2;
    int decay;
} LionOptions;

static const Option options[] = {
    { "beta1", OPTION_FLOAT, OPTION_AT(LionOptions, beta1), 0, 1, NULL, "0.9",
      "share of the mean in the direction" },
    { "beta2", OPTION_FLOAT, OPTION_AT(LionOptions, beta2), 0, 1, NULL, "0.99",
      "decay of the mean of gradients" },
    DECAY_OPTION(LionOptions, "decoupled"),
    OPTION_END,
};

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const LionOptions *o = options_pointer;
    const float scale = (float)step->scale, l2 = (float)decay_l2(o->decay, step);
    const float shrink = (float)decay_shrink(o->decay, step), lr = (float)step->lr;
    const float beta1 = (float)o->beta1, gain1 = (float)(1 - o->beta1);
    const float beta2 = (float)o->beta2, gain2 = (float)(1 - o->beta2);
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict m = __builtin_assume_aligned(range->state[0], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    for (size_t i = 0; i < range->n; i++) {
        float d = scale * g[i] + l2 * w[i];
        float c = beta1 * m[i] + gain1 * d;
        m[i] = beta2 * m[i] + gain2 * d;
        w[i] = w[i] - shrink * w[i] - (c > 0 ? lr : c < 0 ? -lr : 0);
    }
}

extern const OptimizerType ISA_NAME(optimizer_lion);
const OptimizerType ISA_NAME(optimizer_lion) = {
    .name = "lion",
    .help = "steps of one size along the sign of the momentum (lr 0.0001, no weight_decay, no "
            "clip_norm)",
    .formula = "w -= lr wd w + lr sign(b1 m + (1 - b1) g); m = b2 m + (1 - b2) g",
    .source = "Chen et al. 2023",
    .options = options,
    .options_bytes = sizeof(LionOptions),
    .states = 1,
    .state_names = { "mean" },
    .flops = 14,
    .default_lr = 1e-4,
    .clip_epsilon = 1e-6,
    .update = update,
};
