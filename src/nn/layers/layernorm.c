/* Layer normalisation: each sample by its own mean and variance, over all its values: F features,
 * or (C, H, W) of an image. Gain and bias have the shape of a sample, as in PyTorch with
 * normalized_shape = the sample's shape; they get neither weight decay nor trust ratios.
 *
 *   m = mean(x), v = mean((x - m)^2), n = (x - m) / sqrt(v + eps), y = g n + b
 *   dx = (e - mean(e) - n mean(e n)) / sqrt(v + eps), e = g dy
 *
 * Sums are double: squares of floats are exact there, so one pass is enough. Gain and bias are
 * packed with zeros in missing channels, which keeps those channels of y zero. */
#include "../image.h"
#include "lockstep/cpu.h"
#include "lockstep/memory.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 16 }; /* partial sums; a multiple of every vector length */

typedef struct LayernormOptions {
    double eps;
    bool affine;
} LayernormOptions;

typedef struct LayernormState {
    float *gain, *bias;    /* (stored) */
    float *mean, *inverse; /* (B): m and 1 / sqrt(v + eps) */
    double *dgain, *dbias; /* (stored) */
    float *plain;          /* (stored) */
    void *memory;
} LayernormState;

static const Option options[] = {
    { "eps", OPTION_FLOAT, OPTION_AT(LayernormOptions, eps), 0, 1, NULL, "1e-5",
      "added to the variance" },
    { "affine", OPTION_BOOL, OPTION_AT(LayernormOptions, affine), 0, 0, NULL, "true",
      "a gain and a bias for each value" },
    OPTION_END,
};

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    (void)err;
    const LayernormOptions *norm = layer->options;
    static const char *const names[2] = { "weight", "bias" }, *const starts[2] = { "ones",
                                                                                   "zeros" };
    layer->out = layer->in;
    layer->flops = 8.0 * (double)shape_values(layer->in);
    for (int i = 0; norm->affine && i < 2; i++) {
        int t = layer_add_tensor(layer, layout, names[i], layer->in.ndim, layer->in.dim,
                                 i == 0 ? 0 : LAYOUT_NORM_BIAS, 1, 1, starts[i]);
        layout->tensors[layer->tensors[t].index].flags &= ~(unsigned)(LAYOUT_DECAY | LAYOUT_ADAPT);
    }
    return true;
}

static void allocate(Layer *layer, int max_batch)
{
    LayernormState *state = mem_new(LayernormState);
    size_t stored = shape_stored(layer->in), batch = (size_t)max_batch;
    size_t floats = 3 * stored + 2 * batch;
    size_t bytes = 2 * stored * sizeof(double) + floats * sizeof(float);
    state->memory = mem_alloc(bytes);
    state->dgain = state->memory;
    state->dbias = state->dgain + stored;
    state->gain = (float *)(state->dbias + stored);
    state->bias = state->gain + stored;
    state->plain = state->bias + stored;
    state->mean = state->plain + stored;
    state->inverse = state->mean + batch;
    layer->state = state;
    layer->state_bytes_total = sizeof *state + bytes;
}

static void release(Layer *layer)
{
    LayernormState *state = layer->state;
    mem_free(state->memory);
    mem_free(state);
    layer->state = NULL;
}

static void begin_step(Layer *layer, Layout *layout, int global_batch)
{
    (void)layout;
    (void)global_batch;
    LayernormState *state = layer->state;
    size_t values = shape_values(layer->in);
    if (layer->tensor_count > 0) {
        shape_pack(layer->in, layer->tensors[0].w, state->gain);
        shape_pack(layer->in, layer->tensors[1].w, state->bias);
        return;
    }
    for (size_t i = 0; i < values; i++)
        state->plain[i] = 1;
    shape_pack(layer->in, state->plain, state->gain);
}

/* Sums of a and of a b over n floats; zeros in missing channels count for nothing. */
typedef struct Sums {
    double first, second;
} Sums;

static inline Sums add_lanes(const double first[WIDTH], const double second[WIDTH])
{
    Sums sums = { 0, 0 };
    for (int k = 0; k < WIDTH; k++) {
        sums.first += first[k];
        sums.second += second[k];
    }
    return sums;
}

