/* Products of small matrices: see tiles.h.
 *
 * Accumulators are named variables, written by macros: compilers keep an array of them in memory.
 * Rows of A are reached from every third one, by pointer and index: x86 has no more registers. */
#include "tiles.h"

#if VECTOR == 16
#define ROWS 14
#else
#define ROWS 6
#endif
#define PAIR (2 * VECTOR) /* columns of a full tile */

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* M(row, its pointer, rows from there) */
#define EACH_ROW_6(M) M(0, 0, 0) M(1, 0, 1) M(2, 0, 2) M(3, 3, 0) M(4, 3, 1) M(5, 3, 2)
#define EACH_ROW_14(M)                                                                             \
    EACH_ROW_6(M)                                                                                  \
    M(6, 6, 0)                                                                                     \
    M(7, 6, 1) M(8, 6, 2) M(9, 9, 0) M(10, 9, 1) M(11, 9, 2) M(12, 12, 0) M(13, 12, 1)

#if VECTOR == 16
#define EACH_ROW EACH_ROW_14
#define EACH_POINTER(M) M(0) M(3) M(6) M(9) M(12)
#else
#define EACH_ROW EACH_ROW_6
#define EACH_POINTER(M) M(0) M(3)
#endif

#define DECLARE(i, base, rest) Vector s##i##_0 = { 0 }, s##i##_1 = s##i##_0;
#define POINT(i) const float *a##i = a + i * row;
#define ADVANCE(i) a##i += step;
#define LOAD(i, base, rest)                                                                        \
    if (i < rows) {                                                                                \
        s##i##_0 = vector_load(c + i * tiles->c_stride);                                           \
        if (vectors > 1)                                                                           \
            s##i##_1 = vector_load(c + i * tiles->c_stride + VECTOR);                              \
    }
#define KEEP(i, base, rest)                                                                        \
    if (i < rows) {                                                                                \
        const Vector factor = SPREAD(keep[i]);                                                     \
        s##i##_0 *= factor;                                                                        \
        s##i##_1 *= factor;                                                                        \
    }
#define MULTIPLY(i, base, rest)                                                                    \
    if (i < rows) {                                                                                \
        const Vector value = SPREAD(a##base[rest * row]);                                          \
        s##i##_0 = vector_fused(value, b0, s##i##_0);                                              \
        if (vectors > 1)                                                                           \
            s##i##_1 = vector_fused(value, b1, s##i##_1);                                          \
    }
#define STORE(i, base, rest)                                                                       \
    if (i < rows) {                                                                                \
        vector_store(c + i * tiles->c_stride, s##i##_0);                                           \
        if (vectors > 1)                                                                           \
            vector_store(c + i * tiles->c_stride + VECTOR, s##i##_1);                              \
    }

ALWAYS_INLINE void tile(const int rows, const int vectors, const bool transposed,
                        const Tiles *tiles, int first_row, int first_column)
{
    const size_t row = transposed ? 1 : tiles->a_stride, step = transposed ? tiles->a_stride : 1;
    const float *a = tiles->a + (size_t)first_row * row, *b = tiles->b + first_column;
    float *c = tiles->c + (size_t)first_row * tiles->c_stride + first_column;
    EACH_ROW(DECLARE)
    EACH_POINTER(POINT)
    if (tiles->add) {
        EACH_ROW(LOAD)
        if (tiles->keep) {
            const float *keep = tiles->keep + first_row;
            EACH_ROW(KEEP)
        }
    }
#pragma GCC unroll 4
    for (int k = 0; k < tiles->K; k++) {
        const Vector b0 = vector_load(b), b1 = vectors > 1 ? vector_load(b + VECTOR) : b0;
        EACH_ROW(MULTIPLY)
        EACH_POINTER(ADVANCE)
        b += tiles->b_stride;
    }
    EACH_ROW(STORE)
}

typedef void (*Tile)(const Tiles *tiles, int first_row, int first_column);

#define INSTANCE(rows, vectors, transposed)                                                        \
    static void tile_##rows##x##vectors##_##transposed(const Tiles *tiles, int first_row,          \
                                                       int first_column)                           \
    {                                                                                              \
        tile(rows, vectors, transposed, tiles, first_row, first_column);                           \
    }
#define INSTANCES_6(v, t)                                                                          \
    INSTANCE(1, v, t)                                                                              \
    INSTANCE(2, v, t) INSTANCE(3, v, t) INSTANCE(4, v, t) INSTANCE(5, v, t) INSTANCE(6, v, t)
#define INSTANCES_14(v, t)                                                                         \
    INSTANCES_6(v, t)                                                                              \
    INSTANCE(7, v, t)                                                                              \
    INSTANCE(8, v, t)                                                                              \
    INSTANCE(9, v, t)                                                                              \
    INSTANCE(10, v, t)                                                                             \
    INSTANCE(11, v, t) INSTANCE(12, v, t) INSTANCE(13, v, t) INSTANCE(14, v, t)
#define NAMES_6(v, t)                                                                              \
    tile_1x##v##_##t, tile_2x##v##_##t, tile_3x##v##_##t, tile_4x##v##_##t, tile_5x##v##_##t,      \
        tile_6x##v##_##t
#define NAMES_14(v, t)                                                                             \
    NAMES_6(v, t), tile_7x##v##_##t, tile_8x##v##_##t, tile_9x##v##_##t, tile_10x##v##_##t,        \
        tile_11x##v##_##t, tile_12x##v##_##t, tile_13x##v##_##t, tile_14x##v##_##t

#if VECTOR == 16
#define INSTANCES INSTANCES_14
#define NAMES NAMES_14
#else
#define INSTANCES INSTANCES_6
#define NAMES NAMES_6
#endif
INSTANCES(1, 0)
INSTANCES(2, 0)
INSTANCES(1, 1)
INSTANCES(2, 1)
static const Tile instances[2][2][ROWS] = { { { NAMES(1, 0) }, { NAMES(2, 0) } },
                                            { { NAMES(1, 1) }, { NAMES(2, 1) } } };

static void fetch(Ahead *ahead)
{
    enum { LINE = 16 }; /* floats */
    if (ahead->rows == 0)
        return;
    ahead->rows--;
    for (int i = 0; i < ahead->count; i++) {
        for (int f = 0; f < ahead->floats; f += LINE)
            __builtin_prefetch(ahead->arrays[i].at + f, 0, 2);
        ahead->arrays[i].at += ahead->arrays[i].stride;
    }
}

/* Rows are cut into pieces of nearly the same size: 16 is 8 + 8, not 14 + 2. */
void tiles_multiply(const Tiles *tiles)
{
    for (int column = 0; column < tiles->columns; column += PAIR) {
        int pieces = (tiles->rows + ROWS - 1) / ROWS, row = 0;
        bool pair = tiles->columns - column >= PAIR;
        const Tile *of_rows = instances[tiles->a_transposed][pair];
        for (; pieces > 0; pieces--) {
            int piece = (tiles->rows - row + pieces - 1) / pieces;
            if (tiles->ahead)
                fetch(tiles->ahead);
            of_rows[piece - 1](tiles, row, column);
            row += piece;
        }
    }
}
