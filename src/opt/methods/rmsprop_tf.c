/* RMSprop in TensorFlow's form, which published Inception, MobileNet and EfficientNet runs use: the
 * mean of squares begins at one, eps is under the root, lr inside the velocity. */
#include "../rmsprop.h"
#include "lockstep/cpu.h"

static const Option options[] = {
    RMSPROP_OPTIONS("0.9", "1e-10", "added under the root", "0.9", "true"),
    OPTION_END,
};

static void start(const void *options_pointer, const OptimizerRange *range)
{
    (void)options_pointer;
    fill_state(range, RMSPROP_SQUARE, 1);
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    rmsprop_any(options_pointer, step, true, range);
}

extern const OptimizerType ISA_NAME(optimizer_rmsprop_tf);
const OptimizerType ISA_NAME(optimizer_rmsprop_tf) = {
    .name = "rmsprop_tf",
    .help = "RMSprop as TensorFlow has it, with momentum (lr 0.01, no weight_decay, no clip_norm)",
    .formula = "g += wd w; v = a v + (1 - a) g^2, v_0 = 1; centered: c = a c + (1 - a) g, v - c^2 "
               "for v; b = mu b + lr g / sqrt(v + eps); w -= b",
    .source = "Hinton 2012; Szegedy et al. 2016",
    .options = options,
    .options_bytes = sizeof(RmspropOptions),
    .states = 3,
    .state_names = RMSPROP_STATE_NAMES,
    .flops = 18,
    .state_mask = rmsprop_state_mask,
    .default_lr = 1e-2,
    .clip_epsilon = 1e-6,
    .start = start,
    .update = update,
};
