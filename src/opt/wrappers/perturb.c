/* Perturbed gradient descent (Jin et al. 2017): where the gradient is small, which may be a saddle,
 * the weights get a push in a random direction, and the next one not before some steps have passed.
 * The paper draws from a ball; in many dimensions a normal vector of the same length is one. */
#include "lockstep/cpu.h"
#include "lockstep/optimizer.h"
#include "lockstep/random.h"

#define STREAM ((uint64_t)2) /* of all that takes RANDOM_NOISE of a step and tensor */

typedef struct PerturbOptions {
    double threshold, std;
    int64_t wait;
} PerturbOptions;

static const Option options[] = {
    { "threshold", OPTION_FLOAT, OPTION_AT(PerturbOptions, threshold), 0, 1e30, NULL, "1e-3",
      "largest norm of the whole gradient at which the weights are pushed" },
    { "std", OPTION_FLOAT, OPTION_AT(PerturbOptions, std), 0, 1e30, NULL, "1e-3",
      "standard deviation of an element of the push; its length is about std sqrt(parameters)" },
    { "wait", OPTION_INT, OPTION_AT(PerturbOptions, wait), 1, 1e12, NULL, "100",
      "steps from one push to the next, at least" },
    OPTION_END,
};

/* The step of the last push, from 1 on; 0: none yet. */
enum { LAST };

static unsigned needs(const void *options_pointer)
{
    (void)options_pointer;
    return OPTIMIZER_NORM_G;
}

static void decide(const void *options_pointer, MethodStep *step)
{
    const PerturbOptions *o = options_pointer;
    double last = step->scalars[LAST], now = (double)step->t;
    if (step->norm <= o->threshold && (last == 0 || now - last >= (double)o->wait))
        step->scalars[LAST] = now;
}

static void weights(const void *options_pointer, const TensorStep *step,
                    const OptimizerRange *range)
{
    const PerturbOptions *o = options_pointer;
    if (step->globals[LAST] != (double)step->t)
        return;
    uint64_t stream = STREAM << 32 | (uint64_t)step->tensor;
    RandomKey key = random_key(step->seed, RANDOM_NOISE, (uint64_t)step->t, stream);
    const float std = (float)o->std;
    random_add_normal(key, range->first, std, range->w, range->n);
}

extern const WrapperType ISA_NAME(wrapper_perturb);
const WrapperType ISA_NAME(wrapper_perturb) = {
    .name = "perturb",
    .help = "a random push of the weights where the gradient is small",
    .formula = "|g| <= threshold and no push in the last `wait` steps: w += N(0, std^2)",
    .source = "Jin et al. 2017",
    .options = options,
    .options_bytes = sizeof(PerturbOptions),
    .scalars = { "last_push" },
    .needs = needs,
    .decide = decide,
    .weights = weights,
};
