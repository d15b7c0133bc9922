/* Yogi: Adam whose second moment moves towards g^2 by steps that do not depend on how far away it
 * is, Zaheer et al. 2018. Both moments begin at initial_accumulator, as in TensorFlow's and
 * kozistr's programs, so weights move a little before they have had a gradient. */
#include "../moments.h"
#include "../states.h"
#include "lockstep/cpu.h"

typedef struct YogiOptions {
    MomentOptions moments;
    int decay;
    double initial_accumulator;
} YogiOptions;

static const Option options[] = {
    MOMENT_OPTIONS(YogiOptions, "0.9", "0.999", "1e-3"),
    DECAY_OPTION(YogiOptions, "decoupled"),
    { "initial_accumulator", OPTION_FLOAT, OPTION_AT(YogiOptions, initial_accumulator), 0, 1e6,
      NULL, "1e-6", "both moments before the first step" },
    OPTION_END,
};

static void start(const void *options_pointer, const OptimizerRange *range)
{
    const YogiOptions *o = options_pointer;
    fill_state(range, 0, o->initial_accumulator);
    fill_state(range, 1, o->initial_accumulator);
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const YogiOptions *o = options_pointer;
    const MomentStep s = moment_step(&o->moments, o->decay, step);
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict m = __builtin_assume_aligned(range->state[0], 64);
    float *restrict v = __builtin_assume_aligned(range->state[1], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    for (size_t i = 0; i < range->n; i++) {
        float d = s.scale * g[i] + s.l2 * w[i];
        float square = d * d, way = v[i] - square; /* sign(way) square, without a branch: */
        m[i] = s.beta1 * m[i] + s.gain1 * d;
        v[i] -= s.gain2 * (way > 0 ? square : way < 0 ? -square : 0);
        float u = s.rate * m[i] / (sqrtf(v[i]) * s.correction + s.eps);
        w[i] = w[i] - s.shrink * w[i] - u;
    }
}

extern const OptimizerType ISA_NAME(optimizer_yogi);
const OptimizerType ISA_NAME(optimizer_yogi) = {
    .name = "yogi",
    .help = "Adam with additive steps of the second moment (lr 0.01, no weight_decay, no "
            "clip_norm)",
    .formula = "m = b1 m + (1 - b1) g; v -= (1 - b2) sign(v - g^2) g^2; "
               "w -= lr wd w + lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)",
    .source = "Zaheer et al. 2018",
    .options = options,
    .options_bytes = sizeof(YogiOptions),
    .states = 2,
    .state_names = { "mean", "square" },
    .flops = 20,
    .default_lr = 1e-2,
    .clip_epsilon = 1e-6,
    .start = start,
    .update = update,
};
