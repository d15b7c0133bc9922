/* The two matrix products at the bottom of every convolution, on pixels of 16 channels.
 *
 * A panel is 16 or 32 output channels whose weights stand next to each other: w (K, panel). One
 * call computes a few neighbouring pixels times one panel in registers: with AVX-512 14 pixels x
 * 2 vectors or 28 x 1, with AVX2 6 x 2, with 128-bit vectors 3 x 4.
 *
 * Every result is one chain of multiply-adds in a fixed order, whatever the number of pixels in
 * its call, so bits do not depend on how a row is cut. */
#ifndef LOCKSTEP_NN_PRODUCT_H
#define LOCKSTEP_NN_PRODUCT_H

#include "../image.h"
#include "lockstep/cpu.h"

/* Channel blocks of a full panel: two vectors of weights a step. */
#if VECTOR == 16
#define PANEL_BLOCKS 2
#else
#define PANEL_BLOCKS 1
#endif
#define PANEL_FLOATS (PANEL_BLOCKS * CHANNEL_BLOCK)

/* y[p] = bias + sum over blocks b, taps t, channels c of x[b][p + t][c] w[b][t][c]
 * Pixels p are x_step floats apart in x: 16, or in images of few channels that stand packed, 1 or
 * 3; then a tap is a row of the kernel, whose at most 16 values are the channels. */
typedef struct Product {
    int channels;       /* of x */
    int x_step;         /* floats from a pixel of x to the next: 16, 1 or 3 */
    size_t x_block;     /* floats from a channel block of x to the next */
    const size_t *taps; /* (tap_count): offsets in x, floats */
    int tap_count;
    const float *w;    /* (blocks, tap_count, channels of the block, panel) */
    const float *bias; /* (panel), or NULL */
    int panel_blocks;  /* 1 .. PANEL_BLOCKS */
    size_t y_block;    /* floats from a channel block of y to the next */
    size_t y_step;     /* floats from a pixel of y to the next */
    bool stream;       /* y is larger than the caches, and is better written past them */
} Product;

#define product_row ISA_NAME(product_row)
void product_row(const Product *product, int pixels, const float *x, float *y);

/* dw[k][o] += sum over images, rows, pixels p of x[p + offset[k]] dy[p][o]: the products of a call
 * are summed first and added to dw then, so that long sums keep their digits. Without offsets rows
 * k are the first K floats of a pixel. Pixels of x are x_step floats apart. */
typedef struct Outer {
    int K;
    const size_t *offsets; /* (K): floats in x; NULL: 0, 1, 2, ... */
    int images, rows, pixels;
    size_t x_image, x_row, x_step;     /* floats */
    size_t dy_image, dy_row, dy_block; /* floats */
    int panel_blocks;
    bool overwrite; /* dw = instead of += */
    size_t x_next,
        dy_next; /* without offsets: floats to what the next call reads, fetched ahead; or
                               both 0 */
} Outer;

#define outer_add ISA_NAME(outer_add)
void outer_add(const Outer *outer, const float *x, const float *dy, float *dw);

#endif
