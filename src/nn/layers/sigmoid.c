/* Logistic function. Missing channels of an image are put back to zero, for sigmoid(0) = 1/2. */
#include "../elementwise.h"
#include "lockstep/cpu.h"
#include "lockstep/vmath.h"

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    size_t n = elementwise_floats(layer, pass);
    for (size_t i = 0; i < n; i++)
        y[i] = vmath_sigmoid(x[i]);
    elementwise_clear(layer, pass, y);
}

/* dx = dy y (1 - y) */
static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)x;
    size_t n = elementwise_floats(layer, pass);
    for (size_t i = 0; dx && i < n; i++)
        dx[i] = dy[i] * (y[i] * (1 - y[i]));
}

extern const LayerType ISA_NAME(layer_sigmoid);
const LayerType ISA_NAME(layer_sigmoid) = {
    .name = "sigmoid",
    .help = "squashes to (0, 1)",
    .formula = "y = 1 / (1 + e^-x)",
    .options = layer_no_options,
    .plan = elementwise_plan,
    .forward = forward,
    .backward = backward,
    .in_place = true,
    .keep_y = true,
};
