#include "lockstep/matmul.h"
#include "lockstep/cpu.h"
#include "lockstep/vector.h"
#include "lockstep/vmath.h"

#include <string.h>

#if VECTOR == 16
#define VECTORS 4
#elif VECTOR == 8
#define VECTORS 2
#else
#define VECTORS 4
#endif
#define WIDTH (VECTORS * VECTOR)
#define ROWS 8
#ifndef DEPTH
#define DEPTH 128
#endif
#ifndef BLOCK_FLOATS
#define BLOCK_FLOATS (256 * 1024)
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define EACH_ROW(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7)

static inline int least(int a, int b)
{
    return a < b ? a : b;
}

typedef struct Tile {
    const float *a;
    size_t a_row, a_k;
    const float *b;
    int depth;
    float *c;
    size_t c_row;
    bool add;
    const float *c_next;
    const float *next; /* block of B that is packed next */
    size_t next_step;
    int next_shift, next_first, next_count;
} Tile;

ALWAYS_INLINE Vector panel_vector(const float *row, int vectors, int j)
{
    return j < vectors ? vector_load(row + j * VECTOR) : (Vector){ 0 };
}

#define POINT(i) const float *a##i = tile->a + (i < rows ? i : 0) * tile->a_row;
#define DECLARE(i)                                                                                 \
    Vector s##i##_0 = { 0 }, s##i##_1 = s##i##_0, s##i##_2 = s##i##_0, s##i##_3 = s##i##_0;
