/* Binary cross-entropy of outputs that are logits, each output a yes or no of its own: targets in
 * [0, 1], several of them may be 1 (multi-hot). Logistic function and logarithm are one, so neither
 * overflows.
 *
 *   l = mean or sum over outputs of ln(1 + e^y) - t y        dl/dy = sigmoid(y) - t
 *
 * With `mean`, the mean over samples is PyTorch's mean over all elements. */
#include "../rows.h"
#include "lockstep/cpu.h"
#include "lockstep/loss.h"

enum { OUTPUTS_MEAN, OUTPUTS_SUM };

typedef struct BceOptions {
    int outputs;
} BceOptions;

static const Option options[] = {
    { "outputs", OPTION_CHOICE, OPTION_AT(BceOptions, outputs), 0, 0, "mean|sum", "mean",
      "a sample's loss is the mean or the sum over its outputs" },
    OPTION_END,
};

/* ln(1 + e^y) - t y without cancellation: for y > 0 it is ln(1 + e^-y) + (1 - t) y. */
static inline float element(float y, float t)
{
    float weight = y > 0 ? 1 - t : -t;
    return fused(weight, y, vmath_softplus(-vmath_abs(y)));
}

static double row_loss(const float *y, const float *t, size_t n)
{
    enum { CHUNK = 256 };
    float loss[CHUNK];
    double sum = 0;
    for (size_t first = 0; first < n; first += CHUNK) {
        size_t count = n - first < CHUNK ? n - first : CHUNK;
        for (size_t i = 0; i < count; i++)
            loss[i] = element(y[first + i], t[first + i]);
        sum += row_sum(loss, count);
    }
    return sum;
}

static Tally evaluate(const Loss *loss, const Pass *pass, const Batch *batch, const float *y,
                      float *dy)
{
    const BceOptions *option = loss->options;
    size_t F = (size_t)loss->outputs * (size_t)loss->rows, n = F * (size_t)pass->batch;
    const float *t = batch->targets; /* (B, F) */
    double share = option->outputs == OUTPUTS_MEAN ? 1.0 / (double)F : 1;
    float scale = (float)(share / (double)pass->global_targets);
    for (size_t i = 0; dy && i < n; i++)
        dy[i] = scale * (vmath_sigmoid(y[i]) - t[i]);
    return (Tally){ .loss = share * row_loss(y, t, n), .count = pass->batch };
}

extern const LossType ISA_NAME(loss_bce_with_logits);
const LossType ISA_NAME(loss_bce_with_logits) = {
    .name = "bce_with_logits",
    .help = "binary cross-entropy of each output by itself, for targets in [0, 1]",
    .formula = "l = mean over outputs of ln(1 + e^y) - t y",
    .source = "Bishop 2006, section 4.3.2",
    .options = options,
    .options_bytes = sizeof(BceOptions),
    .evaluate = evaluate,
};
