/* conv2d: cross-correlation of an image with OC kernels, as im2col + GEMM.
 *
 *   x (B, IC/16, H, W, 16)  ->  padded image (Hp, Wp, C)  ->  columns (M, K)  ->  GEMM  ->  y
 *
 * C = IC/groups channels of one group, K = KH * KW * C in the order (KH, KW, C): with dilation 1
 * a kernel row is one run of KW * C floats of the padded image, so building columns needs no
 * test for the border. Only real channels enter the columns. They are built a few rows or images
 * at a time (M pixels), so that they are still in the L2 cache when the GEMM and, backward, the
 * second GEMM read them. The cut depends on the layer's shape alone, and so do the bits. */
#include "../image.h"
#include "lockstep/cpu.h"
#include "lockstep/gemm.h"
#include "lockstep/memory.h"

#include <limits.h>

#define COLUMN_FLOATS (96 << 10) /* of a column block, about */

typedef struct Conv2dOptions {
    int channels, kernel, kernel_h, kernel_w, stride, padding, dilation, groups;
    bool bias;
} Conv2dOptions;

static const Option conv2d_options[] = {
    { "channels", OPTION_INT, OPTION_AT(Conv2dOptions, channels), 1, 65536, NULL, NULL,
      "output channels" },
    { "kernel", OPTION_INT, OPTION_AT(Conv2dOptions, kernel), 1, 255, NULL, "3",
      "kernel height and width, pixels" },
    { "kernel_h", OPTION_INT, OPTION_AT(Conv2dOptions, kernel_h), 0, 255, NULL, "0",
      "kernel height, pixels; 0: as kernel" },
    { "kernel_w", OPTION_INT, OPTION_AT(Conv2dOptions, kernel_w), 0, 255, NULL, "0",
      "kernel width, pixels; 0: as kernel" },
    { "stride", OPTION_INT, OPTION_AT(Conv2dOptions, stride), 1, 255, NULL, "1",
      "distance between outputs, pixels" },
    { "padding", OPTION_INT, OPTION_AT(Conv2dOptions, padding), 0, 255, NULL, "0",
      "zeros around the image, pixels" },
    { "dilation", OPTION_INT, OPTION_AT(Conv2dOptions, dilation), 1, 255, NULL, "1",
      "distance between kernel taps, pixels" },
    { "groups", OPTION_INT, OPTION_AT(Conv2dOptions, groups), 1, 65536, NULL, "1",
      "channels are cut into so many groups that do not see one another" },
    { "bias", OPTION_BOOL, OPTION_AT(Conv2dOptions, bias), 0, 0, NULL, "true",
      "add one number per output channel" },
    OPTION_END,
};

typedef struct Conv2dState {
    Window window;
    int OH, OW, padded_h, padded_w;
    int group_in, group_out, K; /* channels of a group; K = KH * KW * group_in */
    int images, rows;           /* of a column block: many whole images, or some rows of one */
    float *packed, *dpacked;    /* (groups, KH, KW, group_in, group_out) */
    float *image, *dimage;      /* (images, padded_h, padded_w, group_in) */
    float *columns;             /* (images * rows * OW, K) */
    float *pixels;              /* (images * rows * OW, group_out): outputs or their gradient */
} Conv2dState;

/* A column block: output rows [first_row, first_row + rows) of `images` images. */
typedef struct ColumnBlock {
    int images, first_row, rows;
} ColumnBlock;

