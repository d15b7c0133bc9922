/* Rows of a depthwise convolution: channels do not mix, so weights are vectors of 16 channels. */
#ifndef LOCKSTEP_NN_DEPTHWISE_H
#define LOCKSTEP_NN_DEPTHWISE_H

#include "product.h"

/* As product_row for one channel block, with w (tap_count, 16). */
#define depthwise_row ISA_NAME(depthwise_row)
void depthwise_row(const Product *product, int pixels, const float *x, float *y);

/* As outer_add for one channel block, with dw (K, 16): K taps, offsets of their channel 0. */
#define depthwise_add ISA_NAME(depthwise_add)
void depthwise_add(const Outer *outer, const float *x, const float *dy, float *dw);

#endif
