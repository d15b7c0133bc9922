/* Gaussian error linear unit: x weighted by the normal distribution function. */
#include "../elementwise.h"
#include "lockstep/activation.h"
#include "lockstep/cpu.h"
#include "lockstep/memory.h"

typedef struct GeluOptions {
    int approximate;
} GeluOptions;

enum { APPROXIMATE_NONE, APPROXIMATE_TANH };

static const Option options[] = {
    { "approximate", OPTION_CHOICE, OPTION_AT(GeluOptions, approximate), 0, 0, "none|tanh", "none",
      "tanh: y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))" },
    OPTION_END,
};

typedef struct GeluState {
    float *slope; /* (B, values): dy/dx, made where y is: both need the same exponential */
} GeluState;

static void allocate(Layer *layer, int max_batch)
{
    GeluState *state = mem_new(GeluState);
    size_t floats = shape_stored(layer->in) * (size_t)max_batch;
    state->slope = mem_array(float, floats);
    layer->state = state;
    layer->state_bytes_total = sizeof *state + floats * sizeof(float);
}

static void release(Layer *layer)
{
    GeluState *state = layer->state;
    mem_free(state->slope);
    mem_free(state);
    layer->state = NULL;
}

static void evaluate(bool tanh, const float *restrict x, size_t n, float *restrict y)
{
    if (tanh)
        for (size_t i = 0; i < n; i++)
            y[i] = gelu_tanh_value(x[i]);
    else
        for (size_t i = 0; i < n; i++)
            y[i] = gelu_value(x[i]);
}

static void train(bool tanh, const float *restrict x, size_t n, float *restrict y,
                  float *restrict slope)
{
    if (tanh)
        for (size_t i = 0; i < n; i++) {
            y[i] = gelu_tanh_value(x[i]);
            slope[i] = gelu_tanh_slope(x[i]);
        }
    else
        for (size_t i = 0; i < n; i++) {
            y[i] = gelu_value(x[i]);
            slope[i] = gelu_slope(x[i]);
        }
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    const GeluOptions *gelu = layer->options;
    const GeluState *state = layer->state;
    bool tanh = gelu->approximate == APPROXIMATE_TANH;
    size_t n = elementwise_floats(layer, pass);
    if (pass_keeps(pass))
        train(tanh, x, n, y, state->slope);
    else
        evaluate(tanh, x, n, y);
}

/* dx may be dy. */
static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)x;
    (void)y;
    const GeluState *state = layer->state;
    size_t n = dx ? elementwise_floats(layer, pass) : 0;
    for (size_t i = 0; i < n; i += VECTOR) {
        int part = n - i < VECTOR ? (int)(n - i) : VECTOR;
        Vector slope = vector_load_part(state->slope + i, part);
        vector_store_part(dx + i, vector_load_part(dy + i, part) * slope, part);
    }
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
    .allocate = allocate,
    .release = release,
    .forward = forward,
    .backward = backward,
    .dx_over_dy = true,
};