static Window conv_window(const Conv2dOptions *options)
{
    return (Window){
        .KH = options->kernel_h ? options->kernel_h : options->kernel,
        .KW = options->kernel_w ? options->kernel_w : options->kernel,
        .stride = options->stride,
        .padding = options->padding,
        .dilation = options->dilation,
    };
}

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    const Conv2dOptions *options = layer->options;
    Window window = conv_window(options);
    if (!window_slide(&window, layer->in, options->channels, &layer->out, err))
        return false;
    int C = layer->in.dim[0], OC = options->channels;
    if (C % options->groups != 0 || OC % options->groups != 0)
        return err_set(err, "groups: %d must divide the %d input and %d output channels",
                       options->groups, C, OC);
    int shape[4] = { OC, C / options->groups, window.KH, window.KW };
    double taps = (double)window.KH * window.KW;
    double fan_in = taps * shape[1], fan_out = taps * OC;
    if (fan_in * OC > INT_MAX || fan_out > INT_MAX)
        return err_set(err, "%.3g weights are too many", fan_in * OC);
    layer_add_tensor(layer, layout, "weight", 4, shape, LAYOUT_DECAY | LAYOUT_ADAPT, (int)fan_in,
                     (int)fan_out, NULL);
    if (options->bias)
        layer_add_tensor(layer, layout, "bias", 1, &OC, 0, (int)fan_in, (int)fan_out, "zeros");
    layer->flops = 2 * fan_in * OC * layer->out.dim[1] * layer->out.dim[2];
    return true;
}

/* Cuts the work into column blocks of about COLUMN_FLOATS, rows balanced. */
static void cut_blocks(Conv2dState *state)
{
    double row = (double)state->OW * state->K;
    double rows = COLUMN_FLOATS / row;
    if (rows >= state->OH) {
        state->rows = state->OH;
        state->images = (int)(rows / state->OH);
        return;
    }
    int pieces = (int)((state->OH - 1) / (rows < 1 ? 1 : rows)) + 1;
    state->rows = (state->OH + pieces - 1) / pieces;
    state->images = 1;
}

static float *scratch(Layer *layer, size_t floats)
{
    size_t bytes = (floats + VECTOR) * sizeof(float); /* for copy_patch */
    layer->state_bytes_total += bytes;
    return mem_alloc(bytes);
}

static void allocate(Layer *layer, int max_batch)
{
    const Conv2dOptions *options = layer->options;
    Conv2dState *state = mem_new(Conv2dState);
    state->window = conv_window(options);
    state->OH = layer->out.dim[1];
    state->OW = layer->out.dim[2];
    state->padded_h = layer->in.dim[1] + 2 * options->padding;
    state->padded_w = layer->in.dim[2] + 2 * options->padding;
    state->group_in = layer->in.dim[0] / options->groups;
    state->group_out = options->channels / options->groups;
    state->K = state->window.KH * state->window.KW * state->group_in;
    cut_blocks(state);
    state->images = least(state->images, max_batch);

    size_t weights = (size_t)options->channels * (size_t)state->K;
    size_t M = (size_t)state->images * (size_t)state->rows * (size_t)state->OW;
    size_t image = (size_t)state->images * (size_t)state->padded_h * (size_t)state->padded_w *
                   (size_t)state->group_in;
    layer->state_bytes_total = sizeof *state;
    state->packed = scratch(layer, weights);
    state->dpacked = scratch(layer, weights);
    state->image = scratch(layer, image);
    state->dimage = scratch(layer, layer->first ? 0 : image);
    state->columns = scratch(layer, M * (size_t)state->K);
    state->pixels = scratch(layer, M * (size_t)state->group_out);
    layer->state = state;
}

static void release(Layer *layer)
{
    Conv2dState *state = layer->state;
    if (!state)
        return;
    mem_free(state->packed);
    mem_free(state->dpacked);
    mem_free(state->image);
    mem_free(state->dimage);
    mem_free(state->columns);
    mem_free(state->pixels);
    mem_free(state);
    layer->state = NULL;
}

/* Visits every weight: its place in the tensor (OC, group_in, KH * KW) and in packed form. */
static inline void visit_weights(const Layer *layer, float *w, float *packed, bool unpack)
{
    const Conv2dState *state = layer->state;
    size_t taps = (size_t)(state->window.KH * state->window.KW), C = (size_t)state->group_in;
    size_t group_out = (size_t)state->group_out, K = (size_t)state->K;
    for (size_t o = 0; o < (size_t)layer->out.dim[0]; o++) {
        float *column = packed + o / group_out * K * group_out + o % group_out;
        for (size_t c = 0; c < C; c++)
            for (size_t tap = 0; tap < taps; tap++, w++) {
                float *place = column + (tap * C + c) * group_out;
                if (unpack)
                    *w = *place;
                else
                    *place = *w;
            }
    }
}

