/* From image to vector, in plain (C, H, W) order: dense weights behind it do not know about channel
 * blocks. A vector passes as it is. */
#include "lockstep/cpu.h"
#include "lockstep/layer.h"

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    (void)layout;
    (void)err;
    layer->out = (Shape){ .ndim = 1, .dim = { (int)shape_values(layer->in), 1, 1 } };
    return true;
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    size_t stored = shape_stored(layer->in), plain = shape_values(layer->in);
    for (size_t i = 0; i < (size_t)pass->batch; i++)
        shape_unpack(layer->in, x + i * stored, y + i * plain);
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)x;
    (void)y;
    size_t stored = shape_stored(layer->in), plain = shape_values(layer->in);
    for (size_t i = 0; dx && i < (size_t)pass->batch; i++)
        shape_pack(layer->in, dy + i * plain, dx + i * stored);
}

extern const LayerType ISA_NAME(layer_flatten);
const LayerType ISA_NAME(layer_flatten) = {
    .name = "flatten",
    .help = "image to vector, in plain (C, H, W) order",
    .formula = "y = (x_c,h,w) as one row",
    .options = layer_no_options,
    .plan = plan,
    .forward = forward,
    .backward = backward,
    .homogeneous = true,
};
