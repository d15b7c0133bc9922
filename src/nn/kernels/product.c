/* Matrix products in registers: see product.h.
 *
 * Accumulators are named variables, written by macros: compilers keep an array of them in memory.
 * The number of pixels and vectors is constant in each instance, so conditions on it vanish. */
#include "product.h"
#include "stream.h"

/* Pixels a call, and rows of dw a call: accumulators fill the register file. Rows at any offset
 * need a pointer each; those of neighbouring channels do not, and narrow panels take more. */
#if VECTOR == 16
#define PIXELS(blocks) ((blocks) == 1 ? 28 : 14)
#define ROWS 8
#define CHANNELS(blocks) ((blocks) == 1 ? 16 : 9)
#elif VECTOR == 8
#define PIXELS(blocks) 6
#define ROWS 6
#define CHANNELS(blocks) ROWS
#else
#define PIXELS(blocks) 3
#define ROWS 3
#define CHANNELS(blocks) ROWS
#endif
#define BLOCK_VECTORS (CHANNEL_BLOCK / VECTOR)

/* Floats of w that are fetched ahead of their use: those of a large layer come from far, and the
 * CPU does not look across the end of a page. */
#define AHEAD 1024

#define ALWAYS_INLINE static inline __attribute__((always_inline))

#define EACH_ROW(M)                                                                                \
    M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11) M(12) M(13) M(14) M(15)
#define EACH_PIXEL(M)                                                                              \
    EACH_ROW(M) M(16) M(17) M(18) M(19) M(20) M(21) M(22) M(23) M(24) M(25) M(26) M(27)

/* Instances for 1, 2, ... pixels or rows. */
#define UP_TO_3(F, b) F(1, b) F(2, b) F(3, b)
#define UP_TO_6(F, b) UP_TO_3(F, b) F(4, b) F(5, b) F(6, b)
#define UP_TO_8(F, b) UP_TO_6(F, b) F(7, b) F(8, b)
#define UP_TO_9(F, b) UP_TO_8(F, b) F(9, b)
#define UP_TO_14(F, b) UP_TO_9(F, b) F(10, b) F(11, b) F(12, b) F(13, b) F(14, b)
#define UP_TO_16(F, b) UP_TO_14(F, b) F(15, b) F(16, b)
#define UP_TO_28(F, b)                                                                             \
    UP_TO_16(F, b)                                                                                 \
    F(17, b)                                                                                       \
    F(18, b)                                                                                       \
    F(19, b) F(20, b) F(21, b) F(22, b) F(23, b) F(24, b) F(25, b) F(26, b) F(27, b) F(28, b)

/* Vector j of a panel's row. */
ALWAYS_INLINE Vector panel_vector(const float *row, int vectors, int j)
{
    return j < vectors ? vector_load(row + j * VECTOR) : (Vector){ 0 };
}

/* ---- y = x w ---- */

/* Where vector j of a pixel of y is stored. */
ALWAYS_INLINE float *place_of(float *y, const Product *product, int pixel, int j)
{
    return y + (size_t)pixel * product->y_step + (size_t)(j / BLOCK_VECTORS) * product->y_block +
           j % BLOCK_VECTORS * VECTOR;
}

#define DECLARE(i) Vector a##i##_0 = b0, a##i##_1 = b1, a##i##_2 = b2, a##i##_3 = b3;
#define MULTIPLY(i)                                                                                \
    if (i < pixels) {                                                                              \
        const Vector value = SPREAD(xc[i * step]);                                                 \
        a##i##_0 = vector_fused(value, w0, a##i##_0);                                              \
        if (vectors > 1)                                                                           \
            a##i##_1 = vector_fused(value, w1, a##i##_1);                                          \
        if (vectors > 2) {                                                                         \
            a##i##_2 = vector_fused(value, w2, a##i##_2);                                          \
            a##i##_3 = vector_fused(value, w3, a##i##_3);                                          \
        }                                                                                          \
    }
