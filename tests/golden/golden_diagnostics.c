/* Golden diagnostics: gradient, Hessian, Fisher matrices, stability, noise scale and loss change
 * allocation of a perceptron of 43 parameters, as the probes of a checkpoint compute them.
 *
 * The reference is in double, ours in float with derivatives by differences. What may be off
 * follows from u = 2^-24 alone (docs/landscape.md): a gradient by ROUNDING * u of the largest
 * sample's, a product with the Hessian by DIFFERENCE * u^(2/3) N^(1/3) or, with four points,
 * u^(4/5) N^(2/5). */
#include "golden.h"

#include "lockstep/landscape.h"
#include "lockstep/lapack.h"
#include "lockstep/memory.h"

#include <math.h>
#include <string.h>

enum { FEATURES = 4, HIDDEN = 5, CLASSES = 3 };
#define UNIT 0x1p-24
#define ROUNDING 8
#define DIFFERENCE 1

typedef struct Diagnosis {
    Case *c;
    Comm *comm;
    Config config;
    Model model;
    Landscape landscape;
    Npy start, x, y, gradient, samples, covariance, hessian, values, direction, product;
    Npy fisher, empirical, allocation, losses;
    size_t n, count; /* samples, parameters */
    float *features, *w;
    int32_t *labels;
    size_t *place; /* (count) of each parameter in the arena */
    Batch batch;
    double largest;    /* |g_ij| of any sample */
    double g_error;    /* of a gradient's element */
    double h_error[2]; /* of a product with a unit vector, 2 and 4 points */
} Diagnosis;

static const Batch *read_samples(void *context, int64_t first, int count)
{
    Diagnosis *d = context;
    d->batch =
        (Batch){ .count = count, .x = d->features + first * FEATURES, .labels = d->labels + first };
    return &d->batch;
}

/* ---- the case ---- */

static bool read_arrays(Diagnosis *d)
{
    Case *c = d->c;
    d->n = (size_t)key_number(c->json, "n_examples", 0);
    d->count = (size_t)key_number(c->json, "n_params", 0);
    size_t square = d->count * d->count;
    if (d->count != FEATURES * HIDDEN + HIDDEN + HIDDEN * CLASSES + CLASSES || d->n < 2)
        return err_set(&c->why, "n_params or n_examples: not those of this model");
    return case_array(c, "w.npy", d->count, &d->start) &&
           case_array(c, "x.npy", d->n * FEATURES, &d->x) && case_array(c, "y.npy", d->n, &d->y) &&
           case_array(c, "v.npy", d->count, &d->direction) &&
           case_array(c, "grad_f64.npy", d->count, &d->gradient) &&
           case_array(c, "per_example_grads_f64.npy", d->n * d->count, &d->samples) &&
           case_array(c, "grad_covariance_f64.npy", square, &d->covariance) &&
           case_array(c, "hessian_f64.npy", square, &d->hessian) &&
           case_array(c, "hessian_eigenvalues_f64.npy", d->count, &d->values) &&
           case_array(c, "hessian_vector_product_f64.npy", d->count, &d->product) &&
           case_array(c, "true_fisher_f64.npy", square, &d->fisher) &&
           case_array(c, "empirical_fisher_f64.npy", square, &d->empirical) &&
           case_array(c, "lca_f64.npy", d->count, &d->allocation) &&
           case_array(c, "lca_losses_f64.npy", 0, &d->losses);
}

static void free_case(Diagnosis *d)
{
    Npy *all[] = { &d->start,      &d->x,         &d->y,          &d->gradient,  &d->samples,
                   &d->covariance, &d->hessian,   &d->values,     &d->direction, &d->product,
                   &d->fisher,     &d->empirical, &d->allocation, &d->losses };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        npy_free(all[i]);
    model_free(&d->model);
    config_free(&d->config);
    mem_free(d->features);
    mem_free(d->labels);
    mem_free(d->w);
    mem_free(d->place);
}

static bool build_model(Diagnosis *d)
{
    static const char text[] = "model: {layers: [dense: 5, tanh, dense: 3]}\n"
                               "loss: softmax_cross_entropy\n";
    ModelWish wish = { .input = { .ndim = 1, .dim = { FEATURES, 1, 1 } } };
    if (!config_parse(&d->config, "case.json", text, sizeof text - 1, &d->c->why) ||
        !model_build(&d->model, &d->config, config_get(d->config.root, "model"),
                     config_get(d->config.root, "loss"), &wish, &d->c->why))
        return false;
    model_allocate(&d->model, (int)d->n);
    return true;
}

