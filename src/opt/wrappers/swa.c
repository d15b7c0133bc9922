/* Stochastic weight averaging (Izmailov et al. 2018): the plain mean of the weights at regular
 * moments late in the run, for evaluation and for the final weights. Training goes on from w. */
#include "lockstep/batch_plan.h"
#include "lockstep/cpu.h"
#include "lockstep/optimizer.h"

#include <string.h>

typedef struct SwaOptions {
    Span start, every;
} SwaOptions;

static const Option options[] = {
    { "start", OPTION_SPAN, OPTION_AT(SwaOptions, start), 0, 1e15, NULL, "0",
      "when averaging begins; three quarters of the run in the paper" },
    { "every", OPTION_SPAN, OPTION_AT(SwaOptions, every), 1e-9, 1e15, NULL, "1ep",
      "time between the weights that are averaged" },
    OPTION_END,
};

enum { COUNT, TAKEN }; /* weights averaged so far; is this step's the last of them */

static void begin(const void *options_pointer, MethodStep *step)
{
    const SwaOptions *o = options_pointer;
    bool take = step->t >= batch_plan_step(step->plan, o->start) &&
                batch_plan_due(step->plan, step->t, o->every);
    step->scalars[TAKEN] = take;
    step->scalars[COUNT] += take;
}

static void weights(const void *options_pointer, const TensorStep *step,
                    const OptimizerRange *range)
{
    (void)options_pointer;
    if (step->globals[TAKEN] == 0)
        return;
    const float share = (float)(1 / step->globals[COUNT]);
    const float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict mean = __builtin_assume_aligned(range->state[0], 64);
    for (size_t i = 0; i < range->n; i++)
        mean[i] += share * (w[i] - mean[i]);
}

static void evaluate(const void *options_pointer, const TensorStep *step,
                     const OptimizerRange *range, float *out)
{
    (void)options_pointer;
    if (step->globals[COUNT] > 0)
        memcpy(out, range->state[0], range->n * sizeof *out);
}

extern const WrapperType ISA_NAME(wrapper_swa);
const WrapperType ISA_NAME(wrapper_swa) = {
    .name = "swa",
    .help = "evaluation at the mean of the weights at regular moments from `start` on",
    .formula = "n-th moment: s += (w - s) / n; evaluation at s",
    .source = "Izmailov et al. 2018",
    .options = options,
    .options_bytes = sizeof(SwaOptions),
    .states = 1,
    .state_names = { "mean" },
    .scalars = { "count", "taken" },
    .begin = begin,
    .weights = weights,
    .evaluate = evaluate,
};
