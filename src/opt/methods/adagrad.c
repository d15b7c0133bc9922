/* Adagrad: divide by the root of all squared gradients so far, Duchi et al. 2011, in PyTorch's
 * form. TensorFlow begins the sum at 0.1 (initial_accumulator) and older versions of it have eps
 * inside the root. */
#include "../decay.h"
#include "../states.h"
#include "lockstep/cpu.h"

#include <math.h>

typedef struct AdagradOptions {
    double lr_decay, initial_accumulator, eps;
    int decay;
    bool eps_inside;
} AdagradOptions;

static const Option options[] = {
    { "lr_decay", OPTION_FLOAT, OPTION_AT(AdagradOptions, lr_decay), 0, 1e6, NULL, "0",
      "lr is divided by 1 + (t - 1) * lr_decay" },
    { "initial_accumulator", OPTION_FLOAT, OPTION_AT(AdagradOptions, initial_accumulator), 0, 1e6,
      NULL, "0", "the sum of squares before the first step; TensorFlow: 0.1" },
    { "eps", OPTION_FLOAT, OPTION_AT(AdagradOptions, eps), 1e-30, 1, NULL, "1e-10",
      "added to the root" },
    { "eps_inside", OPTION_BOOL, OPTION_AT(AdagradOptions, eps_inside), 0, 0, NULL, "false",
      "add eps under the root instead" },
    DECAY_OPTION(AdagradOptions, "l2"),
    OPTION_END,
};

static void start(const void *options_pointer, const OptimizerRange *range)
{
    const AdagradOptions *o = options_pointer;
    fill_state(range, 0, o->initial_accumulator);
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const AdagradOptions *o = options_pointer;
    const float scale = (float)step->scale, l2 = (float)decay_l2(o->decay, step);
    const float shrink = (float)decay_shrink(o->decay, step);
    const float rate = (float)(step->lr / (1 + (double)(step->t - 1) * o->lr_decay));
    const float under = (float)(o->eps_inside ? o->eps : 0);
    const float beside = (float)(o->eps_inside ? 0 : o->eps);
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict sum = __builtin_assume_aligned(range->state[0], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    for (size_t i = 0; i < range->n; i++) {
        float d = scale * g[i] + l2 * w[i];
        sum[i] += d * d;
        w[i] = w[i] - shrink * w[i] - rate * d / (sqrtf(sum[i] + under) + beside);
    }
}

extern const OptimizerType ISA_NAME(optimizer_adagrad);
const OptimizerType ISA_NAME(optimizer_adagrad) = {
    .name = "adagrad",
    .help = "steps divided by the root of all squared gradients so far (lr 0.01, no "
            "weight_decay, no clip_norm)",
    .formula = "g += wd w; s += g^2; w -= lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)",
    .source = "Duchi et al. 2011",
    .options = options,
    .options_bytes = sizeof(AdagradOptions),
    .states = 1,
    .state_names = { "sum" },
    .flops = 13,
    .default_lr = 1e-2,
    .clip_epsilon = 1e-6,
    .start = start,
    .update = update,
};
