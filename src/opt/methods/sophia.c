/* Sophia: momentum divided by an estimate of the diagonal of the Hessian, each element clipped.
 * Liu et al. 2024; bounds p and eps in the form of the common PyTorch port: the paper's step is
 * clip(m / max(gamma h, eps), 1). The estimate comes from the trainer every `period` steps
 * (OptimizerType.curvature); between them h rests. */
#include "lockstep/cpu.h"
#include "lockstep/optimizer.h"

typedef struct SophiaOptions {
    double beta1, beta2, eps, bound;
    int64_t period;
    int decay;
} SophiaOptions;

enum { SOPHIA_DECOUPLED, SOPHIA_L2 };

/* eps is above 0 because padding has 0 / max(0, eps). */
static const Option options[] = {
    { "beta1", OPTION_FLOAT, OPTION_AT(SophiaOptions, beta1), 0, 0.9999999, NULL, "0.96",
      "decay of the mean of gradients" },
    { "beta2", OPTION_FLOAT, OPTION_AT(SophiaOptions, beta2), 0, 0.9999999, NULL, "0.99",
      "decay of the mean of Hessian estimates" },
    { "eps", OPTION_FLOAT, OPTION_AT(SophiaOptions, eps), 1e-30, 1, NULL, "1e-12",
      "smallest Hessian to divide by" },
    { "bound", OPTION_FLOAT, OPTION_AT(SophiaOptions, bound), 1e-30, 1e9, NULL, "0.01",
      "largest size of an element of the step, before lr" },
    { "period", OPTION_INT, OPTION_AT(SophiaOptions, period), 1, 1e9, NULL, "10",
      "steps between Hessian estimates, each of which costs one more gradient" },
    { "decay", OPTION_CHOICE, OPTION_AT(SophiaOptions, decay), 0, 0, "decoupled|l2", "decoupled",
      "decoupled: w shrinks by lr * weight_decay; l2: weight_decay * w joins the gradient" },
    OPTION_END,
};

enum { MEAN, HESSIAN };

static bool curvature(const void *options_pointer, int64_t t)
{
    const SophiaOptions *o = options_pointer;
    return t % o->period == 0 || (t == 1 && o->period > 2); /* h has to begin somewhere */
}

static void take_estimate(const SophiaOptions *o, const OptimizerRange *range)
{
    float *restrict h = __builtin_assume_aligned(range->state[HESSIAN], 64);
    const float *restrict estimate = __builtin_assume_aligned(range->hessian, 64);
    const float keep = (float)o->beta2, take = (float)(1 - o->beta2);
    for (size_t i = 0; i < range->n; i++)
        h[i] = keep * h[i] + take * estimate[i];
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const SophiaOptions *o = options_pointer;
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict m = __builtin_assume_aligned(range->state[MEAN], 64);
    const float *restrict h = __builtin_assume_aligned(range->state[HESSIAN], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    const double mean = optimizer_momentum(step, o->beta1);
    const float scale = (float)step->scale, beta1 = (float)mean, gain1 = (float)(1 - mean);
    const float l2 = (float)(o->decay == SOPHIA_L2 ? step->weight_decay : 0);
    const float shrink = (float)(o->decay == SOPHIA_L2 ? 0 : step->lr * step->weight_decay);
    const float lr = (float)step->lr, eps = (float)o->eps, bound = (float)o->bound;
    if (range->hessian)
        take_estimate(o, range);
    for (size_t i = 0; i < range->n; i++) {
        m[i] = beta1 * m[i] + gain1 * (scale * g[i] + l2 * w[i]);
        float u = m[i] / (h[i] > eps ? h[i] : eps);
        u = u > bound ? bound : u;
        u = u < -bound ? -bound : u;
        w[i] = w[i] - shrink * w[i] - lr * u;
    }
}

extern const OptimizerType ISA_NAME(optimizer_sophia);
const OptimizerType ISA_NAME(optimizer_sophia) = {
    .name = "sophia",
    .help = "momentum over an estimate of the Hessian's diagonal, every element clipped (lr 0.06, "
            "no weight_decay, no clip_norm)",
    .formula = "m = b1 m + (1 - b1) g; h = b2 h + (1 - b2) H every period steps; "
               "w -= lr wd w + lr clip(m / max(h, eps), bound)",
    .source = "Liu et al. 2024",
    .options = options,
    .options_bytes = sizeof(SophiaOptions),
    .states = 2,
    .state_names = { "mean", "hessian" },
    .flops = 14,
    .default_lr = 0.06,
    .clip_epsilon = 1e-6,
    .curvature = curvature,
    .update = update,
};
