/* Direct convolution, for every shape: the sum over taps and channels as it is written,
 *
 *   y[o, h, w] = b[o] + sum over c, i, j of W[o, c, i, j] x[c, h s - p + i d, w s - p + j d].
 *
 * Images are copied into a padded form first, in which neighbouring output pixels read neighbouring
 * places: a row is split into its `stride` column phases, w mod s. So a kernel tap is one offset,
 * for any stride and dilation, and one product (product.h) serves all shapes:
 *
 *   padded (C/16, padded_h, s, phase_w, 16)      column s q + r of a row is at [r][q]
 *   or, of 1 or 3 channels, (padded_h, padded_w, C)
 *
 * The second form keeps first layers small: the taps of a kernel row are then C KW neighbouring
 * floats, which the product takes for the channels of one tap.
 *
 * The data gradient is the same product over dy with the transposed weights. Pixel h of dx gets
 * something from tap i only if h + p - i d is a multiple of s: the pixels of dx fall into s x s
 * phases (h mod s, w mod s), each a small convolution of stride 1 with its own taps ("sub-pixel
 * convolution", Shi et al. 2016), and no multiplication by a zero between pixels is made. */
#include "conv.h"
#include "depthwise.h"
#include "lockstep/memory.h"
#include "stream.h"

#define ENOUGH_ROWS 8 /* of outer_add without offsets, which is faster if its registers are full */
#define CALL_PIXELS 144 /* about; of one outer_add, so that dy stays in the L1 cache */

/* Output channel blocks [first_out, first_out + out_blocks), which see the input channels of the
 * blocks from first_in on. */
typedef struct Panel {
    int first_out, out_blocks, first_in, channels;
    size_t start; /* of its weights, floats */
} Panel;

/* Output pixels (row, column) at y_start + row y_row + column y_step. */
typedef struct Sweep {
    int rows, columns;
    int first_tap, tap_count;
    size_t y_start, y_row;
} Sweep;

/* Where the taps of one dimension reach, in pixels of the padded image. */
typedef struct Reach {
    int before, length;
} Reach;

/* One convolution: the forward pass, or the data gradient. */
typedef struct Direct {
    int C, H, W, OC; /* what it reads; channels it writes */
    int group_in, group_out, kernel_taps;
    bool transposed, depthwise;
    Reach rows, columns;
    int used_rows, used_columns; /* row and column phases that some tap reads: the first so many */
    int phases, phase_w;         /* of a padded row */
    int pixel;                   /* floats of a padded pixel: 16, or 1 or 3 channels */
    int run;                     /* taps that the product takes for one: KW of few channels, or 1 */
    bool in_place;               /* x is its own padded form */
    bool stream;                 /* y is larger than the caches */
    size_t x_row, x_block, x_image; /* floats of the padded form; x_row: an output row further */
    size_t y_block, y_image, y_step;
    int tap_count, sweep_count, panel_count;
    int *tap_index; /* (tap_count): KW i + j, ordered by sweep */
    size_t *taps;   /* (tap_count): offsets in the padded image, floats */
    size_t *runs;   /* (tap_count / run): the same of each run's first tap */
    Sweep *sweeps;
    Panel *panels;
    size_t weights; /* floats of packed */
    float *packed;  /* (panels, taps by sweep and input block, channels, 16 out_blocks) */
} Direct;

typedef struct DirectState {
    Direct forward, gradient;
    int images, rows; /* taken together: many whole images, or some rows of one */
    int OH, OW;
    size_t *offsets; /* (K) for outer_add: every channel of every tap */
} DirectState;

/* ---- making a plan ---- */

static int divide_up(int a, int b)
{
    return (a + b - 1) / b;
}

static int channels_of(const Direct *direct, int first_block, int blocks)
{
    return least(direct->C, (first_block + blocks) * CHANNEL_BLOCK) - first_block * CHANNEL_BLOCK;
}

/* Input blocks that output block `block` sees: all of them, or those of its groups. */
static void see_blocks(const Direct *direct, int block, int *first, int *count)
{
    int last_channel = least(direct->OC, (block + 1) * CHANNEL_BLOCK) - 1;
    int first_group = block * CHANNEL_BLOCK / direct->group_out;
    int last_group = last_channel / direct->group_out;
    *first = first_group * direct->group_in / CHANNEL_BLOCK;
    *count = divide_up((last_group + 1) * direct->group_in, CHANNEL_BLOCK) - *first;
}

