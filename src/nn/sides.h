/* Which side of a kink each value is on, for layers that are linear on either: kept in one pass and
 * taken in others (Pass.sides). Private to src/nn/layers. */
#ifndef LOCKSTEP_NN_SIDES_H
#define LOCKSTEP_NN_SIDES_H

#include "elementwise.h"
#include "lockstep/memory.h"

/* layer->state: a byte for each stored value, 1 above the kink; NULL if nobody asks. */
static inline void sides_allocate(Layer *layer, int max_batch)
{
    size_t bytes = shape_stored(layer->in) * (size_t)max_batch;
    if (!layer->keeps_sides)
        return;
    layer->state = mem_alloc(bytes);
    layer->state_bytes_total = bytes;
}

static inline void sides_release(Layer *layer)
{
    mem_free(layer->state);
    layer->state = NULL;
}

/* Before y, which may be x, is written. NaN is above, as where y is made. */
static inline void sides_keep(const Layer *layer, const Pass *pass, const float *x)
{
    uint8_t *above = layer->state;
    size_t n = elementwise_floats(layer, pass);
    expect(above);
    for (size_t i = 0; i < n; i++)
        above[i] = (uint8_t) !(x[i] <= 0);
}

/* y = x above the kink, a x below; forward and backward alike. */
static inline void sides_take(const Layer *layer, const Pass *pass, float a, const float *x,
                              float *y)
{
    const uint8_t *above = layer->state;
    size_t n = elementwise_floats(layer, pass);
    expect(above);
    for (size_t i = 0; i < n; i++)
        y[i] = above[i] ? x[i] : a * x[i];
}

#endif
