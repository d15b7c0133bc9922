/* Adafactor: the second moment of a matrix as the product of its row and column means, and a step
 * relative to the size of the weights. Shazeer and Stern 2018. A tensor is seen as (A, I, M, J, K)
 * with I and J the two dimensions that are factored; every (a, m, k) is a matrix of its own. Which
 * they are differs: the two largest (T5X, here), the first two of a kernel and else the last two
 * (timm), the last two (fairseq). */
#include "lockstep/cpu.h"
#include "lockstep/optimizer.h"

#include <math.h>
#include <string.h>

typedef struct AdafactorOptions {
    double eps, eps_scale, clip_threshold, decay_rate, beta1;
    int64_t min_dim;
    bool scale_parameter, relative_step, warmup_init;
    int factor;
} AdafactorOptions;

enum { FACTOR_LARGEST, FACTOR_KERNEL, FACTOR_LAST };

static const Option options[] = {
    { "relative_step", OPTION_BOOL, OPTION_AT(AdafactorOptions, relative_step), 0, 0, NULL, "true",
      "lr is multiplied by min(0.01, 1 / sqrt(t)); false: for schedules" },
    { "scale_parameter", OPTION_BOOL, OPTION_AT(AdafactorOptions, scale_parameter), 0, 0, NULL,
      "true", "lr is multiplied by the root of the mean square of the weights" },
    { "warmup_init", OPTION_BOOL, OPTION_AT(AdafactorOptions, warmup_init), 0, 0, NULL, "false",
      "relative_step: 1e-6 t in place of 0.01" },
    { "beta1", OPTION_FLOAT, OPTION_AT(AdafactorOptions, beta1), 0, 0.9999999, NULL, "0",
      "decay of the mean of steps; 0: none, and no memory for it" },
    { "decay_rate", OPTION_FLOAT, OPTION_AT(AdafactorOptions, decay_rate), 0, 10, NULL, "0.8",
      "the second moments decay by 1 - t^-decay_rate" },
    { "clip_threshold", OPTION_FLOAT, OPTION_AT(AdafactorOptions, clip_threshold), 1e-9, 1e9, NULL,
      "1", "largest root of the mean square of a step, before lr" },
    { "eps", OPTION_FLOAT, OPTION_AT(AdafactorOptions, eps), 1e-38, 1, NULL, "1e-30",
      "added to squares of gradients" },
    { "eps_scale", OPTION_FLOAT, OPTION_AT(AdafactorOptions, eps_scale), 0, 1, NULL, "0.001",
      "smallest size of the weights in scale_parameter" },
    { "min_dim", OPTION_INT, OPTION_AT(AdafactorOptions, min_dim), 1, 1e9, NULL, "128",
      "dimensions below this are not factored" },
    { "factor", OPTION_CHOICE, OPTION_AT(AdafactorOptions, factor), 0, 0, "largest|kernel|last",
      "largest",
      "which two dimensions: the largest; the first two of kernels, else the last two (timm); the "
      "last two (fairseq)" },
    OPTION_END,
};

/* ---- which dimensions ---- */

/* A tensor as (A, I, M, J, K); I = 0: not factored. */
typedef struct Factors {
    size_t A, I, M, J, K;
} Factors;

static Factors split(const LayoutTensor *shape, int first, int second)
{
    Factors f = { 1, (size_t)shape->shape[first], 1, (size_t)shape->shape[second], 1 };
    for (int d = 0; d < shape->ndim; d++)
        *(d < first    ? &f.A
          : d < second ? &f.M
                       : &f.K) *= d == first || d == second ? 1 : (size_t)shape->shape[d];
    return f;
}

static bool both_large(const AdafactorOptions *o, const LayoutTensor *shape, int a, int b)
{
    return shape->shape[a] >= o->min_dim && shape->shape[b] >= o->min_dim;
}

/* The two largest dimensions, in order; of equal ones the last. */
static Factors split_largest(const AdafactorOptions *o, const LayoutTensor *shape)
{
    int best = 0, second = -1;
    for (int d = 1; d < shape->ndim; d++)
        if (shape->shape[d] >= shape->shape[best]) {
            second = best;
            best = d;
        } else if (second < 0 || shape->shape[d] >= shape->shape[second])
            second = d;
    int low = best < second ? best : second, high = best < second ? second : best;
    return both_large(o, shape, low, high) ? split(shape, low, high) : (Factors){ 0 };
}

