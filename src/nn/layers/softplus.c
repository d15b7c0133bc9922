/* Softplus: a smooth relu. No threshold is needed beyond which it is linear: the logarithm is taken
 * of numbers that do not overflow. Missing channels of an image are put back to zero, for
 * softplus(0) = ln 2 / beta. */
#include "../elementwise.h"
#include "lockstep/cpu.h"
#include "lockstep/vmath.h"

typedef struct SoftplusOptions {
    double beta;
} SoftplusOptions;

static const Option options[] = {
    { "beta", OPTION_FLOAT, OPTION_AT(SoftplusOptions, beta), 1e-3, 1e3, NULL, "1",
      "sharpness: large values come close to relu" },
    OPTION_END,
};

static float sharpness(const Layer *layer)
{
    const SoftplusOptions *softplus = layer->options;
    return (float)softplus->beta;
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    float beta = sharpness(layer), width = 1 / beta;
    size_t n = elementwise_floats(layer, pass);
    for (size_t i = 0; i < n; i++)
        y[i] = width * vmath_softplus(beta * x[i]);
    elementwise_clear(layer, pass, y);
}

/* dy/dx = sigmoid(beta x) */
static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)y;
    float beta = sharpness(layer);
    size_t n = dx ? elementwise_floats(layer, pass) : 0;
    for (size_t i = 0; i < n; i++)
        dx[i] = dy[i] * vmath_sigmoid(beta * x[i]);
}

extern const LayerType ISA_NAME(layer_softplus);
const LayerType ISA_NAME(layer_softplus) = {
    .name = "softplus",
    .help = "a smooth relu",
    .formula = "y = ln(1 + e^(beta x)) / beta",
    .source = "Dugas et al. 2001",
    .options = options,
    .options_bytes = sizeof(SoftplusOptions),
    .plan = elementwise_plan,
    .forward = forward,
    .backward = backward,
    .keep_x = true,
};
