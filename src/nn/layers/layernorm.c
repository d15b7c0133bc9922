/* Layer normalisation: each sample by its own mean and variance, over all its values: F features,
 * or (C, H, W) of an image; of a sequence (T, F) each position. Gain and bias have the shape of
 * what is normalised, as in PyTorch with normalized_shape = that shape; they get neither weight
 * decay nor trust ratios.
 *
 *   m = mean(x), v = mean((x - m)^2), n = (x - m) / sqrt(v + eps), y = g n + b
 *   dx = (e - mean(e) - n mean(e n)) / sqrt(v + eps), e = g dy
 *
 * A row of features is in the first-level cache when it is read again, so its sums are those of
 * rownorm.h. An image is not: its sums are double, squares of floats are exact there, and one pass
 * is enough. Gain and bias are packed with zeros in missing channels, which keeps those channels of
 * y zero. */
#include "../rownorm.h"
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
    float *gain, *bias;             /* (N): floats stored of what is normalised */
    float *mean, *inverse;          /* (B) or (B, T): m and 1 / sqrt(v + eps) */
    double *dgain, *dbias;          /* (N) */
    float *plain;                   /* (N) */
    float *part_dgain, *part_dbias; /* (N): of some rows, while a row is read; else zero */
    void *memory;
} LayernormState;

static const Option options[] = {
    { "eps", OPTION_FLOAT, OPTION_AT(LayernormOptions, eps), 0, 1, NULL, "1e-5",
      "added to the variance" },
    { "affine", OPTION_BOOL, OPTION_AT(LayernormOptions, affine), 0, 0, NULL, "true",
      "a gain and a bias for each value" },
    OPTION_END,
};

/* What is normalised: the sample, or a position of it. */
static Shape normalised(const Layer *layer)
{
    Shape in = layer->in;
    return in.ndim == 2 ? (Shape){ .ndim = 1, .dim = { in.dim[1], 1, 1 } } : in;
}

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    (void)err;
    const LayernormOptions *norm = layer->options;
    static const char *const names[2] = { "weight", "bias" }, *const starts[2] = { "ones",
                                                                                   "zeros" };
    Shape shape = normalised(layer);
    layer->out = layer->in;
    layer->flops = 8.0 * (double)shape_values(layer->in);
    for (int i = 0; norm->affine && i < 2; i++) {
        int t = layer_add_tensor(layer, layout, names[i], shape.ndim, shape.dim,
                                 i == 0 ? 0 : LAYOUT_NORM_BIAS, 1, 1, starts[i]);
        layout->tensors[layer->tensors[t].index].flags &= ~(unsigned)(LAYOUT_DECAY | LAYOUT_ADAPT);
    }
    return true;
}

static void allocate(Layer *layer, int max_batch)
{
    LayernormState *state = mem_new(LayernormState);
    size_t stored = shape_stored(normalised(layer));
    size_t rows = (size_t)max_batch * (size_t)shape_rows(layer->in);
    size_t floats = 5 * stored + 2 * rows;
    size_t bytes = 2 * stored * sizeof(double) + floats * sizeof(float);
    state->memory = mem_alloc(bytes);
    state->dgain = state->memory;
    state->dbias = state->dgain + stored;
    state->gain = (float *)(state->dbias + stored);
    state->bias = state->gain + stored;
    state->plain = state->bias + stored;
    state->part_dgain = state->plain + stored;
    state->part_dbias = state->part_dgain + stored;
    state->mean = state->part_dbias + stored;
    state->inverse = state->mean + rows;
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
    Shape shape = normalised(layer);
    size_t values = shape_values(shape);
    if (layer->tensor_count > 0) {
        shape_pack(shape, layer->tensors[0].w, state->gain);
        shape_pack(shape, layer->tensors[1].w, state->bias);
        return;
    }
    for (size_t i = 0; i < values; i++)
        state->plain[i] = 1;
    shape_pack(shape, state->plain, state->gain);
}

/* ---- rows of features ---- */

static inline void normalise_row(const float *restrict x, float mean, float inverse,
                                 const float *restrict gain, const float *restrict bias, size_t F,
                                 float *restrict y)
{
    for (size_t i = 0; i < F; i++)
        y[i] = fused((x[i] - mean) * inverse, gain[i], bias[i]);
}

static void forward_rows(const Layer *layer, int rows, const float *x, float *y)
{
    const LayernormOptions *norm = layer->options;
    const LayernormState *state = layer->state;
    size_t F = (size_t)shape_features(layer->in);
    double share = 1 / (double)F;
    for (int r = 0; r < rows; r++, x += F, y += F) {
        float mean = (float)(rownorm_sum(x, F) * share);
        double variance = rownorm_squares(x, mean, F) * share;
        float inverse = (float)(1 / sqrt(variance + norm->eps));
        normalise_row(x, mean, inverse, state->gain, state->bias, F, y);
        state->mean[r] = mean;
        state->inverse[r] = inverse;
    }
}