static Factors factors_of(const AdafactorOptions *o, const LayoutTensor *shape)
{
    int n = shape->ndim;
    if (n < 2)
        return (Factors){ 0 };
    if (o->factor == FACTOR_LARGEST)
        return split_largest(o, shape);
    if (o->factor == FACTOR_KERNEL && n > 2 && both_large(o, shape, 0, 1))
        return split(shape, 0, 1);
    return both_large(o, shape, n - 2, n - 1) ? split(shape, n - 2, n - 1) : (Factors){ 0 };
}

/* ---- state ---- */

enum { ROW, COLUMN }; /* buffers of a factored tensor */

static unsigned state_mask(const void *options_pointer)
{
    const AdafactorOptions *o = options_pointer;
    return o->beta1 > 0;
}

static int buffers(const void *options_pointer, const LayoutTensor *shape, OptimizerBuffer *list)
{
    Factors f = factors_of(options_pointer, shape);
    list[0] = (OptimizerBuffer){ "square", BUFFER_FLOAT, shape->n };
    if (f.I == 0)
        return 1;
    list[ROW] = (OptimizerBuffer){ "row_square", BUFFER_FLOAT, f.A * f.I * f.M * f.K };
    list[COLUMN] = (OptimizerBuffer){ "column_square", BUFFER_FLOAT, f.A * f.M * f.J * f.K };
    return 2;
}

/* The step of every element, and sums over columns, rows and their means. */
static size_t scratch(const void *options_pointer, const LayoutTensor *shape)
{
    Factors f = factors_of(options_pointer, shape);
    size_t sums = f.I == 0 ? 0 : f.A * f.M * f.K * (f.I + f.J + 1);
    return (shape->padded + 2 * sums) * sizeof(float) + 64;
}

/* ---- the step ---- */

/* sqrt(R / mean(R)) and sqrt(C) of one (a, m, k) each, from sums of g^2 + eps in double. */
static void factor_roots(const Factors *f, double keep, double *sums, float *row, float *column)
{
    size_t rows = f->A * f->I * f->M * f->K, columns = f->A * f->M * f->J * f->K;
    double *row_sums = sums, *column_sums = sums + rows, *means = column_sums + columns;
    for (size_t i = 0; i < rows; i++) {
        row[i] = (float)(keep * (double)row[i] + (1 - keep) * row_sums[i] / (double)f->J);
        row_sums[i] = (double)row[i];
    }
    for (size_t j = 0; j < columns; j++) {
        column[j] = (float)(keep * (double)column[j] + (1 - keep) * column_sums[j] / (double)f->I);
        column_sums[j] = 1 / sqrt((double)column[j]);
    }
    for (size_t a = 0; a < f->A; a++)
        for (size_t mk = 0; mk < f->M * f->K; mk++) {
            double mean = 0;
            for (size_t i = 0; i < f->I; i++)
                mean += row_sums[(a * f->I + i) * f->M * f->K + mk];
            means[a * f->M * f->K + mk] = mean / (double)f->I;
        }
    for (size_t a = 0; a < f->A; a++)
        for (size_t i = 0; i < f->I; i++)
            for (size_t mk = 0; mk < f->M * f->K; mk++) {
                double *r = &row_sums[(a * f->I + i) * f->M * f->K + mk];
                *r = 1 / sqrt(*r / means[a * f->M * f->K + mk]);
            }
}

/* Where element (a, i, m, j, k) finds its row and column. */
#define ROW_AT(f, a, i, m, k) ((((a) * (f)->I + (i)) * (f)->M + (m)) * (f)->K + (k))
#define COLUMN_AT(f, a, m, j, k) ((((a) * (f)->M + (m)) * (f)->J + (j)) * (f)->K + (k))

