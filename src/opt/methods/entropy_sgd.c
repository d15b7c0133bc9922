/* Entropy-SGD: every outer step follows the mean of L inner Langevin steps around the weights,
 * Chaudhari et al. 2017, in the form of the published program: the outer buffer begins with the
 * first gradient, weight decay is added inside and outside, the outer gradient is w - mean without
 * the paper's factor gamma. A step here is one gradient, hence one inner step; every L-th also
 * makes the outer one. The program's scope counter never counts; here gamma grows as it says. */
#include "lockstep/cpu.h"
#include "lockstep/optimizer.h"
#include "lockstep/random.h"
#include "lockstep/vmath.h"

#include <math.h>
#include <string.h>

typedef struct EntropyOptions {
    int64_t inner_steps;
    double inner_lr, average, momentum, dampening, gamma, scope, noise;
    bool nesterov;
} EntropyOptions;

static const Option options[] = {
    { "inner_steps", OPTION_INT, OPTION_AT(EntropyOptions, inner_steps), 1, 1e6, NULL, "20",
      "L: gradients in an outer step" },
    { "inner_lr", OPTION_FLOAT, OPTION_AT(EntropyOptions, inner_lr), 0, 1e6, NULL, "0.1",
      "learning rate of inner steps; lr is that of outer ones" },
    { "average", OPTION_FLOAT, OPTION_AT(EntropyOptions, average), 0, 0.9999999, NULL, "0.75",
      "share of the mean of inner points that survives an inner step" },
    { "momentum", OPTION_FLOAT, OPTION_AT(EntropyOptions, momentum), 0, 0.9999999, NULL, "0.9",
      "share of the velocity that survives a step, inner and outer" },
    { "dampening", OPTION_FLOAT, OPTION_AT(EntropyOptions, dampening), 0, 1, NULL, "0",
      "the gradient enters a velocity times 1 - dampening" },
    { "nesterov", OPTION_BOOL, OPTION_AT(EntropyOptions, nesterov), 0, 0, NULL, "true",
      "step along d + momentum * v" },
    { "gamma", OPTION_FLOAT, OPTION_AT(EntropyOptions, gamma), 0, 1e6, NULL, "0.0001",
      "pull of inner points towards the weights: the scope" },
    { "scope", OPTION_FLOAT, OPTION_AT(EntropyOptions, scope), 0, 1, NULL, "0.001",
      "gamma grows by this fraction every outer step" },
    { "noise", OPTION_FLOAT, OPTION_AT(EntropyOptions, noise), 0, 1e6, NULL, "0.0001",
      "size of the Langevin noise; it is divided by sqrt(inner_lr / 2)" },
    OPTION_END,
};

enum { ITERATE, MEAN, INNER, OUTER }; /* states */

static void begin_outer(const TensorStep *step, const OptimizerRange *range)
{
    memcpy(range->state[ITERATE], range->w, range->n * sizeof *range->w);
    memcpy(range->state[MEAN], range->w, range->n * sizeof *range->w);
    memset(range->state[INNER], 0, range->n * sizeof *range->w);
    for (size_t i = 0; step->t == 1 && i < range->n; i++)
        range->state[OUTER][i] = (float)step->scale * range->g[i];
}

static void inner_step(const EntropyOptions *o, const TensorStep *step, const OptimizerRange *range,
                       double gamma)
{
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict v = __builtin_assume_aligned(range->state[INNER], 64);
    float *restrict mean = __builtin_assume_aligned(range->state[MEAN], 64);
    const float *restrict x = __builtin_assume_aligned(range->state[ITERATE], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    const float scale = (float)step->scale, decay = (float)step->weight_decay;
    const float mu = (float)o->momentum, gain = (float)(1 - o->dampening), pull = (float)gamma;
    const float lr = (float)o->inner_lr;
    const float keep = (float)o->average, take = (float)(1 - o->average);
    const float look = o->nesterov ? 1 : 0, along = o->nesterov ? mu : 1;
    for (size_t i = 0; i < range->n; i++) {
        float d = scale * g[i] + decay * w[i];
        v[i] = mu * v[i] + gain * d;
        d = (mu > 0 ? look * d + along * v[i] : d) - pull * (x[i] - w[i]);
        w[i] = w[i] - lr * d;
        mean[i] = keep * mean[i] + take * w[i];
    }
}

/* Numbers belong to (seed, step, tensor, element), so they are the same for every cut. */
static void add_noise(const EntropyOptions *o, const TensorStep *step, const OptimizerRange *range)
{
    const float size = (float)(o->inner_lr * o->noise / sqrt(0.5 * o->inner_lr));
    RandomKey key = random_key(step->seed, RANDOM_NOISE, (uint64_t)step->t, (uint64_t)step->tensor);
    random_add_normal(key, range->first, -size, range->w, range->n);
}

static void outer_step(const EntropyOptions *o, const TensorStep *step, const OptimizerRange *range)
{
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict v = __builtin_assume_aligned(range->state[OUTER], 64);
    const float *restrict mean = __builtin_assume_aligned(range->state[MEAN], 64);
    const float *restrict x = __builtin_assume_aligned(range->state[ITERATE], 64);
    const float decay = (float)step->weight_decay, lr = (float)step->lr;
    const float mu = (float)o->momentum, gain = (float)(1 - o->dampening);
    const float look = o->nesterov ? 1 : 0, along = o->nesterov ? mu : 1;
    for (size_t i = 0; i < range->n; i++) {
        float d = x[i] - mean[i] + decay * x[i];
        v[i] = mu * v[i] + gain * d;
        w[i] = x[i] - lr * (mu > 0 ? look * d + along * v[i] : d);
    }
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const EntropyOptions *o = options_pointer;
    int64_t inner = (step->t - 1) % o->inner_steps, outer = (step->t - 1) / o->inner_steps;
    if (inner == 0)
        begin_outer(step, range);
    if (o->noise > 0 && step->lr > 0)
        add_noise(o, step, range);
    inner_step(o, step, range, o->gamma * vmath_power(1 + o->scope, outer));
    if (inner == o->inner_steps - 1)
        outer_step(o, step, range);
}

/* Between outer steps w is an inner point. */
static void evaluate(const void *options_pointer, const TensorStep *step,
                     const OptimizerRange *range, float *out)
{
    const EntropyOptions *o = options_pointer;
    if (step->t % o->inner_steps != 0)
        memcpy(out, range->state[ITERATE], range->n * sizeof *out);
}

extern const OptimizerType ISA_NAME(optimizer_entropy_sgd);
const OptimizerType ISA_NAME(optimizer_entropy_sgd) = {
    .name = "entropy_sgd",
    .help = "outer steps towards the mean of inner Langevin steps: wide valleys; a step is one "
            "gradient, an outer step takes inner_steps of them (lr 1, no weight_decay, no "
            "clip_norm)",
    .formula = "inner: y -= lr' (g(y) - gamma (w - y) + noise), m = a m + (1 - a) y; "
               "every L: v = mu v + (w - m), w -= lr (w - m + mu v), y = m = w",
    .source = "Chaudhari et al. 2017",
    .options = options,
    .options_bytes = sizeof(EntropyOptions),
    .states = 4,
    .state_names = { "iterate", "mean", "inner", "momentum" },
    .flops = 55,
    .floats = 8,
    .default_lr = 1,
    .clip_epsilon = 1e-6,
    .update = update,
    .evaluate = evaluate,
};
