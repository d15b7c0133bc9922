/* The transforms of Winograd's convolutions, one tile of 16 channels at a time.
 *
 * F(out x out, taps x taps) with out + taps - 1 = 6: a tile reads 6 x 6 pixels and makes out x out,
 * by 36 multiplications per pair of channels. F(4x4, 3x3) and F(2x2, 5x5) use the same six points
 * 0, 1, -1, 2, -2 and infinity, so they share B, and the products between the transforms.
 *
 * A plane is one channel block (H, W, 16) of an image. Transformed tiles are 36 vectors of 16
 * channels, element xi at xi * step. */
#ifndef LOCKSTEP_NN_WINOGRAD_TILE_H
#define LOCKSTEP_NN_WINOGRAD_TILE_H

#include "../image.h"
#include "lockstep/cpu.h"

#define TILE_IN 6
#define TILE_XI (TILE_IN * TILE_IN)
#define TILE_MOST_OUT 4
#define TILE_MOST_TAPS 5

/* Pixels from (h, w) on of a plane (H, W). */
typedef struct Square {
    int H, W, h, w;
} Square;

/* v = B^T d B of 6 x 6 pixels of x; those outside the plane are zeros. */
#define tile_input ISA_NAME(tile_input)
void tile_input(const float *x, Square at, float *v, size_t step);

/* out x out pixels of y = A^T m A + bias (16, or NULL), as far as they are in the plane. `stream`:
 * y is larger than the caches, and is better written past them. */
#define tile_output ISA_NAME(tile_output)
void tile_output(int out, const float *m, size_t step, const float *bias, float *y, Square at,
                 bool stream);

/* v = A dy A^T of out x out pixels of dy; those outside the plane are zeros. */
#define tile_gradient ISA_NAME(tile_gradient)
void tile_gradient(int out, const float *dy, Square at, float *v, size_t step);

/* u = G g G^T, for kernels g (taps, taps, 16); `turned`: of the kernels turned by 180 degrees. */
#define tile_kernel ISA_NAME(tile_kernel)
void tile_kernel(int taps, bool turned, const float *g, float *u, size_t step);

/* dg = G^T du G, (taps, taps, 16); `add`: dg += */
#define tile_kernel_gradient ISA_NAME(tile_kernel_gradient)
void tile_kernel_gradient(int taps, const float *du, size_t step, bool add, float *dg);

#endif
