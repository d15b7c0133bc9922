/* Gradients that travel in fewer bits (docs/compression.md): the settings, and what is known from
 * step to step. */
#include "compression.h"

#include <math.h>

bool compression_scales(const Trainer *t)
{
    return t->settings->comm.wire == WIRE_FP16 && t->settings->comm.wire_scale <= 0;
}

void compression_init(Trainer *t)
{
    t->wire_scale = t->settings->comm.wire_scale;
    if (t->wire_scale <= 0)
        t->wire_scale = ldexp(1, WIRE_START_EXPONENT);
    compression_begin(t);
}

void compression_begin(Trainer *t)
{
    Wire wire = { .type = (WireFormat)t->settings->comm.wire, .scale = (float)t->wire_scale };
    comm_set_wire(t->comm, wire);
}

void compression_end(Trainer *t)
{
    if (compression_scales(t))
        t->wire_scale = (double)wire_next_scale((float)t->wire_scale, t->optimizer.grad_norm);
}
