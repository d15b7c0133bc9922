/* IGT: a running mean of all gradients, kept up to date by evaluating each gradient at a point
 * ahead of the weights. Arnold et al. 2019, in the form of the official program. The arena holds
 * the shifted point, where gradients are taken; the iterate itself is a state, and is what is
 * evaluated. The shift grows like t: use it with a lr that falls. */
#include "lockstep/cpu.h"
#include "lockstep/optimizer.h"

#include <string.h>

typedef struct IgtOptions {
    double momentum, dampening, delta;
    bool nesterov;
} IgtOptions;

static const Option options[] = {
    { "momentum", OPTION_FLOAT, OPTION_AT(IgtOptions, momentum), 0, 0.9999999, NULL, "0.9",
      "heavy-ball momentum on the mean gradient; 0: none" },
    { "dampening", OPTION_FLOAT, OPTION_AT(IgtOptions, dampening), 0, 1, NULL, "0",
      "the mean gradient enters the momentum times 1 - dampening" },
    { "nesterov", OPTION_BOOL, OPTION_AT(IgtOptions, nesterov), 0, 0, NULL, "false",
      "step along v + momentum * u" },
    { "delta", OPTION_FLOAT, OPTION_AT(IgtOptions, delta), 1e-9, 1e9, NULL, "1",
      "how fast the mean comes to rest: gradient t has the share delta / (t - 1 + delta)" },
    OPTION_END,
};

enum { MEAN, ITERATE, MOMENTUM }; /* states */

static unsigned state_mask(const void *options_pointer)
{
    const IgtOptions *o = options_pointer;
    return o->momentum > 0 ? 7 : 3;
}

static void start(const void *options_pointer, const OptimizerRange *range)
{
    (void)options_pointer;
    memcpy(range->state[ITERATE], range->w, range->n * sizeof *range->w);
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const IgtOptions *o = options_pointer;
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict v = __builtin_assume_aligned(range->state[MEAN], 64);
    float *restrict iterate = __builtin_assume_aligned(range->state[ITERATE], 64);
    float *restrict u = range->state[MOMENTUM];
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    const double before = (double)(step->t - 1), gamma = before / (before + o->delta);
    const float keep = (float)gamma, take = (float)(1 - gamma);
    const float scale = (float)step->scale, decay = (float)step->weight_decay;
    const float lr = (float)step->lr, ahead = (float)(step->lr * (double)step->t / o->delta);
    const float mu = (float)o->momentum, gain = (float)(1 - o->dampening);
    const bool with_momentum = o->momentum > 0, nesterov = o->nesterov;
    for (size_t i = 0; i < range->n; i++) {
        v[i] = keep * v[i] + take * (scale * g[i] + decay * w[i]);
        float d = v[i];
        if (with_momentum) {
            u[i] = mu * u[i] + gain * v[i];
            d = nesterov ? v[i] + mu * u[i] : u[i];
        }
        iterate[i] = iterate[i] - lr * d;
        w[i] = iterate[i] - ahead * d;
    }
}

static void evaluate(const void *options_pointer, const TensorStep *step,
                     const OptimizerRange *range, float *out)
{
    (void)options_pointer;
    (void)step;
    memcpy(out, range->state[ITERATE], range->n * sizeof *out);
}

extern const OptimizerType ISA_NAME(optimizer_igt);
const OptimizerType ISA_NAME(optimizer_igt) = {
    .name = "igt",
    .help = "the mean of all gradients, each taken at a point ahead of the weights (lr 0.05, no "
            "weight_decay, no clip_norm)",
    .formula = "c = (t - 1) / (t - 1 + delta); v = c v + (1 - c) g(y); u = mu u + v; w -= lr u; "
               "y = w - lr t / delta u",
    .source = "Arnold et al. 2019",
    .options = options,
    .options_bytes = sizeof(IgtOptions),
    .states = 3,
    .state_names = { "mean", "iterate", "momentum" },
    .flops = 13,
    .default_lr = 0.05,
    .clip_epsilon = 1e-6,
    .state_mask = state_mask,
    .start = start,
    .update = update,
    .evaluate = evaluate,
};
