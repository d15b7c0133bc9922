/* Root mean square normalisation: a layernorm that does not centre. Over the features of a sample
 * or of a position of a sequence.
 *
 *   r = 1 / sqrt(mean(x^2) + eps), y = g r x
 *   dx = r (e - x r^2 mean(e x)), e = g dy */
#include "../elementwise.h"
#include "../rownorm.h"
#include "lockstep/cpu.h"
#include "lockstep/memory.h"

#include <math.h>

typedef struct RmsnormOptions {
    double eps;
    bool affine;
} RmsnormOptions;

typedef struct RmsnormState {
    float *ones;     /* (F): the gain if none is learned */
    double *inverse; /* (B) or (B, T): r */
    double *dgain;   /* (F) */
    float *part;     /* (F): dgain of some rows */
} RmsnormState;

static const Option options[] = {
    { "eps", OPTION_FLOAT, OPTION_AT(RmsnormOptions, eps), 0, 1, NULL, "1e-6",
      "added to the mean square" },
    { "affine", OPTION_BOOL, OPTION_AT(RmsnormOptions, affine), 0, 0, NULL, "true",
      "a gain for each value" },
    OPTION_END,
};

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    const RmsnormOptions *norm = layer->options;
    int F = shape_features(layer->in);
    if (layer->in.ndim == 3)
        return err_set(err, "it needs a vector (F): put flatten or global_avgpool before it");
    layer->flops = 4.0 * (double)shape_values(layer->in);
    if (norm->affine)
        layer_add_tensor(layer, layout, "weight", 1, &F, 0, 1, 1, "ones");
    return elementwise_plan(layer, layout, err);
}

static void allocate(Layer *layer, int max_batch)
{
    RmsnormState *state = mem_new(RmsnormState);
    size_t F = (size_t)shape_features(layer->in);
    size_t rows = (size_t)max_batch * (size_t)shape_rows(layer->in);
    state->ones = mem_array(float, F);
    state->inverse = mem_array(double, rows);
    state->dgain = mem_array(double, F);
    state->part = mem_array(float, F);
    for (size_t i = 0; i < F; i++)
        state->ones[i] = 1;
    layer->state = state;
    layer->state_bytes_total = sizeof *state + 2 * F * sizeof(float) + (rows + F) * sizeof(double);
}

static void release(Layer *layer)
{
    RmsnormState *state = layer->state;
    mem_free(state->ones);
    mem_free(state->inverse);
    mem_free(state->dgain);
    mem_free(state->part);
    mem_free(state);
    layer->state = NULL;
}

static const float *gain_of(const Layer *layer)
{
    const RmsnormState *state = layer->state;
    return layer->tensor_count > 0 ? layer->tensors[0].w : state->ones;
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    const RmsnormOptions *norm = layer->options;
    RmsnormState *state = layer->state;
    const float *gain = gain_of(layer);
    size_t F = (size_t)shape_features(layer->in);
    int rows = pass->batch * shape_rows(layer->in);
    for (int r = 0; r < rows; r++, x += F, y += F) {
        state->inverse[r] = 1 / sqrt(rownorm_squares(x, 0, F) / (double)F + norm->eps);
        float inverse = (float)state->inverse[r];
        for (size_t i = 0; i < F; i++)
            y[i] = x[i] * inverse * gain[i];
    }
}

/* One row's part of dgain, and dx unless it is NULL. */
static void backward_row(const Layer *layer, double r, const float *x, const float *dy, float *dx)
{
    const RmsnormState *state = layer->state;
    const float *gain = gain_of(layer);
    size_t F = (size_t)shape_features(layer->in);
    float inverse = (float)r, *part = state->part;
    for (size_t i = 0; i < F; i++)
        part[i] = fused(dy[i], x[i] * inverse, part[i]);
    if (!dx)
        return;
    double sum, product;
    rownorm_gradient(x, 0, gain, dy, F, &sum, &product);
    float slope = (float)(product * r * r / (double)F);
    for (size_t i = 0; i < F; i++)
        dx[i] = fused(-x[i], slope, gain[i] * dy[i]) * inverse;
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)y;
    const RmsnormState *state = layer->state;
    size_t F = (size_t)shape_features(layer->in);
    int rows = pass->batch * shape_rows(layer->in);
    memset(state->dgain, 0, F * sizeof *state->dgain);
    for (int r = 0; r < rows; r++) {
        size_t at = (size_t)r * F;
        backward_row(layer, state->inverse[r], x + at, dy + at, dx ? dx + at : NULL);
        if (r % ROWNORM_ROWS == ROWNORM_ROWS - 1 || r == rows - 1)
            rownorm_flush(state->part, state->dgain, F);
    }
    for (size_t i = 0; layer->tensor_count > 0 && i < F; i++)
        layer->tensors[0].dw[i] = (float)state->dgain[i];
}

extern const LayerType ISA_NAME(layer_rmsnorm);
const LayerType ISA_NAME(layer_rmsnorm) = {
    .name = "rmsnorm",
    .help = "divides each sample or position by the root of its mean square",
    .formula = "y = g x / sqrt(mean(x^2) + eps)",
    .source = "Zhang and Sennrich 2019",
    .options = options,
    .options_bytes = sizeof(RmsnormOptions),
    .plan = plan,
    .allocate = allocate,
    .release = release,
    .forward = forward,
    .backward = backward,
    .keep_x = true,
    .normalizes = NORMALIZES_SAMPLES,
};