/* A row's dx, and its part of dgain and dbias while it is at hand. */
static void backward_row(const LayernormState *state, int r, size_t F, const float *restrict x,
                         const float *restrict dy, float *restrict dx)
{
    float mean = state->mean[r], inverse = state->inverse[r];
    float *restrict dgain = state->part_dgain, *restrict dbias = state->part_dbias;
    const float *restrict gain = state->gain;
    double sum, product;
    rownorm_gradient(x, mean, gain, dy, F, &sum, &product);
    float mean_e = (float)(sum / (double)F);
    float slope = (float)(product * (double)inverse / (double)F);
    for (size_t i = 0; i < F; i++) {
        float normal = (x[i] - mean) * inverse;
        dgain[i] = fused(dy[i], normal, dgain[i]);
        dbias[i] += dy[i];
        dx[i] = fused(-normal, slope, fused(gain[i], dy[i], -mean_e)) * inverse;
    }
}

/* Its part of dgain and dbias alone. */
static void backward_row_parameters(const LayernormState *state, int r, size_t F,
                                    const float *restrict x, const float *restrict dy)
{
    float mean = state->mean[r], inverse = state->inverse[r];
    float *restrict dgain = state->part_dgain, *restrict dbias = state->part_dbias;
    for (size_t i = 0; i < F; i++) {
        dgain[i] = fused(dy[i], (x[i] - mean) * inverse, dgain[i]);
        dbias[i] += dy[i];
    }
}

static void backward_rows(const Layer *layer, int rows, const float *x, const float *dy, float *dx)
{
    const LayernormState *state = layer->state;
    size_t F = (size_t)shape_features(layer->in);
    for (int r = 0; r < rows; r++) {
        size_t at = (size_t)r * F;
        if (dx)
            backward_row(state, r, F, x + at, dy + at, dx + at);
        else
            backward_row_parameters(state, r, F, x + at, dy + at);
        if (r % ROWNORM_ROWS == ROWNORM_ROWS - 1 || r == rows - 1) {
            rownorm_flush(state->part_dgain, state->dgain, F);
            rownorm_flush(state->part_dbias, state->dbias, F);
        }
    }
}

/* ---- images ---- */

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

static void forward_images(const Layer *layer, int batch, const float *x, float *y)
{
    const LayernormOptions *norm = layer->options;
    const LayernormState *state = layer->state;
    const float *gain = state->gain, *bias = state->bias;
    size_t n = shape_stored(layer->in);
    double values = (double)shape_values(layer->in);
    for (int b = 0; b < batch; b++, x += n, y += n) {
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

static void backward_images(const Layer *layer, int batch, const float *x, const float *dy,
                            float *dx)
{
    const LayernormState *state = layer->state;
    const float *gain = state->gain;
    size_t n = shape_stored(layer->in);
    float values = (float)shape_values(layer->in);
    for (int b = 0; b < batch; b++, x += n, dy += n) {
        float mean = state->mean[b], inverse = state->inverse[b];
        if (layer->tensor_count > 0)
            add_parameter_gradients(state, b, x, dy, n);
        if (!dx)
            continue;
        Sums sums = sum_gradient(dy, gain, x, mean, n);
        float mean_e = (float)sums.first / values;
        float slope = (float)(sums.second * (double)inverse * (double)inverse) / values;
        for (size_t i = 0; i < n; i++)
            dx[i] = (gain[i] * dy[i] - mean_e - (x[i] - mean) * slope) * inverse;
        clear_missing_channels(layer->in, dx);
        dx += n;
    }
}

/* ---- both ---- */

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    if (layer->in.ndim == 3)
        forward_images(layer, pass->batch, x, y);
    else
        forward_rows(layer, pass->batch * shape_rows(layer->in), x, y);
}

static void store_gradient(const Layer *layer, const double *from, float *scratch, float *dw)
{
    Shape shape = normalised(layer);
    for (size_t i = 0; i < shape_stored(shape); i++)
        scratch[i] = (float)from[i];
    shape_unpack(shape, scratch, dw);
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)y;
    const LayernormState *state = layer->state;
    size_t n = shape_stored(normalised(layer));
    memset(state->dgain, 0, n * sizeof *state->dgain);
    memset(state->dbias, 0, n * sizeof *state->dbias);
    if (layer->in.ndim == 3)
        backward_images(layer, pass->batch, x, dy, dx);
    else
        backward_rows(layer, pass->batch * shape_rows(layer->in), x, dy, dx);
    if (layer->tensor_count > 0) {
        store_gradient(layer, state->dgain, state->plain, layer->tensors[0].dw);
        store_gradient(layer, state->dbias, state->plain, layer->tensors[1].dw);
    }
}

extern const LayerType ISA_NAME(layer_layernorm);
const LayerType ISA_NAME(layer_layernorm) = {
    .name = "layernorm",
    .help = "normalises each sample over all its values, of a sequence each position",
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
    .normalizes = NORMALIZES_SAMPLES,
};
