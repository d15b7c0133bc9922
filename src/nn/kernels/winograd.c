/* Winograd's convolution F(4x4, 3x3) for 3 x 3 kernels, stride 1 (Lavin and Gray 2016): 36
 * multiplications for a tile of 4 x 4 outputs instead of 144.
 *
 *   one tile      Y = A^T [ sum over c of (G g_c G^T) . (B^T d_c B) ] A
 *                 d (6, 6) input, g (3, 3) kernel, Y (4, 4) output, . element by element
 *
 * Each of the 36 elements xi of the transformed tiles is its own matrix product over channels:
 *
 *   x  ->  V (36, C/16, T, 16)  ->  M = V U (36, OC/16, T, 16)  ->  y       T tiles at a time
 *   w  ->  U (36, panels, C, panel), once a step
 *
 * The data gradient is the same convolution of dy with the kernels turned by 180 degrees and
 * channels exchanged. The weight gradient transposes the equation:
 *
 *   dU[c, o] = sum over tiles of (B^T d B)[c] . (A dY A^T)[o],    dW = G^T dU G
 *
 * Transforms work on the 16 channels of a block at once. docs/convolution.md derives the matrices
 * and states the error. */
#include "conv.h"
#include "lockstep/memory.h"
#include "product.h"

#define OUT 4 /* outputs of a tile, in each dimension */
#define IN 6  /* inputs of a tile */
#define XI (IN * IN)
#define PACK_CHANNELS 8

/* One convolution: the forward pass, or the data gradient. */
typedef struct Winograd {
    int C, H, W, OC, OH, OW;
    int before; /* zeros before each row and column of the input; negative: pixels left out */
    bool transposed;
    int tile_rows, tile_columns;
    size_t u_step; /* floats from one xi to the next */
    float *U;
} Winograd;

/* Upper left output pixel of a tile. */
typedef struct Tile {
    int image, h, w;
} Tile;

/* A transformed activation, (36, blocks, T, 16) with spare room. */
typedef struct Planes {
    float *v;
    size_t step, block; /* floats from one xi, one channel block to the next */
} Planes;

typedef struct WinogradState {
    Winograd forward, gradient;
    int tiles; /* T */
    Tile *places;
    Planes x, y;
    float *dU;
    size_t *offsets; /* (C) of the channels in Planes x */
} WinogradState;

static int blocks_of(int channels)
{
    return (channels + CHANNEL_BLOCK - 1) / CHANNEL_BLOCK;
}

static size_t plane_of(int H, int W)
{
    return (size_t)H * (size_t)W * CHANNEL_BLOCK;
}

/* ---- the transforms of one row or column ---- */

/* B^T d */
static inline void transform_input(const Vector d[IN], Vector out[IN])
{
    const Vector even = d[4] - 4 * d[2], odd = d[3] - 4 * d[1];
    const Vector even2 = d[4] - d[2], odd2 = 2 * (d[3] - d[1]);
    out[0] = 4 * d[0] - 5 * d[2] + d[4];
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = even2 + odd2;
    out[4] = even2 - odd2;
    out[5] = 4 * d[1] - 5 * d[3] + d[5];
}

/* A^T m */
static inline void transform_output(const Vector m[IN], Vector out[OUT])
{
    const Vector sum = m[1] + m[2], difference = m[1] - m[2];
    const Vector sum2 = m[3] + m[4], difference2 = m[3] - m[4];
    out[0] = m[0] + sum + sum2;
    out[1] = difference + 2 * difference2;
    out[2] = sum + 4 * sum2;
    out[3] = difference + 8 * difference2 + m[5];
}

/* A y: the transposed of transform_output */
static inline void transform_gradient(const Vector y[OUT], Vector out[IN])
{
    const Vector even = y[0] + y[2], odd = y[1] + y[3];
    const Vector even2 = y[0] + 4 * y[2], odd2 = 2 * y[1] + 8 * y[3];
    out[0] = y[0];
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = even2 + odd2;
    out[4] = even2 - odd2;
    out[5] = y[3];
}

