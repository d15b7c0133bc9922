/* Products with the Hessian by central differences of gradients that are exact but for rounding:
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

/* point = w + factor v: all of the arena, as running statistics belong to the weights. */
static void go_to(Landscape *l, double factor, const float *v)
{
    kernels()->blend(l->point, 1, l->w, (float)factor, v, l->space.layout->n);
}

static double own_norm(const Landscape *l, const float *x)
{
    return sqrt(space_own_dot(&l->space, x, x));
}

/* The gradient at `point`, of all samples into a slice or of one sample and whole. */
typedef void GradientAt(Landscape *l, int64_t sample, float *g);

static void gradient_of_all(Landscape *l, int64_t sample, float *g)
{
    (void)sample;
    landscape_gradient(l, l->point, g);
}

static void gradient_of_one(Landscape *l, int64_t sample, float *g)
{
    landscape_stand(l, l->point);
    landscape_part(l, l->point, sample, 1, NULL, g);
}

/* Floats [lo, hi) of out. */
static void difference(Landscape *l, GradientAt *gradient, int64_t sample, const float *v,
                       float *out, size_t lo, size_t hi)
{
    int pairs;
    const StencilPair *pair = stencil(l, &pairs);
    double norm_v = own_norm(l, v);
    memset(out + lo, 0, (hi - lo) * sizeof *out);
    if (!(norm_v > 0))
        return;
    double h = landscape_step(l, own_norm(l, l->w), norm_v);
    for (int i = 0; i < pairs; i++) {
        double to = (double)(float)(h * pair[i].k);
        float *left = l->difference[0], *right = l->difference[1];
        go_to(l, -to, v);
        gradient(l, sample, left);
        go_to(l, to, v);
        gradient(l, sample, right);
        kernels()->blend(right + lo, 1, right + lo, -1, left + lo, hi - lo);
        kernels()->blend(out + lo, 1, out + lo, (float)(pair[i].weight * pair[i].k / to),
                         right + lo, hi - lo);
    }
}

void landscape_product(Landscape *l, const float *v, float *out)
{
    difference(l, gradient_of_all, 0, v, out, l->space.slice.lo, l->space.slice.hi);
}

void landscape_sample_product(Landscape *l, int64_t sample, const float *v, float *out)
{
    difference(l, gradient_of_one, sample, v, out, 0, l->space.layout->n);
}

static void apply_hessian(void *context, const float *v, float *out)
{
    landscape_product(context, v, out);
}

Operator landscape_hessian(Landscape *l)
{
    return (Operator){ apply_hessian, l };
}
