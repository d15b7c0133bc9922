/* The three matrix products of dense layers, whatever their weights are made of. Private to
 * src/nn/layers. */
#ifndef LOCKSTEP_NN_DENSE_H
#define LOCKSTEP_NN_DENSE_H

#include "lockstep/gemm.h"
#include "lockstep/layer.h"

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
    layer->flops = 2.0 * shape_rows(layer->in) * F * units;
    return true;
}

/* Rows of so many samples: R = B, or B T of sequences. */
static inline int dense_rows(const Layer *layer, int batch)
{
    return batch * shape_rows(layer->in);
}

/* y (R, units) = x (R, F) w^T + b, w (units, F); b (units) or NULL */
static inline void dense_forward(const Layer *layer, int batch, const float *w, const float *b,
                                 const float *x, float *y)
{
    int R = dense_rows(layer, batch), F = shape_features(layer->in);
    int units = shape_features(layer->out);
    for (int i = 0; b && i < R; i++)
        memcpy(y + (size_t)i * (size_t)units, b, (size_t)units * sizeof *y);
    gemm(false, true, R, units, F, 1, x, F, w, F, b ? 1 : 0, y, units);
}

/* dw (units, F) = dy^T x */
static inline void dense_weight_gradient(const Layer *layer, int batch, const float *x,
                                         const float *dy, float *dw)
{
    int R = dense_rows(layer, batch), F = shape_features(layer->in);
    int units = shape_features(layer->out);
    gemm(true, false, units, F, R, 1, dy, units, x, F, 0, dw, F);
}

/* dx (R, F) = dy w; dx may be NULL */
static inline void dense_data_gradient(const Layer *layer, int batch, const float *w,
                                       const float *dy, float *dx)
{
    int R = dense_rows(layer, batch), F = shape_features(layer->in);
    int units = shape_features(layer->out);
    if (dx)
        gemm(false, false, R, F, units, 1, dy, units, w, F, 0, dx, F);
}

/* db = sum of the rows of dy (R, units): doubles, in order. */
static inline void dense_bias_gradient(const Layer *layer, int batch, const float *dy, float *db)
{
    enum { WIDTH = 16 };
    int R = dense_rows(layer, batch), units = shape_features(layer->out);
    for (int first = 0; first < units; first += WIDTH) {
        double sum[WIDTH] = { 0 };
        int width = units - first < WIDTH ? units - first : WIDTH;
        for (int i = 0; i < R; i++) {
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

#endif
