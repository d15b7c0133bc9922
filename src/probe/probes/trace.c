/* The trace of the Hessian, in all and of each tensor's block, from z^T H z with random signs z
 * (Hutchinson 1990): z_l^T (H z)_l of the part of a tensor has the mean tr H_ll, as the signs of
 * other tensors are independent of its own.
 *
 * Sharpness changes when a layer is scaled up and the next one down, which changes no output (Dinh
 * et al. 2017); |w_l|^2 tr H_ll does not. */
#include "lockstep/probe.h"

#include "lockstep/memory.h"

#include <math.h>
#include <string.h>

typedef struct TraceOptions {
    int64_t vectors;
} TraceOptions;

static const Option options[] = {
    { "vectors", OPTION_INT, OPTION_AT(TraceOptions, vectors), 0, 100000, NULL, "16",
      "random vectors; 0: every coordinate instead, which is exact" },
    OPTION_END,
};

typedef struct Traces {
    double *sum, *squares, *part; /* by tensor, and at [count] of all: of samples; the last one */
    int count;
} Traces;

static void add_part(Traces *traces)
{
    double all = 0;
    for (int t = 0; t < traces->count; t++)
        all += traces->part[t];
    traces->part[traces->count] = all;
    for (int t = 0; t <= traces->count; t++) {
        traces->sum[t] += traces->part[t];
        traces->squares[t] += traces->part[t] * traces->part[t];
    }
}

static void add_product(Landscape *l, const float *z, float *out, Traces *traces)
{
    landscape_product(l, z, out);
    space_tensor_dots(&l->space, z, out, traces->part);
    add_part(traces);
}

static void add_coordinates(Landscape *l, float *z, float *out, Traces *traces)
{
    const Layout *layout = l->space.layout;
    memset(z, 0, layout->n * sizeof *z);
    for (int t = 0; t < layout->count; t++)
        for (size_t i = 0; space_trains(&l->space, t) && i < layout->tensors[t].n; i++) {
            float *at = z + layout->tensors[t].offset + i;
            *at = 1;
            add_product(l, z, out, traces);
            *at = 0;
        }
}

/* Standard error of the mean of m; 0 of what is exact. */
static double error_of(const Traces *traces, int index, double m)
{
    if (m < 2)
        return m == 0 ? 0 : (double)NAN;
    double mean = traces->sum[index] / m, variance = traces->squares[index] / m - mean * mean;
    return sqrt(fmax(variance, 0) / (m - 1));
}

static void report(Probe *probe, Landscape *l, const Traces *traces)
{
    const TraceOptions *o = probe->options;
    const Layout *layout = l->space.layout;
    double m = (double)o->vectors, divisor = m > 0 ? m : 1, invariant = 0;
    double *squares = mem_array(double, traces->count);
    space_tensor_dots(&l->space, l->w, l->w, squares);
    found_columns(probe->findings, "tensor,parameters,norm_squared,trace,error,norm_squared_trace");
    for (int t = 0; t < traces->count; t++) {
        double trace = traces->sum[t] / divisor;
        if (!space_trains(&l->space, t))
            continue;
        invariant += squares[t] * trace;
        found_row(probe->findings, "%s,%zu,%.9g,%.9g,%.4g,%.9g", layout->tensors[t].name,
                  layout->tensors[t].n, squares[t], trace, error_of(traces, t, m),
                  squares[t] * trace);
    }
    double trace = traces->sum[traces->count] / divisor;
    found(probe->findings, "trace", trace, "of the Hessian");
    found(probe->findings, "error", error_of(traces, traces->count, m), "standard error of it");
    found(probe->findings, "mean_eigenvalue", trace / (double)layout->trained,
          "trace / parameters");
    found(probe->findings, "invariant", invariant, "sum over tensors of |w|^2 trace");
    mem_free(squares);
}

static bool run(Probe *probe, Err *err)
{
    const TraceOptions *o = probe->options;
    Landscape *l = &probe->landscape;
    int count = l->space.layout->count;
    (void)err;
    Traces traces = { mem_array(double, count + 1), mem_array(double, count + 1),
                      mem_array(double, count + 1), count };
    float *z = space_vector(&l->space), *out = space_vector(&l->space);
    for (int64_t v = 0; v < o->vectors; v++) {
        space_random_signs(&l->space, (uint64_t)probe->common.seed, (uint64_t)v, z);
        add_product(l, z, out, &traces);
    }
    if (o->vectors == 0)
        add_coordinates(l, z, out, &traces);
    report(probe, l, &traces);
    mem_free(traces.sum);
    mem_free(traces.squares);
    mem_free(traces.part);
    mem_free(z);
    mem_free(out);
    return true;
}

extern const ProbeType probe_trace;
const ProbeType probe_trace = {
    .name = "trace",
    .help = "trace of the Hessian, in all and by tensor; the flatness that no rescaling changes",
    .formula = "tr H = mean of z^T H z, z random signs; |w_l|^2 tr H_ll",
    .source = "Hutchinson 1990; Dinh et al. 2017",
    .options = options,
    .options_bytes = sizeof(TraceOptions),
    .samples = 2048,
    .run = run,
};
