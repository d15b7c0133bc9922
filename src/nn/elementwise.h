/* What layers that change each value by itself share. Private to src/nn/layers. */
#ifndef LOCKSTEP_NN_ELEMENTWISE_H
#define LOCKSTEP_NN_ELEMENTWISE_H

#include "image.h"

/* y has the shape of x, whatever that is. */
static inline bool elementwise_plan(Layer *layer, Layout *layout, Err *err)
{
    (void)layout;
    (void)err;
    layer->out = layer->in;
    return true;
}

/* The same, for layers that look along the features of a sample or position. */
static inline bool elementwise_plan_features(Layer *layer, Layout *layout, Err *err)
{
    if (layer->in.ndim == 3)
        return err_set(err, "it needs a vector (F): put flatten or global_avgpool before it");
    return elementwise_plan(layer, layout, err);
}

/* Stored floats of the batch, missing channels included. */
static inline size_t elementwise_floats(const Layer *layer, const Pass *pass)
{
    return shape_stored(layer->in) * (size_t)pass->batch;
}

/* For functions with f(0) != 0: puts missing channels of y, a batch of images, back to zero. */
static inline void elementwise_clear(const Layer *layer, const Pass *pass, float *y)
{
    if (layer->out.ndim != 3)
        return;
    size_t n = elementwise_floats(layer, pass);
    for (size_t i = 0; i < n; i += shape_stored(layer->out))
        clear_missing_channels(layer->out, y + i);
}

#endif