static size_t panel_floats(const Direct *direct, const Panel *panel)
{
    int channels = direct->depthwise ? 1 : panel->channels;
    return (size_t)direct->tap_count * (size_t)channels * (size_t)panel->out_blocks * CHANNEL_BLOCK;
}

/* Cuts output channels into panels; blocks share a panel if they see the same input. Returns the
 * floats of all weights. */
static size_t cut_panels(Direct *direct)
{
    int blocks = divide_up(direct->OC, CHANNEL_BLOCK);
    direct->panels = mem_array(Panel, blocks);
    size_t start = 0;
    for (int block = 0, out_blocks; block < blocks; block += out_blocks) {
        int first, count, next_first, next_count;
        see_blocks(direct, block, &first, &count);
        out_blocks = 1;
        while (!direct->depthwise && out_blocks < PANEL_BLOCKS && block + out_blocks < blocks) {
            see_blocks(direct, block + out_blocks, &next_first, &next_count);
            if (next_first != first || next_count != count)
                break;
            out_blocks++;
        }
        Panel *panel = &direct->panels[direct->panel_count++];
        *panel = (Panel){ block, out_blocks, first, channels_of(direct, first, count), start };
        start += panel_floats(direct, panel);
    }
    return start;
}

static size_t row_floats(const Direct *direct)
{
    return (size_t)direct->phases * (size_t)direct->phase_w * (size_t)direct->pixel;
}

/* Sizes of the padded form, which must hold what `rows` and `columns` reach. */
static void plan_padded(Direct *direct)
{
    direct->in_place = direct->pixel == CHANNEL_BLOCK && direct->phases == 1 &&
                       direct->rows.before == 0 && direct->columns.before == 0 &&
                       direct->rows.length <= direct->H && direct->columns.length <= direct->W;
    if (direct->in_place) {
        direct->rows.length = direct->H;
        direct->columns.length = direct->W;
    }
    direct->phase_w = divide_up(direct->columns.length, direct->phases);
    direct->x_block = (size_t)direct->rows.length * row_floats(direct);
    direct->x_image = (size_t)divide_up(direct->C, CHANNEL_BLOCK) * direct->x_block;
    direct->x_row = (size_t)direct->phases * row_floats(direct);
}

static size_t tap_offset(const Direct *direct, int row, int column)
{
    int place = column % direct->phases * direct->phase_w + column / direct->phases;
    return (size_t)row * row_floats(direct) + (size_t)(place * direct->pixel);
}

static void add_tap(Direct *direct, int index, int row, int column)
{
    direct->tap_index[direct->tap_count] = index;
    direct->taps[direct->tap_count++] = tap_offset(direct, row, column);
}

/* Pixels of 1 or 3 floats instead of 16? */
static bool few_channels(const ConvShape *shape)
{
    return (shape->C == 1 || shape->C == 3) && shape->OC > 1 && shape->groups == 1 &&
           shape->stride == 1 && shape->dilation == 1 && shape->KW * shape->C <= CHANNEL_BLOCK;
}

static void plan_forward(Direct *direct, const ConvShape *shape)
{
    *direct = (Direct){
        .C = shape->C,
        .H = shape->H,
        .W = shape->W,
        .OC = shape->OC,
        .group_in = shape->C / shape->groups,
        .group_out = shape->OC / shape->groups,
        .kernel_taps = shape->KH * shape->KW,
        .depthwise = shape->C == shape->groups && shape->OC == shape->groups,
        .phases = shape->stride,
        .pixel = few_channels(shape) ? shape->C : CHANNEL_BLOCK,
        .run = few_channels(shape) ? shape->KW : 1,
        .y_step = CHANNEL_BLOCK,
        .y_block = (size_t)shape->OH * (size_t)shape->OW * CHANNEL_BLOCK,
        .sweep_count = 1,
        .sweeps = mem_new(Sweep),
    };
    int d = shape->dilation, s = shape->stride;
    direct->used_rows = d == 1 ? least(shape->KH, s) : s;
    direct->used_columns = d == 1 ? least(shape->KW, s) : s;
    direct->rows = (Reach){ shape->padding, (shape->OH - 1) * s + (shape->KH - 1) * d + 1 };
    direct->columns = (Reach){ shape->padding, (shape->OW - 1) * s + (shape->KW - 1) * d + 1 };
    plan_padded(direct);
    direct->taps = mem_array(size_t, direct->kernel_taps);
    direct->tap_index = mem_array(int, direct->kernel_taps);
    for (int i = 0; i < shape->KH; i++)
        for (int j = 0; j < shape->KW; j++)
            add_tap(direct, i * shape->KW + j, i * d, j * d);
    direct->sweeps[0] = (Sweep){ .rows = shape->OH,
                                 .columns = shape->OW,
                                 .tap_count = direct->tap_count,
                                 .y_row = (size_t)shape->OW * CHANNEL_BLOCK };
}

