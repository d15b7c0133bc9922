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

static const Trial trials[] = {
    { 2, 0.0625 }, { 2, 0.25 }, { 2, 1 }, { 2, 4 }, { 2, 16 },
    { 4, 0.0625 }, { 4, 0.25 }, { 4, 1 }, { 4, 4 }, { 4, 16 },
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

/* Against `used`, the product that other probes take. */
static void compare_steps(Probe *probe, const float *v, const float *used, float *out)
{
    Landscape *l = &probe->landscape;
    int points = l->wish.points;
    double size = norm(l, used);
    found_columns(probe->findings, "points,step_factor,relative_difference");
    for (int i = 0; i < TRIALS; i++) {
        const Trial *trial = &trials[i];
        try(l, trial, v, out);
        space_add(&l->space, out, -1, used);
        double difference = norm(l, out) / size;
        found_row(probe->findings, "%d,%g,%.4g", trial->points, trial->factor, difference);
        if (trial->points != points && trial->factor == 1)
            found(probe->findings, "other_points", difference,
                  "difference to the other formula, of the product's norm");
        if (trial->points == points && trial->factor == 0.25)
            found(probe->findings, "smaller_step", difference, "to a quarter of the step");
        if (trial->points == points && trial->factor == 4)
            found(probe->findings, "larger_step", difference, "to four times the step");
    }
}

static void check_symmetry(Probe *probe, const float *v, const float *hv, float *u, float *out)
{
    Landscape *l = &probe->landscape;
    space_random_normal(&l->space, (uint64_t)probe->common.seed + 1, 0, u);
    landscape_product(l, u, out);
    double left = space_dot(&l->space, u, hv), right = space_dot(&l->space, v, out);
    double chance = norm(l, u) * norm(l, hv) / sqrt((double)l->space.layout->trained);
    found(probe->findings, "asymmetry", fabs(left - right) / chance,
          "|u H v - v H u|, in parts of |u| |H v| / sqrt(parameters)");
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
    float *v = vectors[0], *hv = vectors[1], *out = vectors[2];
    space_random_normal(space, (uint64_t)probe->common.seed, (uint64_t)o->vector, v);
    landscape_gradient(l, l->w, out);
    found(probe->findings, "gradient_norm", norm(l, out), "");
    found(probe->findings, "weight_norm", norm(l, l->w), "");
    landscape_product(l, v, hv);
    compare_steps(probe, v, hv, out);
    found(probe->findings, "rayleigh_quotient", space_dot(space, v, hv) / space_dot(space, v, v),
          "v H v / v v");
    check_symmetry(probe, v, hv, vectors[3], out);
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
