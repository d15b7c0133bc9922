/* LARS: every layer's step is scaled by its trust ratio eta |w| / (|g| + wd |w|). You et al. 2017,
 * Algorithm 1. Published programs differ in where lr and decay go; `variant` names them:
 *   inside      lr inside the buffer, so a drop of lr reaches old velocity late    (paper, MLPerf)
 *   outside     lr outside the buffer, as in SGD                                   (timm)
 *   wd_in_norm  the ratio is eta |w| / |g + wd w|; lr outside                      (MoCo v3)
 *   optax       the ratio of wd_in_norm, lr inside                              (Optax)
 *   larc        outside, ratio / lr clipped at 1, no decay where a norm is zero    (Apex LARC) */
#include "../momentum.h"
#include "lockstep/cpu.h"
#include "lockstep/vmath.h"

typedef enum LarsVariant {
    LARS_INSIDE,
    LARS_OUTSIDE,
    LARS_WD_IN_NORM,
    LARS_OPTAX,
    LARS_LARC
} LarsVariant;
typedef enum LarsClip { CLIP_AUTO, CLIP_ON, CLIP_OFF } LarsClip;

typedef struct LarsOptions {
    int variant, trust_clip;
    double momentum, dampening, trust_coefficient, eps;
    bool nesterov;
} LarsOptions;

static const Option options[] = {
    { "variant", OPTION_CHOICE, OPTION_AT(LarsOptions, variant), 0, 0,
      "inside|outside|wd_in_norm|optax|larc", "inside",
      "where lr and decay go: lr inside the buffer (paper, MLPerf), outside (timm), decay in the "
      "norm (MoCo v3), both (optax), larc (Apex; use trust_coefficient 0.02)" },
    { "momentum", OPTION_FLOAT, OPTION_AT(LarsOptions, momentum), 0, 1, NULL, "0.9",
      "share of the velocity that survives a step" },
    { "dampening", OPTION_FLOAT, OPTION_AT(LarsOptions, dampening), 0, 1, NULL, "0",
      "the gradient enters the velocity times 1 - dampening, except in the first step" },
    { "nesterov", OPTION_BOOL, OPTION_AT(LarsOptions, nesterov), 0, 0, NULL, "false",
      "step along momentum * v + d instead of v" },
    { "trust_coefficient", OPTION_FLOAT, OPTION_AT(LarsOptions, trust_coefficient), 0, 1e6, NULL,
      "0.001", "eta: how far a layer may move, as a fraction of its norm, times lr" },
    { "eps", OPTION_FLOAT, OPTION_AT(LarsOptions, eps), 0, 1, NULL, "1e-7",
      "added to the ratio's denominator; not used by wd_in_norm and optax" },
    { "trust_clip", OPTION_CHOICE, OPTION_AT(LarsOptions, trust_clip), 0, 0, "auto|on|off", "auto",
      "on: the ratio becomes min(ratio / lr, 1), so no layer's rate exceeds lr; auto: on for "
      "larc" },
    OPTION_END,
};

static bool check(const void *options_pointer, Err *err)
{
    const LarsOptions *o = options_pointer;
    if (o->nesterov && (o->momentum <= 0 || o->dampening != 0))
        return err_set(err, "nesterov needs momentum above 0 and dampening 0, found %g and %g",
                       o->momentum, o->dampening);
    return true;
}

static bool decay_in_norm(const LarsOptions *o)
{
    return o->variant == LARS_WD_IN_NORM || o->variant == LARS_OPTAX;
}

static unsigned needs(const void *options_pointer)
{
    const LarsOptions *o = options_pointer;
    return OPTIMIZER_NORM_W | (decay_in_norm(o) ? OPTIMIZER_NORM_U : OPTIMIZER_NORM_G);
}

/* decay_in_norm: |g + wd w|. */
static double direction(const void *options_pointer, const TensorStep *step,
                        const OptimizerRange *range)
{
    (void)options_pointer;
    const float *restrict w = __builtin_assume_aligned(range->w, 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    const float scale = (float)step->scale, decay = (float)step->weight_decay;
    double s[16] = { 0 };
    for (size_t i = 0; i < range->n; i += 16)
        for (size_t k = 0; k < 16; k++) {
            float d = scale * g[i + k] + decay * w[i + k];
            s[k] += (double)d * (double)d;
        }
    return vmath_fold(s);
}

static bool zero_norm(const LarsOptions *o, const TensorStep *step)
{
    return step->norm_w == 0 || (decay_in_norm(o) ? step->norm_u : step->norm_g) == 0;
}

static double trust_ratio(const void *options_pointer, const TensorStep *step, bool *clamped)
{
    const LarsOptions *o = options_pointer;
    double ratio = 1;
    if (!zero_norm(o, step)) {
        double below = decay_in_norm(o) ? step->norm_u
                                        : step->norm_g + step->weight_decay * step->norm_w + o->eps;
        ratio = o->trust_coefficient * step->norm_w / below;
    } else if (o->variant == LARS_LARC)
        return 1;
    bool clip = o->trust_clip == CLIP_ON || (o->trust_clip == CLIP_AUTO && o->variant == LARS_LARC);
    if (!clip)
        return ratio;
    *clamped = !(ratio < step->lr); /* min(ratio / lr, 1), without dividing by an lr of 0 */
    return *clamped ? 1 : ratio / step->lr;
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const LarsOptions *o = options_pointer;
    bool inside = o->variant == LARS_INSIDE || o->variant == LARS_OPTAX;
    bool drop_decay = o->variant == LARS_LARC && step->adapt && zero_norm(o, step);
    double mu = optimizer_momentum(step, o->momentum);
    double gain = step->t > 1 && mu > 0 ? 1 - o->dampening : 1;
    MomentumStep momentum = { .scale = step->scale,
                              .decay = drop_decay ? 0 : step->weight_decay,
                              .momentum = mu,
                              .in = gain * step->trust * (inside ? step->lr : 1),
                              .out = inside ? 1 : step->lr,
                              .nesterov = o->nesterov };
    momentum_update(&momentum, range);
}

extern const OptimizerType ISA_NAME(optimizer_lars);
const OptimizerType ISA_NAME(optimizer_lars) = {
    .name = "lars",
    .help = "momentum SGD with a trust ratio per layer, for large batches (lr 1, weight_decay "
            "1e-4, no clip_norm)",
    .formula =
        "r = eta |w| / (|g| + wd |w| + eps), 1 if a norm is 0; v = mu v + lr r (g + wd w); w -= v",
    .source = "You et al. 2017",
    .options = options,
    .options_bytes = sizeof(LarsOptions),
    .states = 1,
    .state_names = { "momentum" },
    .flops = 14,
    .default_lr = 1,
    .default_weight_decay = 1e-4,
    .clip_epsilon = 1e-6,
    .check = check,
    .needs = needs,
    .direction = direction,
    .trust_ratio = trust_ratio,
    .update = update,
};
