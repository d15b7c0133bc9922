/* Loss change allocation: the integral of the gradient along a path, parameter by parameter (Lan et
 * al. 2019). What a parameter's sum is below zero it has taken off the loss. */
#include "lockstep/landscape.h"

#include "lockstep/kernels.h"
#include "lockstep/memory.h"

#include <string.h>

static double mean_loss(Tally tally)
{
    return tally.loss / tally.count;
}

void allocation_init(Allocation *a, Landscape *l, float *w)
{
    const Space *space = &l->space;
    size_t n = space->layout->n;
    *a = (Allocation){ .landscape = l,
                       .sums = mem_array(double, n),
                       .piece = mem_array(double, space->layout->blocks),
                       .at = space_vector(space),
                       .middle = space_vector(space) };
    for (int i = 0; i < 3; i++)
        a->g[i] = space_vector(space);
    memcpy(a->at, w, n * sizeof *w);
    a->start = a->loss = mean_loss(landscape_gradient(l, a->at, a->g[2]));
}

void allocation_free(Allocation *a)
{
    mem_free(a->sums);
    mem_free(a->piece);
    mem_free(a->at);
    mem_free(a->middle);
    for (int i = 0; i < 3; i++)
        mem_free(a->g[i]);
    *a = (Allocation){ 0 };
}

static double add_block(Allocation *a, LayoutBlock block, const float *w)
{
    double sum = 0;
    for (size_t i = block.offset; i < block.offset + block.n; i++) {
        double change = (double)w[i] - (double)a->at[i];
        double slope = ((double)a->g[0][i] + 4 * (double)a->g[1][i] + (double)a->g[2][i]) / 6;
        a->sums[i] += change * slope;
        sum += change * slope;
    }
    return sum;
}

void allocation_extend(Allocation *a, float *w)
{
    Landscape *l = a->landscape;
    Space *space = &l->space;
    const Layout *layout = space->layout;
    kernels()->blend(a->middle, 0.5f, a->at, 0.5f, w, layout->n);
    memcpy(a->g[0], a->g[2], layout->n * sizeof *a->g[0]);
    landscape_gradient(l, a->middle, a->g[1]);
    a->loss = mean_loss(landscape_gradient(l, w, a->g[2]));
    for (int b = space->slice.first_block; b < space->slice.last_block; b++) {
        LayoutBlock block = layout_block(layout, b);
        a->piece[b] = space_trains(space, block.tensor) ? add_block(a, block, w) : 0;
    }
    exchange_complete(slice_exchange(&space->exchange), a->piece, sizeof *a->piece);
    for (int b = 0; b < layout->blocks; b++)
        a->total += a->piece[b];
    memcpy(a->at, w, layout->n * sizeof *w);
}
