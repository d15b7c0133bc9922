/* NAdamW: AdamW that steps along b1 m + (1 - b1) g, without a schedule of the momentum: the
 * baseline of AlgoPerf (Dahl et al. 2023). Dozat's simple form. */
#include "../moments.h"
#include "lockstep/cpu.h"

typedef struct NadamwOptions {
    MomentOptions moments;
    int decay;
} NadamwOptions;

static const Option options[] = {
    MOMENT_OPTIONS(NadamwOptions, "0.9", "0.999", "1e-8"),
    DECAY_OPTION(NadamwOptions, "decoupled"),
    OPTION_END,
};

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const NadamwOptions *o = options_pointer;
    const MomentStep s = moment_step(&o->moments, o->decay, step);
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict m = __builtin_assume_aligned(range->state[0], 64);
    float *restrict v = __builtin_assume_aligned(range->state[1], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    for (size_t i = 0; i < range->n; i++) {
        float d = s.scale * g[i] + s.l2 * w[i];
        m[i] = s.beta1 * m[i] + s.gain1 * d;
        v[i] = s.beta2 * v[i] + s.gain2 * d * d;
        float ahead = s.beta1 * m[i] + s.gain1 * d;
        w[i] = w[i] - s.shrink * w[i] - s.rate * ahead / (sqrtf(v[i]) * s.correction + s.eps);
    }
}

extern const OptimizerType ISA_NAME(optimizer_nadamw);
const OptimizerType ISA_NAME(optimizer_nadamw) = {
    .name = "nadamw",
    .help = "AdamW with Nesterov momentum (lr 0.001, weight_decay 0.01, no clip_norm)",
    .formula = "m, v as Adam; w -= lr wd w + lr (b1 m + (1 - b1) g) / (1 - b1^t) / "
               "(sqrt(v / (1 - b2^t)) + eps)",
    .source = "Dahl et al. 2023; Dozat 2016",
    .options = options,
    .options_bytes = sizeof(NadamwOptions),
    .states = 2,
    .state_names = { "mean", "square" },
    .flops = 21,
    .default_lr = 1e-3,
    .default_weight_decay = 0.01,
    .clip_epsilon = 1e-6,
    .update = update,
};
