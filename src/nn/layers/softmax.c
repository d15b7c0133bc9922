/* Softmax over features, of a sample or of each position of a sequence. Before a cross-entropy it
 * is not wanted: the loss softmax_cross_entropy has it built in.
 *
 *   y_k = e^(x_k - max x) / sum_j e^(x_j - max x)
 *   dx = y (dy - sum_j dy_j y_j) */
#include "../elementwise.h"
#include "../rows.h"
#include "lockstep/cpu.h"

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    size_t F = (size_t)shape_features(layer->in);
    int rows = pass->batch * shape_rows(layer->in);
    for (int r = 0; r < rows; r++, x += F, y += F) {
        float top = row_largest(x, F);
        for (size_t i = 0; i < F; i++)
            y[i] = vmath_exp(x[i] - top);
        float inverse = (float)(1 / row_sum(y, F));
        for (size_t i = 0; i < F; i++)
            y[i] *= inverse;
    }
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)x;
    size_t F = (size_t)shape_features(layer->in);
    int rows = pass->batch * shape_rows(layer->in);
    for (int r = 0; dx && r < rows; r++, y += F, dy += F, dx += F) {
        float mean = (float)row_dot(dy, y, F);
        for (size_t i = 0; i < F; i++)
            dx[i] = y[i] * (dy[i] - mean);
    }
}

extern const LayerType ISA_NAME(layer_softmax);
const LayerType ISA_NAME(layer_softmax) = {
    .name = "softmax",
    .help = "a probability for each feature; for a classifier's output the loss has its own",
    .formula = "y_k = e^x_k / sum_j e^x_j",
    .source = "Bridle 1990",
    .options = layer_no_options,
    .plan = elementwise_plan_features,
    .forward = forward,
    .backward = backward,
    .in_place = true,
    .keep_y = true,
};
