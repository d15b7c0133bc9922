/* Depthwise convolution: see depthwise.h. Four pixels, or four taps, share each loaded vector. */
#include "depthwise.h"

static void four_pixels(const Product *product, Vector start, int lane, const float *x, float *y)
{
    Vector a0 = start, a1 = start, a2 = start, a3 = start;
    const float *w = product->w + lane;
    for (int tap = 0; tap < product->tap_count; tap++, w += CHANNEL_BLOCK) {
        const Vector weight = vector_load(w);
        const float *from = x + product->taps[tap] + lane;
        a0 = vector_fused(weight, vector_load(from), a0);
        a1 = vector_fused(weight, vector_load(from + CHANNEL_BLOCK), a1);
        a2 = vector_fused(weight, vector_load(from + 2 * CHANNEL_BLOCK), a2);
        a3 = vector_fused(weight, vector_load(from + 3 * CHANNEL_BLOCK), a3);
    }
    vector_store(y + lane, a0);
    vector_store(y + product->y_step + lane, a1);
    vector_store(y + 2 * product->y_step + lane, a2);
    vector_store(y + 3 * product->y_step + lane, a3);
}

static void one_pixel(const Product *product, Vector start, int lane, const float *x, float *y)
{
    Vector a = start;
    const float *w = product->w + lane;
    for (int tap = 0; tap < product->tap_count; tap++, w += CHANNEL_BLOCK)
        a = vector_fused(vector_load(w), vector_load(x + product->taps[tap] + lane), a);
    vector_store(y + lane, a);
}

void depthwise_row(const Product *product, int pixels, const float *x, float *y)
{
    for (int lane = 0; lane < CHANNEL_BLOCK; lane += VECTOR) {
        Vector start = { 0 };
        if (product->bias)
            start = vector_load(product->bias + lane);
        int p = 0;
        for (; p + 4 <= pixels; p += 4)
            four_pixels(product, start, lane, x + p * CHANNEL_BLOCK,
                        y + (size_t)p * product->y_step);
        for (; p < pixels; p++)
            one_pixel(product, start, lane, x + p * CHANNEL_BLOCK, y + (size_t)p * product->y_step);
    }
}

/* The sums of four taps, some of which may be the same. */
static void four_taps(const Outer *outer, const size_t offsets[4], const float *x, const float *dy,
                      Vector sum[4])
{
    Vector s0 = { 0 }, s1 = s0, s2 = s0, s3 = s0;
    const size_t floats = (size_t)outer->pixels * CHANNEL_BLOCK;
    for (int n = 0; n < outer->images; n++)
        for (int r = 0; r < outer->rows; r++) {
            const float *xr = x + (size_t)n * outer->x_image + (size_t)r * outer->x_row;
            const float *dr = dy + (size_t)n * outer->dy_image + (size_t)r * outer->dy_row;
            for (size_t p = 0; p < floats; p += CHANNEL_BLOCK) {
                const Vector d = vector_load(dr + p);
                s0 = vector_fused(d, vector_load(xr + offsets[0] + p), s0);
                s1 = vector_fused(d, vector_load(xr + offsets[1] + p), s1);
                s2 = vector_fused(d, vector_load(xr + offsets[2] + p), s2);
                s3 = vector_fused(d, vector_load(xr + offsets[3] + p), s3);
            }
        }
    sum[0] = s0;
    sum[1] = s1;
    sum[2] = s2;
    sum[3] = s3;
}

void depthwise_add(const Outer *outer, const float *x, const float *dy, float *dw)
{
    for (int k = 0; k < outer->K; k += 4) {
        int taps = least(4, outer->K - k);
        size_t offsets[4];
        for (int i = 0; i < 4; i++)
            offsets[i] = outer->offsets[k + least(i, taps - 1)];
        for (int lane = 0; lane < CHANNEL_BLOCK; lane += VECTOR) {
            Vector sum[4];
            four_taps(outer, offsets, x + lane, dy + lane, sum);
            for (int i = 0; i < taps; i++) {
                float *to = dw + (k + i) * CHANNEL_BLOCK + lane;
                vector_store(to, outer->overwrite ? sum[i] : vector_load(to) + sum[i]);
            }
        }
    }
}
