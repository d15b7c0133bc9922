/* Rprop: a step size for every weight that grows while the gradient keeps its sign and shrinks when
 * it changes it, Riedmiller and Braun 1993, in PyTorch's form (iRprop-: no step back, the gradient
 * of a change counts as zero). lr is the first size; a schedule changes nothing. For large batches
 * only: gradients that are mostly noise change their sign all the time. */
#include "../decay.h"
#include "../states.h"
#include "lockstep/cpu.h"

typedef struct RpropOptions {
    double shrink, grow, smallest, largest;
    int decay;
} RpropOptions;

static const Option options[] = {
    { "eta_minus", OPTION_FLOAT, OPTION_AT(RpropOptions, shrink), 1e-6, 0.9999999, NULL, "0.5",
      "factor of the size where the gradient changed its sign" },
    { "eta_plus", OPTION_FLOAT, OPTION_AT(RpropOptions, grow), 1.0000001, 1e6, NULL, "1.2",
      "factor of the size where it kept it" },
    { "step_min", OPTION_FLOAT, OPTION_AT(RpropOptions, smallest), 1e-30, 1e9, NULL, "1e-6",
      "smallest size of a step" },
    { "step_max", OPTION_FLOAT, OPTION_AT(RpropOptions, largest), 1e-30, 1e9, NULL, "50",
      "largest size of a step" },
    DECAY_OPTION(RpropOptions, "l2"),
    OPTION_END,
};

static bool check(const void *options_pointer, Err *err)
{
    const RpropOptions *o = options_pointer;
    if (o->smallest > o->largest)
        return err_set(err, "step_min must not be above step_max, found %g and %g", o->smallest,
                       o->largest);
    return true;
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const RpropOptions *o = options_pointer;
    const float scale = (float)step->scale, l2 = (float)decay_l2(o->decay, step);
    const float shrink = (float)decay_shrink(o->decay, step);
    const float minus = (float)o->shrink, plus = (float)o->grow;
    const float smallest = (float)o->smallest, largest = (float)o->largest;
    if (step->t == 1)
        fill_state(range, 1, step->lr);
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict before = __builtin_assume_aligned(range->state[0], 64);
    float *restrict size = __builtin_assume_aligned(range->state[1], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    for (size_t i = 0; i < range->n; i++) {
        float d = scale * g[i] + l2 * w[i], same = d * before[i];
        float next = size[i] * (same > 0 ? plus : same < 0 ? minus : 1);
        next = next < smallest ? smallest : next;
        next = next > largest ? largest : next;
        d = same < 0 ? 0 : d;
        w[i] = w[i] - shrink * w[i] - (d > 0 ? next : d < 0 ? -next : 0);
        size[i] = next;
        before[i] = d;
    }
}

extern const OptimizerType ISA_NAME(optimizer_rprop);
const OptimizerType ISA_NAME(optimizer_rprop) = {
    .name = "rprop",
    .help = "a step size for every weight by the signs of its gradients (lr 0.01, no weight_decay, "
            "no clip_norm)",
    .formula = "s = s eta_plus if g g_(t-1) > 0, s eta_minus and g = 0 if < 0, s_1 = lr; "
               "s = min(max(s, step_min), step_max); w -= s sign(g)",
    .source = "Riedmiller and Braun 1993",
    .options = options,
    .options_bytes = sizeof(RpropOptions),
    .states = 2,
    .state_names = { "previous", "size" },
    .flops = 15,
    .default_lr = 1e-2,
    .clip_epsilon = 1e-6,
    .check = check,
    .update = update,
};
