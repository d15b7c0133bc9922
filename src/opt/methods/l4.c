/* L4: the step that would bring the linearised loss to a fraction of what is left of it, Rolinek
 * and Martius 2018. Around momentum SGD or Adam, whose direction v is taken; lr does nothing but
 * switch off (0). In the form of the PyTorch port: L_min begins at 0.75 of the first loss. */
#include "lockstep/cpu.h"
#include "lockstep/optimizer.h"
#include "lockstep/vmath.h"

#include <math.h>

typedef enum L4Inner { L4_MOMENTUM, L4_ADAM } L4Inner;

typedef struct L4Options {
    int inner;
    double momentum, beta2, inner_lr, adam_eps, average, alpha, gamma, tau, start, eps;
} L4Options;

static const Option options[] = {
    { "inner", OPTION_CHOICE, OPTION_AT(L4Options, inner), 0, 0, "momentum|adam", "momentum",
      "whose direction is taken" },
    { "momentum", OPTION_FLOAT, OPTION_AT(L4Options, momentum), 0, 0.9999999, NULL, "0.9",
      "share of the velocity that survives a step; adam: beta1" },
    { "beta2", OPTION_FLOAT, OPTION_AT(L4Options, beta2), 0, 0.9999999, NULL, "0.999",
      "adam: decay of the mean of squared gradients" },
    { "adam_eps", OPTION_FLOAT, OPTION_AT(L4Options, adam_eps), 1e-30, 1, NULL, "1e-8",
      "adam: added to the root of the corrected second moment" },
    { "inner_lr", OPTION_FLOAT, OPTION_AT(L4Options, inner_lr), 1e-30, 1e9, NULL, "1",
      "size of the direction; only matters beside eps" },
    { "average", OPTION_FLOAT, OPTION_AT(L4Options, average), 0, 0.9999999, NULL, "0.9",
      "decay of the mean gradient that the direction is compared with" },
    { "alpha", OPTION_FLOAT, OPTION_AT(L4Options, alpha), 0, 1, NULL, "0.15",
      "fraction of the loss to gain in a step" },
    { "gamma", OPTION_FLOAT, OPTION_AT(L4Options, gamma), 0, 1, NULL, "0.9",
      "the loss aimed at, as a fraction of the smallest so far" },
    { "tau", OPTION_FLOAT, OPTION_AT(L4Options, tau), 0, 1, NULL, "0.001",
      "growth of the smallest loss in a step, so that it is forgotten" },
    { "start", OPTION_FLOAT, OPTION_AT(L4Options, start), 0, 1, NULL, "0.75",
      "the first smallest loss, as a fraction of the first loss" },
    { "eps", OPTION_FLOAT, OPTION_AT(L4Options, eps), 1e-30, 1, NULL, "1e-12",
      "added to the product of direction and gradient" },
    OPTION_END,
};

enum { MEAN, VELOCITY, SQUARE }; /* states */
enum { SMALLEST, RATE };         /* scalars */

static unsigned state_mask(const void *options_pointer)
{
    const L4Options *o = options_pointer;
    return o->inner == L4_ADAM ? 7 : 3;
}

static void begin(const void *options_pointer, MethodStep *step)
{
    const L4Options *o = options_pointer;
    if (step->t == 1)
        step->scalars[SMALLEST] = o->start * step->loss;
    if (step->loss < step->scalars[SMALLEST])
        step->scalars[SMALLEST] = step->loss;
}

/* v = velocity * v_scale [/ (sqrt(square) * correction + eps)] */
typedef struct Direction {
    float scale, correction, eps;
} Direction;

static Direction direction_of(const L4Options *o, const TensorStep *step)
{
    if (o->inner == L4_MOMENTUM)
        return (Direction){ .scale = (float)o->inner_lr };
    return (Direction){
        .scale = (float)(o->inner_lr / (1 - vmath_power(o->momentum, step->t))),
        .correction = (float)(1 / sqrt(1 - vmath_power(o->beta2, step->t))),
        .eps = (float)o->adam_eps,
    };
}

