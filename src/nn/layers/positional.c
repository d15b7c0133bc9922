/* Positions: adds to each position of a sequence a vector that tells where it is, either learned or
 * made of waves.
 *
 *   y_t = x_t + p_t
 *   sinusoidal: p_t,2i = sin(t / 10000^(2i / F)), p_t,2i+1 = cos(t / 10000^(2i / F))
 *
 * Vaswani et al. 2017, section 3.5. */
#include "lockstep/cpu.h"
#include "lockstep/layer.h"
#include "lockstep/memory.h"
#include "lockstep/vmath.h"

#include <string.h>

enum { LEARNED, SINUSOIDAL };

typedef struct PositionalOptions {
    int type;
} PositionalOptions;

typedef struct PositionalState {
    float *waves; /* (T, F), or NULL */
} PositionalState;

static const Option options[] = {
    { "type", OPTION_CHOICE, OPTION_AT(PositionalOptions, type), 0, 0, "learned|sinusoidal",
      "learned", "a trained vector for each position, starting as normal(0.02), or fixed waves" },
    OPTION_END,
};

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    const PositionalOptions *positional = layer->options;
    if (layer->in.ndim != 2)
        return err_set(err, "it needs a sequence (T, F): put embedding before it");
    int T = layer->in.dim[0], F = layer->in.dim[1];
    layer->out = layer->in;
    layer->flops = (double)shape_values(layer->in);
    if (positional->type == LEARNED)
        layer_add_tensor(layer, layout, "weight", 2, (int[]){ T, F }, 0, F, F,
                         layer->init ? NULL : "normal(0.02)");
    return true;
}

/* e^x for -10 <= x <= 0: (e^(x / 16))^16 by the series. No libm here: the last bits of its
 * functions differ between versions, and with them would the weights of two hosts. */
static double exponential(double x)
{
    double sum = 1, r = x / 16;
    for (int k = 20; k > 0; k--)
        sum = 1 + sum * r / k;
    return vmath_power(sum, 16);
}

/* cos(x) (odd = 0) or sin(x) (odd = 1) for |x| <= 1, by the series. */
static double series(double x, int odd)
{
    double sum = 1;
    for (int k = 20 + odd; k > 1 + odd; k -= 2)
        sum = 1 - sum * x * x / (k * (k - 1));
    return odd ? x * sum : sum;
}

/* Columns 2i and 2i + 1: a point that turns by the same angle from position to position. */
static void fill_waves(Shape shape, float *waves)
{
    const double ln_10000 = 9.210340371976182736;
    int T = shape.dim[0], F = shape.dim[1];
    for (int f = 0; f < F; f += 2) {
        double angle = exponential(-ln_10000 * f / F);
        double turn_x = series(angle, 0), turn_y = series(angle, 1), x = 1, y = 0;
        for (int t = 0; t < T; t++) {
            float *place = waves + (size_t)t * (size_t)F + f;
            place[0] = (float)y;
            if (f + 1 < F)
                place[1] = (float)x;
            double next = x * turn_x - y * turn_y;
            y = x * turn_y + y * turn_x;
            x = next;
        }
    }
}

static void allocate(Layer *layer, int max_batch)
{
    (void)max_batch;
    const PositionalOptions *positional = layer->options;
    if (positional->type == LEARNED)
        return;
    PositionalState *state = mem_new(PositionalState);
    size_t values = shape_values(layer->in);
    state->waves = mem_array(float, values);
    fill_waves(layer->in, state->waves);
    layer->state = state;
    layer->state_bytes_total = sizeof *state + values * sizeof(float);
}

static void release(Layer *layer)
{
    PositionalState *state = layer->state;
    mem_free(state->waves);
    mem_free(state);
    layer->state = NULL;
}

static const float *positions(const Layer *layer)
{
    const PositionalState *state = layer->state;
    return state ? state->waves : layer->tensors[0].w;
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    const float *p = positions(layer); /* (T, F) */
    size_t n = shape_values(layer->in);
    for (int b = 0; b < pass->batch; b++, x += n, y += n)
        for (size_t i = 0; i < n; i++)
            y[i] = x[i] + p[i];
}

/* dw (T, F) = the sum of dy (B, T, F) over samples, in double. */
static void weight_gradient(const Layer *layer, int batch, const float *dy, float *dw)
{
    enum { WIDTH = 64 };
    size_t n = shape_values(layer->in);
    for (size_t first = 0; first < n; first += WIDTH) {
        double sum[WIDTH] = { 0 };
        size_t width = n - first < WIDTH ? n - first : WIDTH;
        for (int b = 0; b < batch; b++)
            for (size_t i = 0; i < width; i++)
                sum[i] += (double)dy[(size_t)b * n + first + i];
        for (size_t i = 0; i < width; i++)
            dw[first + i] = (float)sum[i];
    }
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)x;
    (void)y;
    if (layer->tensor_count > 0)
        weight_gradient(layer, pass->batch, dy, layer->tensors[0].dw);
    if (dx && dx != dy)
        memcpy(dx, dy, shape_values(layer->in) * (size_t)pass->batch * sizeof *dx);
}

extern const LayerType ISA_NAME(layer_positional);
const LayerType ISA_NAME(layer_positional) = {
    .name = "positional",
    .help = "tells each position of a sequence where it is",
    .formula = "y_t = x_t + p_t",
    .source = "Vaswani et al. 2017; learned: Gehring et al. 2017",
    .options = options,
    .options_bytes = sizeof(PositionalOptions),
    .plan = plan,
    .allocate = allocate,
    .release = release,
    .forward = forward,
    .backward = backward,
    .in_place = true,
};
