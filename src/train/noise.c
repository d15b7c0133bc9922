/* The gradient noise scale from sums of squares (noise.h has the equations). */
#include "lockstep/noise.h"

#include "lockstep/error.h"

#include <math.h>

Noise noise_estimate(double lane_sq, double mean_sq, int lanes, double samples)
{
    expect(lanes >= 2);
    double trace = (lane_sq - samples * mean_sq) / (lanes - 1);
    return (Noise){ .trace = trace, .grad_sq = mean_sq - trace / samples, .mean_sq = mean_sq };
}

void noise_add(NoiseMean *mean, Noise noise, double smoothing)
{
    double keep = smoothing, gain = 1 - smoothing;
    double keep_sq = keep * keep, gain_sq = gain * gain;
    mean->weight = keep * mean->weight + gain;
    mean->weight_sq = keep_sq * mean->weight_sq + gain_sq;
    mean->trace = keep * mean->trace + gain * noise.trace;
    mean->grad_sq = keep * mean->grad_sq + gain * noise.grad_sq;
    mean->trace_sq = keep_sq * mean->trace_sq + gain_sq * noise.trace * noise.trace;
    mean->grad_quad = keep_sq * mean->grad_quad + gain_sq * noise.grad_sq * noise.grad_sq;
    mean->both = keep_sq * mean->both + gain_sq * noise.trace * noise.grad_sq;
}

NoiseScale noise_scale(const NoiseMean *mean)
{
    const double unknown = (double)NAN;
    NoiseScale result = { unknown, unknown, unknown };
    if (!(mean->grad_sq > 0))
        return result;
    double ratio = mean->trace / mean->grad_sq;
    result.scale = ratio;
    double steps = mean->weight * mean->weight / mean->weight_sq;
    if (!(steps > 1 + 1e-9)) /* one step, however its weights are rounded */
        return result;
    double residual = mean->trace_sq - 2 * ratio * mean->both + ratio * ratio * mean->grad_quad;
    double error = sqrt(fmax(residual, 0) * steps / (steps - 1)) / mean->grad_sq;
    result.low = fmax(ratio - 1.96 * error, 0);
    result.high = ratio + 1.96 * error;
    return result;
}