#define SIXTH (1.0F / 6)
#define TWELFTH (1.0F / 12)
#define TWENTYFOURTH (1.0F / 24)

/* G g */
static inline void transform_kernel(const Vector g[3], Vector out[IN])
{
    const Vector even = SIXTH * (g[0] + g[2]), odd = SIXTH * g[1];
    const Vector even2 = TWENTYFOURTH * g[0] + SIXTH * g[2], odd2 = TWELFTH * g[1];
    out[0] = 0.25F * g[0];
    out[1] = -even - odd;
    out[2] = odd - even;
    out[3] = even2 + odd2;
    out[4] = even2 - odd2;
    out[5] = g[2];
}

/* G^T u */
static inline void transform_kernel_gradient(const Vector u[IN], Vector out[3])
{
    const Vector sum = SIXTH * (u[1] + u[2]), difference = SIXTH * (u[2] - u[1]);
    const Vector sum2 = u[3] + u[4], difference2 = u[3] - u[4];
    out[0] = 0.25F * u[0] - sum + TWENTYFOURTH * sum2;
    out[1] = difference + TWELFTH * difference2;
    out[2] = SIXTH * sum2 - sum + u[5];
}

/* ---- the transforms of a tile: rows, then columns ---- */

/* v = B^T x B. x (6, 6, 16), rows `row` floats apart; element xi of v at xi * step. */
static void input_tile(const float *x, size_t row, float *v, size_t step)
{
    for (int lane = 0; lane < CHANNEL_BLOCK; lane += VECTOR) {
        Vector half[IN][IN]; /* transposed: [column][row] */
#pragma GCC unroll 6
        for (int i = 0; i < IN; i++) {
            const float *from = x + (size_t)i * row + lane;
            Vector d[IN], out[IN];
#pragma GCC unroll 6
            for (int j = 0; j < IN; j++)
                d[j] = vector_load(from + j * CHANNEL_BLOCK);
            transform_input(d, out);
#pragma GCC unroll 6
            for (int j = 0; j < IN; j++)
                half[j][i] = out[j];
        }
#pragma GCC unroll 6
        for (int j = 0; j < IN; j++) {
            Vector out[IN];
            transform_input(half[j], out);
#pragma GCC unroll 6
            for (int i = 0; i < IN; i++)
                vector_store(v + (size_t)(i * IN + j) * step + lane, out[i]);
        }
    }
}

/* y = A^T m A + bias. */
static void output_tile(const float *m, size_t step, const float *bias, float *y, size_t row)
{
    for (int lane = 0; lane < CHANNEL_BLOCK; lane += VECTOR) {
        const Vector start = bias ? vector_load(bias + lane) : (Vector){ 0 };
        Vector half[OUT][IN];
#pragma GCC unroll 6
        for (int j = 0; j < IN; j++) {
            Vector column[IN], out[OUT];
#pragma GCC unroll 6
            for (int i = 0; i < IN; i++)
                column[i] = vector_load(m + (size_t)(i * IN + j) * step + lane);
            transform_output(column, out);
#pragma GCC unroll 4
            for (int i = 0; i < OUT; i++)
                half[i][j] = out[i];
        }
#pragma GCC unroll 4
        for (int i = 0; i < OUT; i++) {
            Vector out[OUT];
            transform_output(half[i], out);
#pragma GCC unroll 4
            for (int j = 0; j < OUT; j++)
                vector_store(y + (size_t)i * row + j * CHANNEL_BLOCK + lane, out[j] + start);
        }
    }
}

