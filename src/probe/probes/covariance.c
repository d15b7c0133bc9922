/* The spectrum of the gradient's covariance, from the Gram matrix of samples' or groups'
 * gradients. */
#include "lockstep/probe.h"

#include "lockstep/lapack.h"
#include "lockstep/memory.h"

#include <math.h>

typedef struct CovarianceOptions {
    int64_t top, group;
} CovarianceOptions;

static const Option options[] = {
    { "top", OPTION_INT, OPTION_AT(CovarianceOptions, top), 1, 1000, NULL, "6",
      "eigenvalues to list" },
    { "group", OPTION_INT, OPTION_AT(CovarianceOptions, group), 1, 1 << 20, NULL, "1",
      "samples whose mean gradient is a row: 1, or up to a lane's; divides the samples" },
    OPTION_END,
};

/* values (n), ascending; gram is overwritten. */
static bool decompose(double *gram, int n, double *values, Err *err)
{
    double *scratch = mem_array(double, lapack_scratch(n));
    bool ok = lapack_eigen(n, gram, values, scratch);
    mem_free(scratch);
    return ok || err_set(err, "probe covariance: gradients are not finite");
}

/* gram: rows are g_i / sqrt(m). */
static bool report(Probe *probe, double *gram, int m, Err *err)
{
    const CovarianceOptions *o = probe->options;
    double *values = mem_array(double, m), *descending = mem_array(double, m);
    double squares = 0, trace = 0, second = 0;
    for (int i = 0; i < m * m; i++)
        squares += gram[i] / m; /* |mean g|^2 */
    gram_center(gram, m);
    for (int i = 0; i < m * m; i++)
        gram[i] *= (double)o->group * m / (m - 1);
    bool ok = decompose(gram, m, values, err);
    for (int i = 0; ok && i < m; i++) {
        descending[i] = values[m - 1 - i];
        trace += values[i];
        second += values[i] * values[i];
    }
    if (ok) {
        Findings *f = probe->findings;
        found(f, "gradient_squares", squares, "|g|^2");
        found(f, "trace", trace, "of the covariance of a sample's gradient");
        found(f, "noise_scale", trace / squares, "samples: trace / |g|^2");
        found(f, "effective_rank", trace * trace / second, "trace^2 / sum of squared eigenvalues");
        found_list(f, "largest", descending, o->top < m ? (int)o->top : m, "eigenvalues");
        found_columns(f, "number,eigenvalue,share");
        double sum = 0;
        for (int i = 0; i < m; i++) {
            sum += descending[i];
            found_row(f, "%d,%.9g,%.6g", i + 1, descending[i], sum / trace);
        }
    }
    mem_free(values);
    mem_free(descending);
    return ok;
}

static bool run(Probe *probe, Err *err)
{
    const CovarianceOptions *o = probe->options;
    Landscape *l = &probe->landscape;
    Rows rows;
    if (!probe_check_group(probe, o->group, err) ||
        !rows_init(&rows, &l->space, (int)(l->wish.list.count / o->group), err))
        return false;
    double *gram = mem_array(double, (size_t)rows.count *(size_t)rows.count);
    landscape_sample_rows(l, &rows);
    rows_gram(&rows, &rows, gram);
    bool ok = report(probe, gram, rows.count, err);
    mem_free(gram);
    rows_free(&rows);
    return ok;
}

extern const ProbeType probe_covariance;
const ProbeType probe_covariance = {
    .name = "covariance",
    .help = "eigenvalues of the covariance of samples' gradients",
    .formula = "C = sum_i (g_i - g)(g_i - g)^T / (n - 1)",
    .source = "McCandlish et al. 2018; Zhu et al. 2019",
    .options = options,
    .options_bytes = sizeof(CovarianceOptions),
    .samples = 256,
    .run = run,
};
