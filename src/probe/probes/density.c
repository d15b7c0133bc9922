/* The density of the Hessian's eigenvalues by stochastic Lanczos quadrature: from a random vector,
 * Lanczos gives nodes and weights of a quadrature whose mean over vectors is that of the spectrum;
 * every node becomes a normal distribution (Ghorbani et al. 2019, algorithm 1). */
#include "lockstep/probe.h"

#include "lockstep/memory.h"

#include <math.h>

typedef struct DensityOptions {
    int64_t vectors, iterations, grid;
    double width;
} DensityOptions;

static const Option options[] = {
    { "vectors", OPTION_INT, OPTION_AT(DensityOptions, vectors), 1, 1000, NULL, "4",
      "random vectors to begin with" },
    { "iterations", OPTION_INT, OPTION_AT(DensityOptions, iterations), 2, 1000, NULL, "60",
      "products with the Hessian for each" },
    { "grid", OPTION_INT, OPTION_AT(DensityOptions, grid), 2, 100000, NULL, "400",
      "rows of the CSV" },
    { "width", OPTION_FLOAT, OPTION_AT(DensityOptions, width), 1e-6, 1, NULL, "0.01",
      "standard deviation that a node gets, of the spectrum's range" },
    OPTION_END,
};

/* Nodes of all vectors, each with its weight; weights add up to 1. */
typedef struct Nodes {
    int count;
    double *values, *weights;
    double low, high;
} Nodes;

static bool find_nodes(Probe *probe, Nodes *nodes, Err *err)
{
    const DensityOptions *o = probe->options;
    Landscape *l = &probe->landscape;
    for (int64_t v = 0; v < o->vectors; v++) {
        LanczosWish wish = { .steps = (int)o->iterations,
                             .seed = (uint64_t)probe->common.seed,
                             .number = (uint64_t)v };
        Spectrum s;
        if (!lanczos(&l->space, landscape_hessian(l), &wish, &s, err))
            return false;
        nodes->low = v ? fmin(nodes->low, s.values[0]) : s.values[0];
        nodes->high = v ? fmax(nodes->high, s.values[s.count - 1]) : s.values[s.count - 1];
        for (int i = 0; i < s.count; i++) {
            nodes->values[nodes->count] = s.values[i];
            nodes->weights[nodes->count++] = s.weights[i] / (double)o->vectors;
        }
        spectrum_free(&s);
    }
    return true;
}

static double mass_below(const Nodes *nodes, double limit)
{
    double mass = 0;
    for (int i = 0; i < nodes->count; i++)
        mass += nodes->values[i] < limit ? nodes->weights[i] : 0;
    return mass;
}

static double density_at(const Nodes *nodes, double x, double sigma)
{
    double sum = 0;
    for (int i = 0; i < nodes->count; i++) {
        double z = (x - nodes->values[i]) / sigma;
        sum += nodes->weights[i] * exp(-z * z / 2);
    }
    return sum / (sigma * sqrt(2 * 3.14159265358979323846));
}

static void report(Probe *probe, const Nodes *nodes)
{
    const DensityOptions *o = probe->options;
    double range = nodes->high - nodes->low, sigma = o->width * range, mean = 0;
    double small = 1e-3 * fmax(fabs(nodes->low), fabs(nodes->high));
    double clear = mass_below(nodes, -small);
    for (int i = 0; i < nodes->count; i++)
        mean += nodes->weights[i] * nodes->values[i];
    found(probe->findings, "largest", nodes->high, "");
    found(probe->findings, "smallest", nodes->low, "");
    found(probe->findings, "mean", mean, "trace / parameters");
    found(probe->findings, "negative_mass", mass_below(nodes, 0), "of all eigenvalues");
    found(probe->findings, "clearly_negative_mass", clear, "below -1e-3 of the largest");
    found(probe->findings, "small_mass", mass_below(nodes, small) - clear,
          "within 1e-3 of the largest");
    found(probe->findings, "sigma", sigma, "of the normal distributions");
    found_columns(probe->findings, "eigenvalue,density");
    double from = nodes->low - 4 * sigma, to = nodes->high + 4 * sigma;
    for (int64_t i = 0; i < o->grid; i++) {
        double x = from + (to - from) * (double)i / (double)(o->grid - 1);
        found_row(probe->findings, "%.9g,%.9g", x, density_at(nodes, x, sigma));
    }
}

static bool run(Probe *probe, Err *err)
{
    const DensityOptions *o = probe->options;
    size_t most = (size_t)(o->vectors * o->iterations);
    Nodes nodes = { .values = mem_array(double, most), .weights = mem_array(double, most) };
    bool ok = find_nodes(probe, &nodes, err);
    if (ok)
        report(probe, &nodes);
    mem_free(nodes.values);
    mem_free(nodes.weights);
    return ok;
}

extern const ProbeType probe_density;
const ProbeType probe_density = {
    .name = "density",
    .help = "density of the Hessian's eigenvalues, share of negative ones",
    .formula = "mean over vectors v of sum_k weight_k N(x; value_k, sigma^2)",
    .source = "Ghorbani et al. 2019; Pennington and Bahri 2017 (index)",
    .options = options,
    .options_bytes = sizeof(DensityOptions),
    .samples = 1024,
    .run = run,
};