#define FETCH(i)                                                                                   \
    if (i < pixels) {                                                                              \
        __builtin_prefetch(place_of(y, product, i, 0), 1);                                         \
        if (vectors > BLOCK_VECTORS)                                                               \
            __builtin_prefetch(place_of(y, product, i, BLOCK_VECTORS), 1);                         \
    }
#define STORE(i)                                                                                   \
    if (i < pixels) {                                                                              \
        vector_put(place_of(y, product, i, 0), a##i##_0, stream);                                  \
        if (vectors > 1)                                                                           \
            vector_put(place_of(y, product, i, 1), a##i##_1, stream);                              \
        if (vectors > 2) {                                                                         \
            vector_put(place_of(y, product, i, 2), a##i##_2, stream);                              \
            vector_put(place_of(y, product, i, 3), a##i##_3, stream);                              \
        }                                                                                          \
    }

ALWAYS_INLINE void multiply(const int pixels, const int vectors, const int step,
                            const Product *product, const float *x, float *y)
{
    const float *w = product->w;
    Vector b0 = { 0 }, b1 = b0, b2 = b0, b3 = b0;
    if (product->bias) {
        b0 = panel_vector(product->bias, vectors, 0);
        b1 = panel_vector(product->bias, vectors, 1);
        b2 = panel_vector(product->bias, vectors, 2);
        b3 = panel_vector(product->bias, vectors, 3);
    }
    EACH_PIXEL(DECLARE)
    if (!product->stream) {
        EACH_PIXEL(FETCH)
    }
    for (int rest = product->channels; rest > 0; rest -= CHANNEL_BLOCK, x += product->x_block) {
        const int channels = least(rest, CHANNEL_BLOCK);
        for (int tap = 0; tap < product->tap_count; tap++) {
            const float *xc = x + product->taps[tap];
#pragma GCC unroll 4
            for (const float *end = xc + channels; xc < end; xc++, w += vectors * VECTOR) {
                const Vector w0 = panel_vector(w, vectors, 0), w1 = panel_vector(w, vectors, 1),
                             w2 = panel_vector(w, vectors, 2), w3 = panel_vector(w, vectors, 3);
                for (int f = 0; f < vectors * VECTOR; f += CHANNEL_BLOCK)
                    __builtin_prefetch(w + AHEAD + f);
                EACH_PIXEL(MULTIPLY)
            }
        }
    }
    const bool stream = product->stream;
    EACH_PIXEL(STORE)
}

typedef void (*Multiply)(const Product *product, const float *x, float *y);

#define INSTANCE_OF(pixels, blocks, step)                                                          \
    static void multiply_##pixels##x##blocks##_##step(const Product *product, const float *x,      \
                                                      float *y)                                    \
    {                                                                                              \
        multiply(pixels, blocks *BLOCK_VECTORS, step, product, x, y);                              \
    }
#define INSTANCE(pixels, blocks)                                                                   \
    INSTANCE_OF(pixels, blocks, 16)                                                                \
    INSTANCE_OF(pixels, blocks, 3)                                                                 \
    INSTANCE_OF(pixels, blocks, 1)
#define NAME_16(pixels, blocks) multiply_##pixels##x##blocks##_16,
#define NAME_3(pixels, blocks) multiply_##pixels##x##blocks##_3,
#define NAME_1(pixels, blocks) multiply_##pixels##x##blocks##_1,

typedef Multiply Multiplies[PANEL_BLOCKS][PIXELS(1)];

#if VECTOR == 16
UP_TO_28(INSTANCE, 1)
UP_TO_14(INSTANCE, 2)
#define NAMES(NAME)                                                                                \
    {                                                                                              \
        { UP_TO_28(NAME, 1) },                                                                     \
        {                                                                                          \
            UP_TO_14(NAME, 2)                                                                      \
        }                                                                                          \
    }
#elif VECTOR == 8
UP_TO_6(INSTANCE, 1)
#define NAMES(NAME)                                                                                \
    {                                                                                              \
        {                                                                                          \
            UP_TO_6(NAME, 1)                                                                       \
        }                                                                                          \
    }
#else
UP_TO_3(INSTANCE, 1)
#define NAMES(NAME)                                                                                \
    {                                                                                              \
        {                                                                                          \
            UP_TO_3(NAME, 1)                                                                       \
        }                                                                                          \
    }
#endif
static const Multiplies multiplies_16 = NAMES(NAME_16), multiplies_3 = NAMES(NAME_3),
                        multiplies_1 = NAMES(NAME_1);

static const Multiply *instances_of(const Product *product)
{
    const int panel = product->panel_blocks - 1;
    if (product->x_step == 1)
        return multiplies_1[panel];
    return product->x_step == 3 ? multiplies_3[panel] : multiplies_16[panel];
}

/* Cut into pieces of nearly the same number of pixels: 16 is 8 + 8, not 14 + 2. */
void product_row(const Product *product, int pixels, const float *x, float *y)
{
    const Multiply *instances = instances_of(product);
    const int most = PIXELS(product->panel_blocks);
    for (int pieces = (pixels + most - 1) / most; pieces > 0; pieces--) {
        int piece = (pixels + pieces - 1) / pieces;
        instances[piece - 1](product, x, y);
        x += piece * product->x_step;
        y += (size_t)piece * product->y_step;
        pixels -= piece;
    }
}

/* ---- dw += x^T dy ---- */

#define DECLARE_SUM(i)                                                                             \
    Vector s##i##_0 = { 0 }, s##i##_1 = s##i##_0, s##i##_2 = s##i##_0, s##i##_3 = s##i##_0;
#define POINT(i) const float *x##i = i >= rows || neighbours ? xr : xr + offsets[i];
#define MULTIPLY_ROW(i)                                                                            \
    if (i < rows) {                                                                                \
        const Vector value = SPREAD(neighbours ? xr[i] : x##i[q]);                                 \
        s##i##_0 = vector_fused(value, d0, s##i##_0);                                              \
        if (vectors > 1)                                                                           \
            s##i##_1 = vector_fused(value, d1, s##i##_1);                                          \
        if (vectors > 2) {                                                                         \
            s##i##_2 = vector_fused(value, d2, s##i##_2);                                          \
            s##i##_3 = vector_fused(value, d3, s##i##_3);                                          \
        }                                                                                          \
    }
#define ADD_ONE(i, j)                                                                              \
    if (i < rows && j < vectors) {                                                                 \
        float *to = dw + (i * vectors + j) * VECTOR;                                               \
        vector_store(to, outer->overwrite ? s##i##_##j : vector_load(to) + s##i##_##j);            \
    }
#define ADD_ROW(i) ADD_ONE(i, 0) ADD_ONE(i, 1) ADD_ONE(i, 2) ADD_ONE(i, 3)

/* Vector j of a pixel of dy. */
ALWAYS_INLINE Vector pixel_vector(const float *dy, size_t block, int vectors, int j)
{
    if (j >= vectors)
        return (Vector){ 0 };
    return vector_load(dy + (size_t)(j / BLOCK_VECTORS) * block + j % BLOCK_VECTORS * VECTOR);
}

/* `neighbours`: row i is float i of a pixel, without offsets; xr goes from pixel to pixel then. */
ALWAYS_INLINE void multiply_outer(const int rows, const int vectors, const bool neighbours,
                                  const bool fetch, const Outer *outer, const size_t *offsets,
                                  const float *x, const float *dy, float *dw)
{
    EACH_ROW(DECLARE_SUM)
    const size_t floats = (size_t)outer->pixels * CHANNEL_BLOCK, block = outer->dy_block;
    for (int n = 0; n < outer->images; n++)
        for (int r = 0; r < outer->rows; r++) {
            const float *xr = x + (size_t)n * outer->x_image + (size_t)r * outer->x_row;
            const float *dr = dy + (size_t)n * outer->dy_image + (size_t)r * outer->dy_row;
            EACH_ROW(POINT)
            for (size_t p = 0, q = 0; p < floats; p += CHANNEL_BLOCK, q += outer->x_step) {
                const Vector d0 = pixel_vector(dr + p, block, vectors, 0),
                             d1 = pixel_vector(dr + p, block, vectors, 1),
                             d2 = pixel_vector(dr + p, block, vectors, 2),
                             d3 = pixel_vector(dr + p, block, vectors, 3);
                if (fetch) {
                    __builtin_prefetch(xr + outer->x_next);
                    for (int b = 0; b < vectors / BLOCK_VECTORS; b++)
                        __builtin_prefetch(dr + p + (size_t)b * block + outer->dy_next);
                }
                EACH_ROW(MULTIPLY_ROW)
                if (neighbours)
                    xr += outer->x_step;
            }
        }
    EACH_ROW(ADD_ROW)
}

typedef void (*MultiplyOuter)(const Outer *outer, const size_t *offsets, const float *x,
                              const float *dy, float *dw);

#define INSTANCE_OUTER(name, rows, blocks, neighbours, fetch)                                      \
    static void name##_##rows##x##blocks(const Outer *outer, const size_t *offsets,                \
                                         const float *x, const float *dy, float *dw)               \
    {                                                                                              \
        multiply_outer(rows, blocks *BLOCK_VECTORS, neighbours, fetch, outer, offsets, x, dy, dw); \
    }
#define OUTER(rows, blocks) INSTANCE_OUTER(outer, rows, blocks, false, false)
#define NEAR(rows, blocks)                                                                         \
    INSTANCE_OUTER(near, rows, blocks, true, false)                                                \
    INSTANCE_OUTER(fetch, rows, blocks, true, true)
#define OUTER_NAME(rows, b) outer_##rows##x##b,
#define NEAR_NAME(rows, b) near_##rows##x##b,
#define FETCH_NAME(rows, b) fetch_##rows##x##b,

typedef MultiplyOuter Outers[PANEL_BLOCKS][CHANNELS(1)];

#if VECTOR == 16
UP_TO_8(OUTER, 1)
UP_TO_8(OUTER, 2)
UP_TO_16(NEAR, 1)
UP_TO_9(NEAR, 2)
static const Outers outers = { { UP_TO_8(OUTER_NAME, 1) }, { UP_TO_8(OUTER_NAME, 2) } };
static const Outers nears = { { UP_TO_16(NEAR_NAME, 1) }, { UP_TO_9(NEAR_NAME, 2) } };
static const Outers fetches = { { UP_TO_16(FETCH_NAME, 1) }, { UP_TO_9(FETCH_NAME, 2) } };
#elif VECTOR == 8
UP_TO_6(OUTER, 1)
UP_TO_6(NEAR, 1)
static const Outers outers = { { UP_TO_6(OUTER_NAME, 1) } };
static const Outers nears = { { UP_TO_6(NEAR_NAME, 1) } };
static const Outers fetches = { { UP_TO_6(FETCH_NAME, 1) } };
#else
UP_TO_3(OUTER, 1)
UP_TO_3(NEAR, 1)
static const Outers outers = { { UP_TO_3(OUTER_NAME, 1) } };
static const Outers nears = { { UP_TO_3(NEAR_NAME, 1) } };
static const Outers fetches = { { UP_TO_3(FETCH_NAME, 1) } };
#endif

/* The first rows fetch for all: each fetch takes the place of a load. */
void outer_add(const Outer *outer, const float *x, const float *dy, float *dw)
{
    const bool neighbours = !outer->offsets;
    const int most = neighbours ? CHANNELS(outer->panel_blocks) : ROWS;
    const int panel = outer->panel_blocks - 1;
    const MultiplyOuter *instances = !neighbours      ? outers[panel]
                                     : outer->dy_next ? fetches[panel]
                                                      : nears[panel];
    const size_t *offsets = outer->offsets;
    int rest = outer->K;
    for (int pieces = (rest + most - 1) / most; pieces > 0; pieces--) {
        int piece = (rest + pieces - 1) / pieces;
        instances[piece - 1](outer, offsets, x, dy, dw);
        if (neighbours) {
            instances = nears[panel];
            x += piece;
        } else
            offsets += piece;
        dw += piece * outer->panel_blocks * CHANNEL_BLOCK;
        rest -= piece;
    }
}
