/* Dense with cosine normalisation: every output is the cosine of the angle between the input and a
 * row of the weights, in [-1, 1].
 *
 *   n = w / |w| (per row), y = x n^T / |x|
 *   s = dy / |x|: dn = s^T x, dw = (dn - n (dn . n)) / |w|
 *                 dx = s n - x (dy . y) / |x|^2
 *
 * A length below eps counts as eps, a constant. */
#include "../dense.h"
#include "../rows.h"
#include "lockstep/cpu.h"
#include "lockstep/memory.h"

#include <math.h>

typedef struct CosineOptions {
    int units;
    double eps;
} CosineOptions;

typedef struct CosineState {
    Linear linear;    /* of the weights that the products see */
    float *n;         /* (units, F): rows of length 1 */
    double *w_length; /* (units): |w|, at least eps */
    double *x_length; /* (rows): |x|, at least eps */
    float *s;         /* (rows, units) */
} CosineState;

static const Option options[] = {
    { "units", OPTION_INT, OPTION_AT(CosineOptions, units), 1, 1 << 24, NULL, NULL, "outputs" },
    { "eps", OPTION_FLOAT, OPTION_AT(CosineOptions, eps), 1e-30, 1, NULL, "1e-8",
      "smallest length of x and of a row of the weights" },
    OPTION_END,
};

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    const CosineOptions *dense = layer->options;
    if (!dense_plan(layer, dense->units, err))
        return false;
    dense_add_weights(layer, layout, "weight");
    return true;
}

static void allocate(Layer *layer, int max_batch)
{
    CosineState *state = mem_new(CosineState);
    size_t F = (size_t)shape_features(layer->in), units = (size_t)shape_features(layer->out),
           B = (size_t)dense_rows(layer, max_batch);
    state->n = mem_array(float, units *F);
    state->s = mem_array(float, B *units);
    state->w_length = mem_array(double, units);
    state->x_length = mem_array(double, B);
    dense_init(layer, &state->linear);
    layer->state = state;
    layer->state_bytes_total = sizeof *state + linear_bytes(&state->linear) +
                               (units * F + B * units) * sizeof(float) +
                               (units + B) * sizeof(double);
}

static void release(Layer *layer)
{
    CosineState *state = layer->state;
    linear_free(&state->linear);
    mem_free(state->n);
    mem_free(state->s);
    mem_free(state->w_length);
    mem_free(state->x_length);
    mem_free(state);
    layer->state = NULL;
}

static double length_of(const Layer *layer, const float *x)
{
    const CosineOptions *dense = layer->options;
    double length = sqrt(row_dot(x, x, (size_t)shape_features(layer->in)));
    return length < dense->eps ? dense->eps : length;
}

static void begin_step(Layer *layer, Layout *layout, int global_batch)
{
    (void)layout;
    (void)global_batch;
    CosineState *state = layer->state;
    size_t F = (size_t)shape_features(layer->in);
    for (size_t u = 0; u < (size_t)shape_features(layer->out); u++) {
        const float *w = layer->tensors[0].w + u * F;
        state->w_length[u] = length_of(layer, w);
        float inverse = (float)(1 / state->w_length[u]);
        for (size_t i = 0; i < F; i++)
            state->n[u * F + i] = w[i] * inverse;
    }
    linear_weights(&state->linear, state->n);
}

/* to (rows, units) = from / |x| */
static void divide_rows(const Layer *layer, int rows, const float *from, float *to)
{
    const CosineState *state = layer->state;
    size_t units = (size_t)shape_features(layer->out);
    for (int b = 0; b < rows; b++, from += units, to += units) {
        float inverse = (float)(1 / state->x_length[b]);
        for (size_t u = 0; u < units; u++)
            to[u] = from[u] * inverse;
    }
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    const CosineState *state = layer->state;
    size_t F = (size_t)shape_features(layer->in);
    for (int b = 0; b < dense_rows(layer, pass->batch); b++)
        state->x_length[b] = length_of(layer, x + (size_t)b * F);
    dense_forward(layer, &state->linear, pass->batch, 1, x, y);
    divide_rows(layer, dense_rows(layer, pass->batch), y, y);
}

/* dw holds dn and becomes dw. */
static void weight_gradient(const Layer *layer, float *dw)
{
    const CosineOptions *dense = layer->options;
    const CosineState *state = layer->state;
    size_t F = (size_t)shape_features(layer->in);
    for (size_t u = 0; u < (size_t)shape_features(layer->out); u++, dw += F) {
        const float *n = state->n + u * F;
        bool turns = state->w_length[u] > dense->eps;
        float along = turns ? (float)row_dot(dw, n, F) : 0;
        float inverse = (float)(1 / state->w_length[u]);
        for (size_t i = 0; i < F; i++)
            dw[i] = (dw[i] - n[i] * along) * inverse;
    }
}

/* dx holds s n and becomes dx. */
static void data_gradient(const Layer *layer, int rows, const float *x, const float *y,
                          const float *dy, float *dx)
{
    const CosineOptions *dense = layer->options;
    const CosineState *state = layer->state;
    size_t F = (size_t)shape_features(layer->in), units = (size_t)shape_features(layer->out);
    for (int b = 0; b < rows; b++, x += F, dx += F, y += units, dy += units) {
        double length = state->x_length[b];
        float pull = length > dense->eps ? (float)(row_dot(dy, y, units) / (length * length)) : 0;
        for (size_t i = 0; i < F; i++)
            dx[i] -= x[i] * pull;
    }
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    const CosineState *state = layer->state;
    divide_rows(layer, dense_rows(layer, pass->batch), dy, state->s);
    dense_weight_gradient(layer, &state->linear, pass->batch, x, state->s);
    weight_gradient(layer, layer->tensors[0].dw);
    dense_data_gradient(layer, &state->linear, pass->batch, state->s, dx);
    if (dx)
        data_gradient(layer, dense_rows(layer, pass->batch), x, y, dy, dx);
}

extern const LayerType ISA_NAME(layer_cosine_dense);
const LayerType ISA_NAME(layer_cosine_dense) = {
    .name = "cosine_dense",
    .help = "dense whose outputs are cosines between the input and the weights",
    .formula = "y = x w^T / (|x| |w|), |w| per row",
    .source = "Luo et al. 2018",
    .options = options,
    .options_bytes = sizeof(CosineOptions),
    .plan = plan,
    .allocate = allocate,
    .release = release,
    .scratch = dense_scratch,
    .begin_step = begin_step,
    .forward = forward,
    .backward = backward,
    .keep_x = true,
    .keep_y = true,
};