/* v = A dy A^T. dy (4, 4, 16) */
static void gradient_tile(const float *dy, size_t row, float *v, size_t step)
{
    for (int lane = 0; lane < CHANNEL_BLOCK; lane += VECTOR) {
        Vector half[IN][OUT];
#pragma GCC unroll 4
        for (int i = 0; i < OUT; i++) {
            const float *from = dy + (size_t)i * row + lane;
            Vector d[OUT], out[IN];
#pragma GCC unroll 4
            for (int j = 0; j < OUT; j++)
                d[j] = vector_load(from + j * CHANNEL_BLOCK);
            transform_gradient(d, out);
#pragma GCC unroll 6
            for (int j = 0; j < IN; j++)
                half[j][i] = out[j];
        }
#pragma GCC unroll 6
        for (int j = 0; j < IN; j++) {
            Vector out[IN];
            transform_gradient(half[j], out);
#pragma GCC unroll 6
            for (int i = 0; i < IN; i++)
                vector_store(v + (size_t)(i * IN + j) * step + lane, out[i]);
        }
    }
}

/* u = G g G^T. g (9, 16) */
static void kernel_tile(const float *g, float *u, size_t step)
{
    for (int lane = 0; lane < CHANNEL_BLOCK; lane += VECTOR) {
        Vector half[IN][3];
        for (int j = 0; j < 3; j++) {
            Vector column[3], out[IN];
            for (int i = 0; i < 3; i++)
                column[i] = vector_load(g + (i * 3 + j) * CHANNEL_BLOCK + lane);
            transform_kernel(column, out);
            for (int i = 0; i < IN; i++)
                half[i][j] = out[i];
        }
        for (int i = 0; i < IN; i++) {
            Vector out[IN];
            transform_kernel(half[i], out);
            for (int j = 0; j < IN; j++)
                vector_store(u + (size_t)(i * IN + j) * step + lane, out[j]);
        }
    }
}

/* dg = G^T du G. dg (9, 16) */
static void kernel_gradient_tile(const float *du, size_t step, float *dg)
{
    for (int lane = 0; lane < CHANNEL_BLOCK; lane += VECTOR) {
        Vector half[3][IN];
        for (int j = 0; j < IN; j++) {
            Vector column[IN], out[3];
            for (int i = 0; i < IN; i++)
                column[i] = vector_load(du + (size_t)(i * IN + j) * step + lane);
            transform_kernel_gradient(column, out);
            for (int i = 0; i < 3; i++)
                half[i][j] = out[i];
        }
        for (int i = 0; i < 3; i++) {
            Vector out[3];
            transform_kernel_gradient(half[i], out);
            for (int j = 0; j < 3; j++)
                vector_store(dg + (i * 3 + j) * CHANNEL_BLOCK + lane, out[j]);
        }
    }
}

/* ---- tiles at the border of an image ---- */

/* patch (size, size, 16) = the pixels from (h, w) on of one plane (H, W, 16), zeros outside. Every
 * pixel is copied from somewhere, without a branch. */
static inline void load_patch(const float *plane, int H, int W, int h, int w, int size,
                              float *patch)
{
    static const float zeros[CHANNEL_BLOCK] __attribute__((aligned(64)));
    for (int i = h; i < h + size; i++) {
        const float *row = plane + (ptrdiff_t)i * W * CHANNEL_BLOCK;
        for (int j = w; j < w + size; j++, patch += CHANNEL_BLOCK) {
            bool inside = i >= 0 && i < H && j >= 0 && j < W;
            const float *from = inside ? row + j * CHANNEL_BLOCK : zeros;
            for (int lane = 0; lane < CHANNEL_BLOCK; lane += VECTOR)
                vector_store(patch + lane, vector_load(from + lane));
        }
    }
}

/* The part of a patch (4, 4, 16) that lies in the plane. */
static void store_patch(const float *patch, float *plane, int H, int W, int h, int w)
{
    int rows = least(OUT, H - h), columns = least(OUT, W - w);
    for (int i = 0; i < rows; i++)
        memcpy(plane + ((size_t)(h + i) * (size_t)W + (size_t)w) * CHANNEL_BLOCK,
               patch + i * OUT * CHANNEL_BLOCK, (size_t)columns * CHANNEL_BLOCK * sizeof *patch);
}

/* Is the square of `size` pixels from (h, w) on inside (H, W)? */
static bool is_inside(int H, int W, int h, int w, int size)
{
    return h >= 0 && w >= 0 && h + size <= H && w + size <= W;
}

/* ---- blocks of tiles ---- */

