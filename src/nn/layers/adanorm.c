/* AdaNorm: a layernorm without gain and bias whose result is scaled by a function of itself,
 * through which no gradient goes. A sample is normalised over all its values, of a sequence each
 * position, as in layernorm.
 *
 *   n = (x - mean) / sqrt(var + eps), phi = C (1 - k n), y = phi n         phi held constant
 *   dx = (e - mean(e) - n mean(e n)) / sqrt(var + eps), e = phi dy
 *
 * Xu et al. 2019, section 4. */
#include "../elementwise.h"
#include "../rows.h"
#include "lockstep/cpu.h"
#include "lockstep/memory.h"

#include <math.h>

typedef struct AdanormOptions {
    double k, scale, eps;
} AdanormOptions;

typedef struct AdanormState {
    float *mean, *inverse; /* (B) or (B, T): m and 1 / sqrt(var + eps) */
} AdanormState;

static const Option options[] = {
    { "k", OPTION_FLOAT, OPTION_AT(AdanormOptions, k), 0, 1, NULL, "0.1",
      "how much larger values are damped" },
    { "scale", OPTION_FLOAT, OPTION_AT(AdanormOptions, scale), 1e-6, 1e6, NULL, "1",
      "C: factor of the result" },
    { "eps", OPTION_FLOAT, OPTION_AT(AdanormOptions, eps), 0, 1, NULL, "1e-5",
      "added to the variance" },
    OPTION_END,
};

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    layer->flops = 9.0 * (double)shape_values(layer->in);
    return elementwise_plan(layer, layout, err);
}

static void allocate(Layer *layer, int max_batch)
{
    AdanormState *state = mem_new(AdanormState);
    size_t rows = (size_t)max_batch * (size_t)shape_rows(layer->in);
    state->mean = mem_array(float, rows);
    state->inverse = mem_array(float, rows);
    layer->state = state;
    layer->state_bytes_total = sizeof *state + 2 * rows * sizeof(float);
}

static void release(Layer *layer)
{
    AdanormState *state = layer->state;
    mem_free(state->mean);
    mem_free(state->inverse);
    mem_free(state);
    layer->state = NULL;
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    const AdanormOptions *norm = layer->options;
    const AdanormState *state = layer->state;
    int rows = shape_rows(layer->in);
    size_t n = shape_stored(layer->in) / (size_t)rows;
    double values = (double)shape_values(layer->in) / rows;
    float C = (float)norm->scale, k = (float)norm->k;
    for (int r = 0; r < pass->batch * rows; r++) {
        const float *row = x + (size_t)r * n;
        float *out = y + (size_t)r * n;
        double m = row_sum(row, n) / values, v = row_dot(row, row, n) / values - m * m;
        float mean = (float)m, inverse = (float)(1 / sqrt((v < 0 ? 0 : v) + norm->eps));
        for (size_t i = 0; i < n; i++) {
            float normal = (row[i] - mean) * inverse;
            out[i] = C * (1 - k * normal) * normal;
        }
        state->mean[r] = mean;
        state->inverse[r] = inverse;
    }
    elementwise_clear(layer, pass, y);
}

/* The sum of e (x - mean); e is zero in missing channels. */
static double centred_dot(const float *e, const float *x, float mean, size_t n)
{
    return row_dot(e, x, n) - (double)mean * row_sum(e, n);
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)y;
    const AdanormOptions *norm = layer->options;
    const AdanormState *state = layer->state;
    int rows = shape_rows(layer->in);
    size_t n = shape_stored(layer->in) / (size_t)rows;
    double values = (double)shape_values(layer->in) / rows;
    float C = (float)norm->scale, k = (float)norm->k;
    if (!dx)
        return;
    for (int r = 0; r < pass->batch * rows; r++) {
        const float *row = x + (size_t)r * n, *d = dy + (size_t)r * n;
        float *e = dx + (size_t)r * n;
        float mean = state->mean[r], inverse = state->inverse[r];
        for (size_t i = 0; i < n; i++)
            e[i] = C * (1 - k * ((row[i] - mean) * inverse)) * d[i];
        float mean_e = (float)(row_sum(e, n) / values);
        float slope =
            (float)(centred_dot(e, row, mean, n) * (double)inverse * (double)inverse / values);
        for (size_t i = 0; i < n; i++)
            e[i] = (e[i] - mean_e - (row[i] - mean) * slope) * inverse;
    }
    elementwise_clear(layer, pass, dx);
}

extern const LayerType ISA_NAME(layer_adanorm);
const LayerType ISA_NAME(layer_adanorm) = {
    .name = "adanorm",
    .help = "layernorm without parameters, scaled by a function of itself",
    .formula = "n = (x - mean) / sqrt(var + eps), y = C (1 - k n) n",
    .source = "Xu et al. 2019",
    .options = options,
    .options_bytes = sizeof(AdanormOptions),
    .plan = plan,
    .allocate = allocate,
    .release = release,
    .forward = forward,
    .backward = backward,
    .keep_x = true,
    .normalizes = NORMALIZES_SAMPLES,
};
