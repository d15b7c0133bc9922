/* AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019), in PyTorch's form: decay is
 * multiplied by the scheduled lr. The paper multiplies it by the schedule alone (decay:
 * scheduled). */
#include "../adam.h"
#include "lockstep/cpu.h"

static const Option options[] = { ADAM_OPTIONS("decoupled", "false"), OPTION_END };

extern const OptimizerType ISA_NAME(optimizer_adamw);
const OptimizerType ISA_NAME(optimizer_adamw) = {
    .name = "adamw",
    .help = "Adam with decoupled weight decay (lr 0.001, weight_decay 0.01, no clip_norm)",
    .formula = "m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; "
               "w -= lr wd w + lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)",
    .source = "Loshchilov and Hutter 2019; Kingma and Ba 2015",
    .options = options,
    .options_bytes = sizeof(AdamOptions),
    .states = 3,
    .state_names = { "mean", "square", "largest_square" },
    .flops = 18,
    .state_mask = adam_state_mask,
    .default_lr = 1e-3,
    .default_weight_decay = 0.01,
    .clip_epsilon = 1e-6,
    .update = adam_update,
};
