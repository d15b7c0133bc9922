/* Matrix products in registers: see product.h.
 *
 * Accumulators are named variables, written by macros: compilers keep an array of them in memory.
 * The number of pixels and vectors is constant in each instance, so conditions on it vanish. */
#include "product.h"

/* Pixels a call, and rows of dw a call: accumulators fill the register file. */
#if VECTOR == 16
#define PIXELS 14
#define ROWS 8
#elif VECTOR == 8
#define PIXELS 6
#define ROWS 6
#else
#define PIXELS 3
#define ROWS 3
#endif
#define BLOCK_VECTORS (CHANNEL_BLOCK / VECTOR)

#define ALWAYS_INLINE static inline __attribute__((always_inline))

#define EACH_ROW(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7)
#define EACH_PIXEL(M) EACH_ROW(M) M(8) M(9) M(10) M(11) M(12) M(13)

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
        const Vector value = SPREAD(xc[i * CHANNEL_BLOCK]);                                        \
        a##i##_0 += value * w0;                                                                    \
        if (vectors > 1)                                                                           \
            a##i##_1 += value * w1;                                                                \
        if (vectors > 2) {                                                                         \
            a##i##_2 += value * w2;                                                                \
            a##i##_3 += value * w3;                                                                \
        }                                                                                          \
    }
