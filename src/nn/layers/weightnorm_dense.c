/* Dense with weight normalisation: length and direction of a row of the weights are learned apart.
 *
 *   w = g v / |v| (per row), y = x w^T + b
 *   dg = dw . v / |v|        dv = g / |v| (dw - v (dw . v) / |v|^2)
 *
 * v has the tensors' usual start; g starts at `gain`, the length of every row, whatever v is. */
#include "../dense.h"
#include "../rows.h"
#include "lockstep/cpu.h"
#include "lockstep/memory.h"

#include <math.h>
#include <stdio.h>

typedef struct WeightNormOptions {
    int units;
    bool bias;
    double gain;
    char start[40]; /* not an option: the initialiser of g */
} WeightNormOptions;

typedef struct WeightNormState {
    Linear linear;   /* of the weights that the products see */
    float *w;        /* (units, F) */
    double *inverse; /* (units): 1 / |v|; 0 where v is 0 */
} WeightNormState;

static const Option options[] = {
    { "units", OPTION_INT, OPTION_AT(WeightNormOptions, units), 1, 1 << 24, NULL, NULL, "outputs" },
    { "bias", OPTION_BOOL, OPTION_AT(WeightNormOptions, bias), 0, 0, NULL, "true", "adds b" },
    { "gain", OPTION_FLOAT, OPTION_AT(WeightNormOptions, gain), 0, 1e6, NULL, "1",
      "where g starts: the length of each row of the weights (1.414: as he_normal)" },
    OPTION_END,
};

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    WeightNormOptions *dense = layer->options;
    if (!dense_plan(layer, dense->units, err))
        return false;
    int F = shape_features(layer->in), units = dense->units;
    snprintf(dense->start, sizeof dense->start, "constant(%.9g)", dense->gain);
    dense_add_weights(layer, layout, "v");
    layer_add_tensor(layer, layout, "g", 1, (int[]){ units }, 0, F, units, dense->start);
    if (dense->bias)
        dense_add_bias(layer, layout);
    return true;
}

static void allocate(Layer *layer, int max_batch)
{
    (void)max_batch;
    WeightNormState *state = mem_new(WeightNormState);
    size_t F = (size_t)shape_features(layer->in), units = (size_t)shape_features(layer->out);
    state->w = mem_array(float, units *F);
    state->inverse = mem_array(double, units);
    dense_init(layer, &state->linear);
    layer->state = state;
    layer->state_bytes_total = sizeof *state + linear_bytes(&state->linear) +
                               units * F * sizeof(float) + units * sizeof(double);
}

static void release(Layer *layer)
{
    WeightNormState *state = layer->state;
    linear_free(&state->linear);
    mem_free(state->w);
    mem_free(state->inverse);
    mem_free(state);
    layer->state = NULL;
}

static void begin_step(Layer *layer, Layout *layout, int global_batch)
{
    (void)layout;
    (void)global_batch;
    WeightNormState *state = layer->state;
    const float *g = layer->tensors[1].w;
    size_t F = (size_t)shape_features(layer->in);
    for (int u = 0; u < shape_features(layer->out); u++) {
        const float *v = layer->tensors[0].w + (size_t)u * F;
        float *w = state->w + (size_t)u * F;
        double length = sqrt(row_dot(v, v, F));
        state->inverse[u] = length > 0 ? 1 / length : 0;
        float factor = (float)((double)g[u] * state->inverse[u]);
        for (size_t i = 0; i < F; i++)
            w[i] = factor * v[i];
    }
    linear_weights(&state->linear, state->w);
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    const WeightNormState *state = layer->state;
    dense_forward(layer, &state->linear, pass->batch, 2, x, y);
}

/* dv holds dw and becomes dv. */
static void split_gradient(const Layer *layer, float *dv, float *dg)
{
    const WeightNormState *state = layer->state;
    const float *g = layer->tensors[1].w;
    size_t F = (size_t)shape_features(layer->in);
    for (int u = 0; u < shape_features(layer->out); u++, dv += F) {
        const float *v = layer->tensors[0].w + (size_t)u * F;
        double inverse = state->inverse[u], along = row_dot(dv, v, F) * inverse;
        float factor = (float)((double)g[u] * inverse), pull = (float)(along * inverse);
        dg[u] = (float)along;
        for (size_t i = 0; i < F; i++)
            dv[i] = factor * (dv[i] - v[i] * pull);
    }
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)y;
    const WeightNormState *state = layer->state;
    dense_weight_gradient(layer, &state->linear, pass->batch, x, dy);
    split_gradient(layer, layer->tensors[0].dw, layer->tensors[1].dw);
    dense_bias_gradient(layer, pass->batch, 2, dy);
    dense_data_gradient(layer, &state->linear, pass->batch, dy, dx);
}

extern const LayerType ISA_NAME(layer_weightnorm_dense);
const LayerType ISA_NAME(layer_weightnorm_dense) = {
    .name = "weightnorm_dense",
    .help = "dense whose rows have a length and a direction that are learned apart",
    .formula = "y = x w^T + b, w = g v / |v| per row",
    .source = "Salimans and Kingma 2016",
    .options = options,
    .options_bytes = sizeof(WeightNormOptions),
    .plan = plan,
    .allocate = allocate,
    .release = release,
    .scratch = dense_scratch,
    .begin_step = begin_step,
    .forward = forward,
    .backward = backward,
    .keep_x = true,
};
