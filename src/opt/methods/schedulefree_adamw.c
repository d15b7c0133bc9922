/* Schedule-Free AdamW: no schedule but a warm-up, evaluation at an average of the iterates. Defazio
 * et al. 2024, in the form of the official program; weight decay is taken at y. */
#include "../schedulefree.h"
#include "lockstep/cpu.h"
#include "lockstep/vmath.h"

typedef struct FreeAdamwOptions {
    FreeOptions free;
    double beta2, eps;
} FreeAdamwOptions;

/* eps is above 0 because padding has 0 / (sqrt(0) + eps). */
static const Option options[] = {
    FREE_OPTIONS(FreeAdamwOptions, "beta1", "share of the average in the point of the gradient"),
    { "beta2", OPTION_FLOAT, OPTION_AT(FreeAdamwOptions, beta2), 0, 0.9999999, NULL, "0.999",
      "decay of the mean of squared gradients" },
    { "eps", OPTION_FLOAT, OPTION_AT(FreeAdamwOptions, eps), 1e-30, 1, NULL, "1e-8",
      "added to the root of the corrected second moment" },
    OPTION_END,
};

static void begin(const void *options_pointer, MethodStep *step)
{
    const FreeAdamwOptions *o = options_pointer;
    free_begin(&o->free, step);
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const FreeAdamwOptions *o = options_pointer;
    float *restrict y = __builtin_assume_aligned(range->w, 64);
    float *restrict z = __builtin_assume_aligned(range->state[0], 64);
    float *restrict v = __builtin_assume_aligned(range->state[1], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    const double share = step->globals[FREE_SHARE], rate = step->lr * step->globals[FREE_RAMP];
    const float scale = (float)step->scale, decay = (float)step->weight_decay;
    const float lr = (float)rate, pull = (float)share;
    const float move = (float)(rate * (o->free.mix * (1 - share) - 1));
    const float beta2 = (float)o->beta2, gain2 = (float)(1 - o->beta2), eps = (float)o->eps;
    const float correction = (float)(1 / sqrt(1 - vmath_power(o->beta2, step->t)));
    for (size_t i = 0; i < range->n; i++) {
        float d = scale * g[i];
        v[i] = beta2 * v[i] + gain2 * d * d;
        d = d / (sqrtf(v[i]) * correction + eps) + decay * y[i];
        y[i] = y[i] + pull * (z[i] - y[i]) + move * d;
        z[i] = z[i] - lr * d;
    }
}

static void evaluate(const void *options_pointer, const TensorStep *step,
                     const OptimizerRange *range, float *out)
{
    const FreeAdamwOptions *o = options_pointer;
    (void)step;
    free_evaluate(&o->free, range, out);
}

extern const OptimizerType ISA_NAME(optimizer_schedulefree_adamw);
const OptimizerType ISA_NAME(optimizer_schedulefree_adamw) = {
    .name = "schedulefree_adamw",
    .help = "AdamW that needs no lr schedule: gradients between iterate and average, evaluation at "
            "the average (lr 0.0025, no weight_decay, no clip_norm)",
    .formula = "y = (1 - b1) z + b1 x; v = b2 v + (1 - b2) g(y)^2; z -= lr (g(y) / (sqrt(v / (1 - "
               "b2^t)) + eps) + wd y); x += c (z - x), c = lr^2 / sum lr^2",
    .source = "Defazio et al. 2024",
    .options = options,
    .options_bytes = sizeof(FreeAdamwOptions),
    .states = 2,
    .state_names = { "base", "square" },
    .flops = 18,
    .scalars = FREE_SCALARS,
    .default_lr = 0.0025,
    .clip_epsilon = 1e-6,
    .start = free_start,
    .begin = begin,
    .update = update,
    .evaluate = evaluate,
};
