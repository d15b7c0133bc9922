/* Products with thin matrices (thin.h). Sums over columns are 16 sums side by side, whatever a
 * register holds; sums over rows go row by row. */
#include "lockstep/thin.h"
#include "lockstep/cpu.h"

#include <string.h>

static float dot(const float *a, const float *b, size_t n)
{
    float sums[16] = { 0 };
    size_t whole = n / 16 * 16;
    for (size_t i = 0; i < whole; i += 16)
        for (size_t k = 0; k < 16; k++)
            sums[k] += a[i + k] * b[i + k];
    for (size_t i = whole; i < n; i++)
        sums[i - whole] += a[i] * b[i];
    for (size_t width = 8; width > 0; width /= 2)
        for (size_t k = 0; k < width; k++)
            sums[k] += sums[k + width];
    return sums[0];
}

static void times(const Thin *shape, const float *m, const float *q, float *p)
{
    for (size_t row = 0; row < shape->rows; row++)
        for (size_t k = 0; k < shape->rank; k++)
            p[k * shape->rows + row] =
                dot(m + row * shape->columns, q + k * shape->columns, shape->columns);
}

static void turned(const Thin *shape, const float *restrict m, const float *p, float *restrict q)
{
    size_t columns = shape->columns;
    memset(q, 0, shape->rank * columns * sizeof *q);
    for (size_t row = 0; row < shape->rows; row++)
        for (size_t k = 0; k < shape->rank; k++) {
            float factor = p[k * shape->rows + row];
            for (size_t i = 0; i < columns; i++)
                q[k * columns + i] += factor * m[row * columns + i];
        }
}

static void subtract(const Thin *shape, float *restrict m, const float *p, const float *restrict q)
{
    size_t columns = shape->columns;
    for (size_t row = 0; row < shape->rows; row++)
        for (size_t k = 0; k < shape->rank; k++) {
            float factor = p[k * shape->rows + row];
            for (size_t i = 0; i < columns; i++)
                m[row * columns + i] -= factor * q[k * columns + i];
        }
}

/* Values [first, first + n) of one row. */
static void expand_row(const Thin *shape, const float *p, const float *restrict q, size_t row,
                       size_t first, size_t n, float *restrict y)
{
    memset(y, 0, n * sizeof *y);
    for (size_t k = 0; k < shape->rank; k++) {
        float factor = p[k * shape->rows + row];
        for (size_t i = 0; i < n; i++)
            y[i] += factor * q[k * shape->columns + first + i];
    }
}

static void expand(const Thin *shape, const float *p, const float *q, size_t first, size_t n,
                   float *y)
{
    for (size_t done = 0, part; done < n; done += part) {
        size_t row = (first + done) / shape->columns, column = (first + done) % shape->columns;
        size_t rest = shape->columns - column;
        part = n - done < rest ? n - done : rest;
        expand_row(shape, p, q, row, column, part, y + done);
    }
}

extern const ThinKernels ISA_NAME(kernels_thin);
const ThinKernels ISA_NAME(kernels_thin) = {
    .times = times,
    .turned = turned,
    .subtract = subtract,
    .expand = expand,
};