/* Tiles [first, first + count) of the batch. */
static void find_tiles(const Winograd *pass, int first, int count, Tile *places)
{
    int per_image = pass->tile_rows * pass->tile_columns;
    for (int t = 0; t < count; t++) {
        int image = (first + t) / per_image, rest = (first + t) % per_image;
        places[t] =
            (Tile){ image, rest / pass->tile_columns * OUT, rest % pass->tile_columns * OUT };
    }
}

/* V = B^T x B of `count` tiles, all channels. */
static void input_tiles(const Winograd *pass, const Tile *places, int count, const float *x,
                        Planes to)
{
    const int H = pass->H, W = pass->W, blocks = blocks_of(pass->C);
    const size_t plane = plane_of(H, W);
    float patch[XI * CHANNEL_BLOCK] __attribute__((aligned(64)));
    for (int block = 0; block < blocks; block++)
        for (int t = 0; t < count; t++) {
            const float *from = x + (size_t)(places[t].image * blocks + block) * plane;
            float *v = to.v + (size_t)block * to.block + (size_t)t * CHANNEL_BLOCK;
            int h = places[t].h - pass->before, w = places[t].w - pass->before;
            if (is_inside(H, W, h, w, IN)) {
                from += ((size_t)h * (size_t)W + (size_t)w) * CHANNEL_BLOCK;
                input_tile(from, (size_t)W * CHANNEL_BLOCK, v, to.step);
            } else {
                load_patch(from, H, W, h, w, IN, patch);
                input_tile(patch, IN * CHANNEL_BLOCK, v, to.step);
            }
        }
}

/* y = A^T M A + bias of `count` tiles. */
static void output_tiles(const Winograd *pass, const Tile *places, int count, Planes from,
                         const float *bias, float *y)
{
    const int H = pass->OH, W = pass->OW, blocks = blocks_of(pass->OC);
    const size_t plane = plane_of(H, W);
    float patch[OUT * OUT * CHANNEL_BLOCK] __attribute__((aligned(64)));
    for (int block = 0; block < blocks; block++) {
        const float *start = bias ? bias + block * CHANNEL_BLOCK : NULL;
        for (int t = 0; t < count; t++) {
            float *to = y + (size_t)(places[t].image * blocks + block) * plane;
            const float *m = from.v + (size_t)block * from.block + (size_t)t * CHANNEL_BLOCK;
            int h = places[t].h, w = places[t].w;
            if (is_inside(H, W, h, w, OUT)) {
                to += ((size_t)h * (size_t)W + (size_t)w) * CHANNEL_BLOCK;
                output_tile(m, from.step, start, to, (size_t)W * CHANNEL_BLOCK);
            } else {
                output_tile(m, from.step, start, patch, OUT * CHANNEL_BLOCK);
                store_patch(patch, to, H, W, h, w);
            }
        }
    }
}

/* A dY A^T of `count` tiles. */
static void gradient_tiles(const Winograd *pass, const Tile *places, int count, const float *dy,
                           Planes to)
{
    const int H = pass->OH, W = pass->OW, blocks = blocks_of(pass->OC);
    const size_t plane = plane_of(H, W);
    float patch[OUT * OUT * CHANNEL_BLOCK] __attribute__((aligned(64)));
    for (int block = 0; block < blocks; block++)
        for (int t = 0; t < count; t++) {
            const float *from = dy + (size_t)(places[t].image * blocks + block) * plane;
            float *v = to.v + (size_t)block * to.block + (size_t)t * CHANNEL_BLOCK;
            int h = places[t].h, w = places[t].w;
            if (is_inside(H, W, h, w, OUT)) {
                from += ((size_t)h * (size_t)W + (size_t)w) * CHANNEL_BLOCK;
                gradient_tile(from, (size_t)W * CHANNEL_BLOCK, v, to.step);
            } else {
                load_patch(from, H, W, h, w, OUT, patch);
                gradient_tile(patch, OUT * CHANNEL_BLOCK, v, to.step);
            }
        }
}