#define STORE(i)                                                                                   \
    if (i < pixels) {                                                                              \
        vector_store(place_of(y, product, i, 0), a##i##_0);                                        \
        if (vectors > 1)                                                                           \
            vector_store(place_of(y, product, i, 1), a##i##_1);                                    \
        if (vectors > 2) {                                                                         \
            vector_store(place_of(y, product, i, 2), a##i##_2);                                    \
            vector_store(place_of(y, product, i, 3), a##i##_3);                                    \
        }                                                                                          \
    }

ALWAYS_INLINE void multiply(const int pixels, const int vectors, const Product *product,
                            const float *x, float *y)
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
    for (int rest = product->channels; rest > 0; rest -= CHANNEL_BLOCK, x += product->x_block) {
        const int channels = least(rest, CHANNEL_BLOCK);
        for (int tap = 0; tap < product->tap_count; tap++) {
            const float *xc = x + product->taps[tap];
#pragma GCC unroll 4
            for (const float *end = xc + channels; xc < end; xc++, w += vectors * VECTOR) {
                const Vector w0 = panel_vector(w, vectors, 0), w1 = panel_vector(w, vectors, 1),
                             w2 = panel_vector(w, vectors, 2), w3 = panel_vector(w, vectors, 3);
                EACH_PIXEL(MULTIPLY)
            }
        }
    }
    EACH_PIXEL(STORE)
}

typedef void (*Multiply)(const Product *product, const float *x, float *y);

#define INSTANCE(pixels, blocks)                                                                   \
    static void multiply_##pixels##x##blocks(const Product *product, const float *x, float *y)     \
    {                                                                                              \
        multiply(pixels, blocks *BLOCK_VECTORS, product, x, y);                                    \
    }
#define INSTANCES_3(blocks) INSTANCE(1, blocks) INSTANCE(2, blocks) INSTANCE(3, blocks)
#define INSTANCES_6(blocks)                                                                        \
    INSTANCES_3(blocks) INSTANCE(4, blocks) INSTANCE(5, blocks) INSTANCE(6, blocks)
#define INSTANCES_14(blocks)                                                                       \
    INSTANCES_6(blocks)                                                                            \
    INSTANCE(7, blocks)                                                                            \
    INSTANCE(8, blocks)                                                                            \
    INSTANCE(9, blocks)                                                                            \
    INSTANCE(10, blocks)                                                                           \
    INSTANCE(11, blocks)                                                                           \
    INSTANCE(12, blocks)                                                                           \
    INSTANCE(13, blocks)                                                                           \
    INSTANCE(14, blocks)
#define NAMES_3(b) multiply_1x##b, multiply_2x##b, multiply_3x##b
#define NAMES_6(b) NAMES_3(b), multiply_4x##b, multiply_5x##b, multiply_6x##b
#define NAMES_14(b)                                                                                \
    NAMES_6(b), multiply_7x##b, multiply_8x##b, multiply_9x##b, multiply_10x##b, multiply_11x##b,  \
        multiply_12x##b, multiply_13x##b, multiply_14x##b

#if VECTOR == 16
INSTANCES_14(1)
INSTANCES_14(2)
static const Multiply multiplies[PANEL_BLOCKS][PIXELS] = { { NAMES_14(1) }, { NAMES_14(2) } };
#elif VECTOR == 8
INSTANCES_6(1)
static const Multiply multiplies[PANEL_BLOCKS][PIXELS] = { { NAMES_6(1) } };
#else
INSTANCES_3(1)
static const Multiply multiplies[PANEL_BLOCKS][PIXELS] = { { NAMES_3(1) } };
#endif

/* Cut into pieces of nearly the same number of pixels: 16 is 8 + 8, not 14 + 2. */
void product_row(const Product *product, int pixels, const float *x, float *y)
{
    const Multiply *instances = multiplies[product->panel_blocks - 1];
    for (int pieces = (pixels + PIXELS - 1) / PIXELS; pieces > 0; pieces--) {
        int piece = (pixels + pieces - 1) / pieces;
        instances[piece - 1](product, x, y);
        x += piece * CHANNEL_BLOCK;
        y += (size_t)piece * product->y_step;
        pixels -= piece;
    }
}

/* ---- dw += x^T dy ---- */

#define DECLARE_SUM(i)                                                                             \
    Vector s##i##_0 = { 0 }, s##i##_1 = s##i##_0, s##i##_2 = s##i##_0, s##i##_3 = s##i##_0;
#define POINT(i) const float *x##i = i < rows ? xr + offsets[i] : xr;
#define MULTIPLY_ROW(i)                                                                            \
    if (i < rows) {                                                                                \
        const Vector value = SPREAD(x##i[p]);                                                      \
        s##i##_0 += value * d0;                                                                    \
        if (vectors > 1)                                                                           \
            s##i##_1 += value * d1;                                                                \
        if (vectors > 2) {                                                                         \
            s##i##_2 += value * d2;                                                                \
            s##i##_3 += value * d3;                                                                \
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

ALWAYS_INLINE void multiply_outer(const int rows, const int vectors, const Outer *outer,
                                  const size_t *offsets, const float *x, const float *dy, float *dw)
{
    EACH_ROW(DECLARE_SUM)
    const size_t floats = (size_t)outer->pixels * CHANNEL_BLOCK, block = outer->dy_block;
    for (int n = 0; n < outer->images; n++)
        for (int r = 0; r < outer->rows; r++) {
            const float *xr = x + (size_t)n * outer->x_image + (size_t)r * outer->x_row;
            const float *dr = dy + (size_t)n * outer->dy_image + (size_t)r * outer->dy_row;
            EACH_ROW(POINT)
            for (size_t p = 0; p < floats; p += CHANNEL_BLOCK) {
                const Vector d0 = pixel_vector(dr + p, block, vectors, 0),
                             d1 = pixel_vector(dr + p, block, vectors, 1),
                             d2 = pixel_vector(dr + p, block, vectors, 2),
                             d3 = pixel_vector(dr + p, block, vectors, 3);
                EACH_ROW(MULTIPLY_ROW)
            }
        }
    EACH_ROW(ADD_ROW)
}

typedef void (*MultiplyOuter)(const Outer *outer, const size_t *offsets, const float *x,
                              const float *dy, float *dw);

#define OUTER(rows, blocks)                                                                        \
    static void outer_##rows##x##blocks(const Outer *outer, const size_t *offsets, const float *x, \
                                        const float *dy, float *dw)                                \
    {                                                                                              \
        multiply_outer(rows, blocks *BLOCK_VECTORS, outer, offsets, x, dy, dw);                    \
    }
#define OUTERS_3(b) OUTER(1, b) OUTER(2, b) OUTER(3, b)
#define OUTERS_6(b) OUTERS_3(b) OUTER(4, b) OUTER(5, b) OUTER(6, b)
#define OUTERS_8(b) OUTERS_6(b) OUTER(7, b) OUTER(8, b)
#define OUTER_NAMES_3(b) outer_1x##b, outer_2x##b, outer_3x##b
#define OUTER_NAMES_6(b) OUTER_NAMES_3(b), outer_4x##b, outer_5x##b, outer_6x##b
#define OUTER_NAMES_8(b) OUTER_NAMES_6(b), outer_7x##b, outer_8x##b

#if VECTOR == 16
OUTERS_8(1)
OUTERS_8(2)
static const MultiplyOuter outers[PANEL_BLOCKS][ROWS] = { { OUTER_NAMES_8(1) },
                                                          { OUTER_NAMES_8(2) } };
#elif VECTOR == 8
OUTERS_6(1)
static const MultiplyOuter outers[PANEL_BLOCKS][ROWS] = { { OUTER_NAMES_6(1) } };
#else
OUTERS_3(1)
static const MultiplyOuter outers[PANEL_BLOCKS][ROWS] = { { OUTER_NAMES_3(1) } };
#endif

void outer_add(const Outer *outer, const float *x, const float *dy, float *dw)
{
    const MultiplyOuter *instances = outers[outer->panel_blocks - 1];
    const size_t *offsets = outer->offsets;
    int rest = outer->K;
    for (int pieces = (rest + ROWS - 1) / ROWS; pieces > 0; pieces--) {
        int piece = (rest + pieces - 1) / pieces;
        instances[piece - 1](outer, offsets, x, dy, dw);
        offsets += piece;
        dw += piece * outer->panel_blocks * CHANNEL_BLOCK;
        rest -= piece;
    }
}
