/* Adadelta: steps in the unit of the weights, Zeiler 2012, in PyTorch's form. The paper's rho is
 * 0.95; Keras has lr 0.001. */
#include "../decay.h"
#include "lockstep/cpu.h"

#include <math.h>

typedef struct AdadeltaOptions {
    double rho, eps;
    int decay;
} AdadeltaOptions;

static const Option options[] = {
    { "rho", OPTION_FLOAT, OPTION_AT(AdadeltaOptions, rho), 0, 0.9999999, NULL, "0.9",
      "decay of both means of squares" },
    { "eps", OPTION_FLOAT, OPTION_AT(AdadeltaOptions, eps), 1e-30, 1, NULL, "1e-6",
      "added under both roots: the size of the first steps" },
    DECAY_OPTION(AdadeltaOptions, "l2"),
    OPTION_END,
};

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const AdadeltaOptions *o = options_pointer;
    const float scale = (float)step->scale, l2 = (float)decay_l2(o->decay, step);
    const float shrink = (float)decay_shrink(o->decay, step), lr = (float)step->lr;
    const float rho = (float)o->rho, gain = (float)(1 - o->rho), eps = (float)o->eps;
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict v = __builtin_assume_aligned(range->state[0], 64);
    float *restrict moved = __builtin_assume_aligned(range->state[1], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    for (size_t i = 0; i < range->n; i++) {
        float d = scale * g[i] + l2 * w[i];
        v[i] = rho * v[i] + gain * d * d;
        float u = sqrtf(moved[i] + eps) / sqrtf(v[i] + eps) * d;
        moved[i] = rho * moved[i] + gain * u * u;
        w[i] = w[i] - shrink * w[i] - lr * u;
    }
}

extern const OptimizerType ISA_NAME(optimizer_adadelta);
const OptimizerType ISA_NAME(optimizer_adadelta) = {
    .name = "adadelta",
    .help = "steps scaled by the size of earlier steps (lr 1, no weight_decay, no clip_norm)",
    .formula = "g += wd w; v = rho v + (1 - rho) g^2; d = sqrt(u + eps) / sqrt(v + eps) g; "
               "u = rho u + (1 - rho) d^2; w -= lr d",
    .source = "Zeiler 2012",
    .options = options,
    .options_bytes = sizeof(AdadeltaOptions),
    .states = 2,
    .state_names = { "square", "square_of_steps" },
    .flops = 21,
    .default_lr = 1,
    .clip_epsilon = 1e-6,
    .update = update,
};
