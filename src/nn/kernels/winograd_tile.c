/* Winograd's transforms: see winograd_tile.h, and docs/convolution.md for the matrices.
 *
 * The number of outputs and taps is constant in each instance, so conditions on it vanish. */
#include "winograd_tile.h"
#include "stream.h"

#define IN TILE_IN
#define MOST_OUT TILE_MOST_OUT
#define MOST_TAPS TILE_MOST_TAPS

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define OWN_FUNCTION static __attribute__((noinline))

/* ---- one row or column ---- */

/* sum + factor x; the factor is a constant where this is called */
ALWAYS_INLINE Vector add_scaled(float factor, Vector x, Vector sum)
{
    return factor == 1 ? sum + x : vector_fused(SPREAD(factor), x, sum);
}

/* sum - factor x, the factor in the same register as above */
ALWAYS_INLINE Vector take_scaled(float factor, Vector x, Vector sum)
{
    return factor == 1 ? sum - x : vector_fused(SPREAD(factor), -x, sum);
}

/* B^T d */
ALWAYS_INLINE void transform_input(const Vector d[IN], Vector out[IN])
{
    const Vector even = take_scaled(4, d[2], d[4]), odd = take_scaled(4, d[1], d[3]);
    const Vector even2 = d[4] - d[2], odd2 = d[3] - d[1];
    out[0] = add_scaled(4, d[0], take_scaled(5, d[2], d[4]));
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = add_scaled(2, odd2, even2);
    out[4] = take_scaled(2, odd2, even2);
    out[5] = add_scaled(4, d[1], take_scaled(5, d[3], d[5]));
}

/* A^T m: rows are powers of the points */
ALWAYS_INLINE void transform_output(const int outs, const Vector m[IN], Vector out[MOST_OUT])
{
    const Vector sum = m[1] + m[2], difference = m[1] - m[2];
    const Vector sum2 = m[3] + m[4], difference2 = m[3] - m[4];
    out[0] = m[0] + sum + sum2;
    out[1] = add_scaled(2, difference2, difference);
    if (outs == 4) {
        out[2] = add_scaled(4, sum2, sum);
        out[3] = add_scaled(8, difference2, difference) + m[5];
    } else {
        out[1] += m[5];
    }
}

/* A y: the transposed of transform_output */
ALWAYS_INLINE void transform_gradient(const int outs, const Vector y[MOST_OUT], Vector out[IN])
{
    const Vector even = outs == 4 ? y[0] + y[2] : y[0], odd = outs == 4 ? y[1] + y[3] : y[1];
    const Vector even2 = outs == 4 ? add_scaled(4, y[2], y[0]) : y[0];
    const Vector odd2 = outs == 4 ? add_scaled(8, y[3], 2 * y[1]) : 2 * y[1];
    out[0] = y[0];
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = even2 + odd2;
    out[4] = even2 - odd2;
    out[5] = y[outs - 1];
}

#define SIXTH (1.0F / 6)
#define TWELFTH (1.0F / 12)
#define TWENTYFOURTH (1.0F / 24)
#define THIRD (1.0F / 3)

/* G g */
ALWAYS_INLINE void transform_kernel(const int taps, const Vector g[MOST_TAPS], Vector out[IN])
{
    Vector even = SIXTH * (g[0] + g[2]), odd = SIXTH * g[1];
    Vector even2 = add_scaled(SIXTH, g[2], TWENTYFOURTH * g[0]), odd2 = TWELFTH * g[1];
    if (taps == 5) {
        even = add_scaled(SIXTH, g[4], even);
        odd = add_scaled(SIXTH, g[3], odd);
        even2 = add_scaled(4 * SIXTH, g[4], even2);
        odd2 = add_scaled(THIRD, g[3], odd2);
    }
    out[0] = 0.25F * g[0];
    out[1] = -even - odd;
    out[2] = odd - even;
    out[3] = even2 + odd2;
    out[4] = even2 - odd2;
    out[5] = g[taps - 1];
}

