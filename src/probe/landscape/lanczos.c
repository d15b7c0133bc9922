/* Eigenvalues at the ends of a symmetric operator's spectrum, and quadrature over all of it, from
 * its products alone (Lanczos 1950; Golub and Meurant 2010).
 *
 * The vectors q_1, A q_1, A^2 q_1 ... made orthonormal; in their basis A is tridiagonal, and its
 * eigenvalues (Ritz values) approach those of A from inside. Every vector is made orthogonal to all
 * before it, twice: without that, found eigenvalues would come again and again. */
#include "lockstep/landscape.h"

#include "lockstep/lapack.h"
#include "lockstep/memory.h"

#include <math.h>
#include <string.h>

typedef struct Tridiagonal {
    int count;
    double *alpha, *beta; /* beta[i] is between i and i + 1 */
} Tridiagonal;

/* Ritz values, with residual beta |last component of its eigenvector|. */
static bool solve(const Tridiagonal *t, Spectrum *spectrum)
{
    int n = t->count;
    double *matrix = mem_array(double, n *n), *scratch = mem_array(double, lapack_scratch(n));
    for (int i = 0; i < n; i++) {
        matrix[i * n + i] = t->alpha[i];
        if (i + 1 < n)
            matrix[i * n + i + 1] = matrix[(i + 1) * n + i] = t->beta[i];
    }
    bool ok = lapack_eigen(n, matrix, spectrum->values, scratch);
    spectrum->count = n;
    for (int k = 0; ok && k < n; k++) {
        double first = matrix[k * n], last = matrix[k * n + n - 1];
        spectrum->weights[k] = first * first;
        spectrum->residuals[k] = fabs(t->beta[n - 1] * last);
    }
    mem_free(matrix);
    mem_free(scratch);
    return ok;
}

static double largest(const Spectrum *s)
{
    return fmax(fabs(s->values[0]), fabs(s->values[s->count - 1]));
}

static bool all_found(const Spectrum *s, const LanczosWish *wish)
{
    double limit = wish->tolerance * largest(s);
    if (wish->extremes == 0 || s->count < 2 * wish->extremes)
        return false;
    for (int k = 0; k < wish->extremes; k++)
        if (s->residuals[k] > limit || s->residuals[s->count - 1 - k] > limit)
            return false;
    return true;
}

static void begin(Space *space, const LanczosWish *wish, float *q)
{
    space_random_normal(space, wish->seed, wish->number, q);
    space_scale(space, q, 1 / sqrt(space_dot(space, q, q)));
}

/* One more row and column. q: the newest vector, whole; it becomes the next one, in the slice.
 * False: there is no next one. */
static void extend(Basis *basis, Operator op, Tridiagonal *t, float *q, float *out)
{
    double *along = mem_array(double, basis->capacity);
    op.apply(op.context, q, out);
    basis_reject(basis, out, along);
    int n = t->count++;
    t->alpha[n] = along[n];
    t->beta[n] = sqrt(space_dot(basis->space, out, out));
    space_copy(basis->space, q, out);
    if (t->beta[n] > 0)
        space_scale(basis->space, q, 1 / t->beta[n]);
    mem_free(along);
}

static bool iterate(Space *space, Operator op, const LanczosWish *wish, Tridiagonal *t,
                    Spectrum *spectrum, Err *err)
{
    enum { PAUSE = 5 }; /* products between two looks */
    Basis basis;
    float *q = space_vector(space), *out = space_vector(space);
    int steps = wish->steps;
    if ((size_t)steps > space->layout->trained)
        steps = (int)space->layout->trained;
    basis_init(&basis, space, steps);
    begin(space, wish, q);
    bool ok = true, done = false;
    while (ok && !done && t->count < steps) {
        basis_add(&basis, q);
        space_share(space, q);
        extend(&basis, op, t, q, out);
        double beta = t->beta[t->count - 1];
        ok = isfinite(beta) && isfinite(t->alpha[t->count - 1]);
        done = beta == 0 || t->count == steps;
        if (ok && (done || t->count % PAUSE == 0))
            ok = solve(t, spectrum);
        done = done || (ok && t->count % PAUSE == 0 && all_found(spectrum, wish));
    }
    basis_free(&basis);
    mem_free(q);
    mem_free(out);
    return ok || err_set(err, "products with the operator are not finite");
}

bool lanczos(Space *space, Operator op, const LanczosWish *wish, Spectrum *spectrum, Err *err)
{
    int steps = wish->steps;
    Tridiagonal t = { 0, mem_array(double, steps), mem_array(double, steps) };
    *spectrum = (Spectrum){ 0, mem_array(double, steps), mem_array(double, steps),
                            mem_array(double, steps) };
    bool ok = iterate(space, op, wish, &t, spectrum, err);
    mem_free(t.alpha);
    mem_free(t.beta);
    if (!ok)
        spectrum_free(spectrum);
    return ok;
}

void spectrum_free(Spectrum *spectrum)
{
    mem_free(spectrum->values);
    mem_free(spectrum->residuals);
    mem_free(spectrum->weights);
    *spectrum = (Spectrum){ 0 };
}
