/* Sigmoid linear unit, also called swish: x weighted by the logistic function. */
#include "../elementwise.h"
#include "lockstep/cpu.h"
#include "lockstep/vmath.h"

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    size_t n = elementwise_floats(layer, pass);
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * vmath_sigmoid(x[i]);
}

/* With s = sigmoid(x): dy/dx = s (1 + x (1 - s)), and 1 - s = sigmoid(-x) without cancellation. */
static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)y;
    size_t n = dx ? elementwise_floats(layer, pass) : 0;
    for (size_t i = 0; i < n; i++)
        dx[i] = dy[i] * (vmath_sigmoid(x[i]) * (1 + x[i] * vmath_sigmoid(-x[i])));
}

extern const LayerType ISA_NAME(layer_silu);
const LayerType ISA_NAME(layer_silu) = {
    .name = "silu",
    .help = "x weighted by the logistic function (swish)",
    .formula = "y = x / (1 + e^-x)",
    .source = "Elfwing et al. 2018",
    .options = layer_no_options,
    .plan = elementwise_plan,
    .forward = forward,
    .backward = backward,
    .keep_x = true,
};