/* dx pixel s q + phase reads dy pixel q + step of tap i; false if the tap gives it nothing. */
static bool tap_step(const ConvShape *shape, int phase, int i, int *step)
{
    int distance = phase + shape->padding - i * shape->dilation;
    *step = distance / shape->stride;
    return distance % shape->stride == 0;
}

/* Pixels of one phase in `length` pixels of dx. */
static int phase_pixels(const ConvShape *shape, int phase, int length)
{
    return phase < length ? divide_up(length - phase, shape->stride) : 0;
}

/* What all taps of one dimension read of dy, for dx of `length` pixels. */
static Reach gradient_reach(const ConvShape *shape, int kernel, int length)
{
    int before = 0, last = 0, step;
    for (int phase = 0; phase < least(shape->stride, length); phase++)
        for (int i = 0; i < kernel; i++)
            if (tap_step(shape, phase, i, &step)) {
                before = least(before, step);
                last = -least(-last, 1 - phase_pixels(shape, phase, length) - step);
            }
    return (Reach){ -before, last + 1 - before };
}

static void plan_phase(Direct *direct, const ConvShape *shape, int h, int w)
{
    Sweep *sweep = &direct->sweeps[direct->sweep_count++];
    *sweep = (Sweep){
        .rows = phase_pixels(shape, h, shape->H),
        .columns = phase_pixels(shape, w, shape->W),
        .first_tap = direct->tap_count,
        .y_start = (size_t)(h * shape->W + w) * CHANNEL_BLOCK,
        .y_row = (size_t)(shape->stride * shape->W) * CHANNEL_BLOCK,
    };
    int row, column;
    for (int i = 0; i < shape->KH; i++)
        for (int j = 0; j < shape->KW; j++)
            if (tap_step(shape, h, i, &row) && tap_step(shape, w, j, &column))
                add_tap(direct, i * shape->KW + j, direct->rows.before + row,
                        direct->columns.before + column);
    sweep->tap_count = direct->tap_count - sweep->first_tap;
}

static void plan_gradient(Direct *direct, const ConvShape *shape)
{
    int s = shape->stride;
    *direct = (Direct){
        .C = shape->OC,
        .H = shape->OH,
        .W = shape->OW,
        .OC = shape->C,
        .group_in = shape->OC / shape->groups,
        .group_out = shape->C / shape->groups,
        .kernel_taps = shape->KH * shape->KW,
        .transposed = true,
        .depthwise = shape->C == shape->groups && shape->OC == shape->groups,
        .rows = gradient_reach(shape, shape->KH, shape->H),
        .columns = gradient_reach(shape, shape->KW, shape->W),
        .used_rows = 1,
        .used_columns = 1,
        .phases = 1,
        .pixel = CHANNEL_BLOCK,
        .run = 1,
        .y_step = (size_t)s * CHANNEL_BLOCK,
        .y_block = (size_t)shape->H * (size_t)shape->W * CHANNEL_BLOCK,
    };
    plan_padded(direct);
    direct->taps = mem_array(size_t, direct->kernel_taps);
    direct->tap_index = mem_array(int, direct->kernel_taps);
    direct->sweeps = mem_array(Sweep, least(s, shape->H) * least(s, shape->W));
    for (int h = 0; h < least(s, shape->H); h++)
        for (int w = 0; w < least(s, shape->W); w++)
            plan_phase(direct, shape, h, w);
}