/* G^T u */
ALWAYS_INLINE void transform_kernel_gradient(const int taps, const Vector u[IN],
                                             Vector out[MOST_TAPS])
{
    const Vector minus = -SIXTH * (u[1] + u[2]), difference = SIXTH * (u[2] - u[1]);
    const Vector sum2 = u[3] + u[4], difference2 = u[3] - u[4];
    out[0] = add_scaled(TWENTYFOURTH, sum2, add_scaled(0.25F, u[0], minus));
    out[1] = add_scaled(TWELFTH, difference2, difference);
    out[2] = add_scaled(SIXTH, sum2, minus);
    if (taps == 5) {
        out[3] = add_scaled(THIRD, difference2, difference);
        out[4] = add_scaled(4 * SIXTH, sum2, minus);
    }
    out[taps - 1] += u[5];
}

/* ---- a tile: columns, then rows ----
 *
 * All 36 intermediate vectors do not fit into registers. So a tile is made in parts of at most two
 * rows of the result, which read what they need again: loads are cheaper than spills. */

/* The six rows of a tile's input; columns [left, right) are inside the plane. */
typedef struct Rows {
    const float *row[IN];
    int left, right;
} Rows;

/* A row of the result: (half B), stored at v, v + step, ... */
ALWAYS_INLINE void store_row(const Vector half[IN], float *v, size_t step)
{
    Vector out[IN];
    transform_input(half, out);
#pragma GCC unroll 6
    for (int j = 0; j < IN; j++, v += step)
        vector_store(v, out[j]);
}

/* Row 0 (`first` = 0) or 5 (`first` = 1): d4 + 4 d0 - 5 d2. */
ALWAYS_INLINE void input_outer(const Rows *rows, const bool whole, const int first, int lane,
                               float *v, size_t step)
{
    Vector half[IN];
#pragma GCC unroll 6
    for (int j = 0; j < IN; j++) {
        const int at = j * CHANNEL_BLOCK + lane;
        half[j] = (Vector){ 0 };
        if (whole || (j >= rows->left && j < rows->right))
            half[j] = add_scaled(4, vector_load(rows->row[first] + at),
                                 take_scaled(5, vector_load(rows->row[first + 2] + at),
                                             vector_load(rows->row[first + 4] + at)));
    }
    store_row(half, v, step);
}

/* Two rows, (d4 - near d2) +- point (d3 - near d1), the second `next` further. */
ALWAYS_INLINE void input_pair(const Rows *rows, const bool whole, const float near,
                              const float point, int lane, float *v, size_t step, size_t next)
{
    Vector plus[IN], minus[IN];
#pragma GCC unroll 6
    for (int j = 0; j < IN; j++) {
        const int at = j * CHANNEL_BLOCK + lane;
        plus[j] = minus[j] = (Vector){ 0 };
        if (whole || (j >= rows->left && j < rows->right)) {
            const Vector even =
                take_scaled(near, vector_load(rows->row[2] + at), vector_load(rows->row[4] + at));
            const Vector odd =
                take_scaled(near, vector_load(rows->row[1] + at), vector_load(rows->row[3] + at));
            plus[j] = add_scaled(point, odd, even);
            minus[j] = take_scaled(point, odd, even);
        }
    }
    store_row(plus, v, step);
    store_row(minus, v + next, step);
}

/* `whole`: all columns are inside the plane. */
ALWAYS_INLINE void input(const Rows *rows, const bool whole, float *v, size_t step)
{
    const size_t next = IN * step;
    for (int lane = 0; lane < CHANNEL_BLOCK; lane += VECTOR) {
        input_outer(rows, whole, 0, lane, v + lane, step);
        input_pair(rows, whole, 4, 1, lane, v + next + lane, step, next);
        input_pair(rows, whole, 1, 2, lane, v + 3 * next + lane, step, next);
        input_outer(rows, whole, 1, lane, v + 5 * next + lane, step);
    }
}

/* Instances stay apart: together they would share addresses and spill them. */
OWN_FUNCTION void input_whole(const Rows *rows, float *v, size_t step)
{
    input(rows, true, v, step);
}