static bool take_inputs(Diagnosis *d)
{
    const Layout *layout = &d->model.layout;
    d->features = mem_array(float, d->x.count);
    d->labels = mem_array(int32_t, d->n);
    d->w = mem_array(float, layout->n);
    d->place = mem_array(size_t, d->count);
    for (size_t i = 0; i < d->x.count; i++)
        d->features[i] = (float)d->x.values[i];
    for (size_t i = 0; i < d->n; i++) {
        d->labels[i] = (int32_t)d->y.values[i];
        if (d->labels[i] < 0 || d->labels[i] >= CLASSES)
            return err_set(&d->c->why, "y: %d is not one of %d", d->labels[i], CLASSES);
    }
    size_t flat = 0; /* the case's order is the layout's */
    for (int t = 0; t < layout->count; t++)
        for (size_t k = 0; k < layout->tensors[t].n; k++)
            d->place[flat++] = layout->tensors[t].offset + k;
    for (size_t i = 0; i < d->count; i++)
        d->w[d->place[i]] = (float)d->start.values[i];
    return true;
}

static bool look(Diagnosis *d, int points)
{
    LandscapeWish wish = { .model = &d->model,
                           .comm = d->comm,
                           .list = { read_samples, d, (int64_t)d->n },
                           .least_lanes = 4,
                           .lane_size = (int)d->n,
                           .points = points };
    return landscape_init(&d->landscape, &wish, d->w, &d->c->why);
}

/* ---- tolerances ---- */

static double norm(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sqrt(sum);
}

static double hessian_norm(const Diagnosis *d)
{
    return fmax(fabs(d->values.values[0]), fabs(d->values.values[d->count - 1]));
}

/* Sample gradients are what is rounded; where they cancel in the mean, their errors do not. */
static void find_tolerances(Diagnosis *d)
{
    double longest = 0;
    for (size_t i = 0; i < d->samples.count; i++)
        d->largest = fmax(d->largest, fabs(d->samples.values[i]));
    for (size_t i = 0; i < d->n; i++)
        longest = fmax(longest, norm(d->samples.values + i * d->count, d->count));
    d->g_error = ROUNDING * UNIT * d->largest;
    double scale = hessian_norm(d) + longest / norm(d->start.values, d->count);
    double n = (double)d->count;
    d->h_error[0] = DIFFERENCE * pow(UNIT, 2.0 / 3) * cbrt(n) * scale;
    d->h_error[1] = DIFFERENCE * pow(UNIT, 4.0 / 5) * pow(n, 2.0 / 5) * scale;
}

static double h_error(const Diagnosis *d)
{
    return d->h_error[d->landscape.wish.points == 4];
}

static void compare(const Diagnosis *d, const char *what, const float *got, const double *wanted,
                    double factor, double tolerance)
{
    for (size_t i = 0; i < d->count; i++)
        case_compare(d->c, what, i, factor * (double)got[d->place[i]], wanted[i], tolerance);
}

static void compare_one(const Diagnosis *d, const char *what, double got, const char *key,
                        double tolerance)
{
    case_compare(d->c, what, 0, got, key_number(d->c->json, key, (double)NAN), tolerance);
}

/* ---- what is compared ---- */

static void compare_gradients(Diagnosis *d)
{
    Landscape *l = &d->landscape;
    float *g = space_vector(&l->space);
    Tally tally = landscape_gradient(l, d->w, g);
    compare_one(d, "loss", tally.loss / tally.count, "loss", 8 * UNIT * 2);
    compare(d, "gradient", g, d->gradient.values, 1, d->g_error);
    landscape_stand(l, d->w);
    for (size_t i = 0; i < d->n; i++) {
        landscape_part(l, d->w, (int64_t)i, 1, NULL, g);
        compare(d, "gradient of a sample", g, d->samples.values + i * d->count, 1, d->g_error);
    }
    mem_free(g);
}

static void compare_noise(const Diagnosis *d, Landscape *l)
{
    SampleNoise noise = landscape_noise(l, 1);
    double g = key_number(d->c->json, "grad_norm_sq", 0);
    double trace = key_number(d->c->json, "grad_cov_trace", 0);
    double trace_error = ROUNDING * UNIT * (trace + g),
           g_error = 2 * sqrt(g * (double)d->count) * d->g_error;
    compare_one(d, "squared gradient", noise.gradient_squares, "grad_norm_sq", g_error);
    compare_one(d, "trace of the covariance", noise.trace, "grad_cov_trace", trace_error);
    compare_one(d, "noise scale", noise.simple, "simple_noise_scale",
                (trace_error + trace / g * g_error) / g);
}