/* What follows for both plans. */
static void finish_plan(Direct *direct, int max_batch)
{
    direct->y_image = (size_t)divide_up(direct->OC, CHANNEL_BLOCK) * direct->y_block;
    direct->stream = (size_t)max_batch * direct->y_image > CACHE_FLOATS;
    direct->runs = mem_array(size_t, direct->tap_count / direct->run);
    for (int tap = 0; tap < direct->tap_count; tap += direct->run)
        direct->runs[tap / direct->run] = direct->taps[tap];
    direct->weights = cut_panels(direct);
}

/* A 1 x 1 kernel that visits every pixel sees no rows: an image is one long row. */
static ConvShape flat_shape(const ConvShape *shape)
{
    ConvShape flat = *shape;
    if (shape->KH == 1 && shape->KW == 1 && shape->stride == 1 && shape->padding == 0) {
        flat.W = flat.OW = shape->H * shape->W;
        flat.H = flat.OH = 1;
    }
    return flat;
}

static void cut_work(DirectState *state, const ConvShape *shape)
{
    state->OH = shape->OH;
    state->OW = shape->OW;
    int pieces = divide_up(shape->OH * shape->OW, CALL_PIXELS);
    state->rows = divide_up(shape->OH, pieces);
    state->images = pieces > 1 ? 1 : CALL_PIXELS / (shape->OH * shape->OW);
    state->images = least(state->images, shape->max_batch);
}

/* Offsets in the order of packed weights: (blocks, taps, channels of the block). */
static void list_offsets(DirectState *state)
{
    const Direct *forward = &state->forward;
    int channels = forward->depthwise ? divide_up(forward->C, CHANNEL_BLOCK) : forward->C;
    state->offsets = mem_array(size_t, forward->tap_count * channels);
    size_t *offset = state->offsets;
    for (int block = 0; block * CHANNEL_BLOCK < forward->C; block++)
        for (int tap = 0; tap < forward->tap_count; tap++)
            for (int c = 0; c < (forward->depthwise ? 1 : channels_of(forward, block, 1)); c++)
                *offset++ = (size_t)block * forward->x_block + forward->taps[tap] + (size_t)c;
}

/* All but the packed weights. */
static DirectState *plan_both(const ConvShape *any_shape)
{
    const ConvShape shape = flat_shape(any_shape);
    DirectState *state = mem_new(DirectState);
    cut_work(state, &shape);
    plan_forward(&state->forward, &shape);
    finish_plan(&state->forward, shape.max_batch);
    list_offsets(state);
    if (!shape.first) {
        plan_gradient(&state->gradient, &shape);
        finish_plan(&state->gradient, shape.max_batch);
    }
    return state;
}

static void *create(const ConvShape *shape, size_t *bytes)
{
    DirectState *state = plan_both(shape);
    state->forward.packed = mem_array(float, state->forward.weights);
    if (!shape->first)
        state->gradient.packed = mem_array(float, state->gradient.weights);
    *bytes += (state->forward.weights + state->gradient.weights) * sizeof(float);
    return state;
}

static void direct_free(Direct *direct)
{
    mem_free(direct->tap_index);
    mem_free(direct->taps);
    mem_free(direct->runs);
    mem_free(direct->sweeps);
    mem_free(direct->panels);
    mem_free(direct->packed);
}

static void release(void *any)
{
    DirectState *state = any;
    direct_free(&state->forward);
    direct_free(&state->gradient);
    mem_free(state->offsets);
    mem_free(state);
}

static size_t padded_floats(const Direct *direct, int images)
{
    size_t floats = direct->in_place ? 0 : (size_t)images * direct->x_image;
    return (floats + CHANNEL_BLOCK - 1) / CHANNEL_BLOCK * CHANNEL_BLOCK;
}

/* A padded image, and for the weight gradient packed weights behind it. */
static size_t scratch(const ConvShape *shape)
{
    DirectState *state = plan_both(shape);
    size_t forward = padded_floats(&state->forward, state->images) + state->forward.weights;
    size_t gradient = padded_floats(&state->gradient, state->images);
    release(state);
    return forward > gradient ? forward : gradient;
}

