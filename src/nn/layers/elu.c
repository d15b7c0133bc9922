/* Exponential linear unit: smooth below zero, where it saturates at -a. */
#include "../elementwise.h"
#include "lockstep/cpu.h"
#include "lockstep/vmath.h"

typedef struct EluOptions {
    double alpha;
} EluOptions;

static const Option options[] = {
    { "alpha", OPTION_FLOAT, OPTION_AT(EluOptions, alpha), 0, 1000, NULL, "1",
      "a: the limit for large negative values is -a" },
    OPTION_END,
};

static float limit(const Layer *layer)
{
    const EluOptions *elu = layer->options;
    return (float)elu->alpha;
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    float a = limit(layer);
    size_t n = elementwise_floats(layer, pass);
    for (size_t i = 0; i < n; i++) {
        float bent = a * vmath_expm1_negative(x[i]);
        y[i] = x[i] > 0 ? x[i] : bent;
    }
}

/* Below zero dy/dx = a e^x = y + a. */
static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)x;
    float a = limit(layer);
    size_t n = dx ? elementwise_floats(layer, pass) : 0;
    for (size_t i = 0; i < n; i++) {
        float passed = dy[i], bent = passed * (y[i] + a);
        dx[i] = y[i] > 0 ? passed : bent;
    }
}

extern const LayerType ISA_NAME(layer_elu);
const LayerType ISA_NAME(layer_elu) = {
    .name = "elu",
    .help = "passes what is positive; the rest decays smoothly to -a",
    .formula = "y = x for x > 0, else a (e^x - 1)",
    .source = "Clevert et al. 2016",
    .options = options,
    .options_bytes = sizeof(EluOptions),
    .plan = elementwise_plan,
    .forward = forward,
    .backward = backward,
    .in_place = true,
    .keep_y = true,
};
