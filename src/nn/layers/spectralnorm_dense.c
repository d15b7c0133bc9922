/* Dense with spectral normalisation: the weights are divided by their largest singular value, as a
 * few power iterations per training step see it.
 *
 *   v = W^T u / |.|, u = W v / |.|, sigma = u^T W v, w = W / sigma, y = x w^T + b
 *   dW = (dw - (dw . w) u v^T) / sigma              u and v held constant
 *
 * u is a running statistic. It depends on the weights alone, so every rank computes the same bits
 * at the start of a step; the lane that begins the global batch hands it to the lane tree and all
 * others hand zeros, which with keep = 0 makes the sum the new u. Evaluation takes u as it is:
 * sigma = |W^T u| / |u|. */
#include "../dense.h"
#include "../rows.h"
#include "lockstep/cpu.h"
#include "lockstep/memory.h"

#include <math.h>

typedef struct SpectralNormOptions {
    int units, power_iterations;
    bool bias;
    double eps;
} SpectralNormOptions;

typedef struct SpectralNormState {
    Linear linear;  /* of the weights that the products see */
    float *w;       /* (units, F): W / sigma */
    float *u, *v;   /* (units), (F): of length 1 */
    double *sums;   /* (F) or (units), the larger */
    double inverse; /* 1 / sigma */
} SpectralNormState;

static const Option options[] = {
    { "units", OPTION_INT, OPTION_AT(SpectralNormOptions, units), 1, 1 << 24, NULL, NULL,
      "outputs" },
    { "bias", OPTION_BOOL, OPTION_AT(SpectralNormOptions, bias), 0, 0, NULL, "true", "adds b" },
    { "power_iterations", OPTION_INT, OPTION_AT(SpectralNormOptions, power_iterations), 1, 1000,
      NULL, "1", "power iterations per training step" },
    { "eps", OPTION_FLOAT, OPTION_AT(SpectralNormOptions, eps), 1e-30, 1, NULL, "1e-12",
      "smallest length that is divided by" },
    OPTION_END,
};

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    const SpectralNormOptions *dense = layer->options;
    if (!dense_plan(layer, dense->units, err))
        return false;
    int F = shape_features(layer->in), units = dense->units;
    dense_add_weights(layer, layout, "weight");
    layer_add_tensor(layer, layout, "u", 1, (int[]){ units }, LAYOUT_STATISTIC, F, units,
                     "normal(1)");
    if (dense->bias)
        dense_add_bias(layer, layout);
    return true;
}

static void allocate(Layer *layer, int max_batch)
{
    (void)max_batch;
    SpectralNormState *state = mem_new(SpectralNormState);
    size_t F = (size_t)shape_features(layer->in), units = (size_t)shape_features(layer->out);
    size_t larger = F > units ? F : units;
    state->w = mem_array(float, units *F);
    state->u = mem_array(float, units);
    state->v = mem_array(float, F);
    state->sums = mem_array(double, larger);
    dense_init(layer, &state->linear);
    layer->state = state;
    layer->state_bytes_total = sizeof *state + linear_bytes(&state->linear) +
                               (units * F + units + F) * sizeof(float) + larger * sizeof(double);
}

static void release(Layer *layer)
{
    SpectralNormState *state = layer->state;
    linear_free(&state->linear);
    mem_free(state->w);
    mem_free(state->u);
    mem_free(state->v);
    mem_free(state->sums);
    mem_free(state);
    layer->state = NULL;
}

/* x = sums / |sums|; returns the length. */
static double normalise(const double *sums, size_t n, double eps, float *x)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += sums[i] * sums[i];
    double length = sqrt(squares), inverse = 1 / (length > eps ? length : eps);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(sums[i] * inverse);
    return length;
}

/* v = W^T u / |W^T u|; returns |W^T u|. */
static double find_v(const Layer *layer, const float *u)
{
    const SpectralNormOptions *dense = layer->options;
    const SpectralNormState *state = layer->state;
    const float *row = layer->tensors[0].w;
    size_t F = (size_t)shape_features(layer->in);
    memset(state->sums, 0, F * sizeof *state->sums);
    for (int k = 0; k < shape_features(layer->out); k++, row += F)
        for (size_t i = 0; i < F; i++)
            state->sums[i] += (double)u[k] * (double)row[i];
    return normalise(state->sums, F, dense->eps, state->v);
}

