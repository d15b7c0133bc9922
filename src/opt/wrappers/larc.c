/* LARC: the gradient of every layer is scaled by its trust ratio, at most 1, before any method sees
 * it (Ginsburg, Gitman and Kuchaiev 2018, in the form of Apex). r = eta |w| / (|g| + wd |w| + eps);
 * with `clip` the layer's rate r is cut at lr, hence min(r / lr, 1). The decay of the method is
 * scaled too, so that r (g + wd w) is what a method with decay `l2` sees, as in Apex; `decoupled`
 * decay stays outside the gradient, times r. Where a norm is zero the gradient is left as it is and
 * the decay is dropped (Apex). Around SGD it is `lars` with `variant: larc`, which is faster. */
#include "lockstep/cpu.h"
#include "lockstep/optimizer.h"

typedef struct LarcOptions {
    double trust_coefficient, eps;
    bool clip;
} LarcOptions;

static const Option options[] = {
    { "trust_coefficient", OPTION_FLOAT, OPTION_AT(LarcOptions, trust_coefficient), 0, 1e6, NULL,
      "0.02", "eta: how far a layer may move, as a fraction of its norm" },
    { "eps", OPTION_FLOAT, OPTION_AT(LarcOptions, eps), 0, 1, NULL, "1e-8",
      "added to the ratio's denominator" },
    { "clip", OPTION_BOOL, OPTION_AT(LarcOptions, clip), 0, 0, NULL, "true",
      "the factor is min(r / lr, 1): no layer's rate exceeds lr; false: r itself, as in LARS" },
    OPTION_END,
};

static unsigned needs(const void *options_pointer)
{
    (void)options_pointer;
    return OPTIMIZER_NORM_W | OPTIMIZER_NORM_G;
}

static void tensor(const void *options_pointer, TensorStep *step)
{
    const LarcOptions *o = options_pointer;
    if (!step->adapt)
        return;
    if (step->norm_w == 0 || step->norm_g == 0) {
        step->weight_decay = 0;
        return;
    }
    double below = step->norm_g + step->weight_decay * step->norm_w + o->eps;
    double ratio = o->trust_coefficient * step->norm_w / below;
    if (o->clip) /* without dividing by an lr of 0 */
        ratio = ratio < step->lr ? ratio / step->lr : 1;
    step->scale *= ratio;
    step->norm_g *= ratio;
    step->weight_decay *= ratio;
}

extern const WrapperType ISA_NAME(wrapper_larc);
const WrapperType ISA_NAME(wrapper_larc) = {
    .name = "larc",
    .help = "each tensor's gradient times its trust ratio, at most 1, around any method",
    .formula = "r = eta |w| / (|g| + wd |w| + eps); r = min(r / lr, 1) with clip; "
               "g = r g, wd = r wd; 1 and wd = 0 where a norm is 0",
    .source = "Ginsburg et al. 2018; Apex",
    .options = options,
    .options_bytes = sizeof(LarcOptions),
    .needs = needs,
    .tensor = tensor,
};
