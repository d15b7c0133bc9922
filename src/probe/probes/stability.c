/* Where SGD can stay: a minimum is linearly stable for learning rate lr and batch B if its
 * sharpness a = lambda_max(H) is at most 2 / lr and its non-uniformity s = lambda_max(S^1/2) at
 * most sqrt(B) / lr, S the covariance of the samples' Hessians (Wu, Ma and E 2018, for many
 * samples). */
#include "lockstep/probe.h"

#include <math.h>

typedef struct StabilityOptions {
    int64_t iterations, batch;
    double tolerance, lr;
} StabilityOptions;

static const Option options[] = {
    { "iterations", OPTION_INT, OPTION_AT(StabilityOptions, iterations), 2, 1000, NULL, "30",
      "products with each of the two matrices, at most" },
    { "tolerance", OPTION_FLOAT, OPTION_AT(StabilityOptions, tolerance), 0, 1, NULL, "1e-2",
      "found when the residual is below this share of the eigenvalue" },
    { "lr", OPTION_FLOAT, OPTION_AT(StabilityOptions, lr), 0, 1e9, NULL, "0",
      "learning rate; 0: the schedule's for the next step" },
    { "batch", OPTION_INT, OPTION_AT(StabilityOptions, batch), 0, 1 << 30, NULL, "0",
      "samples; 0: the run's" },
    OPTION_END,
};

static bool largest(Probe *probe, Operator op, double *value, double *residual, Err *err)
{
    const StabilityOptions *o = probe->options;
    LanczosWish wish = { .steps = (int)o->iterations,
                         .extremes = 1,
                         .tolerance = o->tolerance,
                         .seed = (uint64_t)probe->common.seed };
    Spectrum s;
    if (!lanczos(&probe->landscape.space, op, &wish, &s, err))
        return false;
    *value = s.values[s.count - 1];
    *residual = s.residuals[s.count - 1];
    spectrum_free(&s);
    return true;
}

static bool run(Probe *probe, Err *err)
{
    const StabilityOptions *o = probe->options;
    double a, square, residual[2];
    if (!largest(probe, landscape_hessian(&probe->landscape), &a, &residual[0], err) ||
        !largest(probe, landscape_spread(&probe->landscape), &square, &residual[1], err))
        return false;
    double s = sqrt(fmax(square, 0)), lr = o->lr > 0 ? o->lr : probe_lr(probe);
    double batch = o->batch > 0 ? (double)o->batch : probe_batch(probe);
    Findings *f = probe->findings;
    found(f, "sharpness_a", a, "lambda_max(H)");
    found(f, "residual_a", residual[0], "");
    found(f, "nonuniformity_s", s, "lambda_max(S^1/2), S = mean of H_i^2 - H^2");
    found(f, "residual_s2", residual[1], "of s^2");
    found(f, "lr", lr, "learning rate");
    found(f, "batch", batch, "samples");
    found(f, "bound_a", 2 / lr, "2 / lr");
    found(f, "bound_s", sqrt(batch) / lr, "sqrt(batch) / lr");
    found(f, "a_of_bound", a * lr / 2, "stable up to 1");
    found(f, "s_of_bound", s * lr / sqrt(batch), "stable up to 1");
    return true;
}

extern const ProbeType probe_stability;
const ProbeType probe_stability = {
    .name = "stability",
    .help = "sharpness and non-uniformity against what learning rate and batch allow",
    .formula = "a <= 2 / lr, s <= sqrt(batch) / lr",
    .source = "Wu et al. 2018",
    .options = options,
    .options_bytes = sizeof(StabilityOptions),
    .samples = 64,
    .single = true,
    .run = run,
};