/* Sums of x^2 + eps over columns and rows; or, with `to`, x times both roots. */
static void over_elements(const Factors *f, const float *x, double eps, double *sums, float *to)
{
    double *rows = sums, *columns = sums + f->A * f->I * f->M * f->K;
    size_t n = 0;
    for (size_t a = 0; a < f->A; a++)
        for (size_t i = 0; i < f->I; i++)
            for (size_t m = 0; m < f->M; m++)
                for (size_t j = 0; j < f->J; j++)
                    for (size_t k = 0; k < f->K; k++, n++) {
                        double *r = &rows[ROW_AT(f, a, i, m, k)];
                        double *c = &columns[COLUMN_AT(f, a, m, j, k)];
                        if (to) {
                            to[n] = (float)((double)x[n] * *r * *c);
                            continue;
                        }
                        double square = (double)x[n] * (double)x[n] + eps;
                        *r += square;
                        *c += square;
                    }
}

static double root_mean_square(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum / (double)n);
}

/* u = g / sqrt(v), into `u`. */
static void direction(const AdafactorOptions *o, const TensorStep *step, const OptimizerTensor *t,
                      float *u, double *sums)
{
    Factors f = factors_of(o, t->shape);
    const double keep = 1 - pow((double)step->t, -o->decay_rate);
    const float scale = (float)step->scale;
    for (size_t i = 0; i < t->shape->n; i++)
        u[i] = scale * t->g[i];
    if (f.I > 0) {
        memset(sums, 0, f.A * f.M * f.K * (f.I + f.J + 1) * sizeof *sums);
        over_elements(&f, u, o->eps, sums, NULL);
        factor_roots(&f, keep, sums, t->buffer[ROW], t->buffer[COLUMN]);
        over_elements(&f, u, o->eps, sums, u);
        return;
    }
    float *restrict v = t->buffer[0];
    for (size_t i = 0; i < t->shape->n; i++) {
        double square = (double)u[i] * (double)u[i] + o->eps;
        v[i] = (float)(keep * (double)v[i] + (1 - keep) * square);
        u[i] = (float)((double)u[i] / sqrt((double)v[i]));
    }
}

static double step_rate(const AdafactorOptions *o, const TensorStep *step, const OptimizerTensor *t)
{
    double t_now = (double)step->t, rate = step->lr;
    if (o->relative_step)
        rate *= fmin(o->warmup_init ? 1e-6 * t_now : 1e-2, 1 / sqrt(t_now));
    if (o->scale_parameter)
        rate *= fmax(o->eps_scale, root_mean_square(t->w, t->shape->n));
    return rate;
}

static void update_tensor(const void *options_pointer, const TensorStep *step,
                          const OptimizerTensor *t)
{
    const AdafactorOptions *o = options_pointer;
    float *u = t->scratch, *m = t->state[0];
    double *sums = (double *)(void *)(u + t->shape->padded);
    direction(o, step, t, u, sums);
    double rate = step_rate(o, step, t);
    double size = root_mean_square(u, t->shape->n) / o->clip_threshold;
    const float move = (float)(rate / (size > 1 ? size : 1));
    const float shrink = (float)(rate * step->weight_decay);
    const float keep = (float)o->beta1, take = (float)(1 - o->beta1);
    for (size_t i = 0; i < t->shape->n; i++) {
        float d = move * u[i];
        if (m)
            d = m[i] = keep * m[i] + take * d;
        t->w[i] = t->w[i] - shrink * t->w[i] - d;
    }
}

static double cost(const void *options_pointer, const LayoutTensor *shape)
{
    (void)options_pointer;
    return 100 * (double)shape->n;
}

extern const OptimizerType ISA_NAME(optimizer_adafactor);
const OptimizerType ISA_NAME(optimizer_adafactor) = {
    .name = "adafactor",
    .help = "second moments as products of row and column means, steps relative to the weights; "
            "with relative_step lr is a factor (lr 1, no weight_decay, no clip_norm)",
    .formula = "R, C = means of g^2 + eps over columns and rows, decayed by 1 - t^-0.8; "
               "u = g / sqrt(R C / mean(R)); u /= max(1, rms(u) / d); "
               "w -= lr min(0.01, 1 / sqrt(t)) max(eps_scale, rms(w)) (u + wd w)",
    .source = "Shazeer and Stern 2018",
    .options = options,
    .options_bytes = sizeof(AdafactorOptions),
    .states = 1,
    .state_names = { "mean" },
    .default_lr = 1,
    .clip_epsilon = 1e-6,
    .state_mask = state_mask,
    .update_tensor = update_tensor,
    .buffers = buffers,
    .scratch = scratch,
    .cost = cost,
};
