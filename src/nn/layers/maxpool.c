/* maxpool: the largest value under a window that slides over each channel. Places outside the
 * image count as -infinity, the output size is rounded down. The gradient goes to the first
 * place, in row order, that holds the largest value; forward keeps its number for each output, so
 * that neither x nor y need stay and backward reads half an output beside dy. The relu of a maximum
 * is the maximum of relus: a fused relu, before or behind, costs nothing. */
#include "../image.h"
#include "lockstep/cpu.h"
#include "lockstep/memory.h"

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

/* Where each output comes from: 1 + kh KW + kw, or 0 where a relu let nothing through. */
typedef uint16_t Winners __attribute__((vector_size(VECTOR * sizeof(uint16_t)), aligned(2)));

typedef struct MaxpoolState {
    uint16_t *winners; /* shaped like y */
} MaxpoolState;

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

static size_t outputs(const Layer *layer, int batch)
{
    return shape_stored(layer->out) * (size_t)batch;
}

static void allocate(Layer *layer, int max_batch)
{
    MaxpoolState *state = mem_new(MaxpoolState);
    state->winners = mem_array(uint16_t, outputs(layer, max_batch));
    layer->state = state;
    layer->state_bytes_total = sizeof *state + outputs(layer, max_batch) * sizeof(uint16_t);
}

static void release(Layer *layer)
{
    MaxpoolState *state = layer->state;
    if (!state)
        return;
    mem_free(state->winners);
    mem_free(state);
    layer->state = NULL;
}

/* One window of one plane: its first pixel's place, which may be outside, and its taps inside. */
typedef struct Spot {
    ptrdiff_t corner; /* pixels */
    Taps rows, columns;
} Spot;

static Spot spot_at(const Layer *layer, const Window *window, int oh, int ow)
{
    int H = layer->in.dim[1], W = layer->in.dim[2];
    int top = oh * window->stride - window->padding, left = ow * window->stride - window->padding;
    return (Spot){ (ptrdiff_t)top * W + left, window_taps(top, window->KH, H),
                   window_taps(left, window->KW, W) };
}

/* The largest of a window's values and where it is. A NaN wins, so that a diverged net is seen. */
static Vector largest(const float *x, int W, const Window *window, const Spot *spot,
                      VectorMask *winner)
{
    ptrdiff_t first = (ptrdiff_t)spot->rows.first * W + spot->columns.first;
    Vector best = vector_load(x + (spot->corner + first) * CHANNEL_BLOCK);
    VectorMask place =
        (VectorMask){ 0 } + (1 + spot->rows.first * window->KW + spot->columns.first);
    for (int kh = spot->rows.first; kh < spot->rows.last; kh++)
        for (int kw = spot->columns.first; kw < spot->columns.last; kw++) {
            ptrdiff_t pixel = spot->corner + (ptrdiff_t)kh * W + kw;
            Vector value = vector_load(x + pixel * CHANNEL_BLOCK);
            VectorMask take = (value > best) | (value != value);
            VectorMask here = (VectorMask){ 0 } + (1 + kh * window->KW + kw);
            best = (Vector)((take & (VectorMask)value) | (~take & (VectorMask)best));
            place = (take & here) | (~take & place);
        }
    *winner = place;
    return best;
}

/* x, y: one plane (H, W, 16) and (OH, OW, 16) */
static void forward_plane(const Layer *layer, size_t plane, const float *x, float *y)
{
    const MaxpoolState *state = layer->state;
    uint16_t *winners = state->winners + plane * plane_floats(layer->out);
    Window window = layer_window(layer);
    bool relu = layer->epilogue.relu != RECTIFY_NONE;
    for (int oh = 0; oh < layer->out.dim[1]; oh++)
        for (int ow = 0; ow < layer->out.dim[2]; ow++) {
            Spot spot = spot_at(layer, &window, oh, ow);
            for (int c = 0; c < CHANNEL_BLOCK; c += VECTOR, y += VECTOR, winners += VECTOR) {
                VectorMask winner;
                Vector best = largest(x + c, layer->in.dim[2], &window, &spot, &winner);
                if (relu) {
                    winner &= ~(VectorMask)(best <= 0);
                    best = vector_where_positive(best, best);
                }
                vector_store(y, best);
                *(Winners *)winners = __builtin_convertvector(winner, Winners);
            }
        }
}

