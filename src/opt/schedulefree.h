/* What the Schedule-Free methods share, Defazio et al. 2024: gradients are taken at y, between the
 * base iterate z and the average x of all z, which is what is evaluated.
 *
 *   y = (1 - beta) z + beta x;  z -= lr d(y);  x = (1 - c) x + c z
 *   c = weight_t / (sum of weights),  weight_t = t^r * (largest lr so far)^power
 *
 * The arena holds y, the state z; x is found from both. Static, for files that are compiled once
 * per ISA level. */
#ifndef LOCKSTEP_OPT_SCHEDULEFREE_H
#define LOCKSTEP_OPT_SCHEDULEFREE_H

#include "lockstep/optimizer.h"

#include <math.h>
#include <string.h>

typedef struct FreeOptions {
    double beta, r, lr_power;
    int64_t warmup_steps;
} FreeOptions;

#define FREE_OPTIONS(type, beta_name, beta_help)                                                     \
    {                                                                                                \
        beta_name, OPTION_FLOAT, OPTION_AT(type, free.beta), 1e-6, 0.9999999, NULL, "0.9", beta_help \
    },                                                                                               \
        { "warmup_steps",                                                                            \
          OPTION_INT,                                                                                \
          OPTION_AT(type, free.warmup_steps),                                                        \
          0,                                                                                         \
          1e12,                                                                                      \
          NULL,                                                                                      \
          "0",                                                                                       \
          "steps over which lr rises, beside any warm-up of the schedule" },                         \
        { "r",                                                                                       \
          OPTION_FLOAT,                                                                              \
          OPTION_AT(type, free.r),                                                                   \
          0,                                                                                         \
          100,                                                                                       \
          NULL,                                                                                      \
          "0",                                                                                       \
          "power of the step number in the weight of a step" },                                      \
    {                                                                                                \
        "lr_power", OPTION_FLOAT, OPTION_AT(type, free.lr_power), 0, 100, NULL, "2",                 \
            "power of the largest lr so far in the weight of a step"                                 \
    }

/* MethodStep.scalars; the first two are kept, the others are of this step. */
enum { FREE_WEIGHTS, FREE_LARGEST_LR, FREE_SHARE, FREE_RAMP };
#define FREE_SCALARS                                                                               \
    {                                                                                              \
        "weight_sum", "largest_lr"                                                                 \
    }

static inline void free_begin(const FreeOptions *o, MethodStep *step)
{
    double *s = step->scalars;
    bool warm = step->t <= o->warmup_steps;
    s[FREE_RAMP] = warm ? (double)step->t / (double)o->warmup_steps : 1;
    double lr = step->lr * s[FREE_RAMP];
    s[FREE_LARGEST_LR] = lr > s[FREE_LARGEST_LR] ? lr : s[FREE_LARGEST_LR];
    double weight = pow((double)step->t, o->r) * pow(s[FREE_LARGEST_LR], o->lr_power);
    s[FREE_WEIGHTS] += weight;
    s[FREE_SHARE] = s[FREE_WEIGHTS] > 0 ? weight / s[FREE_WEIGHTS] : 0;
}

static void free_start(const void *options, const OptimizerRange *range)
{
    (void)options;
    memcpy(range->state[0], range->w, range->n * sizeof *range->w);
}

/* x = y + (1 - 1 / beta) (z - y) */
static inline void free_evaluate(const FreeOptions *o, const OptimizerRange *range, float *out)
{
    const float *restrict y = __builtin_assume_aligned(range->w, 64);
    const float *restrict z = __builtin_assume_aligned(range->state[0], 64);
    const float share = (float)(1 - 1 / o->beta);
    for (size_t i = 0; i < range->n; i++)
        out[i] = y[i] + share * (z[i] - y[i]);
}

#endif
