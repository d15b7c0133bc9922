/* The scale of fp16 on the wire. */
#include "lockstep/wire.h"

#include <math.h>

float wire_next_scale(float scale, double norm)
{
    int exponent;
    if (!isfinite(norm) || norm <= 0)
        return scale;
    frexp(norm, &exponent); /* norm < 2^exponent */
    exponent = WIRE_START_EXPONENT - exponent;
    exponent = exponent > WIRE_MAX_EXPONENT ? WIRE_MAX_EXPONENT : exponent;
    return ldexpf(1, exponent < -WIRE_MAX_EXPONENT ? -WIRE_MAX_EXPONENT : exponent);
}