/* dy goes to the winner's place. Windows that tile the image write each pixel of dx once, others
 * add to zeros. */
static void give(float *dx, int W, const Window *window, const Spot *spot, Vector dy,
                 VectorMask winner, bool tiles)
{
    for (int kh = spot->rows.first; kh < spot->rows.last; kh++)
        for (int kw = spot->columns.first; kw < spot->columns.last; kw++) {
            VectorMask here = (VectorMask){ 0 } + (1 + kh * window->KW + kw);
            Vector part = (Vector)((VectorMask)dy & (VectorMask)(winner == here));
            float *place = dx + (spot->corner + (ptrdiff_t)kh * W + kw) * CHANNEL_BLOCK;
            vector_store(place, tiles ? part : vector_load(place) + part);
        }
}

static void backward_plane(const Layer *layer, size_t plane, const float *dy, float *dx)
{
    const MaxpoolState *state = layer->state;
    const uint16_t *winners = state->winners + plane * plane_floats(layer->out);
    Window window = layer_window(layer);
    int W = layer->in.dim[2], OH = layer->out.dim[1], OW = layer->out.dim[2];
    bool tiles = window.stride == window.KH && window.padding == 0;
    if (!tiles || OH * window.KH < layer->in.dim[1] || OW * window.KW < W)
        memset(dx, 0, plane_floats(layer->in) * sizeof *dx);
    for (int oh = 0; oh < OH; oh++)
        for (int ow = 0; ow < OW; ow++) {
            Spot spot = spot_at(layer, &window, oh, ow);
            for (int c = 0; c < CHANNEL_BLOCK; c += VECTOR, dy += VECTOR, winners += VECTOR) {
                VectorMask winner = __builtin_convertvector(*(const Winners *)winners, VectorMask);
                give(dx + c, W, &window, &spot, vector_load(dy), winner, tiles);
            }
        }
}

/* The values at the places that won in an earlier pass. */
static void take_plane(const Layer *layer, size_t plane, const float *x, float *y)
{
    const MaxpoolState *state = layer->state;
    const uint16_t *winners = state->winners + plane * plane_floats(layer->out);
    Window window = layer_window(layer);
    for (int oh = 0; oh < layer->out.dim[1]; oh++)
        for (int ow = 0; ow < layer->out.dim[2]; ow++) {
            Spot spot = spot_at(layer, &window, oh, ow);
            for (int c = 0; c < CHANNEL_BLOCK; c++) {
                int place = *winners++ - 1;
                ptrdiff_t row = place / window.KW, column = place % window.KW;
                ptrdiff_t pixel = spot.corner + row * layer->in.dim[2] + column;
                *y++ = x[pixel * CHANNEL_BLOCK + c];
            }
        }
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    size_t planes = (size_t)pass->batch * (size_t)shape_blocks(layer->in);
    size_t in = plane_floats(layer->in), out = plane_floats(layer->out);
    for (size_t p = 0; p < planes; p++) {
        if (pass->sides == SIDES_KEPT)
            take_plane(layer, p, x + p * in, y + p * out);
        else
            forward_plane(layer, p, x + p * in, y + p * out);
    }
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)x;
    (void)y;
    size_t planes = (size_t)pass->batch * (size_t)shape_blocks(layer->in);
    size_t in = plane_floats(layer->in), out = plane_floats(layer->out);
    for (size_t p = 0; dx && p < planes; p++)
        backward_plane(layer, p, dy + p * out, dx + p * in);
}

extern const LayerType ISA_NAME(layer_maxpool);
const LayerType ISA_NAME(layer_maxpool) = {
    .name = "maxpool",
    .help = "largest value under a sliding window",
    .formula = "y[c, h, w] = max over i, j of x[c, h s - p + i, w s - p + j]",
    .options = maxpool_options,
    .options_bytes = sizeof(MaxpoolOptions),
    .plan = plan,
    .allocate = allocate,
    .release = release,
    .forward = forward,
    .backward = backward,
    .forward_plane = forward_plane,
    .backward_plane = backward_plane,
    .fuses_relu = true,
    .relu_commutes = true,
    .homogeneous = true,
};
