/* START: stages of SGD with a constant lr, each around the point where it began. Yuan et al. 2019
 * (Stagewise training), Algorithm 1: stage s minimises f(w) + |w - w_s|^2 / (2 gamma) with lr / c^s
 * for T c^s steps and hands its average on. The lr that falls is the method's own: give the
 * schedule a constant one. Without momentum, as in the paper. */
#include "lockstep/cpu.h"
#include "lockstep/optimizer.h"

#include <math.h>
#include <string.h>

typedef struct StagewiseOptions {
    int64_t stage_steps;
    double factor, gamma;
    bool restart_average;
} StagewiseOptions;

static const Option options[] = {
    { "stage_steps", OPTION_INT, OPTION_AT(StagewiseOptions, stage_steps), 1, 1e12, NULL, "1000",
      "T: steps of the first stage" },
    { "factor", OPTION_FLOAT, OPTION_AT(StagewiseOptions, factor), 1, 1e6, NULL, "2",
      "c: a stage is so many times longer than the one before, its lr so many times smaller" },
    { "gamma", OPTION_FLOAT, OPTION_AT(StagewiseOptions, gamma), 1e-6, 1e30, NULL, "1000",
      "the pull towards the stage's first weights is 1 / gamma" },
    { "restart_average", OPTION_BOOL, OPTION_AT(StagewiseOptions, restart_average), 0, 0, NULL,
      "true", "a stage begins at the average of the one before; false: at its last weights" },
    OPTION_END,
};

enum { ANCHOR, AVERAGE };               /* states */
enum { FIRST, LENGTH, LR, END, COUNT }; /* scalars; the first three are kept */

static void start(const void *options_pointer, const OptimizerRange *range)
{
    (void)options_pointer;
    memcpy(range->state[ANCHOR], range->w, range->n * sizeof *range->w);
}

/* Which stage a step is in: its first step, length and lr factor are carried along. */
static void begin(const void *options_pointer, MethodStep *step)
{
    const StagewiseOptions *o = options_pointer;
    double *s = step->scalars, t = (double)step->t;
    if (step->t == 1) {
        s[FIRST] = 1;
        s[LENGTH] = (double)o->stage_steps;
        s[LR] = 1;
    } else if (t >= s[FIRST] + s[LENGTH]) {
        s[FIRST] += s[LENGTH];
        s[LENGTH] = floor(s[LENGTH] * o->factor);
        s[LR] /= o->factor;
    }
    s[COUNT] = t - s[FIRST] + 1;
    s[END] = t + 1 >= s[FIRST] + s[LENGTH];
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const StagewiseOptions *o = options_pointer;
    const double *s = step->globals;
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict anchor = __builtin_assume_aligned(range->state[ANCHOR], 64);
    float *restrict average = __builtin_assume_aligned(range->state[AVERAGE], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    const float scale = (float)step->scale, decay = (float)step->weight_decay;
    const float lr = (float)(step->lr * s[LR]), pull = (float)(1 / o->gamma);
    const float take = (float)(1 / s[COUNT]);
    for (size_t i = 0; i < range->n; i++) {
        float a = average[i];
        float x = w[i] - lr * (scale * g[i] + decay * w[i] + pull * (w[i] - anchor[i]));
        average[i] = a + take * (x - a);
        w[i] = x;
    }
    if (s[END] <= 0)
        return;
    if (o->restart_average)
        memcpy(w, average, range->n * sizeof *w);
    memcpy(anchor, w, range->n * sizeof *w);
}

extern const OptimizerType ISA_NAME(optimizer_stagewise);
const OptimizerType ISA_NAME(optimizer_stagewise) = {
    .name = "stagewise",
    .help = "START: stages of SGD around the average of the stage before, each longer and with a "
            "smaller lr (lr 0.1, no weight_decay, no clip_norm)",
    .formula = "stage s: w -= lr / c^s (g + wd w + (w - w_s) / gamma) for T c^s steps; "
               "w_(s+1) = mean of the stage",
    .source = "Yuan et al. 2019",
    .options = options,
    .options_bytes = sizeof(StagewiseOptions),
    .states = 2,
    .state_names = { "anchor", "average" },
    .flops = 11,
    .floats = 6,
    .scalars = { "first_step", "length", "lr_factor" },
    .default_lr = 0.1,
    .clip_epsilon = 1e-6,
    .start = start,
    .begin = begin,
    .update = update,
};
