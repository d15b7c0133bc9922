/* Hyperbolic tangent. */
#include "../elementwise.h"
#include "lockstep/cpu.h"
#include "lockstep/vmath.h"

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    size_t n = elementwise_floats(layer, pass);
    for (size_t i = 0; i < n; i++)
        y[i] = vmath_tanh(x[i]);
}

/* dx = dy (1 - y^2) */
static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)x;
    size_t n = elementwise_floats(layer, pass);
    for (size_t i = 0; dx && i < n; i++)
        dx[i] = dy[i] * (1 - y[i] * y[i]);
}

extern const LayerType ISA_NAME(layer_tanh);
const LayerType ISA_NAME(layer_tanh) = {
    .name = "tanh",
    .help = "squashes to (-1, 1)",
    .formula = "y = tanh(x)",
    .options = layer_no_options,
    .plan = elementwise_plan,
    .forward = forward,
    .backward = backward,
    .in_place = true,
    .keep_y = true,
};
