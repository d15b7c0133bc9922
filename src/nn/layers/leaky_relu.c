/* Leaky rectified linear unit: what is negative keeps a small slope, so no unit is ever cut off. */
#include "../sides.h"
#include "lockstep/cpu.h"

typedef struct LeakyReluOptions {
    double slope;
} LeakyReluOptions;

static const Option options[] = {
    { "slope", OPTION_FLOAT, OPTION_AT(LeakyReluOptions, slope), 0, 1, NULL, "0.01",
      "factor a of negative values" },
    OPTION_END,
};

static float negative_slope(const Layer *layer)
{
    const LeakyReluOptions *leaky = layer->options;
    return (float)leaky->slope;
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    float a = negative_slope(layer);
    size_t n = elementwise_floats(layer, pass);
    if (pass->sides == SIDES_KEPT) {
        sides_take(layer, pass, a, x, y);
        return;
    }
    if (pass->sides == SIDES_KEEP)
        sides_keep(layer, pass, x);
    for (size_t i = 0; i < n; i++) {
        float small = a * x[i];
        y[i] = x[i] > 0 ? x[i] : small;
    }
}

/* y has the sign of x, so y is enough. */
static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)x;
    float a = negative_slope(layer);
    size_t n = dx ? elementwise_floats(layer, pass) : 0;
    if (dx && pass->sides == SIDES_KEPT) {
        sides_take(layer, pass, a, dy, dx);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        float passed = dy[i], small = a * passed;
        dx[i] = y[i] > 0 ? passed : small;
    }
}

extern const LayerType ISA_NAME(layer_leaky_relu);
const LayerType ISA_NAME(layer_leaky_relu) = {
    .name = "leaky_relu",
    .help = "passes what is positive, and a little of the rest",
    .formula = "y = x for x > 0, else a x",
    .source = "Maas et al. 2013",
    .options = options,
    .options_bytes = sizeof(LeakyReluOptions),
    .plan = elementwise_plan,
    .allocate = sides_allocate,
    .release = sides_release,
    .forward = forward,
    .backward = backward,
    .in_place = true,
    .keep_y = true,
    .homogeneous = true,
};
