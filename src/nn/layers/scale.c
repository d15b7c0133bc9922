/* scale: every value times one constant. Before the loss it sets how sharp the softmax is at the
 * start (Page 2018). */
#include "../elementwise.h"
#include "lockstep/cpu.h"

typedef struct ScaleOptions {
    double factor;
} ScaleOptions;

static const Option options[] = {
    { "factor", OPTION_FLOAT, OPTION_AT(ScaleOptions, factor), -1e30, 1e30, NULL, NULL,
      "the constant" },
    OPTION_END,
};

static void multiply(const Layer *layer, const Pass *pass, const float *from, float *to)
{
    const ScaleOptions *scale = layer->options;
    float factor = (float)scale->factor;
    size_t n = elementwise_floats(layer, pass);
    for (size_t i = 0; i < n; i++)
        to[i] = factor * from[i];
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    multiply(layer, pass, x, y);
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)x;
    (void)y;
    if (dx)
        multiply(layer, pass, dy, dx);
}

extern const LayerType ISA_NAME(layer_scale);
const LayerType ISA_NAME(layer_scale) = {
    .name = "scale",
    .help = "every value times a constant",
    .formula = "y = factor x",
    .options = options,
    .options_bytes = sizeof(ScaleOptions),
    .plan = elementwise_plan,
    .forward = forward,
    .backward = backward,
    .in_place = true,
};
