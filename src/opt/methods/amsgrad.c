/* AMSGrad (Reddi et al. 2018): Adam whose divisor never falls, in PyTorch's form: the largest
 * second moment is kept without bias correction and corrected when it is used. */
#include "../adam.h"
#include "lockstep/cpu.h"

static const Option options[] = { ADAM_OPTIONS("l2", "true"), OPTION_END };

extern const OptimizerType ISA_NAME(optimizer_amsgrad);
const OptimizerType ISA_NAME(optimizer_amsgrad) = {
    .name = "amsgrad",
    .help = "Adam with a divisor that never falls (lr 0.001, no weight_decay, no clip_norm)",
    .formula = "g += wd w; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; x = max(x, v); "
               "w -= lr m / (1 - b1^t) / (sqrt(x / (1 - b2^t)) + eps)",
    .source = "Reddi et al. 2018",
    .options = options,
    .options_bytes = sizeof(AdamOptions),
    .states = 3,
    .state_names = { "mean", "square", "largest_square" },
    .flops = 19,
    .state_mask = adam_state_mask,
    .default_lr = 1e-3,
    .clip_epsilon = 1e-6,
    .update = adam_update,
};
