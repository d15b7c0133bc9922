/* What several methods share: the momentum update, Adam's scalars, fixed-order sums. Included by
 * files that are compiled once per ISA level, hence static. */
#ifndef LOCKSTEP_OPT_MOMENTS_H
#define LOCKSTEP_OPT_MOMENTS_H

#include "lockstep/optimizer.h"

/* base^t, t >= 0, by repeated squaring: plain products, so that bits do not depend on a libm. */
static inline double power(double base, int64_t t)
{
    double result = 1;
    for (; t > 0; t >>= 1, base *= base)
        if (t & 1)
            result *= base;
    return result;
}

/* d = scale * g + decay * w; v = momentum * v + in * d; w -= out * v
 * (nesterov: w -= out * (momentum * v + in * d)) */
typedef struct MomentumStep {
    double scale, decay, momentum;
    double in, out; /* lr, trust ratio and dampening, inside and outside the buffer */
    double shrink;  /* decoupled decay: w -= shrink * w, else 0 */
    bool nesterov;
} MomentumStep;

static inline void momentum_heavy_ball(const MomentumStep *step, const OptimizerRange *range)
{
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict v = __builtin_assume_aligned(range->state[0], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    const float scale = (float)step->scale, decay = (float)step->decay;
    const float momentum = (float)step->momentum, in = (float)step->in, out = (float)step->out;
    const float shrink = (float)step->shrink;
    for (size_t i = 0; i < range->n; i++) {
        float d = scale * g[i] + decay * w[i];
        v[i] = momentum * v[i] + in * d;
        w[i] = w[i] - shrink * w[i] - out * v[i];
    }
}

static inline void momentum_nesterov(const MomentumStep *step, const OptimizerRange *range)
{
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    float *restrict v = __builtin_assume_aligned(range->state[0], 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    const float scale = (float)step->scale, decay = (float)step->decay;
    const float momentum = (float)step->momentum, in = (float)step->in, out = (float)step->out;
    const float shrink = (float)step->shrink;
    for (size_t i = 0; i < range->n; i++) {
        float d = in * (scale * g[i] + decay * w[i]);
        v[i] = momentum * v[i] + d;
        w[i] = w[i] - shrink * w[i] - out * (momentum * v[i] + d);
    }
}

/* Without momentum there is no buffer to read or write. */
static inline void momentum_none(const MomentumStep *step, const OptimizerRange *range)
{
    float *restrict w = __builtin_assume_aligned(range->w, 64);
    const float *restrict g = __builtin_assume_aligned(range->g, 64);
    const float scale = (float)step->scale, decay = (float)step->decay;
    const float out = (float)(step->in * step->out), shrink = (float)step->shrink;
    for (size_t i = 0; i < range->n; i++) {
        float d = scale * g[i] + decay * w[i];
        w[i] = w[i] - shrink * w[i] - out * d;
    }
}

static inline void momentum_update(const MomentumStep *step, const OptimizerRange *range)
{
    if (step->momentum == 0)
        momentum_none(step, range);
    else if (step->nesterov)
        momentum_nesterov(step, range);
    else
        momentum_heavy_ball(step, range);
}

/* Sixteen double accumulators folded pairwise: the same order at every ISA level. */
static inline double fold_sums(const double s[16])
{
    double a[8], b[4];
    for (int i = 0; i < 8; i++)
        a[i] = s[i] + s[i + 8];
    for (int i = 0; i < 4; i++)
        b[i] = a[i] + a[i + 4];
    return (b[0] + b[2]) + (b[1] + b[3]);
}

#endif