/* ---- packing weights ---- */

/* Weights of one tap and input channel c for the channels of a panel: `packed` (16 out_blocks) to
 * or from the tensor. Channels of other groups have weight zero. */
static inline void visit_row(const Direct *direct, const Panel *panel, int tap, int c, float *w,
                             float *packed, bool unpack)
{
    int width = panel->out_blocks * CHANNEL_BLOCK, first = panel->first_out * CHANNEL_BLOCK;
    int group = c / direct->group_in, start = group * direct->group_out;
    size_t taps = (size_t)direct->kernel_taps, index = (size_t)direct->tap_index[tap];
    size_t step = direct->transposed ? taps : taps * (size_t)direct->group_in;
    float *corner = w + index;
    if (direct->transposed)
        corner += (size_t)c * (size_t)direct->group_out * taps;
    else
        corner +=
            ((size_t)start * (size_t)direct->group_in + (size_t)(c % direct->group_in)) * taps;
    if (!unpack)
        memset(packed, 0, (size_t)width * sizeof *packed);
    int from = start < first ? first : start;
    int end = least(start + direct->group_out, first + width);
    for (int o = from; o < end; o++) {
        float *place = corner + (size_t)(o - start) * step;
        if (unpack)
            *place = packed[o - first];
        else
            packed[o - first] = *place;
    }
}

static inline void visit_depthwise(const Direct *direct, const Panel *panel, int tap, float *w,
                                   float *packed, bool unpack)
{
    int first = panel->first_out * CHANNEL_BLOCK;
    for (int c = 0; c < least(CHANNEL_BLOCK, direct->OC - first); c++) {
        float *place = w + (size_t)((first + c) * direct->kernel_taps + direct->tap_index[tap]);
        if (unpack)
            *place = packed[c];
        else
            packed[c] = *place;
    }
}

/* The weights of one panel and one sweep. */
static inline float *visit_panel(const Direct *direct, const Panel *panel, const Sweep *sweep,
                                 float *w, float *packed, bool unpack)
{
    int width = panel->out_blocks * CHANNEL_BLOCK, first = panel->first_in * CHANNEL_BLOCK;
    int end_tap = sweep->first_tap + sweep->tap_count;
    for (int tap = sweep->first_tap; direct->depthwise && tap < end_tap; tap++, packed += width)
        visit_depthwise(direct, panel, tap, w, packed, unpack);
    for (int c = 0; !direct->depthwise && c < panel->channels; c += CHANNEL_BLOCK)
        for (int tap = sweep->first_tap; tap < end_tap; tap++)
            for (int k = c; k < least(c + CHANNEL_BLOCK, panel->channels); k++, packed += width)
                visit_row(direct, panel, tap, first + k, w, packed, unpack);
    return packed;
}

static inline void visit_weights(const Direct *direct, float *w, float *packed, bool unpack)
{
    for (int p = 0; p < direct->panel_count; p++)
        for (int s = 0; s < direct->sweep_count; s++)
            packed = visit_panel(direct, &direct->panels[p], &direct->sweeps[s], w, packed, unpack);
}

static void pack(void *any, const float *w, bool gradients)
{
    DirectState *state = any;
    float *tensor = (float *)(uintptr_t)w; /* only read: unpack is false */
    visit_weights(&state->forward, tensor, state->forward.packed, false);
    if (gradients && state->gradient.packed)
        visit_weights(&state->gradient, tensor, state->gradient.packed, false);
}

/* ---- padding ---- */

/* The columns of one phase of a row: phase + q phases - before of x (W, 16). */
static void pad_phase(const Direct *direct, const float *x, int phase, float *to)
{
    int s = direct->phases, before = direct->columns.before - phase;
    int zeros = before > 0 ? least(divide_up(before, s), direct->phase_w) : 0;
    int first = zeros * s - before; /* column of x */
    int copies = first < direct->W ? divide_up(direct->W - first, s) : 0;
    copies = least(copies, direct->phase_w - zeros);
    to += zeros * CHANNEL_BLOCK;
    for (int q = 0; q < copies; q++, to += CHANNEL_BLOCK)
        memcpy(to, x + (first + q * s) * CHANNEL_BLOCK, CHANNEL_BLOCK * sizeof *to);
}