/* Every column of the Hessian, and the product with v. */
static void compare_hessian(Diagnosis *d)
{
    Landscape *l = &d->landscape;
    float *v = space_vector(&l->space), *out = space_vector(&l->space);
    double trace = 0;
    for (size_t i = 0; i < d->count; i++) {
        v[d->place[i]] = 1;
        landscape_product(l, v, out);
        compare(d, "Hessian", out, d->hessian.values + i * d->count, 1, h_error(d));
        trace += (double)out[d->place[i]];
        v[d->place[i]] = 0;
    }
    compare_one(d, "trace of the Hessian", trace, "hessian_trace",
                sqrt((double)d->count) * h_error(d));
    for (size_t i = 0; i < d->count; i++)
        v[d->place[i]] = (float)d->direction.values[i];
    landscape_product(l, v, out);
    compare(d, "Hessian times v", out, d->product.values, 1,
            h_error(d) * norm(d->direction.values, d->count));
    mem_free(v);
    mem_free(out);
}

/* As many steps as parameters: all eigenvalues. An error E of the columns moves them by |E|. */
static bool compare_spectrum(Diagnosis *d)
{
    Landscape *l = &d->landscape;
    LanczosWish wish = { .steps = (int)d->count, .seed = 1 };
    Spectrum spectrum;
    if (!lanczos(&l->space, landscape_hessian(l), &wish, &spectrum, &d->c->why))
        return false;
    double tolerance = sqrt((double)d->count) * h_error(d);
    for (int i = 0; i < spectrum.count; i++)
        case_compare(d->c, "eigenvalue", (size_t)i, spectrum.values[i], d->values.values[i],
                     tolerance);
    compare_one(d, "sharpness a", spectrum.values[spectrum.count - 1], "sharpness_a", tolerance);
    spectrum_free(&spectrum);
    return true;
}

/* s^2 is an eigenvalue of mean H_i^2 - H^2: |s' - s| is about |error of s^2| / 2s, and H_i is at
 * most (s^2 + |H|^2)^(1/2) n^(1/2). */
static bool compare_spread(Diagnosis *d)
{
    Landscape *l = &d->landscape;
    LanczosWish wish = { .steps = 30, .extremes = 1, .tolerance = 1e-5, .seed = 1 };
    Spectrum spectrum;
    if (!lanczos(&l->space, landscape_spread(l), &wish, &spectrum, &d->c->why))
        return false;
    double s = key_number(d->c->json, "nonuniformity_s", 1);
    double largest = sqrt((double)d->n) * hypot(s, hessian_norm(d));
    compare_one(d, "non-uniformity s", sqrt(spectrum.values[spectrum.count - 1]), "nonuniformity_s",
                h_error(d) / hessian_norm(d) * largest * largest / s);
    spectrum_free(&spectrum);
    return true;
}

/* Rows against the matrix that their outer products add up to. */
static void compare_matrix(const Diagnosis *d, const char *what, const Rows *rows,
                           const double *wanted)
{
    for (size_t i = 0; i < d->count; i++)
        for (size_t j = 0; j < d->count; j++) {
            double sum = 0;
            for (int row = 0; row < rows->count; row++)
                sum += (double)rows_row(rows, row)[d->place[i]] *
                       (double)rows_row(rows, row)[d->place[j]];
            case_compare(d->c, what, i * d->count + j, sum, wanted[i * d->count + j],
                         2 * d->largest * d->g_error);
        }
}

static bool eigenvalues(int n, double *matrix, double *values)
{
    double *scratch = mem_array(double, lapack_scratch(n));
    bool ok = lapack_eigen(n, matrix, values, scratch);
    mem_free(scratch);
    return ok;
}