/* Channel blocks of the panel that starts with `block`. */
static int panel_blocks(const Winograd *pass, int block)
{
    return least(PANEL_BLOCKS, blocks_of(pass->OC) - block);
}

/* M = V U */
static void multiply_tiles(const Winograd *pass, int count, Planes x, Planes y)
{
    static const size_t no_offset = 0;
    Product product = { .channels = pass->C,
                        .x_block = x.block,
                        .taps = &no_offset,
                        .tap_count = 1,
                        .y_block = y.block,
                        .y_step = CHANNEL_BLOCK };
    for (size_t xi = 0; xi < XI; xi++)
        for (int block = 0; block < blocks_of(pass->OC); block += product.panel_blocks) {
            product.panel_blocks = panel_blocks(pass, block);
            product.w = pass->U + xi * pass->u_step + (size_t)(block * pass->C) * CHANNEL_BLOCK;
            product_row(&product, count, x.v + xi * x.step,
                        y.v + xi * y.step + (size_t)block * y.block);
        }
}

/* dU += V^T dM */
static void add_tiles(const WinogradState *state, int count, bool first)
{
    const Winograd *pass = &state->forward;
    Outer outer = { .K = pass->C,
                    .offsets = state->offsets,
                    .images = 1,
                    .rows = 1,
                    .pixels = count,
                    .dy_block = state->y.block,
                    .overwrite = first };
    for (size_t xi = 0; xi < XI; xi++)
        for (int block = 0; block < blocks_of(pass->OC); block += outer.panel_blocks) {
            outer.panel_blocks = panel_blocks(pass, block);
            outer_add(&outer, state->x.v + xi * state->x.step,
                      state->y.v + xi * state->y.step + (size_t)block * state->y.block,
                      state->dU + xi * pass->u_step + (size_t)(block * pass->C) * CHANNEL_BLOCK);
        }
}

/* ---- weights ---- */

/* Where the vector of input channel c, output block `block` starts in each xi of U and dU. */
static size_t place_in_U(const Winograd *pass, int c, int block)
{
    int first = block / PANEL_BLOCKS * PANEL_BLOCKS;
    int place = first * pass->C + c * panel_blocks(pass, first) + block - first;
    return (size_t)place * CHANNEL_BLOCK;
}

/* g (9, 16) = kernels of input channel c for an output block; missing channels zero. */
static void load_kernels(const Winograd *pass, const float *w, int c, int block, float *g)
{
    const size_t C = (size_t)pass->C, OC = (size_t)pass->OC;
    const size_t first = (size_t)block * CHANNEL_BLOCK;
    const int lanes = least(CHANNEL_BLOCK, pass->OC - block * CHANNEL_BLOCK);
    const size_t step = pass->transposed ? 9 : 9 * C; /* from a lane to the next */
    const float *from = w + 9 * (pass->transposed ? (size_t)c * OC + first : first * C + (size_t)c);
    if (lanes < CHANNEL_BLOCK)
        memset(g, 0, 9 * CHANNEL_BLOCK * sizeof *g);
    for (int lane = 0; lane < lanes; lane++, from += step)
        for (int tap = 0; tap < 9; tap++)
            g[(pass->transposed ? 8 - tap : tap) * CHANNEL_BLOCK + lane] = from[tap];
}

/* U of channels [c, c + count) for one panel. Made in a buffer and copied in runs: 36 far streams
 * of single cache lines would wait for memory. */
static void pack_panel(const Winograd *pass, const float *w, int c, int count, int block)
{
    float g[9 * CHANNEL_BLOCK] __attribute__((aligned(64)));
    float u[XI * PACK_CHANNELS * PANEL_FLOATS] __attribute__((aligned(64)));
    const int blocks = panel_blocks(pass, block);
    const size_t run = (size_t)(count * blocks * CHANNEL_BLOCK);
    for (int k = 0; k < count; k++)
        for (int b = 0; b < blocks; b++) {
            load_kernels(pass, w, c + k, block + b, g);
            kernel_tile(g, u + (k * blocks + b) * CHANNEL_BLOCK, run);
        }
    float *to = pass->U + place_in_U(pass, c, block);
    for (size_t xi = 0; xi < XI; xi++)
        memcpy(to + xi * pass->u_step, u + xi * run, run * sizeof *u);
}