/* Moments, and the product of the mean gradient with the direction. Clipping shortens the direction
 * and not the mean: it is the slope of the loss, and a slope c times too small would make the step
 * 1 / c times too long. */
static void gather(const void *options_pointer, const TensorStep *step, const OptimizerRange *range,
                   double *sums)
{
    const L4Options *o = options_pointer;
    const bool adam = o->inner == L4_ADAM;
    const Direction v = direction_of(o, step);
    const float *restrict w = __builtin_assume_aligned(range->w, 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    float *restrict mean = __builtin_assume_aligned(range->state[MEAN], 64);
    float *restrict velocity = __builtin_assume_aligned(range->state[VELOCITY], 64);
    float *restrict square = range->state[SQUARE];
    const float scale = (float)step->scale, decay = (float)step->weight_decay;
    const float whole = step->scale < 0 ? -1 : 1;
    const float keep = (float)o->average, take = (float)(1 - o->average);
    const float mu = (float)o->momentum, gain = (float)(adam ? 1 - o->momentum : 1);
    const float beta2 = (float)o->beta2, gain2 = (float)(1 - o->beta2);
    const double correction = 1 / (1 - vmath_power(o->average, step->t));
    double dots[16] = { 0 };
    for (size_t i = 0; i < range->n; i += 16)
        for (size_t k = i; k < i + 16; k++) {
            float d = scale * g[k] + decay * w[k];
            mean[k] = keep * mean[k] + take * (whole * g[k] + decay * w[k]);
            velocity[k] = mu * velocity[k] + gain * d;
            float along = v.scale * velocity[k];
            if (adam) {
                square[k] = beta2 * square[k] + gain2 * d * d;
                along /= sqrtf(square[k]) * v.correction + v.eps;
            }
            dots[k - i] += (double)mean[k] * (double)along;
        }
    sums[0] = correction * vmath_fold(dots);
}

static void decide(const void *options_pointer, MethodStep *step)
{
    const L4Options *o = options_pointer;
    double gap = step->loss - o->gamma * step->scalars[SMALLEST];
    step->scalars[RATE] = step->lr > 0 ? o->alpha * gap / (step->sums[0] + o->eps) : 0;
    step->scalars[SMALLEST] *= 1 + o->tau;
}

static void update(const void *options_pointer, const TensorStep *step, const OptimizerRange *range)
{
    const L4Options *o = options_pointer;
    const Direction v = direction_of(o, step);
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    const float *restrict velocity = __builtin_assume_aligned(range->state[VELOCITY], 64);
    const float *restrict square = range->state[SQUARE];
    const float rate = (float)step->globals[RATE];
    if (o->inner == L4_MOMENTUM)
        for (size_t i = 0; i < range->n; i++)
            w[i] = w[i] - rate * (v.scale * velocity[i]);
    else
        for (size_t i = 0; i < range->n; i++)
            w[i] =
                w[i] - rate * (v.scale * velocity[i] / (sqrtf(square[i]) * v.correction + v.eps));
}

extern const OptimizerType ISA_NAME(optimizer_l4);
const OptimizerType ISA_NAME(optimizer_l4) = {
    .name = "l4",
    .help = "the step that would win a fraction of the loss if it were linear, along momentum SGD "
            "or Adam; lr does nothing (lr 1, no weight_decay, no clip_norm)",
    .formula = "v the direction of momentum SGD or Adam; L_min = min(L, (1 + tau) L_min); "
               "w -= alpha (L - gamma L_min) / (<mean g, v> + eps) v",
    .source = "Rolinek and Martius 2018",
    .options = options,
    .options_bytes = sizeof(L4Options),
    .states = 3,
    .state_names = { "mean", "momentum", "square" },
    .flops = 17,
    .floats = 9,
    .scalars = { "smallest_loss" },
    .default_lr = 1,
    .clip_epsilon = 1e-6,
    .sums = 1,
    .state_mask = state_mask,
    .begin = begin,
    .gather = gather,
    .decide = decide,
    .update = update,
};
