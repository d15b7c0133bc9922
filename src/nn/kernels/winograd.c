/* Winograd's convolutions for stride 1 (Lavin and Gray 2016): F(4x4, 3x3), 36 multiplications for a
 * tile of 4 x 4 outputs instead of 144, and F(2x2, 5x5), 36 for 2 x 2 outputs instead of 100.
 *
 *   one tile      Y = A^T [ sum over c of (G g_c G^T) . (B^T d_c B) ] A
 *                 d (6, 6) input, g (3, 3) or (5, 5) kernel, . element by element
 *
 * Each of the 36 elements xi of the transformed tiles is its own matrix product over channels:
 *
 *   x  ->  V (36, C/16, T, 16)  ->  M = V U (36, blocks, T, 16)  ->  y      T tiles at a time
 *   w  ->  U (panels, 36, C, panel), once a step
 *
 * The data gradient is the same convolution of dy with the kernels turned by 180 degrees and
 * channels exchanged. The weight gradient transposes the equation:
 *
 *   dU[c, o] = sum over tiles of (B^T d B)[c] . (A dY A^T)[o],    dW = G^T dU G
 *
 * winograd_tile.h has the transforms, docs/convolution.md derives them and states the error. */
#include "conv.h"
#include "lockstep/memory.h"
#include "product.h"
#include "stream.h"
#include "turn.h"
#include "winograd_tile.h"

#define XI TILE_XI
#define MOST_TAPS (TILE_MOST_TAPS * TILE_MOST_TAPS)
#define PACK_CHANNELS 8
#define CHUNK 512 /* floats of each xi of dU made at a time: 16 channels of a panel */

/* One convolution: the forward pass, or the data gradient. */
typedef struct Winograd {
    int C, OC, out, taps; /* out x out outputs of a tile, taps x taps of a kernel */
    int H, W, OH, OW;
    int before; /* zeros before each row and column of the input; negative: pixels left out */
    bool transposed;
    int tile_rows, tile_columns;
    int tiles;     /* T of y; the weight gradient's is in WinogradState */
    int group;     /* output blocks whose M is made at a time */
    bool stream;   /* y is larger than the caches */
    bool far;      /* U is larger than the caches */
    size_t u_step; /* floats from one xi to the next */
    float *U;
} Winograd;

/* Upper left output pixel of a tile. */
typedef struct Tile {
    int image, h, w;
} Tile;

/* Transformed tiles of some channel blocks, (36, blocks, T, 16) with spare room. */
typedef struct Planes {
    float *v;
    size_t step, block; /* floats from one xi, one channel block to the next */
} Planes;

typedef struct WinogradState {
    Winograd forward, gradient;
    int tiles; /* T of the weight gradient */
    Tile *places;
} WinogradState;

static int blocks_of(int channels)
{
    return (channels + CHANNEL_BLOCK - 1) / CHANNEL_BLOCK;
}

static int most(int a, int b)
{
    return a > b ? a : b;
}

/* The floats from one xi to the next: a multiple of 4 KiB would put the 36 places that one
 * transform writes into the same few sets of the cache. */
static size_t spread(size_t floats)
{
    const size_t page = 1024;
    return (floats + page - 1) / page * page + CHANNEL_BLOCK;
}

/* Room for `tiles` tiles of some blocks, from *at on. */
static Planes take_planes(int blocks, int tiles, float **at)
{
    const size_t block = (size_t)tiles * CHANNEL_BLOCK;
    const Planes planes = { *at, spread((size_t)blocks * block), block };
    *at += XI * planes.step;
    return planes;
}

/* ---- blocks of tiles ---- */

static int tile_count(const Winograd *pass, int batch)
{
    return batch * pass->tile_rows * pass->tile_columns;
}

/* Tiles [first, first + count) of the batch. */
static void find_tiles(const Winograd *pass, int first, int count, Tile *places)
{
    const int per_image = pass->tile_rows * pass->tile_columns;
    for (int t = 0; t < count; t++) {
        int image = (first + t) / per_image, rest = (first + t) % per_image;
        places[t] = (Tile){ image, rest / pass->tile_columns * pass->out,
                            rest % pass->tile_columns * pass->out };
    }
}