/* u = W v / |W v|; returns |W v|, which is u^T W v. */
static double find_u(const Layer *layer)
{
    const SpectralNormOptions *dense = layer->options;
    const SpectralNormState *state = layer->state;
    const float *row = layer->tensors[0].w;
    size_t F = (size_t)shape_features(layer->in), units = (size_t)shape_features(layer->out);
    for (size_t k = 0; k < units; k++, row += F)
        state->sums[k] = row_dot(row, state->v, F);
    return normalise(state->sums, units, dense->eps, state->u);
}

static double iterate(const Layer *layer)
{
    const SpectralNormOptions *dense = layer->options;
    const SpectralNormState *state = layer->state;
    double sigma = 0;
    memcpy(state->u, layer->tensors[1].w, (size_t)shape_features(layer->out) * sizeof *state->u);
    for (int i = 0; i < dense->power_iterations; i++) {
        find_v(layer, state->u);
        sigma = find_u(layer);
    }
    return sigma;
}

/* sigma as the stored u sees it. */
static double look(const Layer *layer)
{
    const SpectralNormOptions *dense = layer->options;
    const SpectralNormState *state = layer->state;
    size_t units = (size_t)shape_features(layer->out);
    const float *u = layer->tensors[1].w;
    double length = sqrt(row_dot(u, u, units));
    float inverse = (float)(1 / (length > dense->eps ? length : dense->eps));
    for (size_t k = 0; k < units; k++)
        state->u[k] = u[k] * inverse;
    return find_v(layer, state->u);
}

static void begin_step(Layer *layer, Layout *layout, int global_batch)
{
    const SpectralNormOptions *dense = layer->options;
    SpectralNormState *state = layer->state;
    size_t n = (size_t)shape_features(layer->in) * (size_t)shape_features(layer->out);
    double sigma = global_batch > 0 ? iterate(layer) : look(layer);
    state->inverse = 1 / (sigma > dense->eps ? sigma : dense->eps);
    float factor = (float)state->inverse;
    const float *weight = layer->tensors[0].w;
    for (size_t i = 0; i < n; i++)
        state->w[i] = factor * weight[i];
    linear_weights(&state->linear, state->w);
    layout->tensors[layer->tensors[1].index].keep = global_batch > 0 ? 0 : 1;
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    const SpectralNormState *state = layer->state;
    dense_forward(layer, &state->linear, pass->batch, 2, x, y);
}

/* dw becomes dW. */
static void through_sigma(const Layer *layer, float *dw)
{
    const SpectralNormState *state = layer->state;
    size_t F = (size_t)shape_features(layer->in), units = (size_t)shape_features(layer->out);
    double along = row_dot(dw, state->w, units * F);
    float factor = (float)state->inverse;
    for (size_t k = 0; k < units; k++, dw += F) {
        float pull = (float)(along * (double)state->u[k]);
        for (size_t i = 0; i < F; i++)
            dw[i] = (dw[i] - pull * state->v[i]) * factor;
    }
}

static void write_increment(const Layer *layer, const Pass *pass)
{
    const SpectralNormState *state = layer->state;
    size_t bytes = (size_t)shape_features(layer->out) * sizeof *state->u;
    if (pass->train && pass->first_sample == 0)
        memcpy(layer->tensors[1].dw, state->u, bytes);
    else
        memset(layer->tensors[1].dw, 0, bytes);
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)y;
    const SpectralNormState *state = layer->state;
    dense_weight_gradient(layer, &state->linear, pass->batch, x, dy);
    through_sigma(layer, layer->tensors[0].dw);
    write_increment(layer, pass);
    dense_bias_gradient(layer, pass->batch, 2, dy);
    dense_data_gradient(layer, &state->linear, pass->batch, dy, dx);
}

extern const LayerType ISA_NAME(layer_spectralnorm_dense);
const LayerType ISA_NAME(layer_spectralnorm_dense) = {
    .name = "spectralnorm_dense",
    .help = "dense whose weights are divided by their largest singular value",
    .formula = "y = x w^T + b, w = W / sigma(W)",
    .source = "Miyato et al. 2018",
    .options = options,
    .options_bytes = sizeof(SpectralNormOptions),
    .plan = plan,
    .allocate = allocate,
    .release = release,
    .scratch = dense_scratch,
    .begin_step = begin_step,
    .forward = forward,
    .backward = backward,
    .keep_x = true,
};