static void begin_step(Layer *layer, Layout *layout, int global_batch)
{
    (void)layout;
    (void)global_batch;
    const Conv2dState *state = layer->state;
    visit_weights(layer, layer->tensors[0].w, state->packed, false);
}

static size_t padded_floats(const Conv2dState *state)
{
    return (size_t)state->padded_h * (size_t)state->padded_w * (size_t)state->group_in;
}

/* Where row h of the image without its border starts in a padded image. */
static size_t padded_row(const Conv2dState *state, int h)
{
    int padding = state->window.padding;
    return ((size_t)(h + padding) * (size_t)state->padded_w + (size_t)padding) *
           (size_t)state->group_in;
}

/* One group's channels of x (images) -> state->image, whose border is zero from the start. */
static void load_images(const Layer *layer, const float *x, int images, int group)
{
    const Conv2dState *state = layer->state;
    size_t row = (size_t)layer->in.dim[2] * CHANNEL_BLOCK;
    for (int n = 0; n < images; n++)
        for (int h = 0; h < layer->in.dim[1]; h++)
            channels_to_rows(x + (size_t)n * image_floats(layer->in) + (size_t)h * row,
                             plane_floats(layer->in), layer->in.dim[2], group * state->group_in,
                             state->group_in,
                             state->image + (size_t)n * padded_floats(state) + padded_row(state, h),
                             (size_t)state->group_in);
}

/* The inverse for gradients: state->dimage -> one group's channels of dx. */
static void store_gradient(const Layer *layer, float *dx, int images, int group)
{
    const Conv2dState *state = layer->state;
    size_t row = (size_t)layer->in.dim[2] * CHANNEL_BLOCK;
    for (int n = 0; n < images; n++)
        for (int h = 0; h < layer->in.dim[1]; h++)
            rows_to_channels(
                state->dimage + (size_t)n * padded_floats(state) + padded_row(state, h),
                (size_t)state->group_in, layer->in.dim[2], group * state->group_in, state->group_in,
                dx + (size_t)n * image_floats(layer->in) + (size_t)h * row,
                plane_floats(layer->in));
}

/* What one output pixel sees of a padded image, as runs of floats: `rows` kernel rows,
 * `row_step` floats apart, each of `runs` runs, `run_step` apart, of `run` floats. */
typedef struct Patch {
    size_t rows, row_step, runs, run_step, run;
} Patch;

static Patch patch_of(const Conv2dState *state)
{
    const Window *window = &state->window;
    size_t C = (size_t)state->group_in, dilation = (size_t)window->dilation;
    bool dense = dilation == 1;
    return (Patch){
        .rows = (size_t)window->KH,
        .row_step = dilation * (size_t)state->padded_w * C,
        .runs = dense ? 1 : (size_t)window->KW,
        .run_step = dilation * C,
        .run = dense ? (size_t)window->KW * C : C,
    };
}

/* columns = patch. Copies up to VECTOR - 1 floats too many: what follows overwrites them, and
 * buffers end in spare room. */
static float *copy_patch(const Patch *patch, const float *corner, float *columns)
{
    for (size_t row = 0; row < patch->rows; row++, corner += patch->row_step)
        for (size_t k = 0; k < patch->runs; k++, columns += patch->run)
            for (size_t i = 0; i < patch->run; i += VECTOR)
                vector_store(columns + i, vector_load(corner + k * patch->run_step + i));
    return columns;
}

static void add_run(float *to, const float *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] += from[i];
}

/* patch += columns */
static const float *add_patch(const Patch *patch, const float *columns, float *corner)
{
    for (size_t row = 0; row < patch->rows; row++, corner += patch->row_step)
        for (size_t k = 0; k < patch->runs; k++, columns += patch->run)
            add_run(corner + k * patch->run_step, columns, patch->run);
    return columns;
}

