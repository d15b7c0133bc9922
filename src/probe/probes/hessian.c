/* The largest and smallest eigenvalues of the Hessian. */
#include "lockstep/probe.h"

#include <stdio.h>

typedef struct HessianOptions {
    int64_t top, iterations;
    double tolerance;
} HessianOptions;

static const Option options[] = {
    { "top", OPTION_INT, OPTION_AT(HessianOptions, top), 1, 100, NULL, "3",
      "eigenvalues at either end to find" },
    { "iterations", OPTION_INT, OPTION_AT(HessianOptions, iterations), 2, 1000, NULL, "80",
      "products with the Hessian, at most" },
    { "tolerance", OPTION_FLOAT, OPTION_AT(HessianOptions, tolerance), 0, 1, NULL, "1e-3",
      "found when |H x - value x| is below this share of the largest |value|" },
    OPTION_END,
};

static void report(Probe *probe, const Spectrum *s, int top)
{
    char key[32], help[64];
    if (2 * top > s->count)
        top = (s->count + 1) / 2;
    for (int i = 0; i < 2 * top; i++) {
        bool large = i < top;
        int at = large ? s->count - 1 - i : i - top;
        snprintf(key, sizeof key, "%s_%d", large ? "largest" : "smallest", large ? i + 1 : at + 1);
        snprintf(help, sizeof help, "residual %.2g", s->residuals[at]);
        found(probe->findings, key, s->values[at], help);
    }
    found(probe->findings, "iterations", s->count, "products with the Hessian");
    found_columns(probe->findings, "ritz_value,residual,weight");
    for (int i = 0; i < s->count; i++)
        found_row(probe->findings, "%.9g,%.4g,%.6g", s->values[i], s->residuals[i], s->weights[i]);
}

static bool run(Probe *probe, Err *err)
{
    const HessianOptions *o = probe->options;
    Landscape *l = &probe->landscape;
    LanczosWish wish = { .steps = (int)o->iterations,
                         .extremes = (int)o->top,
                         .tolerance = o->tolerance,
                         .seed = (uint64_t)probe->common.seed };
    Spectrum spectrum;
    if (!lanczos(&l->space, landscape_hessian(l), &wish, &spectrum, err))
        return false;
    report(probe, &spectrum, (int)o->top);
    spectrum_free(&spectrum);
    return true;
}

extern const ProbeType probe_hessian;
const ProbeType probe_hessian = {
    .name = "hessian",
    .help = "largest and smallest eigenvalues of the Hessian, by Lanczos",
    .formula = "H x = value x",
    .source = "Lanczos 1950; Sagun et al. 2017",
    .options = options,
    .options_bytes = sizeof(HessianOptions),
    .samples = 2048,
    .run = run,
};