/* A row of 1 or 3 channels, x (W, 16). */
static void pad_packed(const Direct *direct, const float *x, float *to)
{
    to += direct->columns.before * direct->pixel;
    int copies = least(direct->W, direct->columns.length - direct->columns.before);
    for (int q = 0; q < copies; q++, x += CHANNEL_BLOCK, to += direct->pixel) {
        to[0] = x[0];
        if (direct->pixel == 3) {
            to[1] = x[1];
            to[2] = x[2];
        }
    }
}

/* One plane (H, W, 16) inside its border; what no tap reads is left as it is. */
static void pad_plane(const Direct *direct, const float *x, float *to)
{
    const size_t row = (size_t)direct->W * CHANNEL_BLOCK;
    to += (size_t)direct->rows.before * row_floats(direct);
    int copies = least(direct->H, direct->rows.length - direct->rows.before);
    for (int h = 0; h < copies; h++, x += row, to += row_floats(direct)) {
        if ((h + direct->rows.before) % direct->phases >= direct->used_rows)
            continue;
        if (direct->pixel < CHANNEL_BLOCK)
            pad_packed(direct, x, to);
        for (int phase = 0; direct->pixel == CHANNEL_BLOCK && phase < direct->used_columns; phase++)
            pad_phase(direct, x, phase, to + phase * direct->phase_w * CHANNEL_BLOCK);
    }
}

/* The padded form of some images, in `padded` (images, x_image). The border is made by the first
 * images of a pass, and found there by the others. */
static const float *pad_images(const Direct *direct, int images, bool first, const float *x,
                               float *padded)
{
    if (direct->in_place)
        return x;
    if (first)
        memset(padded, 0, (size_t)images * direct->x_image * sizeof *padded);
    int planes = images * divide_up(direct->C, CHANNEL_BLOCK);
    size_t plane = (size_t)direct->H * (size_t)direct->W * CHANNEL_BLOCK;
    for (int i = 0; i < planes; i++)
        pad_plane(direct, x + (size_t)i * plane, padded + (size_t)i * direct->x_block);
    return padded;
}

/* ---- passes ---- */

/* y of one panel and one sweep, for some images. */
static void run_sweep(const Direct *direct, const Panel *panel, const Sweep *sweep, int images,
                      const float *x, const float *bias, float *y)
{
    int channels = direct->depthwise ? 1 : panel->channels;
    size_t skipped = (size_t)(sweep->first_tap * channels * panel->out_blocks) * CHANNEL_BLOCK;
    const Product product = {
        .channels = panel->channels * direct->run,
        .x_step = direct->pixel,
        .x_block = direct->x_block,
        .taps = direct->runs + sweep->first_tap / direct->run,
        .tap_count = sweep->tap_count / direct->run,
        .w = direct->packed + panel->start + skipped,
        .bias = bias ? bias + panel->first_out * CHANNEL_BLOCK : NULL,
        .panel_blocks = panel->out_blocks,
        .y_block = direct->y_block,
        .y_step = direct->y_step,
        .stream = direct->stream,
    };
    x += (size_t)panel->first_in * direct->x_block;
    y += (size_t)panel->first_out * direct->y_block + sweep->y_start;
    for (int n = 0; n < images; n++, x += direct->x_image, y += direct->y_image)
        for (int r = 0; r < sweep->rows; r++) {
            const float *xr = x + (size_t)r * direct->x_row;
            float *yr = y + (size_t)r * sweep->y_row;
            if (direct->depthwise)
                depthwise_row(&product, sweep->columns, xr, yr);
            else
                product_row(&product, sweep->columns, xr, yr);
        }
}

static size_t source_image(const Direct *direct)
{
    return (size_t)divide_up(direct->C, CHANNEL_BLOCK) * (size_t)direct->H * (size_t)direct->W *
           CHANNEL_BLOCK;
}

static void run(const Direct *direct, int block_images, int batch, const float *x,
                const float *bias, float *y, float *scratch)
{
    for (int n = 0; n < batch; n += block_images) {
        int images = least(block_images, batch - n);
        const float *padded =
            pad_images(direct, images, n == 0, x + (size_t)n * source_image(direct), scratch);
        for (int p = 0; p < direct->panel_count; p++)
            for (int s = 0; s < direct->sweep_count; s++)
                run_sweep(direct, &direct->panels[p], &direct->sweeps[s], images, padded, bias,
                          y + (size_t)n * direct->y_image);
    }
}

