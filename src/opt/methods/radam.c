/* RAdam: Adam that begins with momentum steps and trusts its second moment as that becomes
 * reliable, Liu et al. 2020. The default is PyTorch's form. The paper's threshold is 4. The
 * official program has decoupled decay and does nothing at all below its threshold of 5 (below:
 * skip, decay: decoupled), or momentum steps with degenerated_to_sgd (decay: decoupled). All of
 * them add eps to the uncorrected root. */
#include "../moments.h"
#include "../rectify.h"
#include "lockstep/cpu.h"

typedef struct RadamOptions {
    MomentOptions moments;
    int decay, below;
    double threshold;
} RadamOptions;

static const Option options[] = {
    MOMENT_OPTIONS(RadamOptions, "0.9", "0.999", "1e-8"),
    DECAY_OPTION(RadamOptions, "l2"),
    { "threshold", OPTION_FLOAT, OPTION_AT(RadamOptions, threshold), 4, 1e6, NULL, "5",
      "the second moment is used once rho_t is above this; the paper: 4" },
    BELOW_OPTION(RadamOptions),
    OPTION_END,
};

/* w -= shrink w + rate m / (sqrt(v) correction + eps), or w -= shrink w + rate m */
static inline __attribute__((always_inline)) void
elements(const MomentStep s, const OptimizerRange *range, bool adaptive)
{
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict m = __builtin_assume_aligned(range->state[0], 64);
    float *restrict v = __builtin_assume_aligned(range->state[1], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    for (size_t i = 0; i < range->n; i++) {
        float d = s.scale * g[i] + s.l2 * w[i];
        m[i] = s.beta1 * m[i] + s.gain1 * d;
        v[i] = s.beta2 * v[i] + s.gain2 * d * d;
        float u = s.rate * m[i];
        if (adaptive)
            u /= sqrtf(v[i]) * s.correction + s.eps;
        w[i] = w[i] - s.shrink * w[i] - u;
    }
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const RadamOptions *o = options_pointer;
    MomentStep s = moment_step(&o->moments, o->decay, step);
    moment_eps_uncorrected(&s, &o->moments, step);
    double rectified = rectification(o->moments.beta2, step->t, o->threshold);
    if (rectified > 0) {
        s.rate *= (float)rectified;
        elements(s, range, true);
    } else {
        if (o->below == BELOW_SKIP)
            s.rate = s.shrink = 0;
        elements(s, range, false);
    }
}

extern const OptimizerType ISA_NAME(optimizer_radam);
const OptimizerType ISA_NAME(optimizer_radam) = {
    .name = "radam",
    .help = "Adam that needs no warm-up: its first steps are momentum steps (lr 0.001, no "
            "weight_decay, no clip_norm)",
    .formula = "m, v as Adam; R = 2 / (1 - b2) - 1; rho = R - 2 t b2^t / (1 - b2^t); rho > 5: "
               "w -= lr sqrt((rho - 4) (rho - 2) R / ((R - 4) (R - 2) rho)) m / (1 - b1^t) "
               "sqrt(1 - b2^t) / (sqrt(v) + eps); else w -= lr m / (1 - b1^t)",
    .source = "Liu et al. 2020",
    .options = options,
    .options_bytes = sizeof(RadamOptions),
    .states = 2,
    .state_names = { "mean", "square" },
    .flops = 18,
    .default_lr = 1e-3,
    .clip_epsilon = 1e-6,
    .update = update,
};
