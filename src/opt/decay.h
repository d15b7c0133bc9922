/* Where a method lets weight decay work, the same words for every method that leaves the choice.
 * Static, for files that are compiled once per ISA level. */
#ifndef LOCKSTEP_OPT_DECAY_H
#define LOCKSTEP_OPT_DECAY_H

#include "lockstep/optimizer.h"

typedef enum Decay { DECAY_L2, DECAY_DECOUPLED, DECAY_SCHEDULED, DECAY_DIRECT } Decay;

#define DECAY_OPTION(type, otherwise)                                                              \
    {                                                                                              \
        "decay", OPTION_CHOICE, OPTION_AT(type, decay), 0, 0, "l2|decoupled|scheduled|direct",     \
            otherwise,                                                                             \
            "l2: weight_decay * w joins the gradient; the others shrink w, decoupled by lr * "     \
            "weight_decay, scheduled by weight_decay * lr / config's lr (Loshchilov and Hutter), " \
            "direct by weight_decay itself"                                                        \
    }

/* lr over the config's lr: what schedule and lr_scaling made of it. */
static inline double schedule_factor(const TensorStep *step)
{
    return step->base_lr > 0 ? step->lr / step->base_lr : 0;
}

/* d = scale * g + l2 * w */
static inline double decay_l2(int decay, const TensorStep *step)
{
    return decay == DECAY_L2 ? step->weight_decay : 0;
}

/* w -= shrink * w. In float, w *= 1 - shrink would round 1 - 1e-5 and lose digits of it. */
static inline double decay_shrink(int decay, const TensorStep *step)
{
    double factor = decay == DECAY_DECOUPLED   ? step->lr
                    : decay == DECAY_SCHEDULED ? schedule_factor(step)
                    : decay == DECAY_DIRECT    ? 1
                                               : 0;
    return factor * step->weight_decay;
}

#endif
