/* Isotropic noise on the gradient, the same in every direction (Neelakantan et al. 2015): to escape
 * sharp minima, or as the control arm for the noise of small batches (Zhu et al. 2019). A function
 * of (seed, step, tensor, element) and of nothing else. Before clip_norm. */
#include "lockstep/cpu.h"
#include "lockstep/optimizer.h"
#include "lockstep/random.h"

#include <math.h>

#define STREAM ((uint64_t)1) /* of all that takes RANDOM_NOISE of a step and tensor */

typedef struct NoiseOptions {
    double std, decay;
} NoiseOptions;

static const Option options[] = {
    { "std", OPTION_FLOAT, OPTION_AT(NoiseOptions, std), 0, 1e30, NULL, "0.01",
      "standard deviation of an element's noise in the first step" },
    { "decay", OPTION_FLOAT, OPTION_AT(NoiseOptions, decay), 0, 100, NULL, "0",
      "the variance is divided by t^decay in step t = 1, 2, ...; 0.55 in the paper" },
    OPTION_END,
};

static void gradient(const void *options_pointer, const TensorStep *step,
                     const OptimizerRange *range, float *g)
{
    const NoiseOptions *o = options_pointer;
    uint64_t stream = STREAM << 32 | (uint64_t)step->tensor;
    RandomKey key = random_key(step->seed, RANDOM_NOISE, (uint64_t)step->t, stream);
    const float std = (float)(o->std * pow((double)step->t, -o->decay / 2));
    random_add_normal(key, range->first, std, g, range->n);
}

extern const WrapperType ISA_NAME(wrapper_noise);
const WrapperType ISA_NAME(wrapper_noise) = {
    .name = "noise",
    .help = "normal noise on every element of the gradient, the same for any number of ranks",
    .formula = "g += N(0, std^2 / t^decay)",
    .source = "Neelakantan et al. 2015",
    .options = options,
    .options_bytes = sizeof(NoiseOptions),
    .gradient = gradient,
};