static Sums sum_squares(const float *x, size_t n)
{
    double first[WIDTH] = { 0 }, second[WIDTH] = { 0 };
    size_t whole = n / WIDTH * WIDTH;
    for (size_t i = 0; i < whole; i += WIDTH)
        for (size_t k = 0; k < WIDTH; k++) {
            double a = (double)x[i + k];
            first[k] += a;
            second[k] += a * a;
        }
    for (size_t i = whole; i < n; i++) {
        double a = (double)x[i];
        first[i - whole] += a;
        second[i - whole] += a * a;
    }
    return add_lanes(first, second);
}

/* Of e = gain dy and of e (x - mean). */
static Sums sum_gradient(const float *dy, const float *gain, const float *x, float mean, size_t n)
{
    double first[WIDTH] = { 0 }, second[WIDTH] = { 0 };
    size_t whole = n / WIDTH * WIDTH;
    for (size_t i = 0; i < whole; i += WIDTH)
        for (size_t k = 0; k < WIDTH; k++) {
            double e = (double)(gain[i + k] * dy[i + k]);
            first[k] += e;
            second[k] += e * (double)(x[i + k] - mean);
        }
    for (size_t i = whole; i < n; i++) {
        double e = (double)(gain[i] * dy[i]);
        first[i - whole] += e;
        second[i - whole] += e * (double)(x[i] - mean);
    }
    return add_lanes(first, second);
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    const LayernormOptions *norm = layer->options;
    const LayernormState *state = layer->state;
    const float *gain = state->gain, *bias = state->bias;
    size_t n = shape_stored(layer->in);
    double values = (double)shape_values(layer->in);
    for (int b = 0; b < pass->batch; b++, x += n, y += n) {
        Sums sums = sum_squares(x, n);
        double m = sums.first / values, v = sums.second / values - m * m;
        float mean = (float)m, inverse = (float)(1 / sqrt((v < 0 ? 0 : v) + norm->eps));
        for (size_t i = 0; i < n; i++)
            y[i] = (x[i] - mean) * inverse * gain[i] + bias[i];
        state->mean[b] = mean;
        state->inverse[b] = inverse;
    }
}

static void add_parameter_gradients(const LayernormState *state, int b, const float *x,
                                    const float *dy, size_t n)
{
    float mean = state->mean[b], inverse = state->inverse[b];
    double *dgain = state->dgain, *dbias = state->dbias;
    for (size_t i = 0; i < n; i++) {
        dgain[i] += (double)(dy[i] * ((x[i] - mean) * inverse));
        dbias[i] += (double)dy[i];
    }
}

static void store_gradient(const Layer *layer, const double *from, float *scratch, float *dw)
{
    for (size_t i = 0; i < shape_stored(layer->in); i++)
        scratch[i] = (float)from[i];
    shape_unpack(layer->in, scratch, dw);
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)y;
    const LayernormState *state = layer->state;
    const float *gain = state->gain;
    size_t n = shape_stored(layer->in);
    float values = (float)shape_values(layer->in);
    bool affine = layer->tensor_count > 0;
    memset(state->dgain, 0, n * sizeof *state->dgain);
    memset(state->dbias, 0, n * sizeof *state->dbias);
    for (int b = 0; b < pass->batch; b++, x += n, dy += n) {
        float mean = state->mean[b], inverse = state->inverse[b];
        if (affine)
            add_parameter_gradients(state, b, x, dy, n);
        if (!dx)
            continue;
        Sums sums = sum_gradient(dy, gain, x, mean, n);
        float mean_e = (float)sums.first / values;
        float slope = (float)(sums.second * (double)inverse * (double)inverse) / values;
        for (size_t i = 0; i < n; i++)
            dx[i] = (gain[i] * dy[i] - mean_e - (x[i] - mean) * slope) * inverse;
        if (layer->in.ndim == 3)
            clear_missing_channels(layer->in, dx);
        dx += n;
    }
    if (affine) {
        store_gradient(layer, state->dgain, state->plain, layer->tensors[0].dw);
        store_gradient(layer, state->dbias, state->plain, layer->tensors[1].dw);
    }
}

extern const LayerType ISA_NAME(layer_layernorm);
const LayerType ISA_NAME(layer_layernorm) = {
    .name = "layernorm",
    .help = "normalises each sample over all its values",
    .formula = "y = g (x - mean) / sqrt(var + eps) + b",
    .source = "Ba et al. 2016",
    .options = options,
    .options_bytes = sizeof(LayernormOptions),
    .plan = plan,
    .allocate = allocate,
    .release = release,
    .begin_step = begin_step,
    .forward = forward,
    .backward = backward,
    .keep_x = true,
};
