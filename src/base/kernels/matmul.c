/* Matrix products in registers: a tile of up to 8 rows x 4 vectors of C is summed over MATMUL_DEPTH
 * values of k while a panel of B, those k times the tile's columns, stays in the second cache.
 *
 *   for blocks of rows of C that fit the second cache
 *     for k in steps of MATMUL_DEPTH
 *       for panels of columns: pack the panel of B (k, columns), turned if B is stored (N, K)
 *         for tiles of rows: C tile (+)= A tile x panel
 *
 * B is packed where it is used instead of once before: a panel goes from memory to the cache once a
 * row block, and no packed copy is ever written to memory. While a tile is computed, the lines of
 * the next panel and of the next tile of C are fetched.
 *
 * Accumulators are named variables, written by macros: compilers keep an array of them in memory.
 * The number of rows and vectors is constant in each instance, so conditions on it vanish. */
#include "lockstep/matmul.h"
#include "lockstep/activation.h"
#include "lockstep/cpu.h"
#include "lockstep/vector.h"

#if VECTOR == 8
#define VECTORS 2 /* of a full panel: with 6 rows they fill the register file */
#else
#define VECTORS 4
#endif
#define WIDTH (VECTORS * VECTOR)  /* columns of a full panel */
#define GROUP 64                  /* columns that are packed together: whole panels */
#define BLOCK_FLOATS (512 * 1024) /* of C in a row block */
#define LINE 16                   /* floats of a cache line */
#define PACKED_COLUMNS 256        /* of C, from more on a turned A is packed */
#define PIECE 64                  /* floats that are fetched at a time */

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Rows of a tile by its number of vectors. */
#if VECTOR == 16
#define ROWS 8
static const int tile_rows[VECTORS] = { 8, 8, 8, 6 };
#elif VECTOR == 8
#define ROWS 6
static const int tile_rows[VECTORS] = { 6, 6 };
#else
#define ROWS 3
static const int tile_rows[VECTORS] = { 3, 3, 3, 3 };
#endif

static inline int least(int a, int b)
{
    return a < b ? a : b;
}

/* ---- a tile ---- */

typedef struct Tile {
    const float *a;
    size_t a_row, a_k; /* floats from a row, and from a value of k, to the next */
    const float *b;    /* the panel (depth, vectors) */
    int depth;
    float *c;
    size_t c_row;
    bool add;
    const float *next_c;     /* the tile after this one, to be fetched */
    const float *next_b;     /* the panel after this one, as it is stored: rows of pieces */
    size_t next_step;        /* from a stored row of it to the next */
    int row_pieces;          /* of a stored row, a power of two: its logarithm */
    int first_piece, pieces; /* to be fetched: from which, how many for each row of the tile */
} Tile;

#define EACH_ROW(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7)

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
        s##i##_0 = vector_fused(value, b0, s##i##_0);                                              \
        if (vectors > 1)                                                                           \
            s##i##_1 = vector_fused(value, b1, s##i##_1);                                          \
        if (vectors > 2)                                                                           \
            s##i##_2 = vector_fused(value, b2, s##i##_2);                                          \
        if (vectors > 3)                                                                           \
            s##i##_3 = vector_fused(value, b3, s##i##_3);                                          \
    }
