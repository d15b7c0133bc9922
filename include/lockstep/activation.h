/* Activations that matrix products can apply to their results, and their derivatives: the same
 * arithmetic as the layers of that name. For the per-level kernel files (cpu.h). */
#ifndef LOCKSTEP_ACTIVATION_H
#define LOCKSTEP_ACTIVATION_H

#include "lockstep/matmul.h"
#include "lockstep/vmath.h"

#define GELU_SQRT_2_PI 0.797884560802865356f /* sqrt(2 / pi) */
#define GELU_CUBIC 0.044715f

VMATH_INLINE float gelu_tanh_part(float x)
{
    return vmath_tanh(GELU_SQRT_2_PI * fused(GELU_CUBIC * x * x, x, x));
}

VMATH_INLINE float gelu_value(float x)
{
    float density;
    return x * vmath_normal(x, &density);
}

VMATH_INLINE float gelu_tanh_value(float x)
{
    return 0.5f * x * (1 + gelu_tanh_part(x));
}

/* dy/dx = Phi(x) + x phi(x) */
VMATH_INLINE float gelu_slope(float x)
{
    float density, distribution = vmath_normal(x, &density);
    return fused(x, density, distribution);
}

/* With t = tanh(u): dy/dx = (1 + t)/2 + x/2 (1 - t^2) du/dx */
VMATH_INLINE float gelu_tanh_slope(float x)
{
    float t = gelu_tanh_part(x), du = GELU_SQRT_2_PI * fused(3 * GELU_CUBIC * x, x, 1);
    return fused(0.5f * x * fused(-t, t, 1), du, 0.5f * (1 + t));
}

/* `which` is a constant where this is called in a loop. */
VMATH_INLINE float activation_value(Activation which, float x)
{
    switch (which) {
    case ACTIVATION_RELU:
        return x < 0 ? 0 : x; /* NaN stays NaN */
    case ACTIVATION_GELU:
        return gelu_value(x);
    case ACTIVATION_GELU_TANH:
        return gelu_tanh_value(x);
    case ACTIVATION_NONE:
        break;
    }
    return x;
}

#endif
