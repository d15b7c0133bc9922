/* Root mean square normalisation: a layernorm that does not centre. Over the features of a sample.
 *
 *   r = 1 / sqrt(mean(x^2) + eps), y = g r x
 *   dx = r (e - x r^2 mean(e x)), e = g dy */
#include "../elementwise.h"
#include "../rows.h"
#include "lockstep/cpu.h"
#include "lockstep/memory.h"

#include <math.h>

typedef struct RmsnormOptions {
    double eps;
    bool affine;
} RmsnormOptions;

typedef struct RmsnormState {
    float *ones;     /* (F): the gain if none is learned */
    double *inverse; /* (B): r */
    double *dgain;   /* (F) */
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
    if (layer->in.ndim != 1)
        return err_set(err, "it needs a vector (F): put flatten or global_avgpool before it");
    layer->flops = 4.0 * layer->in.dim[0];
    if (norm->affine)
        layer_add_tensor(layer, layout, "weight", 1, layer->in.dim, 0, 1, 1, "ones");
    return elementwise_plan(layer, layout, err);
}

static void allocate(Layer *layer, int max_batch)
{
    RmsnormState *state = mem_new(RmsnormState);
    size_t F = (size_t)layer->in.dim[0], B = (size_t)max_batch;
    state->ones = mem_array(float, F);
    state->inverse = mem_array(double, B);
    state->dgain = mem_array(double, F);
    for (size_t i = 0; i < F; i++)
        state->ones[i] = 1;
    layer->state = state;
    layer->state_bytes_total = sizeof *state + F * sizeof(float) + (B + F) * sizeof(double);
}

static void release(Layer *layer)
{
    RmsnormState *state = layer->state;
    mem_free(state->ones);
    mem_free(state->inverse);
    mem_free(state->dgain);
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
    size_t F = (size_t)layer->in.dim[0];
    for (int b = 0; b < pass->batch; b++, x += F, y += F) {
        state->inverse[b] = 1 / sqrt(row_dot(x, x, F) / (double)F + norm->eps);
        float inverse = (float)state->inverse[b];
        for (size_t i = 0; i < F; i++)
            y[i] = x[i] * inverse * gain[i];
    }
}

static void add_gain_gradient(double *dgain, float inverse, const float *x, const float *dy,
                              size_t n)
{
    for (size_t i = 0; i < n; i++)
        dgain[i] += (double)(dy[i] * (x[i] * inverse));
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)y;
    const RmsnormState *state = layer->state;
    const float *gain = gain_of(layer);
    size_t F = (size_t)layer->in.dim[0];
    memset(state->dgain, 0, F * sizeof *state->dgain);
    for (int b = 0; b < pass->batch; b++, x += F, dy += F) {
        double r = state->inverse[b];
        float inverse = (float)r;
        add_gain_gradient(state->dgain, inverse, x, dy, F);
        if (!dx)
            continue;
        for (size_t i = 0; i < F; i++)
            dx[i] = gain[i] * dy[i];
        float slope = (float)(row_dot(dx, x, F) * r * r / (double)F);
        for (size_t i = 0; i < F; i++)
            dx[i] = (dx[i] - x[i] * slope) * inverse;
        dx += F;
    }
    for (size_t i = 0; layer->tensor_count > 0 && i < F; i++)
        layer->tensors[0].dw[i] = (float)state->dgain[i];
}

extern const LayerType ISA_NAME(layer_rmsnorm);
const LayerType ISA_NAME(layer_rmsnorm) = {
    .name = "rmsnorm",
    .help = "divides each sample by the root of its mean square",
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
};
