/* From a sequence to one vector, for classifiers: the mean over the positions, or the first or the
 * last of them; (T, F) becomes (F). */
#include "lockstep/cpu.h"
#include "lockstep/layer.h"

#include <string.h>

enum { MEAN, FIRST, LAST };

typedef struct PoolPositionsOptions {
    int take;
} PoolPositionsOptions;

static const Option options[] = {
    { "take", OPTION_CHOICE, OPTION_AT(PoolPositionsOptions, take), 0, 0, "mean|first|last", "mean",
      "the mean over positions, the first position (BERT's [CLS]), or the last" },
    OPTION_END,
};

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    (void)layout;
    if (layer->in.ndim != 2)
        return err_set(err, "it needs a sequence (T, F)");
    layer->out = (Shape){ .ndim = 1, .dim = { layer->in.dim[1], 1, 1 } };
    layer->flops = (double)shape_values(layer->in);
    return true;
}

/* The positions that are averaged. */
typedef struct Span {
    int first, last; /* exclusive */
} Span;

static Span span(const Layer *layer)
{
    int take = ((const PoolPositionsOptions *)layer->options)->take, T = layer->in.dim[0];
    return (Span){ .first = take == LAST ? T - 1 : 0, .last = take == FIRST ? 1 : T };
}

/* y (F) = the mean of the span's rows of x (T, F); sums are double. */
static void mean_rows(const float *x, size_t F, Span rows, float *y)
{
    enum { WIDTH = 64 };
    for (size_t first = 0; first < F; first += WIDTH) {
        double sum[WIDTH] = { 0 };
        size_t width = F - first < WIDTH ? F - first : WIDTH;
        for (int t = rows.first; t < rows.last; t++)
            for (size_t i = 0; i < width; i++)
                sum[i] += (double)x[(size_t)t * F + first + i];
        for (size_t i = 0; i < width; i++)
            y[first + i] = (float)(sum[i] / (rows.last - rows.first));
    }
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    size_t F = (size_t)shape_features(layer->in);
    for (int b = 0; b < pass->batch; b++)
        mean_rows(x + (size_t)b * shape_values(layer->in), F, span(layer), y + (size_t)b * F);
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)x;
    (void)y;
    if (!dx)
        return;
    size_t F = (size_t)shape_features(layer->in), n = shape_values(layer->in);
    Span rows = span(layer);
    float share = 1 / (float)(rows.last - rows.first);
    memset(dx, 0, n * (size_t)pass->batch * sizeof *dx);
    for (int b = 0; b < pass->batch; b++, dy += F, dx += n)
        for (int t = rows.first; t < rows.last; t++)
            for (size_t i = 0; i < F; i++)
                dx[(size_t)t * F + i] = dy[i] * share;
}

extern const LayerType ISA_NAME(layer_pool_positions);
const LayerType ISA_NAME(layer_pool_positions) = {
    .name = "pool_positions",
    .help = "one vector from a sequence: the mean, the first or the last position",
    .formula = "y = mean over t of x_t, or x_0, or x_(T-1)",
    .options = options,
    .options_bytes = sizeof(PoolPositionsOptions),
    .plan = plan,
    .forward = forward,
    .backward = backward,
};
