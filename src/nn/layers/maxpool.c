/* maxpool: the largest value under a window that slides over each channel. Places outside the
 * image count as -infinity, the output size is rounded down. The gradient goes to the first
 * place, in row order, that holds the largest value; backward finds it again by comparing x with
 * y, which costs less memory traffic than keeping an index per output. */
#include "../image.h"
#include "lockstep/cpu.h"

typedef struct MaxpoolOptions {
    int kernel, stride, padding;
} MaxpoolOptions;

static const Option maxpool_options[] = {
    { "kernel", OPTION_INT, OPTION_AT(MaxpoolOptions, kernel), 1, 255, NULL, "2",
      "window height and width, pixels" },
    { "stride", OPTION_INT, OPTION_AT(MaxpoolOptions, stride), 0, 255, NULL, "0",
      "distance between windows, pixels; 0: the kernel" },
    { "padding", OPTION_INT, OPTION_AT(MaxpoolOptions, padding), 0, 127, NULL, "0",
      "border of -infinity, pixels; at most half the kernel" },
    OPTION_END,
};

/* The same bits as a float vector, for masks. */
typedef int32_t VectorMask __attribute__((vector_size(VECTOR * sizeof(int32_t))));

static Window layer_window(const Layer *layer)
{
    const MaxpoolOptions *options = layer->options;
    return pool_window(options->kernel, options->stride, options->padding);
}

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    (void)layout;
    Window window = layer_window(layer);
    return pool_plan(layer, &window, err);
}

/* A NaN wins, so that a diverged net is seen. */
static Vector larger(Vector best, Vector x)
{
    VectorMask take = (x > best) | (x != x);
    return (Vector)((take & (VectorMask)x) | (~take & (VectorMask)best));
}

/* x, y: one plane (H, W, 16) and (OH, OW, 16) */
static void forward_plane(const Layer *layer, const Window *window, const float *x, float *y)
{
    int H = layer->in.dim[1], W = layer->in.dim[2];
    for (int oh = 0; oh < layer->out.dim[1]; oh++) {
        int top = oh * window->stride - window->padding;
        Taps rows = window_taps(top, window->KH, H);
        for (int ow = 0; ow < layer->out.dim[2]; ow++, y += CHANNEL_BLOCK) {
            int left = ow * window->stride - window->padding;
            Taps columns = window_taps(left, window->KW, W);
            for (int c = 0; c < CHANNEL_BLOCK; c += VECTOR) {
                ptrdiff_t first = (ptrdiff_t)(top + rows.first) * W + left + columns.first;
                Vector best = vector_load(x + first * CHANNEL_BLOCK + c);
                for (int kh = rows.first; kh < rows.last; kh++)
                    for (int kw = columns.first; kw < columns.last; kw++) {
                        ptrdiff_t pixel = (ptrdiff_t)(top + kh) * W + left + kw;
                        best = larger(best, vector_load(x + pixel * CHANNEL_BLOCK + c));
                    }
                vector_store(y + c, best);
            }
        }
    }
}

static void backward_plane(const Layer *layer, const Window *window, const float *x, const float *y,
                           const float *dy, float *dx)
{
    int H = layer->in.dim[1], W = layer->in.dim[2];
    memset(dx, 0, plane_floats(layer->in) * sizeof *dx);
    for (int oh = 0; oh < layer->out.dim[1]; oh++) {
        int top = oh * window->stride - window->padding;
        Taps rows = window_taps(top, window->KH, H);
        for (int ow = 0; ow < layer->out.dim[2]; ow++, y += CHANNEL_BLOCK, dy += CHANNEL_BLOCK) {
            int left = ow * window->stride - window->padding;
            Taps columns = window_taps(left, window->KW, W);
            for (int c = 0; c < CHANNEL_BLOCK; c += VECTOR) {
                Vector best = vector_load(y + c);
                VectorMask d = (VectorMask)vector_load(dy + c); /* zero once it is given away */
                for (int kh = rows.first; kh < rows.last; kh++)
                    for (int kw = columns.first; kw < columns.last; kw++) {
                        ptrdiff_t pixel = (ptrdiff_t)(top + kh) * W + left + kw;
                        float *place = dx + pixel * CHANNEL_BLOCK + c;
                        VectorMask hit = vector_load(x + pixel * CHANNEL_BLOCK + c) == best;
                        vector_store(place, vector_load(place) + (Vector)(hit & d));
                        d &= ~hit;
                    }
            }
        }
    }
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    Window window = layer_window(layer);
    size_t planes = (size_t)pass->batch * (size_t)shape_blocks(layer->in);
    for (size_t p = 0; p < planes; p++)
        forward_plane(layer, &window, x + p * plane_floats(layer->in),
                      y + p * plane_floats(layer->out));
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    if (!dx)
        return;
    Window window = layer_window(layer);
    size_t planes = (size_t)pass->batch * (size_t)shape_blocks(layer->in);
    size_t in = plane_floats(layer->in), out = plane_floats(layer->out);
    for (size_t p = 0; p < planes; p++)
        backward_plane(layer, &window, x + p * in, y + p * out, dy + p * out, dx + p * in);
}

extern const LayerType ISA_NAME(layer_maxpool);
const LayerType ISA_NAME(layer_maxpool) = {
    .name = "maxpool",
    .help = "largest value under a sliding window",
    .formula = "y[c, h, w] = max over i, j of x[c, h s - p + i, w s - p + j]",
    .options = maxpool_options,
    .options_bytes = sizeof(MaxpoolOptions),
    .plan = plan,
    .forward = forward,
    .backward = backward,
    .keep_x = true,
    .keep_y = true,
};
