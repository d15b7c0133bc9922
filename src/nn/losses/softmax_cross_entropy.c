/* Softmax and cross-entropy in one, with label smoothing as in PyTorch: the target is (1 - s) at
 * the label plus s / K everywhere.
 *
 *   l = ln sum_k e^(y_k) - (1 - s) y_label - s / K sum_k y_k
 *   dl/dy_k = softmax(y)_k - target_k
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

static Tally evaluate(const Loss *loss, const Pass *pass, const Batch *batch, const float *y,
                      float *dy)
{
    const CrossEntropyOptions *option = loss->options;
    int K = loss->outputs;
    double s = option->label_smoothing, share = s / K, scale = 1.0 / pass->global_batch;
    Tally tally = { .count = pass->batch };
    for (int i = 0; i < pass->batch; i++, y += K) {
        int label = batch->labels[i], best = largest(y, K);
        expect(label >= 0 && label < K);
        float top = y[best];
        RowSums sums = sum_row(y, top, K, dy);
        tally.loss += vmath_log_double(sums.exponentials) - (1 - s) * (double)(y[label] - top) -
                      share * sums.values;
        tally.correct += best == label;
        if (!dy)
            continue;
        float inverse = (float)(scale / sums.exponentials), even = (float)(share * scale);
        for (int k = 0; k < K; k++)
            dy[k] = dy[k] * inverse - even;
        dy[label] -= (float)((1 - s) * scale);
        dy += K;
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
};