static void pack_pass(const Winograd *pass, const float *w)
{
    for (int block = 0; block < blocks_of(pass->OC); block += PANEL_BLOCKS)
        for (int c = 0; c < pass->C; c += PACK_CHANNELS)
            pack_panel(pass, w, c, least(PACK_CHANNELS, pass->C - c), block);
}

static void pack(void *any, const float *w, bool gradients)
{
    const WinogradState *state = any;
    pack_pass(&state->forward, w);
    if (gradients && state->gradient.U)
        pack_pass(&state->gradient, w);
}

/* dW = G^T dU G */
static void unpack_gradient(const WinogradState *state, float *dw)
{
    const Winograd *pass = &state->forward;
    float g[9 * CHANNEL_BLOCK] __attribute__((aligned(64)));
    for (int block = 0; block < blocks_of(pass->OC); block++)
        for (int c = 0; c < pass->C; c++) {
            kernel_gradient_tile(state->dU + place_in_U(pass, c, block), pass->u_step, g);
            int first = block * CHANNEL_BLOCK;
            for (int lane = 0; lane < least(CHANNEL_BLOCK, pass->OC - first); lane++) {
                size_t kernel = (size_t)(first + lane) * (size_t)pass->C + (size_t)c;
                for (int tap = 0; tap < 9; tap++)
                    dw[kernel * 9 + (size_t)tap] = g[tap * CHANNEL_BLOCK + lane];
            }
        }
}

/* ---- passes ---- */

static int tile_count(const Winograd *pass, int batch)
{
    return batch * pass->tile_rows * pass->tile_columns;
}

/* `x` and `y`: where the pass keeps what it reads and writes, transformed. */
static void run(const WinogradState *state, const Winograd *pass, int batch, const float *x,
                const float *bias, float *y)
{
    bool forward = pass == &state->forward;
    Planes in = forward ? state->x : state->y, out = forward ? state->y : state->x;
    for (int t = 0, all = tile_count(pass, batch); t < all; t += state->tiles) {
        int count = least(state->tiles, all - t);
        find_tiles(pass, t, count, state->places);
        input_tiles(pass, state->places, count, x, in);
        multiply_tiles(pass, count, in, out);
        output_tiles(pass, state->places, count, out, bias, y);
    }
}

static void forward(void *any, int batch, const float *x, const float *bias, float *y)
{
    const WinogradState *state = any;
    run(state, &state->forward, batch, x, bias, y);
}

static void data_gradient(void *any, int batch, const float *dy, float *dx)
{
    const WinogradState *state = any;
    run(state, &state->gradient, batch, dy, NULL, dx);
}

static void weight_gradient(void *any, int batch, const float *x, const float *dy, float *dw)
{
    const WinogradState *state = any;
    const Winograd *pass = &state->forward;
    for (int t = 0, all = tile_count(pass, batch); t < all; t += state->tiles) {
        int count = least(state->tiles, all - t);
        find_tiles(pass, t, count, state->places);
        input_tiles(pass, state->places, count, x, state->x);
        gradient_tiles(pass, state->places, count, dy, state->y);
        add_tiles(state, count, t == 0);
    }
    unpack_gradient(state, dw);
}

/* ---- making a plan ---- */

static bool fits(const ConvShape *shape, Err *err)
{
    if (shape->KH != 3 || shape->KW != 3)
        return err_set(err, "needs a 3 x 3 kernel, found %d x %d", shape->KH, shape->KW);
    if (shape->stride != 1 || shape->dilation != 1 || shape->groups != 1)
        return err_set(err, "needs stride, dilation and groups 1, found %d, %d and %d",
                       shape->stride, shape->dilation, shape->groups);
    if (shape->C < CHANNEL_BLOCK || shape->OC < CHANNEL_BLOCK)
        return err_set(err, "needs at least %d input and output channels, found %d and %d",
                       CHANNEL_BLOCK, shape->C, shape->OC);
    return true;
}

