/* An exponential mean of the weights, for evaluation and for the final weights; training goes on
 * from w itself. Polyak and Juditsky 1992 in the form of Szegedy et al. 2016: e = d e + (1 - d) w
 * after every step, from the weights before the first one. With `warmup`, d = min(decay, (1 + t) /
 * (10 + t)), t the number of means taken before, so that the start is soon forgotten. */
#include "lockstep/cpu.h"
#include "lockstep/optimizer.h"

#include <string.h>

typedef struct EmaOptions {
    double decay;
    int64_t every;
    bool warmup;
} EmaOptions;

static const Option options[] = {
    { "decay", OPTION_FLOAT, OPTION_AT(EmaOptions, decay), 0, 1, NULL, "0.999",
      "share of the mean that survives an update" },
    { "every", OPTION_INT, OPTION_AT(EmaOptions, every), 1, 1e9, NULL, "1",
      "steps between updates of the mean" },
    { "warmup", OPTION_BOOL, OPTION_AT(EmaOptions, warmup), 0, 0, NULL, "false",
      "decay at most (1 + t) / (10 + t) in update number t = 0, 1, ..." },
    OPTION_END,
};

static void start(const void *options_pointer, const OptimizerRange *range)
{
    (void)options_pointer;
    memcpy(range->state[0], range->w, range->n * sizeof *range->w);
}

static void weights(const void *options_pointer, const TensorStep *step,
                    const OptimizerRange *range)
{
    const EmaOptions *o = options_pointer;
    if (step->t % o->every != 0)
        return;
    double before = (double)(step->t / o->every - 1), warm = (1 + before) / (10 + before);
    const double decay = o->warmup && warm < o->decay ? warm : o->decay;
    const float keep = (float)decay, take = (float)(1 - decay);
    const float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict mean = __builtin_assume_aligned(range->state[0], 64);
    for (size_t i = 0; i < range->n; i++)
        mean[i] = keep * mean[i] + take * w[i];
}

static void evaluate(const void *options_pointer, const TensorStep *step,
                     const OptimizerRange *range, float *out)
{
    (void)options_pointer;
    (void)step;
    memcpy(out, range->state[0], range->n * sizeof *out);
}

extern const WrapperType ISA_NAME(wrapper_ema);
const WrapperType ISA_NAME(wrapper_ema) = {
    .name = "ema",
    .help = "evaluation at an exponential mean of the weights",
    .formula = "e = d e + (1 - d) w after every step; evaluation at e, training at w",
    .source = "Polyak and Juditsky 1992; Szegedy et al. 2016",
    .options = options,
    .options_bytes = sizeof(EmaOptions),
    .states = 1,
    .state_names = { "mean" },
    .start = start,
    .weights = weights,
    .evaluate = evaluate,
};
