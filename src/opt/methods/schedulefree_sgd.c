/* Schedule-Free SGD: no schedule but a warm-up, evaluation at an average of the iterates. Defazio
 * et al. 2024, in the form of the official program; weight decay is taken at y. */
#include "../schedulefree.h"
#include "lockstep/cpu.h"

typedef struct FreeSgdOptions {
    FreeOptions free;
} FreeSgdOptions;

static const Option options[] = {
    FREE_OPTIONS(FreeSgdOptions, "momentum", "share of the average in the point of the gradient"),
    OPTION_END,
};

static void begin(const void *options_pointer, MethodStep *step)
{
    const FreeSgdOptions *o = options_pointer;
    free_begin(&o->free, step);
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const FreeSgdOptions *o = options_pointer;
    float *restrict y = __builtin_assume_aligned(range->w, 64);
    float *restrict z = __builtin_assume_aligned(range->state[0], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    const double share = step->globals[FREE_SHARE], rate = step->lr * step->globals[FREE_RAMP];
    const float scale = (float)step->scale, decay = (float)step->weight_decay;
    const float lr = (float)rate, pull = (float)share;
    const float move = (float)(rate * (o->free.mix * (1 - share) - 1));
    for (size_t i = 0; i < range->n; i++) {
        float d = scale * g[i] + decay * y[i];
        y[i] = y[i] + pull * (z[i] - y[i]) + move * d;
        z[i] = z[i] - lr * d;
    }
}

static void evaluate(const void *options_pointer, const TensorStep *step,
                     const OptimizerRange *range, float *out)
{
    const FreeSgdOptions *o = options_pointer;
    (void)step;
    free_evaluate(&o->free, range, out);
}

extern const OptimizerType ISA_NAME(optimizer_schedulefree_sgd);
const OptimizerType ISA_NAME(optimizer_schedulefree_sgd) = {
    .name = "schedulefree_sgd",
    .help = "SGD that needs no lr schedule: gradients between iterate and average, evaluation at "
            "the average (lr 1, no weight_decay, no clip_norm)",
    .formula = "y = (1 - b) z + b x; z -= lr (g(y) + wd y); x += c (z - x), c = lr^2 / sum lr^2",
    .source = "Defazio et al. 2024",
    .options = options,
    .options_bytes = sizeof(FreeSgdOptions),
    .states = 1,
    .state_names = { "base" },
    .flops = 10,
    .scalars = FREE_SCALARS,
    .default_lr = 1,
    .clip_epsilon = 1e-6,
    .start = free_start,
    .begin = begin,
    .update = update,
    .evaluate = evaluate,
};
