/* NovoGrad: momentum on gradients divided by the norm of their layer, Ginsburg et al. 2019. The
 * second moment is one number a tensor, begins with the first |g|^2 (and again wherever it is
 * exactly 0), and nothing is bias-corrected, as in NVIDIA's program. */
#include "lockstep/cpu.h"
#include "lockstep/optimizer.h"

#include <math.h>

typedef struct NovogradOptions {
    double beta1, beta2, eps;
    bool grad_averaging, amsgrad;
} NovogradOptions;

static const Option options[] = {
    { "beta1", OPTION_FLOAT, OPTION_AT(NovogradOptions, beta1), 0, 0.9999999, NULL, "0.95",
      "share of the momentum that survives a step" },
    { "beta2", OPTION_FLOAT, OPTION_AT(NovogradOptions, beta2), 0, 0.9999999, NULL, "0.98",
      "decay of the mean of squared norms" },
    { "eps", OPTION_FLOAT, OPTION_AT(NovogradOptions, eps), 1e-30, 1, NULL, "1e-8",
      "added to the root of the second moment" },
    { "grad_averaging", OPTION_BOOL, OPTION_AT(NovogradOptions, grad_averaging), 0, 0, NULL,
      "false", "the gradient enters the momentum times 1 - beta1; false: times 1" },
    { "amsgrad", OPTION_BOOL, OPTION_AT(NovogradOptions, amsgrad), 0, 0, NULL, "false",
      "divide by the root of the largest second moment so far" },
    OPTION_END,
};

enum { SQUARE, LARGEST };

static unsigned needs(const void *options_pointer)
{
    (void)options_pointer;
    return OPTIMIZER_NORM_G;
}

static void tensor(const void *options_pointer, TensorStep *step)
{
    const NovogradOptions *o = options_pointer;
    double square = step->norm_g * step->norm_g, *v = step->scalars;
    v[SQUARE] = v[SQUARE] > 0 ? o->beta2 * v[SQUARE] + (1 - o->beta2) * square : square;
    v[LARGEST] = v[SQUARE] > v[LARGEST] ? v[SQUARE] : v[LARGEST];
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const NovogradOptions *o = options_pointer;
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict m = __builtin_assume_aligned(range->state[0], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    const double gain = o->grad_averaging ? 1 - o->beta1 : 1;
    const double below = sqrt(step->scalars[o->amsgrad ? LARGEST : SQUARE]) + o->eps;
    const float scale = (float)(gain * step->scale / below);
    const float decay = (float)(gain * step->weight_decay);
    const float beta1 = (float)optimizer_momentum(step, o->beta1), lr = (float)step->lr;
    for (size_t i = 0; i < range->n; i++) {
        m[i] = beta1 * m[i] + (scale * g[i] + decay * w[i]);
        w[i] = w[i] - lr * m[i];
    }
}

extern const OptimizerType ISA_NAME(optimizer_novograd);
const OptimizerType ISA_NAME(optimizer_novograd) = {
    .name = "novograd",
    .help = "momentum on gradients divided by the norm of their layer: half of Adam's memory (lr "
            "0.01, weight_decay 0.001, no clip_norm)",
    .formula = "v = b2 v + (1 - b2) |g|^2 of the tensor; m = b1 m + g / (sqrt(v) + eps) + wd w; "
               "w -= lr m",
    .source = "Ginsburg et al. 2019",
    .options = options,
    .options_bytes = sizeof(NovogradOptions),
    .states = 1,
    .state_names = { "mean" },
    .flops = 9,
    .tensor_scalars = { "square", "largest_square" },
    .default_lr = 0.01,
    .default_weight_decay = 1e-3,
    .clip_epsilon = 1e-6,
    .needs = needs,
    .tensor = tensor,
    .update = update,
};