/* Where the patch of output row r starts in image n of the block, and how far the next pixel's
 * is. */
static size_t patch_row(const Conv2dState *state, int n, int r)
{
    return (size_t)n * padded_floats(state) +
           (size_t)(r * state->window.stride) * (size_t)state->padded_w * (size_t)state->group_in;
}

static size_t patch_step(const Conv2dState *state)
{
    return (size_t)state->window.stride * (size_t)state->group_in;
}

static void build_columns(const Conv2dState *state, ColumnBlock block)
{
    Patch patch = patch_of(state);
    float *columns = state->columns;
    for (int n = 0; n < block.images; n++)
        for (int r = block.first_row; r < block.first_row + block.rows; r++) {
            const float *corner = state->image + patch_row(state, n, r);
            for (int c = 0; c < state->OW; c++, corner += patch_step(state))
                columns = copy_patch(&patch, corner, columns);
        }
}

static void add_columns(const Conv2dState *state, ColumnBlock block)
{
    Patch patch = patch_of(state);
    const float *columns = state->columns;
    for (int n = 0; n < block.images; n++)
        for (int r = block.first_row; r < block.first_row + block.rows; r++) {
            float *corner = state->dimage + patch_row(state, n, r);
            for (int c = 0; c < state->OW; c++, corner += patch_step(state))
                columns = add_patch(&patch, columns, corner);
        }
}

static int block_pixels(const Conv2dState *state, ColumnBlock block)
{
    return block.images * block.rows * state->OW;
}

/* state->pixels + bias -> the block's place in y. */
static void store_outputs(const Layer *layer, ColumnBlock block, int group, float *y)
{
    const Conv2dState *state = layer->state;
    int pixels = block.rows * state->OW, C = state->group_out;
    const float *bias = layer->tensor_count > 1 ? layer->tensors[1].w + group * C : NULL;
    size_t first = (size_t)(block.first_row * state->OW) * CHANNEL_BLOCK;
    for (int n = 0; n < block.images; n++) {
        float *rows = state->pixels + (size_t)n * (size_t)pixels * (size_t)C;
        for (int p = 0; bias && p < pixels; p++)
            add_run(rows + (size_t)p * (size_t)C, bias, (size_t)C);
        rows_to_channels(rows, (size_t)C, pixels, group * C, C,
                         y + (size_t)n * image_floats(layer->out) + first,
                         plane_floats(layer->out));
    }
}

/* The block's part of dy -> state->pixels. */
static void load_gradient(const Layer *layer, ColumnBlock block, int group, const float *dy)
{
    const Conv2dState *state = layer->state;
    int pixels = block.rows * state->OW, C = state->group_out;
    size_t first = (size_t)(block.first_row * state->OW) * CHANNEL_BLOCK;
    for (int n = 0; n < block.images; n++)
        channels_to_rows(dy + (size_t)n * image_floats(layer->out) + first,
                         plane_floats(layer->out), pixels, group * C, C,
                         state->pixels + (size_t)n * (size_t)pixels * (size_t)C, (size_t)C);
}

/* y = columns packed, one group of a few images. */
static void forward_images(const Layer *layer, const float *x, float *y, int images, int group)
{
    const Conv2dState *state = layer->state;
    int C = state->group_out, K = state->K;
    const float *packed = state->packed + (size_t)group * (size_t)C * (size_t)K;
    load_images(layer, x, images, group);
    for (int r = 0; r < state->OH; r += state->rows) {
        ColumnBlock block = { images, r, least(state->rows, state->OH - r) };
        build_columns(state, block);
        gemm(false, false, block_pixels(state, block), C, K, 1, state->columns, K, packed, C, 0,
             state->pixels, C);
        store_outputs(layer, block, group, y);
    }
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    const Conv2dOptions *options = layer->options;
    const Conv2dState *state = layer->state;
    size_t in = image_floats(layer->in), out = image_floats(layer->out);
    for (int n = 0; n < pass->batch; n += state->images) {
        int images = least(state->images, pass->batch - n);
        for (int group = 0; group < options->groups; group++)
            forward_images(layer, x + (size_t)n * in, y + (size_t)n * out, images, group);
        for (int i = n; i < n + images; i++)
            clear_missing_channels(layer->out, y + (size_t)i * out);
    }
}

