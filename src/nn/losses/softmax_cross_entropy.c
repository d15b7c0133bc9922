/* Softmax and cross-entropy in one, with label smoothing as in PyTorch: the target is (1 - s) at the label
 * plus s / K everywhere.
 *
 *   l = ln sum_k e^(y_k) - (1 - s) y_label - s / K sum_k y_k
 *   dl/dy_k = softmax(y)_k - target_k
 *
 * Everything is relative to the largest y, and the loss is double from the exponentials on. */
#include "lockstep/cpu.h"
#include "lockstep/error.h"
#include "lockstep/loss.h"
#include "lockstep/vmath.h"

enum { WIDTH = 16 }; /* exponentials at a time */

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

/* e may be NULL: e[k] = e^(y[k] - top). Sums in the order of k. */
static RowSums sum_row(const float *y, float top, int K, float *e)
{
    RowSums sums = { 0, 0 };
    for (int first = 0; first < K; first += WIDTH) {
        float difference[WIDTH], exponential[WIDTH];
        int width = K - first < WIDTH ? K - first : WIDTH;
        for (int k = 0; k < WIDTH; k++)
            difference[k] = k < width ? y[first + k] - top : 0;
        for (int k = 0; k < WIDTH; k++)
            exponential[k] = vmath_exp(difference[k]);
        for (int k = 0; k < width; k++) {
            sums.exponentials += (double)exponential[k];
            sums.values += (double)difference[k];
            if (e)
                e[first + k] = exponential[k];
        }
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
