/* Products of the Hessian with random vectors by several steps of the difference: how exact they
 * are here, and whether the default step suits this network. */
#include "lockstep/probe.h"

#include "lockstep/memory.h"

#include <math.h>
#include <stdio.h>

typedef struct ProductOptions {
    int64_t vector;
} ProductOptions;

static const Option options[] = {
    { "vector", OPTION_INT, OPTION_AT(ProductOptions, vector), 0, 1000000, NULL, "0",
      "which of the seed's random vectors" },
    OPTION_END,
};

typedef struct Trial {
    int points;
    double factor;
} Trial;

/* The last one is what the others are compared with. */
static const Trial trials[] = {
    { 2, 0.0625 }, { 2, 0.25 }, { 2, 1 }, { 2, 4 }, { 2, 16 },
    { 4, 0.0625 }, { 4, 0.25 }, { 4, 4 }, { 4, 1 },
};
enum { TRIALS = sizeof trials / sizeof *trials };

static double norm(Landscape *l, const float *x)
{
    return sqrt(space_dot(&l->space, x, x));
}

static void try(Landscape *l, const Trial *trial, const float *v, float *out)
{
    LandscapeWish kept = l->wish;
    l->wish.points = trial->points;
    l->wish.step = kept.step * trial->factor;
    landscape_product(l, v, out);
    l->wish = kept;
}

/* Rows, and the difference of the two steps that are used, in parts of the product. */
static void compare_steps(Probe *probe, const float *v, float *best, float *out)
{
    Landscape *l = &probe->landscape;
    try(l, &trials[TRIALS - 1], v, best);
    double size = norm(l, best);
    found_columns(probe->findings, "points,step_factor,relative_difference");
    for (int i = 0; i < TRIALS; i++) {
        try(l, &trials[i], v, out);
        space_add(&l->space, out, -1, best);
        double difference = norm(l, out) / size;
        found_row(probe->findings, "%d,%g,%.4g", trials[i].points, trials[i].factor, difference);
        if (trials[i].points == 2 && trials[i].factor == 1)
            found(probe->findings, "difference_2", difference,
                  "2 points against 4, of the product's norm");
        if (trials[i].points == 4 && trials[i].factor == 0.25)
            found(probe->findings, "difference_4", difference,
                  "4 points against 4 with a quarter of the step");
    }
}

static void check_symmetry(Probe *probe, const float *v, const float *hv, float *u, float *out)
{
    Landscape *l = &probe->landscape;
    space_random_normal(&l->space, (uint64_t)probe->common.seed + 1, 0, u);
    try(l, &trials[TRIALS - 1], u, out);
    double left = space_dot(&l->space, u, hv), right = space_dot(&l->space, v, out);
    found(probe->findings, "asymmetry", fabs(left - right) / (norm(l, u) * norm(l, hv)),
          "|u H v - v H u| / |u| |H v|");
}

static bool run(Probe *probe, Err *err)
{
    const ProductOptions *o = probe->options;
    Landscape *l = &probe->landscape;
    Space *space = &l->space;
    float *vectors[4];
    (void)err;
    for (int i = 0; i < 4; i++)
        vectors[i] = space_vector(space);
    float *v = vectors[0], *best = vectors[1], *out = vectors[2];
    space_random_normal(space, (uint64_t)probe->common.seed, (uint64_t)o->vector, v);
    landscape_gradient(l, l->w, out);
    found(probe->findings, "gradient_norm", norm(l, out), "");
    found(probe->findings, "weight_norm", norm(l, l->w), "");
    compare_steps(probe, v, best, out);
    found(probe->findings, "rayleigh_quotient", space_dot(space, v, best) / space_dot(space, v, v),
          "v H v / v v");
    check_symmetry(probe, v, best, vectors[3], out);
    for (int i = 0; i < 4; i++)
        mem_free(vectors[i]);
    return true;
}

extern const ProbeType probe_product;
const ProbeType probe_product = {
    .name = "product",
    .help = "Hessian times a random vector by several steps: how exact products are",
    .formula = "H v = (g(w + h v) - g(w - h v)) / 2h",
    .source = NULL,
    .options = options,
    .options_bytes = sizeof(ProductOptions),
    .samples = 2048,
    .run = run,
};
