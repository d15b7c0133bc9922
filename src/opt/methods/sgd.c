/* Stochastic gradient descent with momentum (Qian 1999) and Nesterov's look-ahead (Sutskever et al.
 * 2013), in the form PyTorch uses: lr outside the buffer, the first step takes g undamped. */
#include "../decay.h"
#include "../momentum.h"
#include "lockstep/cpu.h"

typedef struct SgdOptions {
    double momentum, dampening;
    bool nesterov;
    int decay;
} SgdOptions;

static const Option options[] = {
    { "momentum", OPTION_FLOAT, OPTION_AT(SgdOptions, momentum), 0, 1, NULL, "0.9",
      "share of the velocity that survives a step; 0: plain SGD" },
    { "dampening", OPTION_FLOAT, OPTION_AT(SgdOptions, dampening), 0, 1, NULL, "0",
      "the gradient enters the velocity times 1 - dampening, except in the first step" },
    { "nesterov", OPTION_BOOL, OPTION_AT(SgdOptions, nesterov), 0, 0, NULL, "false",
      "step along d + momentum * v (PyTorch's form of Nesterov momentum)" },
    DECAY_OPTION(SgdOptions, "l2"), /* decoupled: SGDW */
    OPTION_END,
};

static bool check(const void *options_pointer, Err *err)
{
    const SgdOptions *o = options_pointer;
    if (o->nesterov && (o->momentum <= 0 || o->dampening != 0))
        return err_set(err, "nesterov needs momentum above 0 and dampening 0, found %g and %g",
                       o->momentum, o->dampening);
    return true;
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const SgdOptions *o = options_pointer;
    double mu = optimizer_momentum(step, o->momentum);
    bool damped = step->t > 1 && mu > 0;
    MomentumStep momentum = { .scale = step->scale,
                              .decay = decay_l2(o->decay, step),
                              .shrink = decay_shrink(o->decay, step),
                              .momentum = mu,
                              .in = damped ? 1 - o->dampening : 1,
                              .out = step->lr,
                              .nesterov = o->nesterov };
    momentum_update(&momentum, range);
}

extern const OptimizerType ISA_NAME(optimizer_sgd);
const OptimizerType ISA_NAME(optimizer_sgd) = {
    .name = "sgd",
    .help = "stochastic gradient descent with momentum or Nesterov momentum (lr 0.1, no "
            "weight_decay, no clip_norm)",
    .formula = "d = g + wd w; v = mu v + (1 - damp) d; w -= lr v  (nesterov: w -= lr (d + mu v))",
    .source = "Qian 1999; Sutskever et al. 2013",
    .options = options,
    .options_bytes = sizeof(SgdOptions),
    .states = 1,
    .state_names = { "momentum" },
    .flops = 10,
    .default_lr = 0.1,
    .clip_epsilon = 1e-6,
    .check = check,
    .update = update,
};