static size_t plane_of(int H, int W)
{
    return (size_t)H * (size_t)W * CHANNEL_BLOCK;
}

/* V = B^T x B of `count` tiles, all channels. */
static void input_tiles(const Winograd *pass, const Tile *places, int count, const float *x,
                        Planes to)
{
    const int blocks = blocks_of(pass->C);
    const size_t plane = plane_of(pass->H, pass->W);
    for (int block = 0; block < blocks; block++, to.v += to.block)
        for (int t = 0; t < count; t++) {
            const Square at = { pass->H, pass->W, places[t].h - pass->before,
                                places[t].w - pass->before };
            tile_input(x + (size_t)(places[t].image * blocks + block) * plane, at,
                       to.v + (size_t)t * CHANNEL_BLOCK, to.step);
        }
}

/* y = A^T M A + bias of `count` tiles, blocks [first, end). */
static void output_tiles(const Winograd *pass, const Tile *places, int count, int first, int end,
                         Planes from, const float *bias, float *y)
{
    const int blocks = blocks_of(pass->OC);
    const size_t plane = plane_of(pass->OH, pass->OW);
    for (int block = first; block < end; block++, from.v += from.block)
        for (int t = 0; t < count; t++) {
            const Square at = { pass->OH, pass->OW, places[t].h, places[t].w };
            tile_output(pass->out, from.v + (size_t)t * CHANNEL_BLOCK, from.step,
                        bias ? bias + block * CHANNEL_BLOCK : NULL,
                        y + (size_t)(places[t].image * blocks + block) * plane, at, pass->stream);
        }
}

/* A dY A^T of `count` tiles. */
static void gradient_tiles(const Winograd *pass, const Tile *places, int count, const float *dy,
                           Planes to)
{
    const int blocks = blocks_of(pass->OC);
    const size_t plane = plane_of(pass->OH, pass->OW);
    for (int block = 0; block < blocks; block++, to.v += to.block)
        for (int t = 0; t < count; t++) {
            const Square at = { pass->OH, pass->OW, places[t].h, places[t].w };
            tile_gradient(pass->out, dy + (size_t)(places[t].image * blocks + block) * plane, at,
                          to.v + (size_t)t * CHANNEL_BLOCK, to.step);
        }
}

/* ---- weights ---- */

/* Channel blocks of the panel that starts with `block`. */
static int panel_blocks(const Winograd *pass, int block)
{
    return least(PANEL_BLOCKS, blocks_of(pass->OC) - block);
}

static float *panel_of_U(const Winograd *pass, int block)
{
    return pass->U + (size_t)(block / PANEL_BLOCKS) * XI * pass->u_step;
}

/* g (taps, 16) = 16 kernels, `step` floats apart. Writes 16 taps at least; reads as many floats of
 * each kernel, what follows it included. */
static void turn_kernels(const float *from, size_t step, size_t taps, float *g)
{
    turn_block(from, step, g, CHANNEL_BLOCK);
    if (taps > CHANNEL_BLOCK) {
        const size_t rest = taps - CHANNEL_BLOCK;
        turn_block(from + rest, step, g + rest * CHANNEL_BLOCK, CHANNEL_BLOCK);
    }
}

/* The same for the first `lanes` of 16 kernels, zeros for the others; reads and writes no more. */
static void copy_kernels(const float *from, size_t step, size_t taps, int lanes, float *g)
{
    for (size_t tap = 0; tap < taps; tap++, g += CHANNEL_BLOCK)
        for (size_t lane = 0; lane < CHANNEL_BLOCK; lane++)
            g[lane] = lane < (size_t)lanes ? from[lane * step + tap] : 0;
}

/* g (count, taps, 16) = kernels of input channels [c, c + count) for one output block; missing
 * channels zero. */