OWN_FUNCTION void input_part(const Rows *rows, float *v, size_t step)
{
    input(rows, false, v, step);
}

void tile_input(const float *x, Square at, float *v, size_t step)
{
    static const float zeros[IN * CHANNEL_BLOCK] __attribute__((aligned(64)));
    Rows rows = { .left = -at.w, .right = at.W - at.w };
    for (int i = 0; i < IN; i++) {
        bool inside = at.h + i >= 0 && at.h + i < at.H;
        rows.row[i] = inside ? x + ((ptrdiff_t)(at.h + i) * at.W + at.w) * CHANNEL_BLOCK : zeros;
    }
    if (rows.left <= 0 && rows.right >= IN)
        input_whole(&rows, v, step);
    else
        input_part(&rows, v, step);
}

/* `rows` and `columns` of y are in the plane. */
ALWAYS_INLINE void output(const int outs, const float *m, size_t step, const float *bias, float *y,
                          size_t row, const int rows, const int columns, const bool stream)
{
    for (int lane = 0; lane < CHANNEL_BLOCK; lane += VECTOR) {
        const Vector start = bias ? vector_load(bias + lane) : (Vector){ 0 };
        Vector half[MOST_OUT][IN];
#pragma GCC unroll 6
        for (int j = 0; j < IN; j++) {
            Vector column[IN], out[MOST_OUT];
#pragma GCC unroll 6
            for (int i = 0; i < IN; i++)
                column[i] = vector_load(m + (size_t)(i * IN + j) * step + lane);
            transform_output(outs, column, out);
#pragma GCC unroll 4
            for (int i = 0; i < outs; i++)
                half[i][j] = out[i];
        }
#pragma GCC unroll 4
        for (int i = 0; i < outs; i++) {
            if (i >= rows)
                break;
            Vector out[MOST_OUT];
            transform_output(outs, half[i], out);
            float *to = y + (size_t)i * row + lane;
#pragma GCC unroll 4
            for (int j = 0; j < outs; j++)
                if (j < columns)
                    vector_put(to + j * CHANNEL_BLOCK, out[j] + start, stream);
        }
    }
}

void tile_output(int out, const float *m, size_t step, const float *bias, float *y, Square at,
                 bool stream)
{
    const size_t row = (size_t)at.W * CHANNEL_BLOCK;
    const int rows = at.H - at.h, columns = at.W - at.w;
    float *corner = y + (size_t)at.h * row + (size_t)at.w * CHANNEL_BLOCK;
    if (out == 4 && rows >= 4 && columns >= 4 && stream)
        output(4, m, step, bias, corner, row, 4, 4, true);
    else if (out == 4 && rows >= 4 && columns >= 4)
        output(4, m, step, bias, corner, row, 4, 4, false);
    else if (out == 4)
        output(4, m, step, bias, corner, row, rows, columns, false);
    else if (rows >= 2 && columns >= 2)
        output(2, m, step, bias, corner, row, 2, 2, false);
    else
        output(2, m, step, bias, corner, row, rows, columns, false);
}

ALWAYS_INLINE void gradient(const int outs, const float *dy, size_t row, int rows, int columns,
                            float *v, size_t step)
{
    for (int lane = 0; lane < CHANNEL_BLOCK; lane += VECTOR) {
        Vector half[IN][MOST_OUT];
        float *to = v + lane;
#pragma GCC unroll 4
        for (int j = 0; j < outs; j++) {
            Vector d[MOST_OUT] = { 0 }, out[IN];
            const float *from = dy + j * CHANNEL_BLOCK + lane;
#pragma GCC unroll 4
            for (int i = 0; i < outs; i++)
                if (i < rows && j < columns)
                    d[i] = vector_load(from + (size_t)i * row);
            transform_gradient(outs, d, out);
#pragma GCC unroll 6
            for (int i = 0; i < IN; i++)
                half[i][j] = out[i];
        }
#pragma GCC unroll 6
        for (int i = 0; i < IN; i++) {
            Vector out[IN];
            transform_gradient(outs, half[i], out);
#pragma GCC unroll 6
            for (int j = 0; j < IN; j++, to += step)
                vector_store(to, out[j]);
        }
    }
}

