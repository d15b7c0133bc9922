/* Products with the Hessian by central differences of gradients that are exact but for rounding, at
 * weights nearby where the network is on the same side of every kink as at w, because it is made to
 * be (landscape_keep): what is differentiated is smooth, and has the Hessian of the loss at w.
 *
 *   2 points   H v = (g(w + h v) - g(w - h v)) / 2h                                error O(h^2)
 *   4 points   H v = (8 (g(w + h v) - g(w - h v)) - (g(w + 2h v) - g(w - 2h v))) / 12h    O(h^4)
 *
 * Floats are rounded to u = 2^-24 of their size. So w + h v is off by up to u |w|, which moves the
 * product by u |w| |H| / h; the gradients' own rounding is of that order. The remainder of the
 * difference is of the order |H| |v| (h |v| / L)^2, or ^4, where L is the distance on which the
 * loss bends anew. Activations of the order 1 make L = 1 / |x| for a layer's weights, which
 * initialisers make the weights' root mean square: L = |w| / sqrt(N), N parameters. The sum of both
 * errors is least, up to a constant, at
 *
 *   2 points   h |v| = |w| (u / N)^(1/3)              error u^(2/3) N^(1/3) |H| |v|
 *   4 points   h |v| = |w| u^(1/5) N^(-2/5)           error u^(4/5) N^(2/5) |H| |v|
 *
 * which is a bound: rounding is not along one direction, so it is mostly less
 * (docs/landscape.md). */
#include "lockstep/landscape.h"

#include "lockstep/kernels.h"

#include <math.h>
#include <string.h>

#define UNIT 0x1p-24

/* At w +- k h v the difference of gradients counts `weight` / h. */
typedef struct StencilPair {
    int k;
    double weight;
} StencilPair;

static const StencilPair two_points[] = { { 1, 1.0 / 2 } };
static const StencilPair four_points[] = { { 1, 8.0 / 12 }, { 2, -1.0 / 12 } };

static const StencilPair *stencil(const Landscape *l, int *pairs)
{
    *pairs = l->wish.points / 2;
    return *pairs == 1 ? two_points : four_points;
}

double landscape_step(const Landscape *l, double norm_w, double norm_v)
{
    double n = (double)l->space.layout->trained;
    double relative = l->wish.points == 2 ? cbrt(UNIT / n) : pow(UNIT, 1.0 / 5) * pow(n, -2.0 / 5);
    return l->wish.step * relative * (norm_w > 0 ? norm_w : sqrt(n)) / norm_v;
}

static double own_norm(const Landscape *l, const float *x)
{
    return sqrt(space_own_dot(&l->space, x, x));
}

/* One product: what its parts on all chunks share. */
typedef struct Product {
    Landscape *landscape;
    const StencilPair *pair;
    int pairs;
    double step[2]; /* k h as it is, of each pair */
} Product;

static float *take(const Landscape *l, float **vector)
{
    if (!*vector)
        *vector = space_vector(&l->space);
    return *vector;
}

/* near[2 i], near[2 i + 1] = w -+ k h v: all of the arena, as running statistics belong to the
 * weights. False: v is 0. */
static bool begin_product(Landscape *l, const float *v, Product *product)
{
    double norm_v = own_norm(l, v);
    *product = (Product){ .landscape = l };
    product->pair = stencil(l, &product->pairs);
    if (!(norm_v > 0))
        return false;
    double h = landscape_step(l, own_norm(l, l->w), norm_v);
    for (int i = 0; i < product->pairs; i++) {
        float to = (float)(h * product->pair[i].k);
        product->step[i] = (double)to;
        for (int side = 0; side < 2; side++)
            kernels()->blend(take(l, &l->near[2 * i + side]), 1, l->w, side ? to : -to, v,
                             l->space.layout->n);
    }
    take(l, &l->near_g[0]);
    take(l, &l->near_g[1]);
    return true;
}

/* x += these samples' part of the product. */
static void add_part(void *context, int64_t first, int count, float *x)
{
    const Product *product = context;
    Landscape *l = product->landscape;
    size_t n = l->space.layout->n;
    landscape_keep(l, l->w, first, count);
    for (int i = 0; i < product->pairs; i++) {
        const StencilPair *pair = &product->pair[i];
        for (int side = 0; side < 2; side++)
            landscape_kept(l, l->near[2 * i + side], first, count, l->near_g[side]);
        kernels()->blend(l->near_g[1], 1, l->near_g[1], -1, l->near_g[0], n);
        kernels()->blend(x, 1, x, (float)(pair->weight * pair->k / product->step[i]), l->near_g[1],
                         n);
    }
}

void landscape_product(Landscape *l, const float *v, float *out)
{
    Product product;
    Slice slice = l->space.slice;
    if (begin_product(l, v, &product))
        landscape_sum(l, add_part, &product, out);
    else
        memset(out + slice.lo, 0, (slice.hi - slice.lo) * sizeof *out);
}

void landscape_sample_product(Landscape *l, int64_t sample, const float *v, float *out)
{
    Product product;
    size_t n = l->space.layout->n;
    memset(out, 0, n * sizeof *out);
    if (begin_product(l, v, &product))
        add_part(&product, sample, 1, out);
    kernels()->scale(out, (float)l->wish.list.count, n);
}

static void apply_hessian(void *context, const float *v, float *out)
{
    landscape_product(context, v, out);
}

Operator landscape_hessian(Landscape *l)
{
    return (Operator){ apply_hessian, l };
}