#define MULTIPLY(i)                                                                                \
    if (i < rows) {                                                                                \
        const Vector value = SPREAD(a##i[p]);                                                      \
        s##i##_0 += value * b0;                                                                    \
        if (vectors > 1)                                                                           \
            s##i##_1 += value * b1;                                                                \
        if (vectors > 2)                                                                           \
            s##i##_2 += value * b2;                                                                \
        if (vectors > 3)                                                                           \
            s##i##_3 += value * b3;                                                                \
    }
#define STORE_ONE(i, j)                                                                            \
    if (i < rows && j < vectors) {                                                                 \
        float *to = tile->c + (size_t)i * tile->c_row + j * VECTOR;                                \
        vector_store(to, tile->add ? vector_load(to) + s##i##_##j : s##i##_##j);                   \
    }
#define STORE(i) STORE_ONE(i, 0) STORE_ONE(i, 1) STORE_ONE(i, 2) STORE_ONE(i, 3)

ALWAYS_INLINE void tile_multiply(const int rows, const int vectors, const Tile *tile)
{
    const float *b = tile->b;
    const size_t step = tile->a_k;
    size_t p = 0;
    EACH_ROW(POINT)
    EACH_ROW(DECLARE)
    const int segment = (tile->depth + 4 * rows - 1) / (4 * rows) * 4;
    int piece = tile->next_first;
    const float *c_next = tile->c_next;
    for (int rest = tile->depth; rest > 0; rest -= segment) {
        const float *end = b + least(rest, segment) * vectors * VECTOR;
        for (int j = 0; j < vectors * VECTOR; j += 16)
            __builtin_prefetch(c_next + j, 1);
        c_next += tile->c_row;
        for (int q = 0; q < tile->next_count; q++, piece++) {
            const float *line = tile->next + (size_t)(piece >> tile->next_shift) * tile->next_step +
                                (piece & ((1 << tile->next_shift) - 1)) * 64;
            for (int j = 0; j < 64; j += 16)
                __builtin_prefetch(line + j, 0, 2);
        }
#pragma GCC unroll 4
        for (; b < end; b += vectors * VECTOR, p += step) {
            const Vector b0 = panel_vector(b, vectors, 0), b1 = panel_vector(b, vectors, 1),
                         b2 = panel_vector(b, vectors, 2), b3 = panel_vector(b, vectors, 3);
            EACH_ROW(MULTIPLY)
        }
    }
    EACH_ROW(STORE)
}

typedef void (*TileMultiply)(const Tile *tile);
#define INSTANCE(rows, vectors)                                                                    \
    static void tile_##rows##x##vectors(const Tile *tile)                                          \
    {                                                                                              \
        tile_multiply(rows, vectors, tile);                                                        \
    }
#define INSTANCES(v)                                                                               \
    INSTANCE(1, v) INSTANCE(2, v) INSTANCE(3, v) INSTANCE(4, v) INSTANCE(5, v) INSTANCE(6, v)      \
    INSTANCE(7, v) INSTANCE(8, v)
#define NAMES(v)                                                                                   \
    {                                                                                              \
        tile_1x##v, tile_2x##v, tile_3x##v, tile_4x##v, tile_5x##v, tile_6x##v, tile_7x##v,        \
            tile_8x##v                                                                             \
    }
INSTANCES(1)
INSTANCES(2)
INSTANCES(3)
INSTANCES(4)
static const TileMultiply tiles[4][ROWS] = { NAMES(1), NAMES(2), NAMES(3), NAMES(4) };
static const int tile_rows[4] = { 8, 8, 8, 6 };

typedef int Index __attribute__((vector_size(VECTOR * sizeof(int))));
#if VECTOR == 16
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif VECTOR == 8
#define LOW 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#endif

/* One step of a transposition: row i and row i + VECTOR / 2 are shuffled like two halves of a
 * deck. log2(VECTOR) steps transpose. */
ALWAYS_INLINE void shuffle(const Vector from[VECTOR], Vector to[VECTOR])
{
#pragma GCC unroll 8
    for (int i = 0; i < VECTOR / 2; i++) {
        to[2 * i] = __builtin_shufflevector(from[i], from[i + VECTOR / 2], LOW);
        to[2 * i + 1] = __builtin_shufflevector(from[i], from[i + VECTOR / 2], HIGH);
    }
}

ALWAYS_INLINE void transpose(Vector r[VECTOR])
{
    Vector t[VECTOR];
    shuffle(r, t);
    shuffle(t, r);
#if VECTOR == 16
    shuffle(r, t);
    shuffle(t, r);
#elif VECTOR == 8
    shuffle(r, t);
    for (int i = 0; i < VECTOR; i++)
        r[i] = t[i];
#endif
}

/* to[k][j] = from[j][k] for j < count <= VECTOR, k < depth; zeros behind */
static void turn_block(const float *from, size_t step, int count, int depth, float *to, int width)
{
    Vector r[VECTOR];
    for (int k = 0; k < depth; k += VECTOR) {
        int part = least(VECTOR, depth - k);
        if (count == VECTOR && part == VECTOR) {
#pragma GCC unroll 16
            for (int j = 0; j < VECTOR; j++)
                r[j] = vector_load(from + (size_t)j * step + k);
        } else
            for (int j = 0; j < VECTOR; j++)
                r[j] = j < count ? vector_load_part(from + (size_t)j * step + k, part)
                                 : (Vector){ 0 };
        transpose(r);
        if (part == VECTOR) {
#pragma GCC unroll 16
            for (int i = 0; i < VECTOR; i++)
                vector_store(to + (k + i) * width, r[i]);
        } else
            for (int i = 0; i < part; i++)
                vector_store(to + (k + i) * width, r[i]);
    }
}

static void copy_block(const float *from, size_t step, int columns, int depth, float *to, int width)
{
    if (columns == width) {
        for (int k = 0; k < depth; k++, from += step, to += width)
            for (int j = 0; j < width; j += VECTOR)
                vector_store(to + j, vector_load(from + j));
        return;
    }
    for (int k = 0; k < depth; k++, from += step, to += width) {
        for (int j = 0; j < columns; j++)
            to[j] = from[j];
        for (int j = columns; j < width; j++)
            to[j] = 0;
    }
}

static void pack_b(const Matmul *m, int k, int depth, int j, int columns, int width, float *to)
{
    if (!m->b_turned) {
        copy_block(m->b + (size_t)k * m->b_step + j, m->b_step, columns, depth, to, width);
        return;
    }
    for (int i = 0; i < width; i += VECTOR)
        turn_block(m->b + (size_t)(j + i) * m->b_step + k, m->b_step, least(VECTOR, columns - i),
                   depth, to + i, width);
}

static void pack_a(const Matmul *m, int k, int depth, int i, int rows, int height, float *to)
{
    for (int first = 0; first < rows; first += height, to += (size_t)depth * (size_t)height) {
        const float *from = m->a + (size_t)k * m->a_step + i + first;
        int count = least(height, rows - first);
        for (int p = 0; p < depth; p++, from += m->a_step)
            for (int r = 0; r < count; r++)
                to[p * height + r] = from[r];
    }
}
static float a_packed[512 * 1024 + 64] __attribute__((aligned(64)));
static float b_packed[DEPTH * WIDTH] __attribute__((aligned(64)));
static float edge[ROWS * WIDTH] __attribute__((aligned(64)));

ALWAYS_INLINE float activate(Activation a, float v)
{
    if (a == ACTIVATION_RELU)
        return v < 0 ? 0 : v;
    return v;
}

void ISA_NAME(matmul)(const Matmul *m);
void ISA_NAME(matmul)(const Matmul *m)
{
    int block = BLOCK_FLOATS / m->N / 24 * 24;
    if (block < 48)
        block = 48;
    if (block > 2048) block = 2048/24*24;
    for (int i0 = 0; i0 < m->M; i0 += block) {
        int rows = least(block, m->M - i0);
        for (int k = 0; k < m->K; k += DEPTH) {
            int depth = least(DEPTH, m->K - k);
            int packed_height = 0;
            for (int j = 0; j < m->N; j += WIDTH) {
                int columns = least(WIDTH, m->N - j);
                int vectors = (columns + VECTOR - 1) / VECTOR, width = vectors * VECTOR;
                pack_b(m, k, depth, j, columns, width, b_packed);
                int height = tile_rows[vectors - 1];
                Tile tile = { .b = b_packed, .depth = depth };
                int next_j = j + WIDTH < m->N ? j + WIDTH : 0, next_k = j + WIDTH < m->N ? k : k + DEPTH;
                tile.next = m->b_turned ? m->b + (size_t)next_j * m->b_step + next_k : m->b + (size_t)next_k * m->b_step + next_j;
                tile.next_step = m->b_step; tile.next_shift = m->b_turned ? (DEPTH == 128 ? 1 : 2) : 0;
                int segments = rows; tile.next_count = next_k < m->K ? (depth + segments - 1) / segments : 0; int piece = 0;
                if (m->a_turned && height != packed_height) {
                    pack_a(m, k, depth, i0, rows, height, a_packed);
                    packed_height = height;
                }
                for (int i = 0; i < rows; i += height) {
                    int count = least(height, rows - i);
                    tile.next_first = piece; piece += tile.next_count * count; if (piece > depth) tile.next_count = 0;
                    tile.c_next = m->c + (size_t)(i0 + i + height) * m->c_step + j;
                    if (m->a_turned) {
                        tile.a = a_packed + (size_t)i * (size_t)depth;
                        tile.a_row = 1;
                        tile.a_k = (size_t)height;
                    } else {
                        tile.a = m->a + (size_t)(i0 + i) * m->a_step + k;
                        tile.a_row = m->a_step;
                        tile.a_k = 1;
                    }
                    float *c = m->c + (size_t)(i0 + i) * m->c_step + j;
                    if (columns == width) {
                        tile.c = c;
                        tile.c_row = m->c_step;
                        tile.add = k > 0 || m->add;
                        tiles[vectors - 1][count - 1](&tile);
                    } else {
                        tile.c = edge;
                        tile.c_row = WIDTH;
                        tile.add = false;
                        tiles[vectors - 1][count - 1](&tile);
                        for (int r = 0; r < count; r++)
                            for (int q = 0; q < columns; q++)
                                c[(size_t)r * m->c_step + q] = k > 0 || m->add ? c[(size_t)r * m->c_step + q] + edge[r * WIDTH + q] : edge[r * WIDTH + q];
                    }
                }
            }
        }
    }
}