/* dpacked += columns^T dy, and dx = the columns dy packed^T, added up where they overlap. */
static void backward_images(const Layer *layer, const float *x, const float *dy, float *dx,
                            int images, int group)
{
    const Conv2dState *state = layer->state;
    int C = state->group_out, K = state->K;
    size_t first = (size_t)group * (size_t)C * (size_t)K;
    load_images(layer, x, images, group);
    if (dx)
        memset(state->dimage, 0, (size_t)images * padded_floats(state) * sizeof(float));
    for (int r = 0; r < state->OH; r += state->rows) {
        ColumnBlock block = { images, r, least(state->rows, state->OH - r) };
        int M = block_pixels(state, block);
        build_columns(state, block);
        load_gradient(layer, block, group, dy);
        gemm(true, false, K, C, M, 1, state->columns, K, state->pixels, C, 1,
             state->dpacked + first, C);
        if (!dx)
            continue;
        gemm(false, true, M, K, C, 1, state->pixels, C, state->packed + first, C, 0, state->columns,
             K);
        add_columns(state, block);
    }
    if (dx)
        store_gradient(layer, dx, images, group);
}

/* db[c] = the sum of dy over images and pixels. */
static void bias_gradient(const Layer *layer, int batch, const float *dy, float *db)
{
    size_t plane = plane_floats(layer->out), image = image_floats(layer->out);
    for (int block = 0; block < shape_blocks(layer->out); block++) {
        double sum[CHANNEL_BLOCK] = { 0 };
        for (int n = 0; n < batch; n++)
            run_sum(dy + (size_t)n * image + (size_t)block * plane, plane / CHANNEL_BLOCK,
                    CHANNEL_BLOCK, CHANNEL_BLOCK, sum);
        int first = block * CHANNEL_BLOCK;
        for (int c = 0; c < least(CHANNEL_BLOCK, layer->out.dim[0] - first); c++)
            db[first + c] = (float)sum[c];
    }
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)y;
    const Conv2dOptions *options = layer->options;
    const Conv2dState *state = layer->state;
    size_t in = image_floats(layer->in), out = image_floats(layer->out);
    expect(!dx || !layer->first);
    memset(state->dpacked, 0, (size_t)options->channels * (size_t)state->K * sizeof(float));
    for (int n = 0; n < pass->batch; n += state->images) {
        int images = least(state->images, pass->batch - n);
        for (int group = 0; group < options->groups; group++)
            backward_images(layer, x + (size_t)n * in, dy + (size_t)n * out,
                            dx ? dx + (size_t)n * in : NULL, images, group);
        for (int i = n; dx && i < n + images; i++)
            clear_missing_channels(layer->in, dx + (size_t)i * in);
    }
    visit_weights(layer, layer->tensors[0].dw, state->dpacked, true);
    if (options->bias)
        bias_gradient(layer, pass->batch, dy, layer->tensors[1].dw);
}

extern const LayerType ISA_NAME(layer_conv2d);
const LayerType ISA_NAME(layer_conv2d) = {
    .name = "conv2d",
    .help = "two-dimensional convolution (cross-correlation)",
    .formula =
        "y[o, h, w] = b[o] + sum over c, i, j of W[o, c, i, j] x[c, h s - p + i d, w s - p + j d]",
    .source = "LeCun et al. 1989",
    .options = conv2d_options,
    .options_bytes = sizeof(Conv2dOptions),
    .plan = plan,
    .allocate = allocate,
    .release = release,
    .begin_step = begin_step,
    .forward = forward,
    .backward = backward,
    .keep_x = true,
};
