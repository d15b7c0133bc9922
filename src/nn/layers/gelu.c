/* Gaussian error linear unit: x weighted by the normal distribution function. */
#include "../elementwise.h"
#include "lockstep/cpu.h"
#include "lockstep/vmath.h"

typedef struct GeluOptions {
    int approximate;
} GeluOptions;

enum { APPROXIMATE_NONE, APPROXIMATE_TANH };

static const Option options[] = {
    { "approximate", OPTION_CHOICE, OPTION_AT(GeluOptions, approximate), 0, 0, "none|tanh", "none",
      "tanh: y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))" },
    OPTION_END,
};

#define SQRT_2_PI 0.797884560802865356f /* sqrt(2 / pi) */
#define CUBIC 0.044715f

static inline float value(float x)
{
    float density;
    return x * vmath_normal(x, &density);
}

static inline float tanh_part(float x)
{
    return vmath_tanh(SQRT_2_PI * (x + CUBIC * x * x * x));
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    const GeluOptions *gelu = layer->options;
    size_t n = elementwise_floats(layer, pass);
    if (gelu->approximate == APPROXIMATE_TANH)
        for (size_t i = 0; i < n; i++)
            y[i] = 0.5f * x[i] * (1 + tanh_part(x[i]));
    else
        for (size_t i = 0; i < n; i++)
            y[i] = value(x[i]);
}

/* dy/dx = Phi(x) + x phi(x) */
static inline float slope(float x)
{
    float density, distribution = vmath_normal(x, &density);
    return distribution + x * density;
}

/* With t = tanh(u): dy/dx = (1 + t)/2 + x/2 (1 - t^2) du/dx */
static inline float slope_tanh(float x)
{
    float t = tanh_part(x), du = SQRT_2_PI * (1 + 3 * CUBIC * x * x);
    return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * du;
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)y;
    const GeluOptions *gelu = layer->options;
    size_t n = dx ? elementwise_floats(layer, pass) : 0;
    if (gelu->approximate == APPROXIMATE_TANH)
        for (size_t i = 0; i < n; i++)
            dx[i] = dy[i] * slope_tanh(x[i]);
    else
        for (size_t i = 0; i < n; i++)
            dx[i] = dy[i] * slope(x[i]);
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
