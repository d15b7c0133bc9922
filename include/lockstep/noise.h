/* The gradient noise scale of a step, from the norms of its lanes' gradients.
 *
 * McCandlish, Kaplan, Amodei et al. 2018, "An Empirical Model of Large-Batch Training", appendix A:
 * with C the covariance of a sample's gradient and G their mean, a mean over n samples has
 * E |g|^2 = |G|^2 + tr(C) / n. Lanes are means over few samples, the batch is one over many:
 *
 *   S = sum_i n_i |g_i|^2 - N |g|^2     over k lanes of n_i samples, N in all; g their mean
 *   tr(C)  = S / (k - 1)
 *   |G|^2  = |g|^2 - tr(C) / N          both without bias, for lanes of any sizes
 *   B_simple = tr(C) / |G|^2            samples
 *
 * With equal lanes it is equation A.2 for the sizes n and N, with all lanes as small batches. */
#ifndef LOCKSTEP_NOISE_H
#define LOCKSTEP_NOISE_H

#include <stdbool.h>

/* Of one tensor, or of all. */
typedef struct Noise {
    double trace;   /* tr(C) */
    double grad_sq; /* |G|^2; below 0 where noise hides it */
    double mean_sq; /* |g|^2 of the batch's mean gradient */
} Noise;

/* lane_sq: sum over lanes of n_i |g_i|^2; mean_sq: |g|^2; `lanes` lanes, 2 or more, that hold
 * `samples` samples in all. */
Noise noise_estimate(double lane_sq, double mean_sq, int lanes, double samples);

/* Exponential means of tr(C) and |G|^2 over probed steps t, whose ratio is far less noisy than a
 * step's: weights w_t = (1 - s) s^(T - t). Everything is zero at first. */
typedef struct NoiseMean {
    double weight, weight_sq;         /* sums of w and w^2 */
    double trace, grad_sq;            /* of w tr(C) and w |G|^2 */
    double trace_sq, grad_quad, both; /* of w^2 tr(C)^2, w^2 |G|^4, w^2 tr(C) |G|^2 */
} NoiseMean;
enum { NOISE_MEAN_VALUES = sizeof(NoiseMean) / sizeof(double) };

void noise_add(NoiseMean *mean, Noise noise, double smoothing);

/* The ratio of the means with a band of 95 %: the infinitesimal jackknife over the probed steps,
 * R +- 1.96 se with se^2 = m / (m - 1) sum w^2 (tr(C) - R |G|^2)^2 / (sum w |G|^2)^2 and m the
 * number of steps that the weights are worth, (sum w)^2 / sum w^2. A ratio that drifts widens it.
 * nan: not known, as |G|^2 is not above 0, or there is one step only (low and high). */
typedef struct NoiseScale {
    double scale, low, high; /* samples */
} NoiseScale;
NoiseScale noise_scale(const NoiseMean *mean);

#endif
