/* The three matrix products of dense layers, whatever their weights are made of: each keeps a
 * Linear and tells it in begin_step where the weights are. Rows are samples, or the positions of
 * sequences. Private to src/nn/layers. */
#ifndef LOCKSTEP_NN_DENSE_H
#define LOCKSTEP_NN_DENSE_H

#include "lockstep/layer.h"
#include "lockstep/linear.h"

#include <limits.h>
#include <string.h>

/* Checks the input and sets shape and flops for this many outputs. */
static inline bool dense_plan(Layer *layer, int units, Err *err)
{
    if (layer->in.ndim == 3)
        return err_set(err, "it needs a vector (F): put flatten or global_avgpool before it");
    int F = shape_features(layer->in);
    if ((double)F * units > INT_MAX)
        return err_set(err, "%.3g weights are too many", (double)F * units);
    layer->out = layer->in;
    layer->out.dim[layer->in.ndim - 1] = units;
    layer->flops = 2.0 * F * units * shape_rows(layer->in);
    return true;
}

/* Weights (units, F), and a bias (units), after dense_plan. */
static inline void dense_add_weights(Layer *layer, Layout *layout, const char *name)
{
    int F = shape_features(layer->in), units = shape_features(layer->out);
    layer_add_tensor(layer, layout, name, 2, (int[]){ units, F }, 0, F, units, NULL);
}

static inline void dense_add_bias(Layer *layer, Layout *layout)
{
    int F = shape_features(layer->in), units = shape_features(layer->out);
    layer_add_tensor(layer, layout, "bias", 1, (int[]){ units }, 0, F, units, "zeros");
}

static inline int dense_rows(const Layer *layer, int batch)
{
    return batch * shape_rows(layer->in);
}

/* LayerType.scratch of dense layers. */
static inline size_t dense_scratch(const Layer *layer, int max_batch)
{
    return linear_scratch(shape_features(layer->in), shape_features(layer->out), layer->precision,
                          dense_rows(layer, max_batch));
}

static inline void dense_init(const Layer *layer, Linear *linear)
{
    linear_init(linear, shape_features(layer->in), shape_features(layer->out), layer->precision,
                !layer->first);
}

/* y (rows, units) = x (rows, F) w^T + b; b is tensor number `bias`, if there is such a tensor. */
static inline void dense_forward(const Layer *layer, const Linear *linear, int batch, int bias,
                                 const float *x, float *y)
{
    ProductEnd end = { .bias = layer->tensor_count > bias ? layer->tensors[bias].w : NULL };
    linear_forward(linear, dense_rows(layer, batch), x, &end, y, layer->scratch);
}

/* tensors[0].dw (units, F) = dy^T x, or += if the tensor is shared */
static inline void dense_weight_gradient(const Layer *layer, const Linear *linear, int batch,
                                         const float *x, const float *dy)
{
    linear_weight_gradient(linear, dense_rows(layer, batch), x, dy, layer->tensors[0].shared,
                           layer->tensors[0].dw, layer->scratch);
}

/* dx (rows, F) = dy w; dx may be NULL */
static inline void dense_data_gradient(const Layer *layer, const Linear *linear, int batch,
                                       const float *dy, float *dx)
{
    if (dx)
        linear_data_gradient(linear, dense_rows(layer, batch), dy, dx, layer->scratch);
}

/* db = sum of the rows of dy: doubles, in row order; of tensor number `bias`, if there is such a
 * tensor and it is trained. */
static inline void dense_bias_gradient(const Layer *layer, int batch, int bias, const float *dy)
{
    if (layer->tensor_count > bias && !layer->tensors[bias].frozen)
        matmul_column_sums(dense_rows(layer, batch), shape_features(layer->out), dy, false,
                           layer->tensors[bias].dw);
}

#endif
