/* Keskar et al.'s sharpness (2017, metric 2.1): how far the loss rises within a small box around
 * the weights,
 *
 *   100 (max over y of f(w + A y) - f(w)) / (1 + f(w)),    |y_i| <= eps (|(A^+ w)_i| + 1)
 *
 * in the full space (A = 1) and in a random subspace. A's columns are random normal vectors made
 * orthonormal, so that A^+ = A^T. The maximum is what so many iterations of projected L-BFGS find
 * (ascent.c); the paper takes 10 of L-BFGS-B. */
#include "lockstep/probe.h"

#include "lockstep/kernels.h"
#include "lockstep/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct SharpnessOptions {
    OptionFloats eps;
    int64_t dimensions, iterations;
    bool full;
} SharpnessOptions;

static const Option options[] = {
    { "eps", OPTION_FLOATS, OPTION_AT(SharpnessOptions, eps), 1e-9, 1, NULL, "[1e-3, 5e-4]",
      "sizes of the box" },
    { "dimensions", OPTION_INT, OPTION_AT(SharpnessOptions, dimensions), 0, 10000, NULL, "100",
      "of the random subspace; 0: none" },
    { "iterations", OPTION_INT, OPTION_AT(SharpnessOptions, iterations), 1, 1000, NULL, "10",
      "of the search" },
    { "full", OPTION_BOOL, OPTION_AT(SharpnessOptions, full), 0, 0, NULL, "true",
      "look in the full space too" },
    OPTION_END,
};

/* The loss at w + A y; basis NULL: A = 1, and y is a vector like w. */
typedef struct Box {
    Landscape *landscape;
    const Basis *basis;
    Space *space;   /* of y */
    float *point;   /* whole scratch */
    float *g;       /* slice scratch */
    double *y, *dy; /* (basis->count) scratch */
} Box;

static double mean_loss(Tally tally)
{
    return tally.loss / tally.count;
}

static double value_full(void *context, float *z, float *g)
{
    Box *box = context;
    Landscape *l = box->landscape;
    space_copy(&l->space, box->point, l->w);
    space_add(&l->space, box->point, 1, z);
    space_share(&l->space, box->point);
    return mean_loss(landscape_gradient(l, box->point, g));
}

static double value_subspace(void *context, float *z, float *g)
{
    Box *box = context;
    Landscape *l = box->landscape;
    space_share(box->space, z);
    for (int i = 0; i < box->basis->count; i++)
        box->y[i] = (double)z[i];
    space_copy(&l->space, box->point, l->w);
    basis_combine(box->basis, box->y, box->point);
    space_share(&l->space, box->point);
    double value = mean_loss(landscape_gradient(l, box->point, box->g));
    basis_dots(box->basis, box->g, box->dy);
    for (int i = 0; i < box->basis->count; i++)
        g[i] = (float)box->dy[i];
    return value;
}

/* radius = eps (|x| + 1), on every rank; 0 where nothing is trained. */
static void set_radius(const Space *space, const float *x, double eps, float *radius)
{
    for (int t = 0; t < space->layout->count; t++) {
        const LayoutTensor *tensor = &space->layout->tensors[t];
        for (size_t i = tensor->offset; i < tensor->offset + tensor->n; i++)
            radius[i] = space_trains(space, t) ? (float)(eps * (fabs((double)x[i]) + 1)) : 0;
    }
}

static void search(Probe *probe, Box *box, const float *x, double eps)
{
    const SharpnessOptions *o = probe->options;
    bool full = !box->basis;
    char key[64], help[96];
    Objective objective = { box->space, full ? value_full : value_subspace, box };
    float *radius = space_vector(box->space), *z = space_vector(box->space);
    set_radius(box->space, x, eps, radius);
    Ascent a = ascend(&objective, radius, (int)o->iterations, z);
    double sharpness = 100 * (a.best - a.start) / (1 + a.start);
    snprintf(key, sizeof key, "%s_%g", full ? "full" : "subspace", eps);
    snprintf(help, sizeof help, "loss up to %.6g, %d iterations, %d values", a.best, a.iterations,
             a.values);
    found(probe->findings, key, sharpness, help);
    found_row(probe->findings, "%s,%g,%.9g,%.9g,%.9g,%d,%d", full ? "full" : "subspace", eps,
              a.start, a.best, sharpness, a.iterations, a.values);
    mem_free(radius);
    mem_free(z);
}

