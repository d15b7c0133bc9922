/* Rectified linear unit. NaN stays NaN, so that a network that diverges is seen to; -0 becomes +0,
 * so that it does not matter whether a maximum is taken before or after. */
#include "../sides.h"
#include "lockstep/cpu.h"

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    size_t n = elementwise_floats(layer, pass);
    if (pass->sides == SIDES_KEPT) {
        sides_take(layer, pass, 0, x, y);
        return;
    }
    if (pass->sides == SIDES_KEEP)
        sides_keep(layer, pass, x);
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] <= 0 ? 0 : x[i];
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)x;
    size_t n = elementwise_floats(layer, pass);
    if (dx && pass->sides == SIDES_KEPT) {
        sides_take(layer, pass, 0, dy, dx);
        return;
    }
    for (size_t i = 0; dx && i < n; i++) {
        float passed =
            dy[i]; /* read in any case: a load under a condition would not be vectorised */
        dx[i] = y[i] <= 0 ? 0 : passed;
    }
}

extern const LayerType ISA_NAME(layer_relu);
const LayerType ISA_NAME(layer_relu) = {
    .name = "relu",
    .help = "passes what is positive",
    .formula = "y = max(x, 0)",
    .source = "Nair and Hinton 2010",
    .options = layer_no_options,
    .plan = elementwise_plan,
    .allocate = sides_allocate,
    .release = sides_release,
    .forward = forward,
    .backward = backward,
    .in_place = true,
    .keep_y = true,
    .is_relu = true,
    .homogeneous = true,
};