/* The Gram matrix of the rows has the eigenvalues of the sum of their outer products. */
static bool compare_gram(Diagnosis *d, const char *what, const Rows *rows, bool center,
                         const double *wanted)
{
    int n = rows->count, N = (int)d->count;
    double *gram = mem_array(double, n *n), *ours = mem_array(double, n);
    double *matrix = mem_array(double, N *N), *theirs = mem_array(double, N);
    rows_gram(rows, rows, gram);
    if (center) { /* and with the divisor n - 1 */
        gram_center(gram, n);
        for (int i = 0; i < n * n; i++)
            gram[i] *= (double)n / (n - 1);
    }
    memcpy(matrix, wanted, d->count * d->count * sizeof *matrix);
    bool ok = eigenvalues(n, gram, ours) && eigenvalues(N, matrix, theirs);
    for (int i = 1; ok && i <= n && i <= N; i++)
        case_compare(d->c, what, (size_t)i, ours[n - i], theirs[N - i],
                     ROUNDING * UNIT * theirs[N - 1]);
    mem_free(gram);
    mem_free(ours);
    mem_free(matrix);
    mem_free(theirs);
    return ok || err_set(&d->c->why, "%s: not finite", what);
}

static bool compare_fisher(Diagnosis *d)
{
    Landscape *l = &d->landscape;
    Rows rows;
    if (!rows_init(&rows, &l->space, (int)d->n, &d->c->why))
        return false;
    landscape_sample_rows(l, &rows);
    compare_matrix(d, "empirical Fisher matrix", &rows, d->empirical.values);
    bool ok = compare_gram(d, "eigenvalue of the empirical Fisher matrix", &rows, false,
                           d->empirical.values) &&
              compare_gram(d, "eigenvalue of the covariance", &rows, true, d->covariance.values);
    rows_free(&rows);
    if (!ok || !rows_init(&rows, &l->space, (int)d->n * CLASSES, &d->c->why))
        return false;
    landscape_class_rows(l, &rows, CLASSES);
    compare_matrix(d, "Fisher matrix", &rows, d->fisher.values);
    ok = compare_gram(d, "eigenvalue of the Fisher matrix", &rows, false, d->fisher.values);
    rows_free(&rows);
    return ok;
}

/* Gradient descent, as the reference has done it. */
static bool compare_allocation(Diagnosis *d)
{
    Landscape *l = &d->landscape;
    const json_t *json = json_object_get(d->c->json, "lca");
    double lr = key_number(json, "lr", 0);
    int steps = (int)key_number(json, "steps", 0);
    if (d->losses.count != (size_t)steps + 1)
        return err_set(&d->c->why, "lca_losses: %d expected", steps + 1);
    float *w = space_vector(&l->space);
    memcpy(w, d->w, l->space.layout->n * sizeof *w);
    Allocation a;
    allocation_init(&a, l, w);
    case_compare(d->c, "loss on the path", 0, a.start, d->losses.values[0], 16 * UNIT);
    for (int step = 1; step <= steps; step++) {
        for (size_t i = 0; i < d->count; i++)
            w[d->place[i]] -= (float)lr * a.g[2][d->place[i]];
        allocation_extend(&a, w);
        case_compare(d->c, "loss on the path", (size_t)step, a.loss, d->losses.values[step],
                     ROUNDING * UNIT * d->losses.values[0]);
    }
    double tolerance = ROUNDING * UNIT * d->largest * (double)steps;
    for (size_t i = 0; i < d->count; i++)
        case_compare(d->c, "allocation", i, a.sums[d->place[i]], d->allocation.values[i],
                     tolerance);
    case_compare(d->c, "allocation, total", 0, a.total, key_number(json, "total", 0),
                 tolerance * sqrt((double)d->count));
    allocation_free(&a);
    mem_free(w);
    return true;
}

static bool compare_all(Diagnosis *d)
{
    bool ok = look(d, 2);
    for (int points = 2; ok && points <= 4; points += 2) {
        d->landscape.wish.points = points;
        compare_hessian(d);
        ok = compare_spectrum(d) && compare_spread(d);
    }
    if (ok) {
        compare_gradients(d);
        compare_noise(d, &d->landscape);
    }
    ok = ok && compare_fisher(d) && compare_allocation(d);
    landscape_free(&d->landscape);
    return ok;
}

/* One for all cases: MPI can be started once. */
static Comm *world;

void golden_end(void)
{
    if (world)
        comm_free(world);
    world = NULL;
}

Verdict golden_diagnostics(Case *c)
{
    if (!world)
        world = comm_init(NULL, NULL);
    Diagnosis d = { .c = c, .comm = world };
    bool ok = read_arrays(&d) && build_model(&d) && take_inputs(&d);
    if (ok)
        find_tolerances(&d);
    ok = ok && compare_all(&d);
    free_case(&d);
    return ok ? case_verdict(c) : FAILED;
}
