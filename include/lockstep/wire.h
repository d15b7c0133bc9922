/* Number formats of sums that travel between hosts: 16 bits instead of 32. Where one is in use,
 * every lane's gradient and every sum of the lane tree is rounded to it, wherever it is made, so
 * the bits do not depend on where one host ends and the next begins.
 *
 *   fp32   as it is
 *   bf16   float's exponent, 8 bits of precision
 *   fp16   11 bits of precision from 6.1e-5 to 65504, fewer below, down to 6.0e-8: of values times
 *          `scale`, a power of two; what is larger becomes the largest
 *
 * To nearest, ties to even, denormal numbers kept. What is not finite stays so, and a bf16 beyond
 * the largest becomes infinite. Elements are rounded one by one: no range, alignment or ISA level
 * changes a bit. The functions are members of Kernels (kernels.h). */
#ifndef LOCKSTEP_WIRE_H
#define LOCKSTEP_WIRE_H

typedef enum WireFormat { WIRE_FP32, WIRE_BF16, WIRE_FP16 } WireFormat;

typedef struct Wire {
    WireFormat type;
    float scale; /* fp16: a power of two from 2^-40 to 2^40 */
} Wire;

#define WIRE_MAX_EXPONENT 40
#define WIRE_START_EXPONENT 10 /* of scale, before any gradient is known */

/* The scale for the next gradients, when the last one had this norm: elements of the sum are up to
 * 2^10 then, so sums of some lanes may be 64 times as large, and an element keeps all its bits down
 * to 2^-24 of the norm. The old one if the norm is 0 or not finite. */
float wire_next_scale(float scale, double norm);

#endif