static void load_kernels(const Winograd *pass, const float *w, int c, int count, int block,
                         float *g)
{
    const size_t C = (size_t)pass->C, OC = (size_t)pass->OC;
    const size_t taps = (size_t)(pass->taps * pass->taps), first = (size_t)block * CHANNEL_BLOCK;
    const int lanes = least(CHANNEL_BLOCK, pass->OC - block * CHANNEL_BLOCK);
    const size_t lane_step = pass->transposed ? taps : taps * C;
    const size_t channel_step = pass->transposed ? taps * OC : taps;
    const float *from = w + first * lane_step + (size_t)c * channel_step;
    const bool last_block = block == blocks_of(pass->OC) - 1;
    for (int k = c; k < c + count; k++, from += channel_step, g += taps * CHANNEL_BLOCK)
        if (last_block && (k == pass->C - 1 || lanes < CHANNEL_BLOCK))
            copy_kernels(from, lane_step, taps, lanes, g);
        else
            turn_kernels(from, lane_step, taps, g);
}

/* U of channels [c, c + count) for one panel. Made in a buffer and copied in runs: 36 far streams
 * of single cache lines would wait for memory. */
static void pack_channels(const Winograd *pass, const float *w, int c, int count, int block,
                          float *to)
{
    float g[PACK_CHANNELS * MOST_TAPS * CHANNEL_BLOCK] __attribute__((aligned(64)));
    float u[XI * PACK_CHANNELS * PANEL_FLOATS] __attribute__((aligned(64)));
    const int blocks = panel_blocks(pass, block), taps = pass->taps * pass->taps;
    const size_t run = (size_t)(count * blocks * CHANNEL_BLOCK);
    for (int b = 0; b < blocks; b++) {
        load_kernels(pass, w, c, count, block + b, g);
        for (int k = 0; k < count; k++)
            tile_kernel(pass->taps, pass->transposed, g + k * taps * CHANNEL_BLOCK,
                        u + (k * blocks + b) * CHANNEL_BLOCK, run);
    }
    to += c * blocks * CHANNEL_BLOCK;
    for (size_t xi = 0; xi < XI; xi++)
        for (size_t i = 0; i < run; i += VECTOR)
            vector_put(to + xi * pass->u_step + i, vector_load(u + xi * run + i), pass->far);
}

static void pack_pass(const Winograd *pass, const float *w)
{
    for (int block = 0; block < blocks_of(pass->OC); block += PANEL_BLOCKS)
        for (int c = 0; c < pass->C; c += PACK_CHANNELS)
            pack_channels(pass, w, c, least(PACK_CHANNELS, pass->C - c), block,
                          panel_of_U(pass, block));
}

static void pack(void *any, const float *w, bool gradients)
{
    const WinogradState *state = any;
    pack_pass(&state->forward, w);
    if (gradients && state->gradient.U)
        pack_pass(&state->gradient, w);
}

/* ---- y ---- */

/* M = V U for the panel from `block` on. */
static void multiply_panel(const Winograd *pass, int block, int xi, int count, Planes x, float *m,
                           size_t m_block)
{
    static const size_t no_offset = 0;
    const Product product = { .channels = pass->C,
                              .x_step = CHANNEL_BLOCK,
                              .x_block = x.block,
                              .taps = &no_offset,
                              .tap_count = 1,
                              .w = panel_of_U(pass, block) + (size_t)xi * pass->u_step,
                              .panel_blocks = panel_blocks(pass, block),
                              .y_block = m_block,
                              .y_step = CHANNEL_BLOCK };
    product_row(&product, count, x.v + (size_t)xi * x.step, m);
}

static void run(const Winograd *pass, Tile *places, int batch, const float *x, const float *bias,
                float *y, float *scratch)
{
    const int blocks = blocks_of(pass->OC), group = pass->group;
    const Planes v = take_planes(blocks_of(pass->C), pass->tiles, &scratch);
    const Planes m = take_planes(group, pass->tiles, &scratch);
    for (int t = 0, all = tile_count(pass, batch); t < all; t += pass->tiles) {
        const int count = least(pass->tiles, all - t);
        find_tiles(pass, t, count, places);
        input_tiles(pass, places, count, x, v);
        for (int first = 0; first < blocks; first += group) {
            const int some = least(group, blocks - first);
            for (int xi = 0; xi < XI; xi++)
                for (int b = 0; b < some; b += PANEL_BLOCKS)
                    multiply_panel(pass, first + b, xi, count, v,
                                   m.v + (size_t)xi * m.step + (size_t)b * m.block, m.block);
            output_tiles(pass, places, count, first, first + some, m, bias, y);
        }
    }
}

