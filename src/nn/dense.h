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
    if (layer->in.ndim != 1)
        return err_set(err, "it needs a vector (F): put flatten or global_avgpool before it");
    int F = layer->in.dim[0];
    if ((double)F * units > INT_MAX)
        return err_set(err, "%.3g weights are too many", (double)F * units);
    layer->out = (Shape){ .ndim = 1, .dim = { units, 1, 1 } };
    layer->flops = 2.0 * F * units;
    return true;
}

/* y (B, units) = x (B, F) w^T + b, w (units, F); b (units) or NULL */
static inline void dense_forward(const Layer *layer, int batch, const float *w, const float *b,
                                 const float *x, float *y)
{
    int F = layer->in.dim[0], units = layer->out.dim[0];
    for (int i = 0; b && i < batch; i++)
        memcpy(y + (size_t)i * (size_t)units, b, (size_t)units * sizeof *y);
    gemm(false, true, batch, units, F, 1, x, F, w, F, b ? 1 : 0, y, units);
}

/* dw (units, F) = dy^T x */
static inline void dense_weight_gradient(const Layer *layer, int batch, const float *x,
                                         const float *dy, float *dw)
{
    int F = layer->in.dim[0], units = layer->out.dim[0];
    gemm(true, false, units, F, batch, 1, dy, units, x, F, 0, dw, F);
}

/* dx (B, F) = dy w; dx may be NULL */
static inline void dense_data_gradient(const Layer *layer, int batch, const float *w,
                                       const float *dy, float *dx)
{
    int F = layer->in.dim[0], units = layer->out.dim[0];
    if (dx)
        gemm(false, false, batch, F, units, 1, dy, units, w, F, 0, dx, F);
}

/* db = sum of the rows of dy (B, units): doubles, in sample order. */
static inline void dense_bias_gradient(const Layer *layer, int batch, const float *dy, float *db)
{
    enum { WIDTH = 16 };
    int units = layer->out.dim[0];
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

#endif
