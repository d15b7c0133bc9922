/* avgpool: the mean under a window that slides over each channel. Places outside the image count as
 * zeros (count_include_pad) or not at all; the output size is rounded down. */
#include "../image.h"
#include "lockstep/cpu.h"

typedef struct AvgpoolOptions {
    int kernel, stride, padding;
    bool count_include_pad;
} AvgpoolOptions;

static const Option avgpool_options[] = {
    { "kernel", OPTION_INT, OPTION_AT(AvgpoolOptions, kernel), 1, 255, NULL, "2",
      "window height and width, pixels" },
    { "stride", OPTION_INT, OPTION_AT(AvgpoolOptions, stride), 0, 255, NULL, "0",
      "distance between windows, pixels; 0: the kernel" },
    { "padding", OPTION_INT, OPTION_AT(AvgpoolOptions, padding), 0, 127, NULL, "0",
      "border of zeros, pixels; at most half the kernel" },
    { "count_include_pad", OPTION_BOOL, OPTION_AT(AvgpoolOptions, count_include_pad), 0, 0, NULL,
      "true", "divide by the whole window; false: by its pixels inside the image" },
    OPTION_END,
};

/* One window's pixels inside the image and what their sum is multiplied with. */
typedef struct Spot {
    int top, bottom, left, right; /* rows [top, bottom), columns [left, right) */
    float share;
} Spot;

static Window layer_window(const Layer *layer)
{
    const AvgpoolOptions *options = layer->options;
    return pool_window(options->kernel, options->stride, options->padding);
}

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    (void)layout;
    Window window = layer_window(layer);
    return pool_plan(layer, &window, err);
}

static Spot spot_at(const Layer *layer, const Window *window, int oh, int ow)
{
    const AvgpoolOptions *options = layer->options;
    int h = oh * window->stride - window->padding, w = ow * window->stride - window->padding;
    Taps rows = window_taps(h, window->KH, layer->in.dim[1]);
    Taps columns = window_taps(w, window->KW, layer->in.dim[2]);
    int inside = (rows.last - rows.first) * (columns.last - columns.first);
    int pixels = options->count_include_pad ? window->KH * window->KW : inside;
    return (Spot){ h + rows.first, h + rows.last, w + columns.first, w + columns.last,
                   1 / (float)pixels };
}

/* x, y: one plane (H, W, 16) and (OH, OW, 16) */
static void forward_plane(const Layer *layer, const Window *window, const float *x, float *y)
{
    size_t W = (size_t)layer->in.dim[2];
    for (int oh = 0; oh < layer->out.dim[1]; oh++)
        for (int ow = 0; ow < layer->out.dim[2]; ow++, y += CHANNEL_BLOCK) {
            Spot spot = spot_at(layer, window, oh, ow);
            for (int c = 0; c < CHANNEL_BLOCK; c += VECTOR) {
                Vector sum = { 0 };
                for (int h = spot.top; h < spot.bottom; h++)
                    for (int w = spot.left; w < spot.right; w++)
                        sum += vector_load(x + ((size_t)h * W + (size_t)w) * CHANNEL_BLOCK + c);
                vector_store(y + c, sum * spot.share);
            }
        }
}

static void backward_plane(const Layer *layer, const Window *window, const float *dy, float *dx)
{
    size_t W = (size_t)layer->in.dim[2];
    memset(dx, 0, plane_floats(layer->in) * sizeof *dx);
    for (int oh = 0; oh < layer->out.dim[1]; oh++)
        for (int ow = 0; ow < layer->out.dim[2]; ow++, dy += CHANNEL_BLOCK) {
            Spot spot = spot_at(layer, window, oh, ow);
            for (int c = 0; c < CHANNEL_BLOCK; c += VECTOR) {
                Vector d = vector_load(dy + c) * spot.share;
                for (int h = spot.top; h < spot.bottom; h++)
                    for (int w = spot.left; w < spot.right; w++) {
                        float *place = dx + ((size_t)h * W + (size_t)w) * CHANNEL_BLOCK + c;
                        vector_store(place, vector_load(place) + d);
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
    (void)x;
    (void)y;
    if (!dx)
        return;
    Window window = layer_window(layer);
    size_t planes = (size_t)pass->batch * (size_t)shape_blocks(layer->in);
    for (size_t p = 0; p < planes; p++)
        backward_plane(layer, &window, dy + p * plane_floats(layer->out),
                       dx + p * plane_floats(layer->in));
}

extern const LayerType ISA_NAME(layer_avgpool);
const LayerType ISA_NAME(layer_avgpool) = {
    .name = "avgpool",
    .help = "mean under a sliding window",
    .formula = "y[c, h, w] = mean over i, j of x[c, h s - p + i, w s - p + j]",
    .options = avgpool_options,
    .options_bytes = sizeof(AvgpoolOptions),
    .plan = plan,
    .forward = forward,
    .backward = backward,
    .homogeneous = true,
};