OWN_FUNCTION void gradient_4x4(const float *dy, size_t row, float *v, size_t step)
{
    gradient(4, dy, row, 4, 4, v, step);
}

OWN_FUNCTION void gradient_2x2(const float *dy, size_t row, float *v, size_t step)
{
    gradient(2, dy, row, 2, 2, v, step);
}

void tile_gradient(int out, const float *dy, Square at, float *v, size_t step)
{
    const size_t row = (size_t)at.W * CHANNEL_BLOCK;
    const int rows = at.H - at.h, columns = at.W - at.w;
    const float *corner = dy + (size_t)at.h * row + (size_t)at.w * CHANNEL_BLOCK;
    if (out == 4 && rows >= 4 && columns >= 4)
        gradient_4x4(corner, row, v, step);
    else if (out == 2 && rows >= 2 && columns >= 2)
        gradient_2x2(corner, row, v, step);
    else if (out == 4)
        gradient(4, corner, row, rows, columns, v, step);
    else
        gradient(2, corner, row, rows, columns, v, step);
}

/* ---- kernels ---- */

/* Tap (i, j) is at first + (i taps + j) next. */
ALWAYS_INLINE void kernel(const int taps, const float *first, ptrdiff_t next, float *u, size_t step)
{
    for (int lane = 0; lane < CHANNEL_BLOCK; lane += VECTOR) {
        Vector half[IN][MOST_TAPS];
#pragma GCC unroll 5
        for (int j = 0; j < taps; j++) {
            Vector column[MOST_TAPS], out[IN];
#pragma GCC unroll 5
            for (int i = 0; i < taps; i++)
                column[i] = vector_load(first + (i * taps + j) * next + lane);
            transform_kernel(taps, column, out);
#pragma GCC unroll 6
            for (int i = 0; i < IN; i++)
                half[i][j] = out[i];
        }
#pragma GCC unroll 6
        for (int i = 0; i < IN; i++) {
            Vector out[IN];
            transform_kernel(taps, half[i], out);
#pragma GCC unroll 6
            for (int j = 0; j < IN; j++)
                vector_store(u + (size_t)(i * IN + j) * step + lane, out[j]);
        }
    }
}

void tile_kernel(int taps, bool turned, const float *g, float *u, size_t step)
{
    const ptrdiff_t next = turned ? -CHANNEL_BLOCK : CHANNEL_BLOCK;
    const float *first = turned ? g + (taps * taps - 1) * CHANNEL_BLOCK : g;
    if (taps == 3)
        kernel(3, first, next, u, step);
    else
        kernel(5, first, next, u, step);
}

ALWAYS_INLINE void kernel_gradient(const int taps, const float *du, size_t step, bool add,
                                   float *dg)
{
    for (int lane = 0; lane < CHANNEL_BLOCK; lane += VECTOR) {
        Vector half[MOST_TAPS][IN];
#pragma GCC unroll 6
        for (int j = 0; j < IN; j++) {
            Vector column[IN], out[MOST_TAPS];
#pragma GCC unroll 6
            for (int i = 0; i < IN; i++)
                column[i] = vector_load(du + (size_t)(i * IN + j) * step + lane);
            transform_kernel_gradient(taps, column, out);
#pragma GCC unroll 5
            for (int i = 0; i < taps; i++)
                half[i][j] = out[i];
        }
#pragma GCC unroll 5
        for (int i = 0; i < taps; i++) {
            Vector out[MOST_TAPS];
            transform_kernel_gradient(taps, half[i], out);
#pragma GCC unroll 5
            for (int j = 0; j < taps; j++) {
                float *to = dg + (i * taps + j) * CHANNEL_BLOCK + lane;
                vector_store(to, add ? vector_load(to) + out[j] : out[j]);
            }
        }
    }
}

void tile_kernel_gradient(int taps, const float *du, size_t step, bool add, float *dg)
{
    if (taps == 3)
        kernel_gradient(3, du, step, add, dg);
    else
        kernel_gradient(5, du, step, add, dg);
}
