/* AdaGC (Wang et al. 2025): each tensor's gradient is clipped against the mean norm of its own
 * clipped gradients. While that mean is young, the whole gradient is clipped at an absolute norm
 * and the smallest norm is remembered. After clip_norm, which is to be off. A gradient of zero
 * teaches nothing here; in the paper's formula it would stop its tensor for good. */
#include "lockstep/cpu.h"
#include "lockstep/optimizer.h"

#include <math.h>

typedef struct AdagcOptions {
    double max, warmup_norm, beta;
    int64_t warmup;
} AdagcOptions;

static const Option options[] = {
    { "max", OPTION_FLOAT, OPTION_AT(AdagcOptions, max), 1e-30, 1e30, NULL, "1.05",
      "largest |g| over its mean" },
    { "beta", OPTION_FLOAT, OPTION_AT(AdagcOptions, beta), 0, 0.9999999, NULL, "0.98",
      "share of the mean that survives a step" },
    { "warmup", OPTION_INT, OPTION_AT(AdagcOptions, warmup), 1, 1e12, NULL, "100",
      "steps of clipping at warmup_norm" },
    { "warmup_norm", OPTION_FLOAT, OPTION_AT(AdagcOptions, warmup_norm), 1e-30, 1e30, NULL, "1",
      "largest norm of the whole gradient in these steps" },
    OPTION_END,
};

enum { MEAN };   /* of a tensor's norms */
enum { SHRINK }; /* of this step's whole gradient */

static unsigned needs(const void *options_pointer)
{
    (void)options_pointer;
    return OPTIMIZER_NORM_G;
}

static void decide(const void *options_pointer, MethodStep *step)
{
    const AdagcOptions *o = options_pointer;
    step->scalars[SHRINK] = step->norm > o->warmup_norm ? o->warmup_norm / step->norm : 1;
}

static void tensor(const void *options_pointer, TensorStep *step)
{
    const AdagcOptions *o = options_pointer;
    double *mean = &step->scalars[MEAN], factor = 1;
    bool young = step->t <= o->warmup || *mean == 0;
    if (step->norm_g == 0)
        return;
    if (young)
        factor = step->globals[SHRINK];
    else if (step->norm_g > o->max * *mean)
        factor = o->max * *mean / step->norm_g;
    step->scale *= factor;
    step->norm_g *= factor;
    if (young)
        *mean = *mean > 0 ? fmin(*mean, step->norm_g) : step->norm_g;
    else
        *mean = o->beta * *mean + (1 - o->beta) * step->norm_g;
}

extern const WrapperType ISA_NAME(wrapper_adagc);
const WrapperType ISA_NAME(wrapper_adagc) = {
    .name = "adagc",
    .help = "each tensor's gradient is clipped against the mean of its own norms",
    .formula = "g *= min(1, max c / |g|); c = beta c + (1 - beta) |g|, tensor by tensor; in the "
               "first steps g *= min(1, warmup_norm / |all g|), c = min(c, |g|)",
    .source = "Wang et al. 2025",
    .options = options,
    .options_bytes = sizeof(AdagcOptions),
    .scalars = { "shrink" },
    .tensor_scalars = { "mean_norm" },
    .needs = needs,
    .decide = decide,
    .tensor = tensor,
};
