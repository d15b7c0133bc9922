/* AMSBound: AdaBound with the largest second moment so far (Luo et al. 2019). */
#include "../bound.h"
#include "lockstep/cpu.h"

static const Option options[] = { BOUND_OPTIONS("l2", "true"), OPTION_END };

extern const OptimizerType ISA_NAME(optimizer_amsbound);
const OptimizerType ISA_NAME(optimizer_amsbound) = {
    .name = "amsbound",
    .help = "AdaBound with a divisor that never falls (lr 0.001, no weight_decay, no clip_norm)",
    .formula = "g += wd w; m, v, x = max(x, v) as AMSGrad; f = final_lr lr / lr_0; r = lr sqrt(1 - "
               "b2^t) / (1 - b1^t) / (sqrt(x) + eps); w -= min(max(r, f (1 - 1 / (gamma t + 1))), "
               "f (1 + 1 / (gamma t))) m",
    .source = "Luo et al. 2019",
    .options = options,
    .options_bytes = sizeof(BoundOptions),
    .states = 3,
    .state_names = { "mean", "square", "largest_square" },
    .flops = 21,
    .state_mask = bound_state_mask,
    .default_lr = 1e-3,
    .clip_epsilon = 1e-6,
    .update = bound_update,
};
