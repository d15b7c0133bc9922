/* Dense (fully connected, linear): every output is a weighted sum of all inputs. Three matrix
 * products through gemm; x has one dimension, so weights are in the order that a reader expects. */
#include "../dense.h"
#include "lockstep/cpu.h"

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
    int F = layer->in.dim[0], units = dense->units;
    layer_add_tensor(layer, layout, "weight", 2, (int[]){ units, F }, 0, F, units, NULL);
    if (dense->bias)
        layer_add_tensor(layer, layout, "bias", 1, (int[]){ units }, 0, F, units, "zeros");
    return true;
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    const float *b = layer->tensor_count > 1 ? layer->tensors[1].w : NULL;
    dense_forward(layer, pass->batch, layer->tensors[0].w, b, x, y);
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)y;
    if (!layer->tensors[0].frozen)
        dense_weight_gradient(layer, pass->batch, x, dy, layer->tensors[0].dw);
    if (layer->tensor_count > 1 && !layer->tensors[1].frozen)
        dense_bias_gradient(layer, pass->batch, dy, layer->tensors[1].dw);
    dense_data_gradient(layer, pass->batch, layer->tensors[0].w, dy, dx);
}

extern const LayerType ISA_NAME(layer_dense);
const LayerType ISA_NAME(layer_dense) = {
    .name = "dense",
    .help = "fully connected: every output sees every input",
    .formula = "y = x W^T + b",
    .options = options,
    .options_bytes = sizeof(DenseOptions),
    .plan = plan,
    .forward = forward,
    .backward = backward,
    .keep_x = true,
};
