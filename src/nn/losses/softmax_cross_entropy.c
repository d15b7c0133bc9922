/* Softmax and cross-entropy in one, with label smoothing as in PyTorch: the target is (1 - s) at
 * the label plus s / K everywhere.
 *
 *   l = ln sum_k e^(y_k) - (1 - s) y_label - s / K sum_k y_k
 *   dl/dy_k = softmax(y)_k - target_k
 *
 * Rows whose label is LABEL_IGNORED have no part in it.
 *
 * Everything is relative to the largest y, and the loss is double from the exponentials on. */
#include "../rownorm.h"
#include "../rows.h"
#include "lockstep/cpu.h"
#include "lockstep/error.h"
#include "lockstep/loss.h"

enum { CHUNK = 256 };

typedef struct CrossEntropyOptions {
    double label_smoothing;
} CrossEntropyOptions;

static const Option options[] = {
    { "label_smoothing", OPTION_FLOAT, OPTION_AT(CrossEntropyOptions, label_smoothing), 0, 1, NULL,
      "0", "share s of the target that is spread over all classes (Szegedy et al. 2016)" },
    OPTION_END,
};

/* Is the label the first index of the largest value? */
static bool is_first_top(const float *y, int label, float top)
{
    int before = 0;
    for (int k = 0; y[label] == top && k < label; k++)
        before += y[k] == top;
    return y[label] == top && before == 0;
}

/* e[k] = e^(y[k] - top) for n <= CHUNK numbers, and their sum. Zeros follow up to a whole vector,
 * so that no number is worked on by itself. */
static inline double exponentials(const float *restrict y, float top, size_t n, float *restrict e)
{
    size_t whole = (n + VECTOR - 1) / VECTOR * VECTOR;
    for (size_t k = 0; k < n; k++)
        e[k] = y[k] - top;
    for (size_t k = n; k < whole; k++)
        e[k] = -__builtin_inff();
    for (size_t k = 0; k < whole; k++)
        e[k] = vmath_exp(e[k]);
    return rownorm_sum(e, whole);
}

/* The sum of e^(y - top); e[k] is each of them, or e is NULL. */
static double sum_exponentials(const float *y, float top, int K, float *e)
{
    float chunk[CHUNK];
    double sum = 0;
    for (int first = 0; first < K; first += CHUNK) {
        size_t n = K - first < CHUNK ? (size_t)(K - first) : CHUNK;
        sum += exponentials(y + first, top, n, chunk);
        for (size_t k = 0; e && k < n; k += VECTOR)
            vector_store_part(e + (size_t)first + k, vector_load(chunk + k), rownorm_part(k, n));
    }
    return sum;
}

/* The sum of y - top. */
static double sum_differences(const float *y, float top, int K)
{
    double sum = row_sum(y, (size_t)K);
    return sum - (double)top * K;
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
    int label = target->label;
    expect(label >= 0 && label < K);
    float top = row_largest(y, (size_t)K), at_label = y[label];
    double s = target->smoothing, share = s / K;
    tally->correct += is_first_top(y, label, top);
    tally->count++;
    if (s > 0)
        tally->loss -= share * sum_differences(y, top, K);
    double sum = sum_exponentials(y, top, K, dy);
    tally->loss += vmath_log_double(sum) - (1 - s) * (double)(at_label - top);
    if (!dy)
        return;
    float inverse = (float)(target->scale / sum);
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
    for (int i = 0; i < rows; i++, y += K, dy = dy ? dy + K : NULL) {
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
