/* ASGD: plain SGD whose weights are averaged, Polyak and Juditsky 1992, in the form of PyTorch,
 * after Bottou: lr falls by itself; the average, which is evaluated, follows w until step t0.
 * lambda is a weight decay of its own, on every tensor. As there, a schedule's lr counts one step
 * late. */
#include "../decay.h"
#include "lockstep/cpu.h"

#include <math.h>
#include <string.h>

typedef struct AsgdOptions {
    double lambda, alpha, t0;
    int decay;
} AsgdOptions;

static const Option options[] = {
    { "lambda", OPTION_FLOAT, OPTION_AT(AsgdOptions, lambda), 0, 1e9, NULL, "1e-4",
      "w shrinks by lambda times the step's rate, and the rate falls with it" },
    { "alpha", OPTION_FLOAT, OPTION_AT(AsgdOptions, alpha), 0, 10, NULL, "0.75",
      "the rate of step t is lr / (1 + lambda * lr * (t - 1))^alpha" },
    { "t0", OPTION_FLOAT, OPTION_AT(AsgdOptions, t0), 0, 1e15, NULL, "1e6",
      "steps before the average begins" },
    DECAY_OPTION(AsgdOptions, "l2"),
    OPTION_END,
};

enum { FACTOR, LR_BEFORE }; /* FACTOR: the lr that counts, over the config's */

static void begin(const void *options_pointer, MethodStep *step)
{
    (void)options_pointer;
    double lr = step->t == 1 ? step->lr : step->scalars[LR_BEFORE];
    step->scalars[FACTOR] = step->base_lr > 0 ? lr / step->base_lr : 0;
    step->scalars[LR_BEFORE] = step->lr;
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const AsgdOptions *o = options_pointer;
    double before = (double)(step->t - 1), late = before - o->t0;
    double lr = step->base_lr * step->globals[FACTOR];
    double eta = lr / pow(1 + o->lambda * lr * before, o->alpha);
    const float scale = (float)step->scale, l2 = (float)decay_l2(o->decay, step);
    const float shrink = (float)(decay_shrink(o->decay, step) + o->lambda * eta);
    const float rate = (float)eta, share = (float)(late > 1 ? 1 / late : 1);
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict average = __builtin_assume_aligned(range->state[0], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    for (size_t i = 0; i < range->n; i++) {
        float d = scale * g[i] + l2 * w[i];
        w[i] = w[i] - shrink * w[i] - rate * d;
        float away = w[i] - average[i];
        average[i] = share < 1 ? average[i] + share * away : w[i];
    }
}

static void evaluate(const void *options_pointer, const TensorStep *step,
                     const OptimizerRange *range, float *out)
{
    (void)options_pointer;
    (void)step;
    memcpy(out, range->state[0], range->n * sizeof *out);
}

extern const OptimizerType ISA_NAME(optimizer_asgd);
const OptimizerType ISA_NAME(optimizer_asgd) = {
    .name = "asgd",
    .help = "SGD, evaluated at an average of the weights (lr 0.01, no weight_decay, no clip_norm)",
    .formula = "g += wd w; eta = lr / (1 + lambda lr (t - 1))^alpha; w -= eta lambda w + eta g; "
               "a += (w - a) / max(1, t - 1 - t0)",
    .source = "Polyak and Juditsky 1992; Bottou 2010",
    .options = options,
    .options_bytes = sizeof(AsgdOptions),
    .states = 1,
    .state_names = { "average" },
    .flops = 10,
    .scalars = { "factor", "lr_before" },
    .default_lr = 1e-2,
    .clip_epsilon = 1e-6,
    .begin = begin,
    .update = update,
    .evaluate = evaluate,
};