static int tiles_along(int length)
{
    return (length + OUT - 1) / OUT;
}

/* The floats from one xi to the next: a multiple of 4 KiB would put the 36 places that one
 * transform writes into the same few sets of the cache. */
static size_t spread(size_t floats)
{
    const size_t page = 1024;
    return (floats + page - 1) / page * page + CHANNEL_BLOCK;
}

static float *counted(size_t floats, size_t *bytes)
{
    *bytes += floats * sizeof(float);
    return mem_alloc(floats * sizeof(float));
}

static Winograd plan_pass(const ConvShape *shape, bool transposed, size_t *bytes)
{
    bool t = transposed;
    Winograd pass = {
        .C = t ? shape->OC : shape->C,
        .H = t ? shape->OH : shape->H,
        .W = t ? shape->OW : shape->W,
        .OC = t ? shape->C : shape->OC,
        .OH = t ? shape->H : shape->OH,
        .OW = t ? shape->W : shape->OW,
        .before = t ? 2 - shape->padding : shape->padding,
        .transposed = transposed,
    };
    pass.tile_rows = tiles_along(pass.OH);
    pass.tile_columns = tiles_along(pass.OW);
    pass.u_step = spread((size_t)pass.C * (size_t)blocks_of(pass.OC) * CHANNEL_BLOCK);
    pass.U = counted(XI * pass.u_step, bytes);
    return pass;
}

static Planes plan_planes(int channels, int tiles, size_t *bytes)
{
    size_t block = (size_t)tiles * CHANNEL_BLOCK;
    size_t step = spread((size_t)blocks_of(channels) * block);
    return (Planes){ counted(XI * step, bytes), step, block };
}

static void *create(const ConvShape *shape, size_t *bytes)
{
    WinogradState *state = mem_new(WinogradState);
    /* Tiles of which V and M are made at a time: enough for the product to reuse each U, few enough
     * for the caches. A function of the shape alone: the weight gradient adds block by block. */
    int blocks = blocks_of(shape->C > shape->OC ? shape->C : shape->OC);
    state->tiles = 14 * (blocks < 4 ? 4 : least(blocks, 14));
    state->places = mem_array(Tile, state->tiles);
    state->forward = plan_pass(shape, false, bytes);
    if (!shape->first)
        state->gradient = plan_pass(shape, true, bytes);
    int most = shape->first ? 0 : tile_count(&state->gradient, shape->max_batch);
    most = least(state->tiles, -least(-most, -tile_count(&state->forward, shape->max_batch)));
    state->x = plan_planes(shape->C, most, bytes);
    state->y = plan_planes(shape->OC, most, bytes);
    state->dU = counted(XI * state->forward.u_step, bytes);
    state->offsets = mem_array(size_t, shape->C);
    for (int c = 0; c < shape->C; c++)
        state->offsets[c] =
            (size_t)(c / CHANNEL_BLOCK) * state->x.block + (size_t)(c % CHANNEL_BLOCK);
    return state;
}

static void release(void *any)
{
    WinogradState *state = any;
    mem_free(state->forward.U);
    mem_free(state->gradient.U);
    mem_free(state->places);
    mem_free(state->x.v);
    mem_free(state->y.v);
    mem_free(state->dU);
    mem_free(state->offsets);
    mem_free(state);
}

/* Does it save enough multiplications? Tiles that stick out of a small image waste some. */
static bool pays(const ConvShape *shape)
{
    Err err;
    double tiles = (double)tiles_along(shape->OH) * tiles_along(shape->OW);
    return fits(shape, &err) && tiles * XI <= 0.6 * 9 * shape->OH * shape->OW;
}

const ConvMethod ISA_NAME(conv_winograd) = {
    .name = "winograd",
    .fits = fits,
    .pays = pays,
    .create = create,
    .release = release,
    .pack = pack,
    .forward = forward,
    .data_gradient = data_gradient,
    .weight_gradient = weight_gradient,
};
