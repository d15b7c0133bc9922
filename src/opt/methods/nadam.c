/* NAdam: Nesterov momentum in Adam with a schedule of the momentum, Dozat 2016, in the form of
 * PyTorch since 2.0 and Keras: P is the product of all momenta so far. (PyTorch up to 1.13 counts
 * one of them twice.) */
#include "../moments.h"
#include "lockstep/cpu.h"

typedef struct NadamOptions {
    MomentOptions moments;
    int decay;
    double momentum_decay;
} NadamOptions;

static const Option options[] = {
    MOMENT_OPTIONS(NadamOptions, "0.9", "0.999", "1e-8"),
    DECAY_OPTION(NadamOptions, "l2"),
    { "momentum_decay", OPTION_FLOAT, OPTION_AT(NadamOptions, momentum_decay), 0, 1e3, NULL,
      "0.004", "psi: the momentum of step t is beta1 (1 - 0.96^(psi t) / 2)" },
    OPTION_END,
};

/* mu_t */
static double momentum_at(const NadamOptions *o, double beta1, int64_t t)
{
    return beta1 * (1 - 0.5 * exp((double)t * o->momentum_decay * log(0.96)));
}

/* P_t = mu_1 ... mu_t. Every factor is below beta1 and the first ones near beta1 / 2, so the
 * product soon is nothing beside 1: it is made anew in every step. */
static double momentum_product(const NadamOptions *o, double beta1, int64_t t)
{
    double fade = exp(o->momentum_decay * log(0.96)), share = 1, product = 1;
    for (int64_t i = 1; i <= t && product > 1e-20; i++) {
        share *= fade;
        product *= beta1 * (1 - 0.5 * share);
    }
    return product;
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const NadamOptions *o = options_pointer;
    const MomentStep s = moment_step(&o->moments, o->decay, step);
    double beta1 = optimizer_momentum(step, o->moments.beta1);
    double now = momentum_at(o, beta1, step->t), next = momentum_at(o, beta1, step->t + 1);
    double product = momentum_product(o, beta1, step->t);
    const float rate_g = (float)(step->lr * (1 - now) / (1 - product));
    const float rate_m = (float)(step->lr * next / (1 - product * next));
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict m = __builtin_assume_aligned(range->state[0], 64);
    float *restrict v = __builtin_assume_aligned(range->state[1], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    for (size_t i = 0; i < range->n; i++) {
        float d = s.scale * g[i] + s.l2 * w[i];
        m[i] = s.beta1 * m[i] + s.gain1 * d;
        v[i] = s.beta2 * v[i] + s.gain2 * d * d;
        float u = (rate_g * d + rate_m * m[i]) / (sqrtf(v[i]) * s.correction + s.eps);
        w[i] = w[i] - s.shrink * w[i] - u;
    }
}

extern const OptimizerType ISA_NAME(optimizer_nadam);
const OptimizerType ISA_NAME(optimizer_nadam) = {
    .name = "nadam",
    .help = "Adam with Nesterov momentum on a schedule (lr 0.002, no weight_decay, no clip_norm)",
    .formula = "mu_t = b1 (1 - 0.96^(psi t) / 2); P_t = mu_1 ... mu_t; m, v as Adam; "
               "w -= lr ((1 - mu_t) / (1 - P_t) g + mu_(t+1) / (1 - P_(t+1)) m) / "
               "(sqrt(v / (1 - b2^t)) + eps)",
    .source = "Dozat 2016",
    .options = options,
    .options_bytes = sizeof(NadamOptions),
    .states = 2,
    .state_names = { "mean", "square" },
    .flops = 20,
    .default_lr = 2e-3,
    .clip_epsilon = 1e-6,
    .update = update,
};
