/* Logistic function. Missing channels of an image are put back to zero, for sigmoid(0) = 1/2. */
#include "../elementwise.h"
#include "../image.h"
#include "lockstep/cpu.h"
#include "lockstep/vmath.h"

/* Neither form overflows: e = e^-|x| is at most 1. */
static inline float sigmoid(float x)
{
    float e = vmath_exp(-vmath_abs(x));
    return (x < 0 ? e : 1.0f) / (1.0f + e);
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    size_t n = elementwise_floats(layer, pass);
    for (size_t i = 0; i < n; i++)
        y[i] = sigmoid(x[i]);
    if (layer->out.ndim == 3)
        for (size_t i = 0; i < n; i += shape_stored(layer->out))
            clear_missing_channels(layer->out, y + i);
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
