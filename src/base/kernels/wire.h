/* The 16-bit members of Kernels, at the level that is being compiled. */
#ifndef LOCKSTEP_BASE_KERNELS_WIRE_H
#define LOCKSTEP_BASE_KERNELS_WIRE_H

#include "lockstep/kernels.h"

void ISA_NAME(wire_add)(const Wire *wire, float *y, const float *a, const float *b, size_t n);
void ISA_NAME(wire_round)(const Wire *wire, float *y, const float *x, size_t n);
void ISA_NAME(wire_pack)(const Wire *wire, uint16_t *to, const float *from, size_t n);
void ISA_NAME(wire_unpack)(const Wire *wire, float *to, const uint16_t *from, size_t n);

#endif
