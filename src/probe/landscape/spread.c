/* The covariance of the samples' Hessians, S = mean of H_i^2 - H^2, of which s = lambda_max(S^1/2)
 * is the non-uniformity of Wu, Ma and E (2018). S is never made: S v = mean of H_i (H_i v) - H (H
 * v), where the mean is taken sample by sample and added over the lane tree. */
#include "lockstep/landscape.h"

#include "lockstep/kernels.h"
#include "lockstep/memory.h"

#include <string.h>

typedef struct Twice {
    Landscape *landscape;
    const float *v;      /* whole */
    float *once, *twice; /* whole: H_i v, H_i (H_i v) */
} Twice;

/* H_i makes numbers where nothing is trained, too; nobody may go that way. */
static void mask(const Space *space, float *x)
{
    for (int t = 0; t < space->layout->count; t++) {
        const LayoutTensor *tensor = &space->layout->tensors[t];
        if (!space_trains(space, t))
            memset(x + tensor->offset, 0, tensor->padded * sizeof *x);
    }
}

static void sum_squares(void *context, int64_t first, int count, float *x)
{
    const Twice *twice = context;
    Landscape *l = twice->landscape;
    float share = (float)(1 / (double)l->wish.list.count);
    for (int64_t i = first; i < first + count; i++) {
        landscape_sample_product(l, i, twice->v, twice->once);
        mask(&l->space, twice->once);
        landscape_sample_product(l, i, twice->once, twice->twice);
        kernels()->blend(x, 1, x, share, twice->twice, l->space.layout->n);
    }
}

static void apply(void *context, const float *v, float *out)
{
    Landscape *l = context;
    Space *space = &l->space;
    float *squares = space_vector(space);
    Twice twice = { l, v, space_vector(space), space_vector(space) };
    landscape_sum(l, sum_squares, &twice, squares);
    landscape_product(l, v, twice.once);
    space_share(space, twice.once);
    landscape_product(l, twice.once, out);
    space_scale(space, out, -1);
    space_add(space, out, 1, squares);
    mem_free(squares);
    mem_free(twice.once);
    mem_free(twice.twice);
}

Operator landscape_spread(Landscape *l)
{
    return (Operator){ apply, l };
}
