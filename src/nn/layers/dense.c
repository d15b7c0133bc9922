/* Dense (fully connected, linear): every output is a weighted sum of all inputs. A sequence is
 * mapped position by position. The weights may be those of an embedding: a network that reads and
 * writes tokens then has one vector for each of them (Press and Wolf 2017). */
#include "../dense.h"
#include "lockstep/cpu.h"
#include "lockstep/memory.h"

#include <stdio.h>

enum { BIAS_FALSE, BIAS_TRUE, BIAS_AUTO };

typedef struct DenseOptions {
    int units, bias;
    char *tie;
} DenseOptions;

static const Option options[] = {
    { "units", OPTION_INT, OPTION_AT(DenseOptions, units), 1, 1 << 24, NULL, "",
      "outputs; `tie` tells them, too" },
    { "bias", OPTION_CHOICE, OPTION_AT(DenseOptions, bias), 0, 0, "false|true|auto", "auto",
      "adds b; auto: unless the weights are tied" },
    { "tie", OPTION_STRING, OPTION_AT(DenseOptions, tie), 0, 0, NULL, "",
      "name of an embedding before it, whose weights (V, F) are its weights, too" },
    OPTION_END,
};

/* The weights of the embedding called `tie`: an output for each of its tokens. */
static bool share_weights(Layer *layer, const Layout *layout, Err *err)
{
    const DenseOptions *dense = layer->options;
    char name[sizeof layout->tensors->name];
    snprintf(name, sizeof name, "%s.weight", dense->tie);
    int index = layout_find(layout, name), units = dense->units;
    if (units == 0 && index >= 0)
        units = layout->tensors[index].shape[0];
    return layer_share_tensor(layer, layout, name, units, shape_features(layer->in), err) &&
           dense_plan(layer, units, err);
}

static bool own_weights(Layer *layer, Layout *layout, Err *err)
{
    int units = ((const DenseOptions *)layer->options)->units;
    if (units == 0)
        return err_set(err, "units is missing");
    if (!dense_plan(layer, units, err))
        return false;
    dense_add_weights(layer, layout, "weight");
    return true;
}

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    const DenseOptions *dense = layer->options;
    bool tied = *dense->tie != '\0', bias = dense->bias == BIAS_AUTO ? !tied : dense->bias;
    if (tied ? !share_weights(layer, layout, err) : !own_weights(layer, layout, err))
        return false;
    if (bias)
        dense_add_bias(layer, layout);
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
    dense_forward(layer, layer->state, pass->batch, 1, x, y);
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)y;
    if (!layer->tensors[0].frozen)
        dense_weight_gradient(layer, layer->state, pass->batch, x, dy);
    dense_bias_gradient(layer, pass->batch, 1, dy);
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
    .linear = true,
};
