/* The rectification of an adaptive rate whose second moment rests on few gradients: Liu et al.
 * 2020, used by RAdam and by AdaBelief. In double: in float, rho_5 is 4.986 instead of 4.996. */
#ifndef LOCKSTEP_OPT_RECTIFY_H
#define LOCKSTEP_OPT_RECTIFY_H

#include "lockstep/vmath.h"

#include <math.h>

/* What to do while rho_t is not above the threshold. */
typedef enum Below { BELOW_MOMENTUM, BELOW_SKIP } Below;

#define BELOW_OPTION(type)                                                                         \
    {                                                                                              \
        "below", OPTION_CHOICE, OPTION_AT(type, below), 0, 0, "momentum|skip", "momentum",         \
            "steps before the threshold: along the corrected mean, or none at all"                 \
    }

/* r_t of the paper, 0 while rho_t, the length of the average's memory, is not above `threshold`. */
static inline double rectification(double beta2, int64_t t, double threshold)
{
    double power = vmath_power(beta2, t), most = 2 / (1 - beta2) - 1;
    double rho = most - 2 * (double)t * power / (1 - power);
    if (rho <= threshold)
        return 0;
    return sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho));
}

#endif
