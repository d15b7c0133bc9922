/* AdaBoundW: AdaBound with weight decay outside the gradient. The official program subtracts
 * weight_decay * w without any lr. */
#include "../bound.h"
#include "lockstep/cpu.h"

static const Option options[] = { BOUND_OPTIONS("direct", "false"), OPTION_END };

extern const OptimizerType ISA_NAME(optimizer_adaboundw);
const OptimizerType ISA_NAME(optimizer_adaboundw) = {
    .name = "adaboundw",
    .help =
        "AdaBound that shrinks w by weight_decay itself (lr 0.001, no weight_decay, no clip_norm)",
    .formula =
        "m, v as Adam; f = final_lr lr / lr_0; r = lr sqrt(1 - b2^t) / (1 - b1^t) / (sqrt(v) + "
        "eps); w -= wd w + min(max(r, f (1 - 1 / (gamma t + 1))), f (1 + 1 / (gamma t))) m",
    .source = "Luo et al. 2019; Loshchilov and Hutter 2019",
    .options = options,
    .options_bytes = sizeof(BoundOptions),
    .states = 3,
    .state_names = { "mean", "square", "largest_square" },
    .flops = 20,
    .state_mask = bound_state_mask,
    .default_lr = 1e-3,
    .clip_epsilon = 1e-6,
    .update = bound_update,
};