static void forward(void *any, int batch, const float *x, const float *bias, float *y,
                    float *scratch)
{
    const WinogradState *state = any;
    run(&state->forward, state->places, batch, x, bias, y, scratch);
}

static void data_gradient(void *any, int batch, const float *dy, float *dx, float *scratch)
{
    const WinogradState *state = any;
    run(&state->gradient, state->places, batch, dy, NULL, dx, scratch);
}

/* ---- dW ---- */

/* du (36, channels, panel) = V^T dM over `count` tiles, for a few channels of a block. */
static void multiply_gradient(int channels, int blocks, int count, Planes x, Planes y, float *du)
{
    const Outer outer = { .K = channels,
                          .images = 1,
                          .rows = 1,
                          .pixels = count,
                          .x_step = CHANNEL_BLOCK,
                          .dy_block = y.block,
                          .panel_blocks = blocks,
                          .overwrite = true,
                          .x_next = x.step,
                          .dy_next = y.step };
    for (size_t xi = 0; xi < XI; xi++)
        outer_add(&outer, x.v + xi * x.step, y.v + xi * y.step, du + xi * CHUNK);
}

/* dW of channels [c, c + count) and one output block from dg (count, taps, 16). */
static void store_kernels(const Winograd *pass, const float *dg, int c, int count, int block,
                          float *dw)
{
    const int taps = pass->taps * pass->taps, floats = count * taps;
    const size_t row = (size_t)pass->C * (size_t)taps;
    const int lanes = least(CHANNEL_BLOCK, pass->OC - block * CHANNEL_BLOCK);
    float *to = dw + (size_t)block * CHANNEL_BLOCK * row + (size_t)c * (size_t)taps;
    int k = 0;
    for (; lanes == CHANNEL_BLOCK && k + CHANNEL_BLOCK <= floats; k += CHANNEL_BLOCK)
        turn_block(dg + k * CHANNEL_BLOCK, CHANNEL_BLOCK, to + k, row);
    for (int lane = 0; lane < lanes; lane++)
        for (int i = k; i < floats; i++)
            to[(size_t)lane * row + (size_t)i] = dg[i * CHANNEL_BLOCK + lane];
}

/* Floats of the kernels of one input block for one output block. */
static size_t kernels_floats(const Winograd *pass)
{
    return (size_t)(CHANNEL_BLOCK * pass->taps * pass->taps) * CHANNEL_BLOCK;
}

/* Adds dW of one panel and the input block whose V is `x` to sums (panel blocks, input blocks, 16,
 * taps, 16). */
static void add_panel(const Winograd *pass, int channels, int blocks, int count, bool first,
                      Planes x, Planes y, float *sums)
{
    float du[XI * CHUNK] __attribute__((aligned(64)));
    const int taps = pass->taps * pass->taps, most_channels = CHUNK / (blocks * CHANNEL_BLOCK);
    const size_t next_block = (size_t)blocks_of(pass->C) * kernels_floats(pass);
    for (int c = 0; c < channels; c += most_channels, x.v += most_channels) {
        const int some = least(most_channels, channels - c);
        multiply_gradient(some, blocks, count, x, y, du);
        for (int b = 0; b < blocks; b++)
            for (int k = 0; k < some; k++)
                tile_kernel_gradient(
                    pass->taps, du + (k * blocks + b) * CHANNEL_BLOCK, CHUNK, !first,
                    sums + (size_t)b * next_block + (size_t)((c + k) * taps) * CHANNEL_BLOCK);
    }
}