static void search_full(Probe *probe)
{
    const SharpnessOptions *o = probe->options;
    Landscape *l = &probe->landscape;
    Box box = { .landscape = l, .space = &l->space, .point = space_vector(&l->space) };
    memcpy(box.point, l->w, l->space.layout->n * sizeof *box.point);
    for (int i = 0; i < o->eps.count; i++)
        search(probe, &box, l->w, o->eps.value[i]);
    mem_free(box.point);
}

/* Random normal vectors, each made orthogonal to those before it. */
static void fill_basis(Basis *basis, uint64_t seed)
{
    Space *space = basis->space;
    float *x = space_vector(space);
    for (int i = 0; i < basis->capacity; i++) {
        space_random_normal(space, seed, (uint64_t)i, x);
        if (i > 0)
            basis_reject(basis, x, NULL);
        space_scale(space, x, 1 / sqrt(space_dot(space, x, x)));
        basis_add(basis, x);
    }
    mem_free(x);
}

/* A layout of one tensor of y's size, so that the search works on y as on weights. */
static void search_subspace(Probe *probe, int dimensions)
{
    const SharpnessOptions *o = probe->options;
    Landscape *l = &probe->landscape;
    Layout layout = { 0 };
    Basis basis;
    Space space;
    layout_add(&layout, "y", 1, &dimensions, 0);
    layout_seal(&layout);
    space_init(&space, l->wish.comm, &layout);
    basis_init(&basis, &l->space, dimensions);
    fill_basis(&basis, (uint64_t)probe->common.seed);
    Box box = { .landscape = l,
                .basis = &basis,
                .space = &space,
                .point = space_vector(&l->space),
                .g = space_vector(&l->space),
                .y = mem_array(double, dimensions),
                .dy = mem_array(double, dimensions) };
    memcpy(box.point, l->w, l->space.layout->n * sizeof *box.point);
    float *x = space_vector(&space); /* A^T w */
    basis_dots(&basis, l->w, box.y);
    for (int i = 0; i < dimensions; i++)
        x[i] = (float)box.y[i];
    for (int i = 0; i < o->eps.count; i++)
        search(probe, &box, x, o->eps.value[i]);
    mem_free(x);
    mem_free(box.point);
    mem_free(box.g);
    mem_free(box.y);
    mem_free(box.dy);
    basis_free(&basis);
    space_free(&space);
    layout_free(&layout);
}

static bool run(Probe *probe, Err *err)
{
    const SharpnessOptions *o = probe->options;
    size_t trained = probe->landscape.space.layout->trained;
    if ((size_t)o->dimensions > trained)
        return err_set(err, "probe sharpness: dimensions=%lld: the network has %zu parameters",
                       (long long)o->dimensions, trained);
    found_columns(probe->findings, "space,eps,loss,largest_loss,sharpness,iterations,values");
    if (o->full)
        search_full(probe);
    if (o->dimensions > 0)
        search_subspace(probe, (int)o->dimensions);
    return true;
}

extern const ProbeType probe_sharpness;
const ProbeType probe_sharpness = {
    .name = "sharpness",
    .help = "largest rise of the loss in a small box, in full and in a random subspace",
    .formula = "100 (max f(w + A y) - f(w)) / (1 + f(w)), |y_i| <= eps (|(A^+ w)_i| + 1)",
    .source = "Keskar et al. 2017",
    .options = options,
    .options_bytes = sizeof(SharpnessOptions),
    .samples = 2048,
    .run = run,
};
