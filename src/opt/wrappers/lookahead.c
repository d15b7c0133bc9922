/* Lookahead (Zhang et al. 2019): every k steps slow weights go a part of the way to the fast ones,
 * and the fast ones start again from there. The method's own state is kept. Evaluation is at the
 * slow weights. */
#include "lockstep/cpu.h"
#include "lockstep/optimizer.h"

#include <string.h>

typedef enum LookaheadStart { START_FIRST, START_SYNC } LookaheadStart;

typedef struct LookaheadOptions {
    int64_t k;
    double alpha;
    int start;
} LookaheadOptions;

static const Option options[] = {
    { "k", OPTION_INT, OPTION_AT(LookaheadOptions, k), 1, 1e9, NULL, "5",
      "steps between meetings; 5 or 10 in the paper" },
    { "alpha", OPTION_FLOAT, OPTION_AT(LookaheadOptions, alpha), 0, 1, NULL, "0.5",
      "how far the slow weights go" },
    { "start", OPTION_CHOICE, OPTION_AT(LookaheadOptions, start), 0, 0, "first|sync", "first",
      "the slow weights are those before the first step, or those of the first meeting, which then "
      "does nothing (timm)" },
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
    const LookaheadOptions *o = options_pointer;
    if (step->t % o->k != 0)
        return;
    bool begin = o->start == START_SYNC && step->t == o->k;
    const float alpha = (float)o->alpha;
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict slow = __builtin_assume_aligned(range->state[0], 64);
    for (size_t i = 0; i < range->n; i++) {
        slow[i] = begin ? w[i] : slow[i] + alpha * (w[i] - slow[i]);
        w[i] = slow[i];
    }
}

static void evaluate(const void *options_pointer, const TensorStep *step,
                     const OptimizerRange *range, float *out)
{
    const LookaheadOptions *o = options_pointer;
    if (o->start == START_FIRST || step->t >= o->k)
        memcpy(out, range->state[0], range->n * sizeof *out);
}

extern const WrapperType ISA_NAME(wrapper_lookahead);
const WrapperType ISA_NAME(wrapper_lookahead) = {
    .name = "lookahead",
    .help = "slow weights that follow the fast ones every k steps and call them back",
    .formula = "every k steps: s += alpha (w - s); w = s; evaluation at s",
    .source = "Zhang et al. 2019",
    .options = options,
    .options_bytes = sizeof(LookaheadOptions),
    .states = 1,
    .state_names = { "slow" },
    .start = start,
    .weights = weights,
    .evaluate = evaluate,
};
