/* Adam (Kingma and Ba 2015) in PyTorch's form: eps comes after the bias correction, weight decay
 * joins the gradient. */
#include "../adam.h"
#include "lockstep/cpu.h"

static const Option options[] = { ADAM_OPTIONS("l2", "false"), OPTION_END };

extern const OptimizerType ISA_NAME(optimizer_adam);
const OptimizerType ISA_NAME(optimizer_adam) = {
    .name = "adam",
    .help = "steps scaled by decaying means of gradients and of their squares (lr 0.001, no "
            "weight_decay, no clip_norm)",
    .formula = "g += wd w; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; "
               "w -= lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)",
    .source = "Kingma and Ba 2015",
    .options = options,
    .options_bytes = sizeof(AdamOptions),
    .states = 3,
    .state_names = { "mean", "square", "largest_square" },
    .flops = 18,
    .state_mask = adam_state_mask,
    .default_lr = 1e-3,
    .clip_epsilon = 1e-6,
    .update = adam_update,
};
