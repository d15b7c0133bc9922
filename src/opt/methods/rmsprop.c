/* RMSprop (Hinton 2012) in PyTorch's form: the mean of squares begins at zero, eps is beside the
 * root, lr outside the velocity. TensorFlow's form is rmsprop_tf. */
#include "../rmsprop.h"
#include "lockstep/cpu.h"

static const Option options[] = {
    RMSPROP_OPTIONS("0.99", "1e-8", "added to the root", "0", "false"),
    OPTION_END,
};

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    rmsprop_any(options_pointer, step, false, range);
}

extern const OptimizerType ISA_NAME(optimizer_rmsprop);
const OptimizerType ISA_NAME(optimizer_rmsprop) = {
    .name = "rmsprop",
    .help = "steps divided by the root of the mean squared gradient (lr 0.01, no weight_decay, no "
            "clip_norm)",
    .formula = "g += wd w; v = a v + (1 - a) g^2; centered: c = a c + (1 - a) g, v - c^2 for v; "
               "b = mu b + g / (sqrt(v) + eps); w -= lr b",
    .source = "Hinton 2012; Graves 2013",
    .options = options,
    .options_bytes = sizeof(RmspropOptions),
    .states = 3,
    .state_names = RMSPROP_STATE_NAMES,
    .flops = 16,
    .state_mask = rmsprop_state_mask,
    .default_lr = 1e-2,
    .clip_epsilon = 1e-6,
    .update = update,
};