#define STORE_ONE(i, j)                                                                            \
    if (i < rows && j < vectors) {                                                                 \
        float *to = tile->c + (size_t)i * tile->c_row + j * VECTOR;                                \
        vector_store(to, tile->add ? vector_load(to) + s##i##_##j : s##i##_##j);                   \
    }
#define STORE(i) STORE_ONE(i, 0) STORE_ONE(i, 1) STORE_ONE(i, 2) STORE_ONE(i, 3)

/* Fetches row `row` of the next tile of C, and this row's share of the next panel of B. */
ALWAYS_INLINE void fetch(const int vectors, const Tile *tile, int row)
{
    const float *c = tile->next_c + (size_t)row * tile->c_row;
    for (int j = 0; j < vectors * VECTOR; j += LINE)
        __builtin_prefetch(c + j, 1);
    int piece = tile->first_piece + row * tile->pieces;
    for (int end = piece + tile->pieces; piece < end; piece++) {
        int stored_row = piece >> tile->row_pieces;
        const float *b = tile->next_b + (size_t)stored_row * tile->next_step +
                         (piece - (stored_row << tile->row_pieces)) * PIECE;
        for (int j = 0; j < PIECE; j += LINE)
            __builtin_prefetch(b + j, 0, 2);
    }
}

/* The sum over k is cut into as many parts as there are rows only to spread the fetches. */
ALWAYS_INLINE void tile_multiply(const int rows, const int vectors, const Tile *tile)
{
    const float *b = tile->b;
    const size_t step = tile->a_k;
    const int part = (tile->depth + 4 * rows - 1) / (4 * rows) * 4;
    size_t p = 0;
    EACH_ROW(POINT)
    EACH_ROW(DECLARE)
    for (int rest = tile->depth, row = 0; rest > 0; rest -= part, row++) {
        const float *end = b + least(rest, part) * vectors * VECTOR;
        fetch(vectors, tile, row);
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
#define INSTANCES_3(v) INSTANCE(1, v) INSTANCE(2, v) INSTANCE(3, v)
#define INSTANCES_6(v) INSTANCES_3(v) INSTANCE(4, v) INSTANCE(5, v) INSTANCE(6, v)
#define INSTANCES_8(v) INSTANCES_6(v) INSTANCE(7, v) INSTANCE(8, v)
#define NAMES_3(v) tile_1x##v, tile_2x##v, tile_3x##v
#define NAMES_6(v) NAMES_3(v), tile_4x##v, tile_5x##v, tile_6x##v
#define NAMES_8(v) NAMES_6(v), tile_7x##v, tile_8x##v

#if VECTOR == 16
INSTANCES_8(1)
INSTANCES_8(2)
INSTANCES_8(3)
INSTANCES_6(4)
static const TileMultiply tiles[VECTORS][ROWS] = {
    { NAMES_8(1) }, { NAMES_8(2) }, { NAMES_8(3) }, { NAMES_6(4) }
};
#elif VECTOR == 8
INSTANCES_6(1)
INSTANCES_6(2)
static const TileMultiply tiles[VECTORS][ROWS] = { { NAMES_6(1) }, { NAMES_6(2) } };
#else
INSTANCES_3(1)
INSTANCES_3(2)
INSTANCES_3(3)
INSTANCES_3(4)
static const TileMultiply tiles[VECTORS][ROWS] = {
    { NAMES_3(1) }, { NAMES_3(2) }, { NAMES_3(3) }, { NAMES_3(4) }
};
#endif

/* ---- packing ---- */

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

/* Rows i and i + VECTOR / 2 are shuffled like two halves of a deck of cards; log2(VECTOR) shuffles
 * turn a square. */
ALWAYS_INLINE void shuffle(const Vector from[VECTOR], Vector to[VECTOR])
{
#pragma GCC unroll 8
    for (int i = 0; i < VECTOR / 2; i++) {
        to[2 * i] = __builtin_shufflevector(from[i], from[i + VECTOR / 2], LOW);
        to[2 * i + 1] = __builtin_shufflevector(from[i], from[i + VECTOR / 2], HIGH);
    }
}

ALWAYS_INLINE void turn_square(Vector rows[VECTOR], Vector turned[VECTOR])
{
    shuffle(rows, turned);
#if VECTOR == 8
    shuffle(turned, rows);
    shuffle(rows, turned);
#else
    shuffle(turned, rows);
#if VECTOR == 16
    shuffle(rows, turned);
    shuffle(turned, rows);
#endif
#pragma GCC unroll 16
    for (int i = 0; i < VECTOR; i++)
        turned[i] = rows[i];
#endif
}

/* to (depth, width)[k][j] = from[j][k] for j < columns, and 0 up to VECTOR columns */
static void turn_columns(const float *from, size_t step, int columns, int depth, float *to,
                         int width)
{
    Vector rows[VECTOR], turned[VECTOR];
    for (int k = 0; k < depth; k += VECTOR) {
        int part = least(VECTOR, depth - k);
        if (columns == VECTOR && part == VECTOR) {
#pragma GCC unroll 16
            for (int j = 0; j < VECTOR; j++)
                rows[j] = vector_load(from + (size_t)j * step + k);
        } else {
            for (int j = 0; j < VECTOR; j++)
                rows[j] = j < columns ? vector_load_part(from + (size_t)j * step + k, part)
                                      : (Vector){ 0 };
        }
        turn_square(rows, turned);
        for (int i = 0; i < part; i++)
            vector_store(to + (k + i) * width, turned[i]);
    }
}

/* to (depth, width)[k][j] = from[k][j] for j < columns, 0 behind */
static void copy_columns(const float *from, size_t step, int columns, int depth, float *to,
                         int width)
{
    for (int k = 0; k < depth; k++, from += step, to += width)
        for (int j = 0; j < width; j += VECTOR) {
            int part = least(VECTOR, columns - j);
            vector_store(to + j, part > 0 ? vector_load_part(from + j, part) : (Vector){ 0 });
        }
}

static const float *stored_b(const Matmul *m, int k, int column)
{
    return m->b_turned ? m->b + (size_t)column * m->b_step + k
                       : m->b + (size_t)k * m->b_step + column;
}

static void pack_panel(const Matmul *m, int k, int depth, int column, int columns, int width,
                       float *to)
{
    if (!m->b_turned) {
        copy_columns(stored_b(m, k, column), m->b_step, columns, depth, to, width);
        return;
    }
    for (int j = 0; j < columns; j += VECTOR)
        turn_columns(stored_b(m, k, column + j), m->b_step, least(VECTOR, columns - j), depth,
                     to + j, width);
}

/* Stored rows are far apart, which no prefetcher of a CPU follows. */
ALWAYS_INLINE void pack_tile(const int height, const float *from, size_t step, int depth, float *to)
{
    for (int k = 0; k < depth; k++, from += step, to += height) {
        __builtin_prefetch(from + 16 * step);
        for (int i = 0; i < height; i++)
            to[i] = from[i];
    }
}

/* A stored as (K, M): rows [row, row + rows) as tiles (depth, height). */
static void pack_turned_a(const Matmul *m, int k, int depth, int row, int rows, int height,
                          float *to)
{
    const float *from = m->a + (size_t)k * m->a_step + row;
    for (int i = 0; i < rows; i += height, to += (size_t)depth * (size_t)height) {
        int count = least(height, rows - i);
        if (count == ROWS)
            pack_tile(ROWS, from + i, m->a_step, depth, to);
        else if (count == 6 && height == 6)
            pack_tile(6, from + i, m->a_step, depth, to);
        else
            for (int p = 0; p < depth; p++)
                for (int r = 0; r < count; r++)
                    to[p * height + r] = from[(size_t)p * m->a_step + (size_t)(i + r)];
    }
}

/* ---- what follows a product ---- */

ALWAYS_INLINE void finish_chunk(const Activation activation, const int part, const ProductEnd *end,
                                const MatmulBlock *block, int row, int column)
{
    float v[LINE];
    const int in_c = block->first_column + column;
    const float *sums = block->sums + (size_t)row * block->sums_step + column;
    const size_t at = (size_t)(block->first_row + row) * block->c_step + (size_t)in_c;
    float *c = block->c + at;
    for (int i = 0; i < LINE; i++)
        v[i] = i < part ? sums[i] : 0;
    for (int i = 0; end->add && i < part; i++)
        v[i] += c[i];
    for (int i = 0; end->bias && i < part; i++)
        v[i] += end->bias[in_c + i];
    for (int i = 0; end->before && i < part; i++)
        end->before[at + (size_t)i] = v[i];
    for (int i = 0; i < LINE; i++)
        v[i] = activation_value(activation, v[i]);
    for (int i = 0; i < part; i++)
        c[i] = v[i];
}

ALWAYS_INLINE void finish_all(const Activation activation, const ProductEnd *end,
                              const MatmulBlock *block)
{
    for (int row = 0; row < block->rows; row++)
        for (int column = 0; column < block->columns; column += LINE) {
            if (block->columns - column >= LINE)
                finish_chunk(activation, LINE, end, block, row, column);
            else
                finish_chunk(activation, block->columns - column, end, block, row, column);
        }
}

static void finish(const ProductEnd *end, const MatmulBlock *block)
{
    switch (end->activation) {
    case ACTIVATION_NONE:
        finish_all(ACTIVATION_NONE, end, block);
        break;
    case ACTIVATION_RELU:
        finish_all(ACTIVATION_RELU, end, block);
        break;
    case ACTIVATION_GELU:
        finish_all(ACTIVATION_GELU, end, block);
        break;
    case ACTIVATION_GELU_TANH:
        finish_all(ACTIVATION_GELU_TANH, end, block);
        break;
    }
}

/* ---- the product ---- */

typedef struct Work {
    const Matmul *m;
    float *panels, *edge;
    float *a;      /* scratch: the block's rows of a turned A, packed */
    int row, rows; /* the row block */
    int k, depth;
    int a_height; /* height of the tiles that `a` holds now; 0: none */
} Work;

/* Rows of a block: all blocks of nearly the same size, tiles of 6 and of 8 rows both fill it. */
static int block_rows(const Matmul *m)
{
    int rows = BLOCK_FLOATS / m->N;
    rows = rows < 96 ? 96 : least(rows, MATMUL_ROWS);
    int blocks = (m->M + rows - 1) / rows;
    return least(MATMUL_ROWS, ((m->M + blocks - 1) / blocks + 23) / 24 * 24);
}

/* The group that follows in the loops is fetched while this one is used. */
static void plan_fetch(const Work *work, int column, Tile *tile)
{
    const Matmul *m = work->m;
    bool same_k = column + GROUP < m->N;
    int next_column = same_k ? column + GROUP : 0,
        next_k = same_k ? work->k : work->k + work->depth;
    if (next_k >= m->K)
        return;
    int depth = least(MATMUL_DEPTH, m->K - next_k), columns = least(GROUP, m->N - next_column);
    if (depth < MATMUL_DEPTH || columns < GROUP)
        return;
    tile->next_b = stored_b(m, next_k, next_column);
    tile->next_step = m->b_step;
    tile->row_pieces = m->b_turned ? 2 : 0; /* 256 or 64 floats a stored row */
    tile->pieces = (MATMUL_DEPTH + work->rows - 1) / work->rows;
}

/* Nothing is to be done after the sums? */
static bool is_plain(const ProductEnd *end)
{
    return !end->bias && !end->before && end->activation == ACTIVATION_NONE;
}

/* c (rows, columns) = sums, or += */
static void store_edge(const Tile *tile, int rows, int columns, bool add, float *c, size_t step)
{
    for (int i = 0; i < rows; i++, c += step)
        for (int j = 0; j < columns; j++) {
            float sum = tile->c[(size_t)i * tile->c_row + (size_t)j];
            c[j] = add ? c[j] + sum : sum;
        }
}

/* Rows [i, i + count) of the block times the panel. */
static void multiply_tile(const Work *work, Tile *tile, int i, int count, int column, int columns)
{
    const Matmul *m = work->m;
    const int vectors = (columns + VECTOR - 1) / VECTOR;
    const bool whole = columns == vectors * VECTOR, add = work->k > 0 || m->end.add;
    float *c = m->c + (size_t)(work->row + i) * m->c_step + column;
    tile->c = whole ? c : work->edge;
    tile->c_row = whole ? m->c_step : WIDTH;
    tile->add = whole && add;
    tile->next_c = whole ? c + (size_t)count * m->c_step : work->edge;
    tiles[vectors - 1][count - 1](tile);
    if (!whole)
        store_edge(tile, count, columns, add, c, m->c_step);
    if (work->k + work->depth < m->K || is_plain(&m->end))
        return;
    ProductEnd end = m->end;
    end.add = false;
    finish(&end, &(MatmulBlock){ .rows = count,
                                 .columns = columns,
                                 .first_row = work->row + i,
                                 .first_column = column,
                                 .sums = c,
                                 .sums_step = m->c_step,
                                 .c = m->c,
                                 .c_step = m->c_step });
}

/* Packs the panels of a group of columns, one behind the other. */
static void pack_group(const Work *work, int column, int columns)
{
    float *to = work->panels;
    for (int j = 0; j < columns; j += WIDTH, to += MATMUL_DEPTH * WIDTH) {
        int count = least(WIDTH, columns - j);
        int width = (count + VECTOR - 1) / VECTOR * VECTOR;
        pack_panel(work->m, work->k, work->depth, column + j, count, width, to);
    }
}

/* A turned A has the rows of a tile side by side. Packing them costs a pass over A, which pays if
 * many panels of columns use it and k is long (measured: 126 to 147 GFLOP/s without packing at 128
 * columns, 140 to 130 at 384 and k = 4096). */
static bool packs_a(const Matmul *m)
{
    return m->a_turned && m->N > PACKED_COLUMNS && m->K > MATMUL_DEPTH;
}

static const float *stored_a(const Matmul *m, int row, int k)
{
    return m->a_turned ? m->a + (size_t)k * m->a_step + row : m->a + (size_t)row * m->a_step + k;
}

/* A group of columns times all rows of the block. */
static void multiply_group(Work *work, int column, int columns)
{
    const Matmul *m = work->m;
    const int vectors = (least(WIDTH, columns) + VECTOR - 1) / VECTOR;
    const int height = tile_rows[vectors - 1]; /* if there are more panels, of all of them */
    Tile tile = { .depth = work->depth, .next_b = work->panels };
    const bool packed = packs_a(m);
    tile.a_row = m->a_turned ? 1 : m->a_step;
    tile.a_k = packed ? (size_t)height : m->a_turned ? m->a_step : 1;
    plan_fetch(work, column, &tile);
    pack_group(work, column, columns);
    if (packed && height != work->a_height) {
        pack_turned_a(m, work->k, work->depth, work->row, work->rows, height, work->a);
        work->a_height = height;
    }
    for (int i = 0, pieces = tile.pieces; i < work->rows; i += height) {
        int count = least(height, work->rows - i);
        tile.a = packed ? work->a + (size_t)i * (size_t)work->depth
                        : stored_a(m, work->row + i, work->k);
        tile.b = work->panels;
        tile.pieces = tile.first_piece < MATMUL_DEPTH ? pieces : 0;
        for (int j = 0; j < columns; j += WIDTH, tile.b += MATMUL_DEPTH * WIDTH) {
            multiply_tile(work, &tile, i, count, column + j, least(WIDTH, columns - j));
            tile.first_piece += count * tile.pieces;
            tile.pieces = 0;
        }
    }
}

static void product(const Matmul *m, float *scratch)
{
    float panels[MATMUL_DEPTH * GROUP] __attribute__((aligned(64)));
    float edge[ROWS * WIDTH] __attribute__((aligned(64)));
    Work work = { .m = m, .panels = panels, .edge = edge, .a = scratch };
    const int height = block_rows(m);
    for (work.row = 0; work.row < m->M; work.row += height) {
        work.rows = least(height, m->M - work.row);
        for (work.k = 0; work.k < m->K; work.k += MATMUL_DEPTH) {
            work.depth = least(MATMUL_DEPTH, m->K - work.k);
            work.a_height = 0;
            for (int column = 0; column < m->N; column += GROUP)
                multiply_group(&work, column, least(GROUP, m->N - column));
        }
    }
}

/* Sums of up to SUM_WIDTH columns at a time: whole cache lines of a row, and sums that stay in the
 * first cache. */
static void column_sums(int rows, int columns, const float *x, bool add, float *to)
{
    enum { SUM_WIDTH = 256 };
    double sum[SUM_WIDTH];
    for (int first = 0; first < columns; first += SUM_WIDTH) {
        int width = least(SUM_WIDTH, columns - first);
        for (int j = 0; j < width; j++)
            sum[j] = add ? (double)to[first + j] : 0;
        for (int i = 0; i < rows; i++) {
            const float *row = x + (size_t)i * (size_t)columns + first;
            for (int j = 0; j < width; j++)
                sum[j] += (double)row[j];
        }
        for (int j = 0; j < width; j++)
            to[first + j] = (float)sum[j];
    }
}

/* A square of up to VECTOR rows and columns. */
static void turn_part(int rows, int columns, const float *from, size_t from_step, bool add,
                      float *to, size_t to_step)
{
    Vector x[VECTOR], turned[VECTOR];
    for (int j = 0; j < VECTOR; j++)
        x[j] = j < columns ? vector_load_part(from + (size_t)j * from_step, rows) : (Vector){ 0 };
    turn_square(x, turned);
    for (int i = 0; i < rows; i++, to += to_step)
        vector_store_part(to, add ? vector_load_part(to, columns) + turned[i] : turned[i], columns);
}

static void turn(int rows, int columns, const float *from, bool add, float *to)
{
    const size_t from_step = (size_t)rows, to_step = (size_t)columns;
    for (int i = 0; i < rows; i += VECTOR)
        for (int j = 0; j < columns; j += VECTOR)
            turn_part(least(VECTOR, rows - i), least(VECTOR, columns - j),
                      from + (size_t)j * from_step + i, from_step, add,
                      to + (size_t)i * to_step + j, to_step);
}

extern const MatmulKernels ISA_NAME(matmul_kernels);
const MatmulKernels ISA_NAME(matmul_kernels) = {
    .product = product,
    .finish = finish,
    .column_sums = column_sums,
    .turn = turn,
};
