/* The Fisher matrix, whose labels are the model's own, and the empirical one, whose labels are the
 * data's: two matrices that are often taken for one another (Kunstner et al. 2019). Nothing of the
 * size of a matrix is made: traces, eigenvalues and the angle between them are in the products of
 * the gradients they are made of. */
#include "lockstep/probe.h"

#include "lockstep/lapack.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <math.h>
#include <string.h>

enum { LABELS_EXACT, LABELS_DRAWN };

typedef struct FisherOptions {
    int64_t top;
    int labels;
} FisherOptions;

static const Option options[] = {
    { "top", OPTION_INT, OPTION_AT(FisherOptions, top), 1, 1000, NULL, "6", "eigenvalues to list" },
    { "labels", OPTION_CHOICE, OPTION_AT(FisherOptions, labels), 0, 0, "exact|drawn", "exact",
      "of the Fisher matrix: every class by its probability, or one drawn from the model" },
    OPTION_END,
};

static bool check_loss(const Probe *probe, Err *err)
{
    const FisherOptions *o = probe->options;
    const Loss *loss = &probe->landscape.wish.model->loss;
    const ConfigNode *node = probe->trainer->settings->loss;
    const ConfigNode *smoothing = config_get(node, "label_smoothing");
    double value = 0;
    if (strcmp(loss->type->name, "softmax_cross_entropy") != 0)
        return err_set(err,
                       "probe fisher: loss %s gives no probabilities, softmax_cross_entropy "
                       "does",
                       loss->type->name);
    if (smoothing && smoothing->text && text_to_double(smoothing->text, &value) && value != 0)
        return err_set(err,
                       "probe fisher: with label_smoothing %s the loss is no likelihood; give "
                       "loss.label_smoothing=0",
                       smoothing->text);
    if (loss->rows > 1 && o->labels == LABELS_EXACT)
        return err_set(err,
                       "probe fisher: %d labels a sample have too many values; give "
                       "labels=drawn",
                       loss->rows);
    return true;
}

/* What there is to know of a sum of outer products of rows. */
typedef struct Matrix {
    double trace, norm; /* Frobenius */
    double *values;     /* (rows), descending */
} Matrix;

static bool describe(const Rows *rows, Matrix *matrix, Err *err)
{
    int n = rows->count;
    double *gram = mem_array(double, (size_t)n *(size_t)n);
    double *values = mem_array(double, n), *scratch = mem_array(double, lapack_scratch(n));
    *matrix = (Matrix){ .values = mem_array(double, n) };
    rows_gram(rows, rows, gram);
    bool ok = lapack_eigen(n, gram, values, scratch);
    for (int i = 0; ok && i < n; i++) {
        matrix->values[i] = values[n - 1 - i];
        matrix->trace += values[i];
        matrix->norm += values[i] * values[i];
    }
    matrix->norm = sqrt(matrix->norm);
    mem_free(gram);
    mem_free(values);
    mem_free(scratch);
    return ok || err_set(err, "probe fisher: gradients are not finite");
}

/* The inner product of two matrices: the sum of (a_i . b_j)^2. */
static double inner(const Rows *a, const Rows *b)
{
    size_t n = (size_t)a->count * (size_t)b->count;
    double *gram = mem_array(double, n), sum = 0;
    rows_gram(a, b, gram);
    for (size_t i = 0; i < n; i++)
        sum += gram[i] * gram[i];
    mem_free(gram);
    return sum;
}

static void report(Probe *probe, const Rows *rows, const Rows *own, const Matrix *empirical,
                   const Matrix *fisher)
{
    const FisherOptions *o = probe->options;
    Findings *f = probe->findings;
    int top = o->top < rows->count ? (int)o->top : rows->count;
    double product = inner(rows, own), e = empirical->norm, t = fisher->norm;
    found(f, "fisher_trace", fisher->trace, "labels of the model");
    found(f, "empirical_trace", empirical->trace, "labels of the data");
    found(f, "trace_ratio", empirical->trace / fisher->trace, "empirical / true");
    found(f, "cosine", product / (e * t), "of the two matrices");
    found(f, "relative_difference", sqrt(fmax(e * e - 2 * product + t * t, 0)) / t,
          "|empirical - true| / |true|, Frobenius");
    found_list(f, "fisher_largest", fisher->values, top, "eigenvalues");
    found_list(f, "empirical_largest", empirical->values, top, "eigenvalues");
    found_columns(f, "number,fisher,empirical");
    for (int i = 0; i < own->count; i++)
        found_row(f, "%d,%.9g,%.9g", i + 1, fisher->values[i],
                  i < rows->count ? empirical->values[i] : 0);
}

static bool run(Probe *probe, Err *err)
{
    const FisherOptions *o = probe->options;
    Landscape *l = &probe->landscape;
    int n = (int)l->wish.list.count, classes = l->wish.model->loss.outputs;
    bool exact = o->labels == LABELS_EXACT;
    Rows rows, own = { 0 };
    Matrix empirical = { 0 }, fisher = { 0 };
    if (!check_loss(probe, err) || !rows_init(&rows, &l->space, n, err))
        return false;
    bool ok = rows_init(&own, &l->space, exact ? n * classes : n, err);
    if (ok) {
        landscape_sample_rows(l, &rows);
        if (exact)
            landscape_class_rows(l, &own, classes);
        else
            landscape_drawn_rows(l, &own, (uint64_t)probe->common.seed);
        ok = describe(&rows, &empirical, err) && describe(&own, &fisher, err);
    }
    if (ok)
        report(probe, &rows, &own, &empirical, &fisher);
    mem_free(empirical.values);
    mem_free(fisher.values);
    rows_free(&own);
    rows_free(&rows);
    return ok;
}

extern const ProbeType probe_fisher;
const ProbeType probe_fisher = {
    .name = "fisher",
    .help = "Fisher matrix against the empirical one: traces, eigenvalues, angle",
    .formula = "F = mean_i sum_k p_ik g_ik g_ik^T, empirical: mean_i g_i g_i^T",
    .source = "Kunstner et al. 2019",
    .options = options,
    .options_bytes = sizeof(FisherOptions),
    .samples = 24,
    .single = true,
    .run = run,
};