/* Input blocks whose V is used for all panels before the next are: as many as stay in the cache. */
static int kept_blocks(int tiles)
{
    const int kept = CACHE_FLOATS / 4 / (XI * CHANNEL_BLOCK * tiles);
    return most(kept, 1);
}

/* Adds the tiles in x and y to `sums` (output blocks, input blocks, 16, taps, 16). */
static void add_tiles(const Winograd *pass, int count, bool first, Planes x, Planes y, float *sums)
{
    const int in_blocks = blocks_of(pass->C), kept = kept_blocks(count);
    const size_t kernels = kernels_floats(pass);
    for (int start = 0; start < in_blocks; start += kept)
        for (int block = 0; block < blocks_of(pass->OC); block += PANEL_BLOCKS)
            for (int in = start; in < least(start + kept, in_blocks); in++) {
                Planes from = x, panel = y;
                from.v += (size_t)in * x.block;
                panel.v += (size_t)block * y.block;
                add_panel(pass, least(CHANNEL_BLOCK, pass->C - in * CHANNEL_BLOCK),
                          panel_blocks(pass, block), count, first, from, panel,
                          sums + (size_t)(block * in_blocks + in) * kernels);
            }
}

static void weight_gradient(void *any, int batch, const float *x, const float *dy, float *dw,
                            float *scratch)
{
    const WinogradState *state = any;
    const Winograd *pass = &state->forward;
    const Planes v = take_planes(blocks_of(pass->C), state->tiles, &scratch);
    const Planes m = take_planes(blocks_of(pass->OC), state->tiles, &scratch);
    const int in_blocks = blocks_of(pass->C);
    float *sums = scratch;
    for (int t = 0, all = tile_count(pass, batch); t < all; t += state->tiles) {
        const int count = least(state->tiles, all - t);
        find_tiles(pass, t, count, state->places);
        input_tiles(pass, state->places, count, x, v);
        gradient_tiles(pass, state->places, count, dy, m);
        add_tiles(pass, count, t == 0, v, m, sums);
    }
    for (int block = 0; block < blocks_of(pass->OC); block++)
        for (int in = 0; in < in_blocks; in++)
            store_kernels(pass, sums + (size_t)(block * in_blocks + in) * kernels_floats(pass),
                          in * CHANNEL_BLOCK, least(CHANNEL_BLOCK, pass->C - in * CHANNEL_BLOCK),
                          block, dw);
}

/* ---- making a plan ---- */

static bool fits(const ConvShape *shape, Err *err)
{
    if (shape->KH != shape->KW || (shape->KH != 3 && shape->KH != 5))
        return err_set(err, "needs a 3 x 3 or 5 x 5 kernel, found %d x %d", shape->KH, shape->KW);
    if (shape->stride != 1 || shape->dilation != 1 || shape->groups != 1)
        return err_set(err, "needs stride, dilation and groups 1, found %d, %d and %d",
                       shape->stride, shape->dilation, shape->groups);
    if (shape->C < CHANNEL_BLOCK || shape->OC < CHANNEL_BLOCK)
        return err_set(err, "needs at least %d input and output channels, found %d and %d",
                       CHANNEL_BLOCK, shape->C, shape->OC);
    return true;
}

static int tiles_along(int length, int out)
{
    return (length + out - 1) / out;
}

/* V and M of the tiles at hand should stay in the L2 cache, but each U must be used often enough to
 * be worth its way from memory. With many channels both cannot be had: then many tiles, and one
 * xi after the other over all outputs. */
static void plan_blocks(Winograd *pass, int max_batch)
{
    const int in_blocks = blocks_of(pass->C), out_blocks = blocks_of(pass->OC);
    const bool wide = in_blocks > 8;
    pass->tiles = wide ? 14 * least(in_blocks / 2, 14) : 28;
    pass->tiles = least(pass->tiles, tile_count(pass, max_batch));
    pass->group = wide ? out_blocks : least(PANEL_BLOCKS, out_blocks);
    pass->stream = plane_of(pass->OH, pass->OW) * (size_t)(out_blocks * max_batch) > CACHE_FLOATS;
}

