/* The momentum update that sgd and lars share. Static, for files that are compiled once per ISA
 * level. */
#ifndef LOCKSTEP_OPT_MOMENTUM_H
#define LOCKSTEP_OPT_MOMENTUM_H

#include "lockstep/optimizer.h"

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

#endif
