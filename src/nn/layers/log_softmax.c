/* The logarithm of softmax over features, of a sample or of each position of a sequence, without
 * taking a logarithm of a small number.
 *
 *   y_k = (x_k - max x) - ln sum_j e^(x_j - max x)
 *   dx = dy - e^y sum_j dy_j */
#include "../elementwise.h"
#include "../rows.h"
#include "lockstep/cpu.h"

/* The sum of e^(x - top), in pieces that fit a buffer. */
static double sum_exponentials(const float *x, float top, size_t n)
{
    enum { CHUNK = 256 };
    float e[CHUNK];
    double sum = 0;
    for (size_t first = 0; first < n; first += CHUNK) {
        size_t count = n - first < CHUNK ? n - first : CHUNK;
        for (size_t i = 0; i < count; i++)
            e[i] = vmath_exp(x[first + i] - top);
        sum += row_sum(e, count);
    }
    return sum;
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    size_t F = (size_t)shape_features(layer->in);
    int rows = pass->batch * shape_rows(layer->in);
    for (int r = 0; r < rows; r++, x += F, y += F) {
        float top = row_largest(x, F);
        float sum = (float)vmath_log_double(sum_exponentials(x, top, F));
        for (size_t i = 0; i < F; i++)
            y[i] = (x[i] - top) - sum;
    }
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)x;
    size_t F = (size_t)shape_features(layer->in);
    int rows = pass->batch * shape_rows(layer->in);
    for (int r = 0; dx && r < rows; r++, y += F, dy += F, dx += F) {
        float sum = (float)row_sum(dy, F);
        for (size_t i = 0; i < F; i++)
            dx[i] = dy[i] - vmath_exp(y[i]) * sum;
    }
}

extern const LayerType ISA_NAME(layer_log_softmax);
const LayerType ISA_NAME(layer_log_softmax) = {
    .name = "log_softmax",
    .help = "logarithm of softmax over the features",
    .formula = "y_k = x_k - ln sum_j e^x_j",
    .source = "Bridle 1990",
    .options = layer_no_options,
    .plan = elementwise_plan_features,
    .forward = forward,
    .backward = backward,
    .in_place = true,
    .keep_y = true,
};
