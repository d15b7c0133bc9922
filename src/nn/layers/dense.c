/* Dense (fully connected, linear): every output is a weighted sum of all inputs. A sequence is
 * mapped position by position. */
#include "../dense.h"
#include "lockstep/cpu.h"
#include "lockstep/memory.h"

typedef struct DenseOptions {
    int units;
    bool bias;
} DenseOptions;

static const Option options[] = {
    { "units", OPTION_INT, OPTION_AT(DenseOptions, units), 1, 1 << 24, NULL, NULL, "outputs" },
    { "bias", OPTION_BOOL, OPTION_AT(DenseOptions, bias), 0, 0, NULL, "true", "adds b" },
    OPTION_END,
};

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    const DenseOptions *dense = layer->options;
    if (!dense_plan(layer, dense->units, err))
        return false;
    int F = shape_features(layer->in), units = dense->units;
    layer_add_tensor(layer, layout, "weight", 2, (int[]){ units, F }, 0, F, units, NULL);
    if (dense->bias)
        layer_add_tensor(layer, layout, "bias", 1, (int[]){ units }, 0, F, units, "zeros");
    return true;
}

static void allocate(Layer *layer, int max_batch)
{
    (void)max_batch;
    Linear *linear = mem_new(Linear);
    dense_init(layer, linear);
    layer->state = linear;
    layer->state_bytes_total = sizeof *linear + linear_bytes(linear);
}

static void release(Layer *layer)
{
    linear_free(layer->state);
    mem_free(layer->state);
    layer->state = NULL;
}

static void begin_step(Layer *layer, Layout *layout, int global_batch)
{
    (void)layout;
    (void)global_batch;
    linear_weights(layer->state, layer->tensors[0].w);
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    const float *b = layer->tensor_count > 1 ? layer->tensors[1].w : NULL;
    dense_forward(layer, layer->state, pass->batch, b, x, y);
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)y;
    dense_weight_gradient(layer, layer->state, pass->batch, x, dy);
    if (layer->tensor_count > 1)
        dense_bias_gradient(layer, pass->batch, dy, layer->tensors[1].dw);
    dense_data_gradient(layer, layer->state, pass->batch, dy, dx);
}

extern const LayerType ISA_NAME(layer_dense);
const LayerType ISA_NAME(layer_dense) = {
    .name = "dense",
    .help = "fully connected: every output sees every input",
    .formula = "y = x W^T + b",
    .options = options,
    .options_bytes = sizeof(DenseOptions),
    .plan = plan,
    .allocate = allocate,
    .release = release,
    .scratch = dense_scratch,
    .begin_step = begin_step,
    .forward = forward,
    .backward = backward,
    .keep_x = true,
    .shares = true,
};
