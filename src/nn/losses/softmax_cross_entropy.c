/* Softmax and cross-entropy in one, with label smoothing as in PyTorch: the target is (1 - s) at
 * the label plus s / K everywhere.
 *
 *   l = ln sum_k e^(y_k) - (1 - s) y_label - s / K sum_k y_k
 *   dl/dy_k = softmax(y)_k - target_k
 *
 * Rows whose label is LABEL_IGNORED have no part in it.
 *
 * Everything is relative to the largest y, and the loss is double from the exponentials on. */
#include "lockstep/cpu.h"
#include "lockstep/error.h"
#include "lockstep/loss.h"
#include "lockstep/vmath.h"

enum { CHUNK = 256, LANES = 8 };

typedef struct CrossEntropyOptions {
    double label_smoothing;
} CrossEntropyOptions;

static const Option options[] = {
    { "label_smoothing", OPTION_FLOAT, OPTION_AT(CrossEntropyOptions, label_smoothing), 0, 1, NULL,
      "0", "share s of the target that is spread over all classes (Szegedy et al. 2016)" },
    OPTION_END,
};

/* The first index of the largest value; NaN is never the largest. */
static int largest(const float *y, int K)
{
    int best = 0;
    for (int k = 1; k < K; k++)
        if (y[k] > y[best])
            best = k;
    return best;
}

typedef struct RowSums {
    double exponentials; /* sum of e^(y - top) */
    double values;       /* sum of y - top */
} RowSums;

/* Partial sums of a row, by position modulo LANES. */
typedef struct Lanes {
    double exponentials[LANES], values[LANES];
} Lanes;

/* e[k] = e^(y[k] - top) for n <= CHUNK numbers, and their sums. */
static void sum_chunk(const float *y, float top, int n, float *e, Lanes *lanes)
{
    float difference[CHUNK];
    for (int k = 0; k < n; k++) {
        difference[k] = y[k] - top;
        e[k] = vmath_exp(difference[k]);
    }
    int whole = n / LANES * LANES;
    for (int k = 0; k < whole; k += LANES)
        for (int lane = 0; lane < LANES; lane++) {
            lanes->exponentials[lane] += (double)e[k + lane];
            lanes->values[lane] += (double)difference[k + lane];
        }
    for (int k = whole; k < n; k++) {
        lanes->exponentials[k - whole] += (double)e[k];
        lanes->values[k - whole] += (double)difference[k];
    }
}

/* e may be NULL; otherwise e[k] = e^(y[k] - top). */
static RowSums sum_row(const float *y, float top, int K, float *e)
{
    Lanes lanes = { { 0 }, { 0 } };
    float scratch[CHUNK];
    for (int first = 0; first < K; first += CHUNK)
        sum_chunk(y + first, top, K - first < CHUNK ? K - first : CHUNK, e ? e + first : scratch,
                  &lanes);
    RowSums sums = { 0, 0 };
    for (int lane = 0; lane < LANES; lane++) {
        sums.exponentials += lanes.exponentials[lane];
        sums.values += lanes.values[lane];
    }
    return sums;
}

typedef struct Target {
    int label;
    double smoothing; /* s */
    double scale;     /* of the gradient */
} Target;

/* One row's loss into the tally, and its gradient to dy (K), which may be NULL or y itself: the
 * exponentials take the row's place, so that a row of a large vocabulary is read and written
 * while it is in the cache. */
static void add_row(const float *y, float *dy, int K, const Target *target, Tally *tally)
{
    int label = target->label, best = largest(y, K);
    expect(label >= 0 && label < K);
    float top = y[best], at_label = y[label];
    double s = target->smoothing, share = s / K;
    RowSums sums = sum_row(y, top, K, dy);
    tally->loss += vmath_log_double(sums.exponentials) - (1 - s) * (double)(at_label - top) -
                   share * sums.values;
    tally->correct += best == label;
    tally->count++;
    if (!dy)
        return;
    float inverse = (float)(target->scale / sums.exponentials);
    float even = (float)(share * target->scale);
    for (int k = 0; k < K; k++)
        dy[k] = dy[k] * inverse - even;
    dy[label] -= (float)((1 - s) * target->scale);
}

static void clear_row(float *dy, int K)
{
    for (int k = 0; dy && k < K; k++)
        dy[k] = 0;
}

static Tally evaluate(const Loss *loss, const Pass *pass, const Batch *batch, const float *y,
                      float *dy)
{
    const CrossEntropyOptions *option = loss->options;
    int K = loss->outputs;
    Target target = { .smoothing = option->label_smoothing,
                      .scale = 1.0 / (double)pass->global_targets };
    Tally tally = { 0 };
    int rows = pass->batch * loss->rows;
    for (int i = 0; i < rows; i++, y += K, dy += dy ? K : 0) {
        target.label = batch->labels[i];
        if (target.label == LABEL_IGNORED)
            clear_row(dy, K);
        else
            add_row(y, dy, K, &target, &tally);
    }
    return tally;
}

extern const LossType ISA_NAME(loss_softmax_cross_entropy);
const LossType ISA_NAME(loss_softmax_cross_entropy) = {
    .name = "softmax_cross_entropy",
    .help = "negative log-likelihood of the label under softmax(y)",
    .formula = "l = -sum_k t_k ln softmax(y)_k, t = (1 - s) onehot + s / K",
    .source = "Szegedy et al. 2016 (label smoothing)",
    .options = options,
    .options_bytes = sizeof(CrossEntropyOptions),
    .wants_labels = true,
    .evaluate = evaluate,
    .in_place = true,
};
