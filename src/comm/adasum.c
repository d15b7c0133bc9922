/* Adasum over the lane tree: products by blocks, then the sum of two multiples (adasum.h). */
#include "adasum.h"

#include "lockstep/kernels.h"
#include "lockstep/memory.h"

enum { DOT, SQUARE_A, SQUARE_B };

struct Adasum {
    const Layout *layout;
    double *products; /* (blocks, ADASUM_PRODUCTS) */
};

size_t adasum_bytes(const Layout *layout)
{
    return (size_t)layout->blocks * ADASUM_PRODUCTS * sizeof(double);
}

Adasum *adasum_new(const Layout *layout)
{
    Adasum *adasum = mem_new(Adasum);
    adasum->layout = layout;
    adasum->products = mem_array(double, layout->blocks *ADASUM_PRODUCTS);
    return adasum;
}

void adasum_free(Adasum *adasum)
{
    if (!adasum)
        return;
    mem_free(adasum->products);
    mem_free(adasum);
}

double *adasum_measure(Adasum *adasum, Slice slice, AdasumSide a, AdasumSide b)
{
    const Kernels *k = kernels();
    for (int block = slice.first_block; block < slice.last_block; block++) {
        LayoutBlock place = layout_block(adasum->layout, block);
        const float *left = a.x + (place.offset - a.origin);
        const float *right = b.x + (place.offset - b.origin);
        double *products = adasum->products + (ptrdiff_t)block * ADASUM_PRODUCTS;
        products[DOT] = k->dot(left, right, place.n);
        products[SQUARE_A] = k->squares(left, place.n);
        products[SQUARE_B] = k->squares(right, place.n);
    }
    return adasum->products;
}

/* A gradient of zeros leaves the other as it is. */
static double factor(double dot, double square)
{
    return square > 0 ? 1 - dot / (2 * square) : 1;
}

/* What a and b are multiplied by. */
static void find_factors(const Adasum *adasum, int tensor, double scale, float factors[2])
{
    const LayoutTensor *t = &adasum->layout->tensors[tensor];
    double sums[ADASUM_PRODUCTS] = { 0 };
    factors[0] = factors[1] = 1;
    if (t->flags & (LAYOUT_STATISTIC | LAYOUT_FROZEN))
        return;
    for (int block = t->first_block; block < t->first_block + t->blocks; block++)
        for (int i = 0; i < ADASUM_PRODUCTS; i++)
            sums[i] += adasum->products[(ptrdiff_t)block * ADASUM_PRODUCTS + i];
    factors[0] = (float)(scale * factor(sums[DOT], sums[SQUARE_A]));
    factors[1] = (float)(scale * factor(sums[DOT], sums[SQUARE_B]));
}

void adasum_combine(const Adasum *adasum, Slice slice, AdasumSide a, AdasumSide b, AdasumSide out,
                    double scale)
{
    float factors[2] = { 1, 1 };
    int tensor = -1;
    for (int block = slice.first_block; block < slice.last_block; block++) {
        LayoutBlock place = layout_block(adasum->layout, block);
        if (place.tensor != tensor)
            find_factors(adasum, tensor = place.tensor, scale, factors);
        kernels()->blend(out.x + (place.offset - out.origin), factors[0],
                         a.x + (place.offset - a.origin), factors[1],
                         b.x + (place.offset - b.origin), place.n);
    }
}
