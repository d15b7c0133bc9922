/* Gaussian error linear unit: x weighted by the normal distribution function. */
#include "../elementwise.h"
#include "lockstep/activation.h"
#include "lockstep/cpu.h"

typedef struct GeluOptions {
    int approximate;
} GeluOptions;

enum { APPROXIMATE_NONE, APPROXIMATE_TANH };

static const Option options[] = {
    { "approximate", OPTION_CHOICE, OPTION_AT(GeluOptions, approximate), 0, 0, "none|tanh", "none",
      "tanh: y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))" },
    OPTION_END,
};

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    const GeluOptions *gelu = layer->options;
    size_t n = elementwise_floats(layer, pass);
    if (gelu->approximate == APPROXIMATE_TANH)
        for (size_t i = 0; i < n; i++)
            y[i] = gelu_tanh_value(x[i]);
    else
        for (size_t i = 0; i < n; i++)
            y[i] = gelu_value(x[i]);
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)y;
    const GeluOptions *gelu = layer->options;
    size_t n = dx ? elementwise_floats(layer, pass) : 0;
    if (gelu->approximate == APPROXIMATE_TANH)
        for (size_t i = 0; i < n; i++)
            dx[i] = dy[i] * gelu_tanh_slope(x[i]);
    else
        for (size_t i = 0; i < n; i++)
            dx[i] = dy[i] * gelu_slope(x[i]);
}

extern const LayerType ISA_NAME(layer_gelu);
const LayerType ISA_NAME(layer_gelu) = {
    .name = "gelu",
    .help = "x weighted by the normal distribution function",
    .formula = "y = x Phi(x)",
    .source = "Hendrycks and Gimpel 2016",
    .options = options,
    .options_bytes = sizeof(GeluOptions),
    .plan = elementwise_plan,
    .forward = forward,
    .backward = backward,
    .keep_x = true,
};
