/* What augmentation and evaluation do with a plain image (C, H, W): mirroring and shifting. */
#include "parts.h"

#include <string.h>

/* ---- mirroring ---- */

static void swap(float *a, float *b)
{
    float kept = *a;
    *a = *b;
    *b = kept;
}

static void mirror_row(float *row, int width)
{
    for (int j = 0; j < width / 2; j++)
        swap(&row[j], &row[width - 1 - j]);
}

static void mirror_plane(float *plane, int height, int width)
{
    for (int i = 0; i < height / 2; i++)
        for (int j = 0; j < width; j++)
            swap(&plane[i * width + j], &plane[(height - 1 - i) * width + j]);
}

void image_mirror(float *x, Shape shape)
{
    int rows = shape.dim[0] * shape.dim[1], width = shape.dim[2];
    for (int row = 0; row < rows; row++)
        mirror_row(x + (size_t)row * (size_t)width, width);
}

void image_turn_over(float *x, Shape shape)
{
    int height = shape.dim[1], width = shape.dim[2];
    for (int c = 0; c < shape.dim[0]; c++)
        mirror_plane(x + (size_t)c * (size_t)height * (size_t)width, height, width);
}

/* ---- shifting ---- */

/* 0 1 2 3 seen beyond its ends: 2 1 | 0 1 2 3 | 2 1 */
static int reflect(int i, int n)
{
    if (i < 0)
        return -i;
    return i < n ? i : 2 * n - 2 - i;
}

/* y[j] = x[j + shift], and nothing where that is outside */
static void shift_row(const float *x, float *y, int width, int shift)
{
    int first = shift < 0 ? -shift : 0, last = shift > 0 ? width - shift : width;
    for (int j = 0; j < first; j++)
        y[j] = 0;
    for (int j = first; j < last; j++)
        y[j] = x[j + shift];
    for (int j = last; j < width; j++)
        y[j] = 0;
}

static void shift_plane(const float *x, float *y, Shape shape, int down, int right, Fill fill)
{
    int height = shape.dim[1], width = shape.dim[2];
    for (int i = 0; i < height; i++) {
        float *row = y + (size_t)i * (size_t)width;
        int from = fill == FILL_REFLECT ? reflect(i + down, height) : i + down;
        if (from < 0 || from >= height)
            memset(row, 0, (size_t)width * sizeof *row);
        else if (fill == FILL_ZERO)
            shift_row(x + (size_t)from * (size_t)width, row, width, right);
        else
            for (int j = 0; j < width; j++)
                row[j] = x[(size_t)from * (size_t)width + (size_t)reflect(j + right, width)];
    }
}

void image_shift(float *x, Shape shape, int down, int right, Fill fill, float *scratch)
{
    size_t plane = (size_t)shape.dim[1] * (size_t)shape.dim[2];
    size_t n = (size_t)shape.dim[0] * plane;
    memcpy(scratch, x, n * sizeof *x);
    for (size_t at = 0; at < n; at += plane)
        shift_plane(scratch + at, x + at, shape, down, right, fill);
}
