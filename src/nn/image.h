/* Helpers of the layers that work on images: vectors of the ISA level a file is compiled for,
 * windows, and moving channels between nChw16c planes and plain rows. Private to src/nn/layers. */
#ifndef LOCKSTEP_NN_IMAGE_H
#define LOCKSTEP_NN_IMAGE_H

#include "lockstep/layer.h"
#include "lockstep/vector.h"

#include <string.h>

#define CHANNEL_BLOCK 16

/* The bits of a vector, for masks: all ones where a comparison holds. */
typedef int32_t VectorMask __attribute__((vector_size(VECTOR * sizeof(int32_t))));

/* `value`, but +0 where `sign` <= 0; NaN counts as positive, so that a network that diverges is
 * seen to. With sign = value: relu; with value = dy: its gradient. */
static inline Vector vector_where_positive(Vector value, Vector sign)
{
    return (Vector)((VectorMask)value & ~(VectorMask)(sign <= 0));
}

static inline int least(int a, int b)
{
    return a < b ? a : b;
}

/* sum[c] += the sum of x[item * stride + c] over items, for c < width. Float sums of at most 64
 * items are added in double, so long planes keep their digits. */
static inline void run_sum(const float *x, size_t items, size_t stride, int width, double *sum)
{
    enum { CHUNK = 64 };
    for (int c = 0; c < width; c += VECTOR) {
        int part = least(VECTOR, width - c);
        for (size_t first = 0; first < items; first += CHUNK) {
            size_t last = first + CHUNK < items ? first + CHUNK : items;
            Vector total = { 0 };
            for (size_t i = first; i < last; i++)
                total += vector_load_part(x + i * stride + c, part);
            for (int k = 0; k < part; k++)
                sum[c + k] += (double)total[k];
        }
    }
}

/* Floats of one plane (H, W, 16) and of one stored image. */
static inline size_t plane_floats(Shape shape)
{
    return (size_t)shape.dim[1] * (size_t)shape.dim[2] * CHANNEL_BLOCK;
}

static inline size_t image_floats(Shape shape)
{
    return (size_t)shape_blocks(shape) * plane_floats(shape);
}

/* A square window that slides over an image; output size as in PyTorch with ceil_mode off. */
typedef struct Window {
    int KH, KW, stride, padding, dilation;
} Window;

static inline int window_steps(int length, int kernel, const Window *window)
{
    int reach = length + 2 * window->padding - window->dilation * (kernel - 1) - 1;
    return reach < 0 ? 0 : reach / window->stride + 1;
}

/* Sets out = (channels, OH, OW); an error if the window does not fit or `in` is not an image. */
static inline bool window_slide(const Window *window, Shape in, int channels, Shape *out, Err *err)
{
    if (in.ndim != 3)
        return err_set(err, "it needs an image (C, H, W)");
    int OH = window_steps(in.dim[1], window->KH, window);
    int OW = window_steps(in.dim[2], window->KW, window);
    if (OH < 1 || OW < 1)
        return err_set(err, "a %d x %d kernel with padding %d and dilation %d needs a larger image",
                       window->KH, window->KW, window->padding, window->dilation);
    *out = (Shape){ .ndim = 3, .dim = { channels, OH, OW } };
    return true;
}

/* The window of a pooling layer; its own size is the default stride. */
static inline Window pool_window(int kernel, int stride, int padding)
{
    return (Window){ .KH = kernel,
                     .KW = kernel,
                     .stride = stride ? stride : kernel,
                     .padding = padding,
                     .dilation = 1 };
}

/* The plan of a pooling layer: one operation a pixel under the window. */
static inline bool pool_plan(Layer *layer, const Window *window, Err *err)
{
    if (2 * window->padding > window->KH)
        return err_set(err, "padding: %d is more than half the kernel, %d", window->padding,
                       window->KH);
    if (!window_slide(window, layer->in, layer->in.dim[0], &layer->out, err))
        return false;
    layer->flops = (double)shape_values(layer->out) * window->KH * window->KW;
    return true;
}

/* The taps [first, last) of a kernel, without dilation, that fall inside [0, length) when the
 * window starts at `start`. */
typedef struct Taps {
    int first, last;
} Taps;

static inline Taps window_taps(int start, int kernel, int length)
{
    return (Taps){ .first = start < 0 ? -start : 0, .last = least(kernel, length - start) };
}

/* rows[p * ld + i] = channel first_channel + i of pixel p. `pixel` points at the first pixel's
 * place in block 0; blocks are `plane` floats apart. */
static inline void channels_to_rows(const float *pixel, size_t plane, int pixels, int first_channel,
                                    int channels, float *rows, size_t ld)
{
    int end = first_channel + channels;
    for (int c = first_channel, part; c < end; c += part) {
        int lane = c % CHANNEL_BLOCK;
        part = least(CHANNEL_BLOCK - lane, end - c);
        const float *from = pixel + (size_t)(c / CHANNEL_BLOCK) * plane + lane;
        float *to = rows + (c - first_channel);
        if (part == CHANNEL_BLOCK) {
            for (size_t p = 0; p < (size_t)pixels; p++)
                memcpy(to + p * ld, from + p * CHANNEL_BLOCK, CHANNEL_BLOCK * sizeof(float));
            continue;
        }
        for (int i = 0; i < part; i++)
            for (size_t p = 0; p < (size_t)pixels; p++)
                to[p * ld + (size_t)i] = from[p * CHANNEL_BLOCK + (size_t)i];
    }
}

/* The inverse; other channels of the pixels are left alone. */
static inline void rows_to_channels(const float *rows, size_t ld, int pixels, int first_channel,
                                    int channels, float *pixel, size_t plane)
{
    int end = first_channel + channels;
    for (int c = first_channel, part; c < end; c += part) {
        int lane = c % CHANNEL_BLOCK;
        part = least(CHANNEL_BLOCK - lane, end - c);
        const float *from = rows + (c - first_channel);
        float *to = pixel + (size_t)(c / CHANNEL_BLOCK) * plane + lane;
        if (part == CHANNEL_BLOCK) {
            for (size_t p = 0; p < (size_t)pixels; p++)
                memcpy(to + p * CHANNEL_BLOCK, from + p * ld, CHANNEL_BLOCK * sizeof(float));
            continue;
        }
        for (int i = 0; i < part; i++)
            for (size_t p = 0; p < (size_t)pixels; p++)
                to[p * CHANNEL_BLOCK + (size_t)i] = from[p * ld + (size_t)i];
    }
}

/* Zeroes the channels of the last block that the shape does not have. x: one image. */
static inline void clear_missing_channels(Shape shape, float *x)
{
    int used = shape.dim[0] % CHANNEL_BLOCK;
    if (used == 0)
        return;
    size_t plane = plane_floats(shape);
    float *last = x + (size_t)(shape_blocks(shape) - 1) * plane;
    for (float *pixel = last; pixel < last + plane; pixel += CHANNEL_BLOCK)
        for (int c = used; c < CHANNEL_BLOCK; c++)
            pixel[c] = 0;
}

#endif
