/* MADGRAD: dual averaging with cube roots and momentum, Defazio and Jelassi 2021, in the form of
 * the official program: lr is used as lr + eps. Without momentum the start x0 is found from the
 * other states instead of being kept. */
#include "../decay.h"
#include "lockstep/cpu.h"
#include "lockstep/vmath.h"

#include <math.h>
#include <string.h>

typedef struct MadgradOptions {
    double momentum, eps;
    int decay;
} MadgradOptions;

static const Option options[] = {
    { "momentum", OPTION_FLOAT, OPTION_AT(MadgradOptions, momentum), 0, 0.9999999, NULL, "0.9",
      "share of w that survives a step" },
    { "eps", OPTION_FLOAT, OPTION_AT(MadgradOptions, eps), 1e-30, 1, NULL, "1e-6",
      "added to the cube root, and to lr" },
    DECAY_OPTION(MadgradOptions, "l2"),
    OPTION_END,
};

enum { SUM, SQUARES, START };

static unsigned state_mask(const void *options_pointer)
{
    const MadgradOptions *o = options_pointer;
    return 1u << SUM | 1u << SQUARES | (o->momentum > 0 ? 1u << START : 0);
}

typedef struct MadgradStep {
    float scale, l2, shrink, rate, pull, eps;
} MadgradStep;

static inline __attribute__((always_inline)) void
elements(const MadgradStep s, const OptimizerRange *range, bool with_momentum)
{
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict sum = __builtin_assume_aligned(range->state[SUM], 64);
    float *restrict squares = __builtin_assume_aligned(range->state[SQUARES], 64);
    const float *restrict start = __builtin_assume_aligned(range->state[START], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    for (size_t i = 0; i < range->n; i++) {
        float d = s.scale * g[i] + s.l2 * w[i], x = w[i] - s.shrink * w[i];
        float from = with_momentum ? start[i] : x + sum[i] / (vmath_cbrt(squares[i]) + s.eps);
        sum[i] += s.rate * d;
        squares[i] += s.rate * d * d;
        float z = from - sum[i] / (vmath_cbrt(squares[i]) + s.eps);
        w[i] = x + s.pull * (z - x);
    }
}

static void start(const void *options_pointer, const OptimizerRange *range)
{
    const MadgradOptions *o = options_pointer;
    if (o->momentum > 0)
        memcpy(range->state[START], range->w, range->n * sizeof *range->w);
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const MadgradOptions *o = options_pointer;
    const MadgradStep s = {
        .scale = (float)step->scale,
        .l2 = (float)decay_l2(o->decay, step),
        .shrink = (float)decay_shrink(o->decay, step),
        .rate = (float)((step->lr + o->eps) * sqrt((double)step->t)),
        .pull = (float)(o->momentum > 0 ? 1 - optimizer_momentum(step, o->momentum) : 1),
        .eps = (float)o->eps
    };
    if (o->momentum > 0)
        elements(s, range, true);
    else
        elements(s, range, false);
}

extern const OptimizerType ISA_NAME(optimizer_madgrad);
const OptimizerType ISA_NAME(optimizer_madgrad) = {
    .name = "madgrad",
    .help = "dual averaging with cube roots and momentum (lr 0.01, no weight_decay, no clip_norm)",
    .formula = "g += wd w; s += (lr + eps) sqrt(t) g; q += (lr + eps) sqrt(t) g^2; "
               "z = w_0 - s / (cbrt(q) + eps); w = mu w + (1 - mu) z",
    .source = "Defazio and Jelassi 2021",
    .options = options,
    .options_bytes = sizeof(MadgradOptions),
    .states = 3,
    .state_names = { "sum", "sum_of_squares", "start" },
    .flops = 36,
    .floats = 8,
    .state_mask = state_mask,
    .default_lr = 1e-2,
    .clip_epsilon = 1e-6,
    .start = start,
    .update = update,
};
