/* Dense (fully connected, linear): every output is a weighted sum of all inputs. Three matrix
 * products through gemm; x has one dimension, so weights are in the order that a reader expects. */
#include "lockstep/cpu.h"
#include "lockstep/gemm.h"
#include "lockstep/layer.h"

#include <limits.h>
#include <string.h>

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
    if (layer->in.ndim != 1)
        return err_set(err, "it needs a vector (F): put flatten or global_avgpool before it");
    int F = layer->in.dim[0], units = dense->units;
    if ((double)F * units > INT_MAX)
        return err_set(err, "%.3g weights are too many", (double)F * units);
    layer->out = (Shape){ 1, { units, 1, 1 } };
    layer->flops = 2.0 * F * units;
    layer_add_tensor(layer, layout, "weight", 2, (int[]){ units, F }, 0, F, units, NULL);
    if (dense->bias)
        layer_add_tensor(layer, layout, "bias", 1, (int[]){ units }, 0, F, units, "zeros");
    return true;
}

/* y (B, units) = b in every row */
static void fill_rows(const float *b, int units, int batch, float *y)
{
    for (int i = 0; i < batch; i++)
        memcpy(y + (size_t)i * (size_t)units, b, (size_t)units * sizeof *y);
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    int F = layer->in.dim[0], units = layer->out.dim[0];
    bool bias = layer->tensor_count > 1;
    if (bias)
        fill_rows(layer->tensors[1].w, units, pass->batch, y);
    gemm(false, true, pass->batch, units, F, 1, x, F, layer->tensors[0].w, F, bias ? 1 : 0, y,
         units);
}

/* db = sum of the rows of dy (B, units): doubles, in sample order. */
static void sum_rows(const float *dy, int units, int batch, float *db)
{
    enum { WIDTH = 16 };
    for (int first = 0; first < units; first += WIDTH) {
        double sum[WIDTH] = { 0 };
        int width = units - first < WIDTH ? units - first : WIDTH;
        for (int i = 0; i < batch; i++) {
            const float *row = dy + (size_t)i * (size_t)units + first;
            if (width == WIDTH)
                for (int k = 0; k < WIDTH; k++)
                    sum[k] += (double)row[k];
            else
                for (int k = 0; k < width; k++)
                    sum[k] += (double)row[k];
        }
        for (int k = 0; k < width; k++)
            db[first + k] = (float)sum[k];
    }
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)y;
    int F = layer->in.dim[0], units = layer->out.dim[0], B = pass->batch;
    gemm(true, false, units, F, B, 1, dy, units, x, F, 0, layer->tensors[0].dw, F);
    if (layer->tensor_count > 1)
        sum_rows(dy, units, B, layer->tensors[1].dw);
    if (dx)
        gemm(false, false, B, F, units, 1, dy, units, layer->tensors[0].w, F, 0, dx, F);
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