static Winograd plan_pass(const ConvShape *shape, bool transposed)
{
    const bool t = transposed;
    Winograd pass = {
        .C = t ? shape->OC : shape->C,
        .OC = t ? shape->C : shape->OC,
        .out = TILE_IN + 1 - shape->KH,
        .taps = shape->KH,
        .H = t ? shape->OH : shape->H,
        .W = t ? shape->OW : shape->W,
        .OH = t ? shape->H : shape->OH,
        .OW = t ? shape->W : shape->OW,
        .before = t ? shape->KH - 1 - shape->padding : shape->padding,
        .transposed = transposed,
    };
    pass.tile_rows = tiles_along(pass.OH, pass.out);
    pass.tile_columns = tiles_along(pass.OW, pass.out);
    pass.u_step = spread((size_t)pass.C * PANEL_FLOATS);
    plan_blocks(&pass, shape->max_batch);
    return pass;
}

static void make_U(Winograd *pass, size_t *bytes)
{
    const int panels = (blocks_of(pass->OC) + PANEL_BLOCKS - 1) / PANEL_BLOCKS;
    const size_t floats = (size_t)panels * XI * pass->u_step;
    pass->far = floats > CACHE_FLOATS;
    *bytes += floats * sizeof(float);
    pass->U = mem_array(float, floats);
}

/* T of the weight gradient, a function of the shape alone: bits depend on it. */
static int gradient_tiles_of(const ConvShape *shape, const Winograd *forward)
{
    const int widest = most(blocks_of(shape->C), blocks_of(shape->OC));
    int tiles = 14 * (widest <= 8 ? 4 : least(widest / 2, 14));
    return least(tiles, tile_count(forward, shape->max_batch));
}

static size_t planes_floats(int channels, int tiles)
{
    return XI * spread((size_t)(blocks_of(channels) * tiles) * CHANNEL_BLOCK);
}

static size_t pass_floats(const Winograd *pass)
{
    return planes_floats(pass->C, pass->tiles) +
           planes_floats(pass->group * CHANNEL_BLOCK, pass->tiles);
}

static size_t scratch(const ConvShape *shape)
{
    const Winograd forward = plan_pass(shape, false), gradient = plan_pass(shape, true);
    const int tiles = gradient_tiles_of(shape, &forward);
    const size_t kernels = (size_t)(blocks_of(shape->C) * blocks_of(shape->OC)),
                 weights = planes_floats(shape->C, tiles) + planes_floats(shape->OC, tiles) +
                           kernels * kernels_floats(&forward);
    const size_t one = pass_floats(&forward), other = pass_floats(&gradient);
    const size_t larger = one > other ? one : other;
    return larger > weights ? larger : weights;
}

static void *create(const ConvShape *shape, size_t *bytes)
{
    WinogradState *state = mem_new(WinogradState);
    state->forward = plan_pass(shape, false);
    make_U(&state->forward, bytes);
    state->tiles = gradient_tiles_of(shape, &state->forward);
    int tiles = most(state->tiles, state->forward.tiles);
    if (!shape->first) {
        state->gradient = plan_pass(shape, true);
        make_U(&state->gradient, bytes);
        tiles = most(tiles, state->gradient.tiles);
    }
    state->places = mem_array(Tile, tiles);
    return state;
}

static void release(void *any)
{
    WinogradState *state = any;
    mem_free(state->forward.U);
    mem_free(state->gradient.U);
    mem_free(state->places);
    mem_free(state);
}

/* Does it save enough multiplications? Tiles that stick out of a small image waste some. */
static bool pays(const ConvShape *shape)
{
    Err err;
    if (!fits(shape, &err))
        return false;
    const int out = TILE_IN + 1 - shape->KH;
    double tiles = (double)tiles_along(shape->OH, out) * tiles_along(shape->OW, out);
    return tiles * XI <= 0.6 * shape->KH * shape->KW * shape->OH * shape->OW;
}

const ConvMethod ISA_NAME(conv_winograd) = {
    .name = "winograd",
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
