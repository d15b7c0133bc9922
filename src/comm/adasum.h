/* Adasum: two gradients combined, tensor by tensor, so that what they have in common counts once
 * (Maleki, Musuvathi, Mytkowicz, Saarikivi, Xu, Eksarevskiy, Ekanayake, Barsoum 2020, "Scaling
 * distributed training with adaptive summation"; tensor by tensor as Horovod does):
 *
 *   adasum(a, b) = (1 - a.b / 2 |a|^2) a + (1 - a.b / 2 |b|^2) b
 *
 * Orthogonal gradients are added, equal ones are averaged. The products of a tensor are sums over
 * its blocks, in block order, so it does not matter who has which slice. Running statistics and
 * frozen tensors are added. */
#ifndef LOCKSTEP_COMM_ADASUM_H
#define LOCKSTEP_COMM_ADASUM_H

#include "lockstep/layout.h"

typedef struct Adasum Adasum;

enum { ADASUM_PRODUCTS = 3 }; /* numbers a block: a.b, |a|^2, |b|^2 */

Adasum *adasum_new(const Layout *layout); /* borrowed */
void adasum_free(Adasum *adasum);         /* NULL is fine */
size_t adasum_bytes(const Layout *layout);

/* Two gradients in a slice: x[0] is float `origin` of the arena. */
typedef struct AdasumSide {
    float *x;
    size_t origin;
} AdasumSide;

/* The products of every block of the slice, at the blocks' places in an array over all blocks,
 * which is returned: whoever has a part of the arena completes it. */
double *adasum_measure(Adasum *adasum, Slice slice, AdasumSide a, AdasumSide b);

/* From the complete array: out = scale * adasum(a, b) in the slice; out may be a or b. */
void adasum_combine(const Adasum *adasum, Slice slice, AdasumSide a, AdasumSide b, AdasumSide out,
                    double scale);

#endif