static void forward(void *any, int batch, const float *x, const float *bias, float *y,
                    float *scratch)
{
    const DirectState *state = any;
    run(&state->forward, state->images, batch, x, bias, y, scratch);
}

static void data_gradient(void *any, int batch, const float *dy, float *dx, float *scratch)
{
    const DirectState *state = any;
    run(&state->gradient, state->images, batch, dy, NULL, dx, scratch);
}

/* One tap after the other, or one run: its channels are neighbouring floats of a padded pixel. */
static void add_taps(const Direct *forward, const Panel *panel, Outer *outer, const float *x,
                     const float *dy, float *dw)
{
    outer->offsets = NULL;
    for (int c = 0; c < panel->channels; c += CHANNEL_BLOCK, x += forward->x_block) {
        outer->K = forward->run * least(panel->channels - c, CHANNEL_BLOCK);
        for (int i = 0; i < forward->tap_count / forward->run; i++) {
            outer_add(outer, x + forward->runs[i], dy, dw);
            dw += outer->K * panel->out_blocks * CHANNEL_BLOCK;
        }
    }
}

/* dW of some output rows of some images, one panel. */
static void add_rows(const DirectState *state, const Panel *panel, Outer *outer, const float *x,
                     const float *dy, float *dpacked)
{
    const Direct *forward = &state->forward;
    float *dw = dpacked + panel->start;
    outer->panel_blocks = panel->out_blocks;
    outer->offsets = state->offsets + panel->first_in * CHANNEL_BLOCK * forward->tap_count;
    outer->K = forward->tap_count * panel->channels;
    if (forward->depthwise) {
        outer->K = forward->tap_count;
        outer->offsets = state->offsets + panel->first_in * forward->tap_count;
        depthwise_add(outer, x, dy, dw);
    } else if (forward->run * panel->channels >= ENOUGH_ROWS)
        add_taps(forward, panel, outer, x + (size_t)panel->first_in * forward->x_block, dy, dw);
    else
        outer_add(outer, x, dy, dw);
}

static void weight_gradient(void *any, int batch, const float *x, const float *dy, float *dw,
                            float *scratch)
{
    const DirectState *state = any;
    const Direct *forward = &state->forward;
    float *dpacked = scratch + padded_floats(forward, state->images);
    Outer outer = { .pixels = state->OW,
                    .x_image = forward->x_image,
                    .x_row = forward->x_row,
                    .x_step = (size_t)forward->pixel,
                    .dy_image = forward->y_image,
                    .dy_row = (size_t)state->OW * CHANNEL_BLOCK,
                    .dy_block = forward->y_block };
    for (int n = 0; n < batch; n += state->images) {
        outer.images = least(state->images, batch - n);
        const float *padded = pad_images(forward, outer.images, n == 0,
                                         x + (size_t)n * source_image(forward), scratch);
        for (int r = 0; r < state->OH; r += state->rows) {
            outer.rows = least(state->rows, state->OH - r);
            outer.overwrite = n == 0 && r == 0;
            const float *rows = dy + (size_t)n * forward->y_image + (size_t)r * outer.dy_row;
            for (int p = 0; p < forward->panel_count; p++)
                add_rows(state, &forward->panels[p], &outer, padded + (size_t)r * forward->x_row,
                         rows + (size_t)forward->panels[p].first_out * forward->y_block, dpacked);
        }
    }
    visit_weights(forward, dw, dpacked, true);
}

static bool fits(const ConvShape *shape, Err *err)
{
    (void)shape;
    (void)err;
    return true;
}

static bool pays(const ConvShape *shape)
{
    (void)shape;
    return true;
}

const ConvMethod ISA_NAME(conv_direct) = {
    .name = "direct",
    .fits = fits,
    .pays = pays,
    .scratch = scratch,
    .create = create,
    .release = release,
    .pack = pack,
    .forward = forward,
    .data_gradient = data_gradient,
    .weight_gradient = weight_gradient,
};
