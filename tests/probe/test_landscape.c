/* Laws of the landscape: a quadratic loss whose Hessian, spread, noise and box maxima are known in
 * closed form; gradients of networks with batch norm and dropout in evaluation and in training mode
 * against differences of the loss; the same bits as one rank alone has.
 * ranks: 1 2 3 4 5 */
#include "lockstep/cpu.h"
#include "lockstep/landscape.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/random.h"
#include "support.h"

#include <math.h>
#include <string.h>

static Comm *world;

/* A network and samples of random numbers, or of what a test puts there. */
typedef struct Rig {
    Config config;
    Model model;
    int n;      /* samples */
    size_t row; /* values of each */
    float *x, *targets, *w;
    int32_t *labels;
    Batch batch;
    Landscape landscape;
} Rig;

static const Batch *read_samples(void *context, int64_t first, int count)
{
    Rig *rig = context;
    size_t F = shape_values(rig->model.output);
    rig->batch = (Batch){ .count = count, .x = rig->x + (size_t)first * rig->row };
    if (rig->model.loss.type->wants_labels)
        rig->batch.labels = rig->labels + first;
    else
        rig->batch.targets = rig->targets + (size_t)first * F;
    return &rig->batch;
}

static void build(Rig *rig, const char *layers, const char *loss, Shape input, int n)
{
    char text[1024];
    Err err;
    *rig = (Rig){ .n = n, .row = shape_values(input) };
    snprintf(text, sizeof text, "model: {layers: %s}\nloss: %s\n", layers, loss);
    ck_assert(config_parse(&rig->config, "test", text, strlen(text), &err));
    ck_assert_msg(model_build(&rig->model, &rig->config, config_get(rig->config.root, "model"),
                              config_get(rig->config.root, "loss"),
                              &(ModelWish){ .input = input, .sides = true }, &err),
                  "%s", err.text);
    ck_assert(model_check_lanes(&rig->model, 4, &err));
    model_allocate(&rig->model, 4);
    size_t F = shape_values(rig->model.output);
    rig->x = mem_array(float, (size_t)n * rig->row);
    rig->targets = mem_array(float, (size_t)n *F);
    rig->labels = mem_array(int32_t, n);
    rig->w = mem_array(float, rig->model.layout.n);
    random_fill_normal(random_key(1, RANDOM_TEST, 0, 0), 0, rig->x, (size_t)n * rig->row);
    for (int i = 0; i < n; i++)
        rig->labels[i] = i % (int)F;
    ck_assert(model_initialize(&rig->model, 1, rig->w, &err));
}

static void look(Rig *rig, Comm *comm, bool statistics, int points)
{
    Err err;
    LandscapeWish wish = { .model = &rig->model,
                           .comm = comm,
                           .list = { read_samples, rig, rig->n },
                           .least_lanes = 8,
                           .lane_size = 4,
                           .statistics = statistics,
                           .points = points };
    ck_assert(landscape_init(&rig->landscape, &wish, rig->w, &err));
}

static void finish(Rig *rig)
{
    landscape_free(&rig->landscape);
    model_free(&rig->model);
    config_free(&rig->config);
    mem_free(rig->x);
    mem_free(rig->targets);
    mem_free(rig->labels);
    mem_free(rig->w);
}

/* ---- a quadratic: sample i is sqrt(n lambda_i / 2) times unit vector i, its target 0, so that the
 * loss is sum of lambda_i w_i^2 / 2 ---- */

enum { DIMENSIONS = 12 };
static const double lambda[DIMENSIONS] = { 9, 5, 4, 3, 2, 1, 0.5, 0.25, 0.1, 0.05, 0.02, 0.01 };

static void build_quadratic(Rig *rig)
{
    Shape shape = { .ndim = 1, .dim = { DIMENSIONS, 1, 1 } };
    build(rig, "[dense: {units: 1, bias: false}]", "mse", shape, DIMENSIONS);
    memset(rig->x, 0, sizeof(float) * DIMENSIONS * DIMENSIONS);
    for (int i = 0; i < DIMENSIONS; i++) {
        rig->x[i * DIMENSIONS + i] = (float)sqrt(DIMENSIONS * lambda[i] / 2);
        rig->w[i] = (float)(0.1 * (i % 3 + 1)) * (i % 2 ? -1.0f : 1.0f);
    }
}

static double quadratic(const float *w)
{
    double sum = 0;
    for (int i = 0; i < DIMENSIONS; i++)
        sum += lambda[i] * (double)w[i] * (double)w[i] / 2;
    return sum;
}

static bool near(double got, double wanted, double relative)
{
    if (fabs(got - wanted) <= relative * fabs(wanted))
        return true;
    fprintf(stderr, "got %.9g, wanted %.9g\n", got, wanted);
    return false;
}

START_TEST(test_quadratic_spectrum)
{
    Rig rig;
    Err err;
    build_quadratic(&rig);
    for (int points = 2; points <= 4; points += 2) {
        Spectrum s;
        LanczosWish wish = { .steps = 100, .seed = 3 };
        look(&rig, world, false, points);
        Landscape *l = &rig.landscape;
        double error = points == 2 ? 1e-4 : 1e-5; /* of the largest; u^(2/3) N^(1/3), ... */
        assert_all(lanczos(&l->space, landscape_hessian(l), &wish, &s, &err));
        assert_all(s.count == DIMENSIONS); /* no more than there are */
        double mass = 0;
        for (int i = 0; i < DIMENSIONS; i++) {
            mass += s.weights[i];
            assert_all(fabs(s.values[DIMENSIONS - 1 - i] - lambda[i]) < error * lambda[0]);
        }
        assert_all(near(mass, 1, 1e-6));
        spectrum_free(&s);

        wish = (LanczosWish){ .steps = 100, .extremes = 1, .tolerance = 1e-3, .seed = 3 };
        assert_all(lanczos(&l->space, landscape_spread(l), &wish, &s, &err));
        double spread = sqrt(s.values[s.count - 1]); /* H_i = n lambda_i e_i e_i^T */
        assert_all(near(spread, sqrt(DIMENSIONS - 1) * lambda[0], 10 * error));
        spectrum_free(&s);
        landscape_free(l);
    }
    finish(&rig);
}
END_TEST

/* Random signs make z^T H z exact where H is diagonal. */
START_TEST(test_quadratic_trace)
{
    Rig rig;
    build_quadratic(&rig);
    look(&rig, world, false, 2);
    Space *space = &rig.landscape.space;
    float *z = space_vector(space), *out = space_vector(space);
    double trace = 0, dot;
    for (int i = 0; i < DIMENSIONS; i++)
        trace += lambda[i];
    space_random_signs(space, 1, 0, z);
    landscape_product(&rig.landscape, z, out);
    space_tensor_dots(space, z, out, &dot);
    assert_all(near(dot, trace, 1e-4));
    mem_free(z);
    mem_free(out);
    finish(&rig);
}
END_TEST

START_TEST(test_quadratic_noise)
{
    Rig rig;
    build_quadratic(&rig);
    look(&rig, world, false, 2);
    double mean = 0, all = 0, n = DIMENSIONS; /* g_i = n lambda_i w_i e_i */
    for (int i = 0; i < DIMENSIONS; i++) {
        double g = lambda[i] * (double)rig.w[i];
        mean += g * g;
        all += n * n * g * g;
    }
    double trace = (all - n * mean) / (n - 1);
    SampleNoise noise = landscape_noise(&rig.landscape, 1);
    assert_all(near(noise.gradient_squares, mean, 1e-6));
    assert_all(near(noise.trace, trace, 1e-6));
    assert_all(near(noise.simple, trace / mean, 1e-6));

    /* The covariance of means of two estimates the same: here only nearly. */
    SampleNoise pairs = landscape_noise(&rig.landscape, 2);
    double groups = 0;
    for (int i = 0; i < DIMENSIONS; i++)
        groups += n * n / 4 * lambda[i] * lambda[i] * (double)rig.w[i] * (double)rig.w[i];
    assert_all(near(pairs.trace, 2 * (groups - n / 2 * mean) / (n / 2 - 1), 1e-6));
    finish(&rig);
}
END_TEST

/* Rows are g_i / sqrt(n), orthogonal here. */
START_TEST(test_quadratic_rows)
{
    Rig rig;
    Rows rows;
    Err err;
    double gram[DIMENSIONS * DIMENSIONS];
    build_quadratic(&rig);
    look(&rig, world, false, 2);
    assert_all(rows_init(&rows, &rig.landscape.space, DIMENSIONS, &err));
    landscape_sample_rows(&rig.landscape, &rows);
    rows_gram(&rows, &rows, gram);
    for (int i = 0; i < DIMENSIONS; i++)
        for (int j = 0; j < DIMENSIONS; j++) {
            double g = lambda[i] * (double)rig.w[i];
            double wanted = i == j ? DIMENSIONS * g * g : 0;
            assert_all(near(gram[i * DIMENSIONS + j], wanted, 1e-6));
        }
    rows_free(&rows);
    assert_all(!rows_init(&rows, &rig.landscape.space, 1 << 30, &err));
    assert_all(strstr(err.text, "give fewer samples"));
    finish(&rig);
}
END_TEST

static double box_value(void *context, float *z, float *g)
{
    Rig *rig = context;
    Landscape *l = &rig->landscape;
    space_copy(&l->space, l->point, rig->w);
    space_add(&l->space, l->point, 1, z);
    space_share(&l->space, l->point);
    float *here = space_vector(&l->space);
    memcpy(here, l->point, l->space.layout->n * sizeof *here);
    Tally tally = landscape_gradient(l, here, g);
    mem_free(here);
    return tally.loss / tally.count;
}

/* sum of lambda (w + z)^2 / 2 is largest in the corner away from 0. */
START_TEST(test_quadratic_box)
{
    Rig rig;
    build_quadratic(&rig);
    look(&rig, world, false, 2);
    Space *space = &rig.landscape.space;
    Objective objective = { space, box_value, &rig };
    float *radius = space_vector(space), *z = space_vector(space), corner[DIMENSIONS];
    for (int i = 0; i < DIMENSIONS; i++) {
        radius[i] = 0.01f * (fabsf(rig.w[i]) + 1);
        corner[i] = rig.w[i] + (rig.w[i] > 0 ? radius[i] : -radius[i]);
    }
    Ascent a = ascend(&objective, radius, 10, z);
    assert_all(near(a.start, quadratic(rig.w), 1e-6));
    assert_all(near(a.best, quadratic(corner), 1e-6));
    space_share(space, z);
    for (int i = 0; i < DIMENSIONS; i++)
        assert_all(fabsf(rig.w[i] + z[i] - corner[i]) < 1e-6f);
    mem_free(radius);
    mem_free(z);
    finish(&rig);
}
END_TEST

/* A concave function whose largest value is inside the box for some elements, on its side for
 * others: -sum of lambda (z - c)^2 / 2. */
static double hill(void *context, float *z, float *g)
{
    Space *space = context;
    double value = 0;
    space_share(space, z);
    for (int i = 0; i < DIMENSIONS; i++) {
        double d = (double)z[i] - (i % 3 == 0 ? 5 : 0.3 * i / DIMENSIONS);
        value -= lambda[i] * d * d / 2;
        g[i] = (float)(-lambda[i] * d);
    }
    return value;
}

START_TEST(test_hill)
{
    Layout layout = { 0 };
    Space space;
    layout_add(&layout, "z", 1, (int[]){ DIMENSIONS }, 0);
    layout_seal(&layout);
    space_init(&space, world, &layout);
    float *radius = space_vector(&space), *z = space_vector(&space);
    for (int i = 0; i < DIMENSIONS; i++)
        radius[i] = 1;
    Objective objective = { &space, hill, &space };
    Ascent a = ascend(&objective, radius, 40, z);
    space_share(&space, z);
    for (int i = 0; i < DIMENSIONS; i++)
        assert_all(fabs((double)z[i] - (i % 3 == 0 ? 1 : 0.3 * i / DIMENSIONS)) < 2e-3);
    assert_all(a.best > a.start && a.iterations <= 200);
    mem_free(radius);
    mem_free(z);
    space_free(&space);
    layout_free(&layout);
}
END_TEST

/* Simpson's rule is exact where the gradient is linear. */
START_TEST(test_quadratic_allocation)
{
    Rig rig;
    Allocation a;
    build_quadratic(&rig);
    look(&rig, world, false, 2);
    float *w = space_vector(&rig.landscape.space);
    allocation_init(&a, &rig.landscape, rig.w);
    for (int i = 0; i < DIMENSIONS; i++)
        w[i] = 0.5f * rig.w[i];
    allocation_extend(&a, w);
    for (int i = 0; i < DIMENSIONS; i++)
        w[i] = 0.02f * (float)i;
    allocation_extend(&a, w);
    assert_all(near(a.start, quadratic(rig.w), 1e-6));
    assert_all(near(a.loss, quadratic(w), 1e-6));
    assert_all(near(a.total, a.loss - a.start, 1e-6));
    for (int i = 0; i < DIMENSIONS; i++) {
        double change =
            lambda[i] * ((double)w[i] * (double)w[i] - (double)rig.w[i] * (double)rig.w[i]) / 2;
        if (comm_rank(world) == 0) /* one block: the first rank that has blocks */
            ck_assert(rig.landscape.space.slice.hi == 0 ||
                      fabs(a.sums[i] - change) < 1e-6 * fabs(change) + 1e-9);
    }
    allocation_free(&a);
    mem_free(w);
    finish(&rig);
}
END_TEST

/* ---- networks ---- */

static const struct {
    const char *layers;
    Shape shape;
} networks[] = {
    { "[flatten, dense: 7, tanh, dense: 3]", { .ndim = 3, .dim = { 2, 6, 6 } } },
    { "[conv2d: {channels: 5, kernel: 3}, batchnorm, gelu, dropout: 0.5, flatten, dense: 3]",
      { .ndim = 3, .dim = { 2, 6, 6 } } },
    { "[conv2d: {channels: 4, kernel: 3, padding: 1}, batchnorm, silu, residual: {body: [conv2d: "
      "{channels: 4, kernel: 3, padding: 1}, batchnorm]}, gelu, global_avgpool, dropout: 0.3, "
      "dense: 3]",
      { .ndim = 3, .dim = { 2, 6, 6 } } },
    { "[attention: {heads: 2, dropout: 0.4}, layernorm, pool_positions, weightnorm_dense: 3]",
      { .ndim = 2, .dim = { 5, 8, 1 } } },
};
enum { NETWORKS = sizeof networks / sizeof *networks };

/* Running statistics that are not those of the data. */
static void spoil_statistics(Rig *rig)
{
    const Layout *layout = &rig->model.layout;
    for (int t = 0; t < layout->count; t++)
        for (size_t i = 0; layout->tensors[t].flags & LAYOUT_STATISTIC && i < layout->tensors[t].n;
             i++)
            rig->w[layout->tensors[t].offset + i] += 0.1f * (float)(i + 1);
}

static double loss_at(Landscape *l, float *w)
{
    Tally tally = landscape_loss(l, w);
    return tally.loss / tally.count;
}

/* The slope of the loss along v is g . v: statistics are constants in one mode and functions of the
 * weights in the other, nothing is dropped in either. */
START_TEST(test_gradients)
{
    for (int i = 0; i < NETWORKS; i++)
        for (int statistics = 0; statistics < 2; statistics++) {
            Rig rig;
            build(&rig, networks[i].layers, "softmax_cross_entropy", networks[i].shape, 29);
            spoil_statistics(&rig);
            look(&rig, world, statistics, 2);
            Landscape *l = &rig.landscape;
            Space *space = &l->space;
            float *v = space_vector(space), *g = space_vector(space), *w = space_vector(space);
            space_random_normal(space, 1, 0, v);
            Tally tally = landscape_gradient(l, rig.w, g);
            assert_all(near(tally.loss / tally.count, loss_at(l, rig.w), 1e-6));
            double ends[2], h = 1e-3;
            for (int side = 0; side < 2; side++) {
                for (size_t k = 0; k < space->layout->n; k++)
                    w[k] = rig.w[k] + (float)(side ? h : -h) * v[k];
                ends[side] = loss_at(l, w);
            }
            double slope = (ends[1] - ends[0]) / (2 * h);
            double size = sqrt(space_dot(space, g, g) * space_dot(space, v, v));
            assert_all(fabs(space_dot(space, g, v) - slope) < 1e-3 * size);
            mem_free(v);
            mem_free(g);
            mem_free(w);
            finish(&rig);
        }
}
END_TEST

/* Where a network has kinks its Hessian is that of the piece it is on: products neither depend on
 * the step, which differences across kinks do, nor on the order of two vectors. */
START_TEST(test_kinks)
{
    static const char *const layers[] = {
        "[conv2d: {channels: 5, kernel: 3}, batchnorm, relu, maxpool: 2, flatten, dense: 20, "
        "leaky_relu: 0.4, dense: 3]",
        "[conv2d: {channels: 4, kernel: 3, padding: 1}, relu, residual: {body: [conv2d: {channels: "
        "4, kernel: 3, padding: 1}, batchnorm, relu]}, maxpool: {kernel: 3, stride: 2, padding: "
        "1}, flatten, dense: 3]",
    };
    for (int i = 0; i < 4; i++) {
        Rig rig;
        build(&rig, layers[i / 2], "softmax_cross_entropy", networks[0].shape, 29);
        look(&rig, world, i % 2, 4);
        Landscape *l = &rig.landscape;
        Space *space = &l->space;
        float *u = space_vector(space), *v = space_vector(space);
        float *hu = space_vector(space), *hv = space_vector(space), *far = space_vector(space);
        space_random_normal(space, 1, 0, u);
        space_random_normal(space, 1, 1, v);
        landscape_product(l, u, hu);
        landscape_product(l, v, hv);
        l->wish.step = 3;
        landscape_product(l, v, far);
        double size = sqrt(space_dot(space, hv, hv) * space_dot(space, u, u));
        assert_all(fabs(space_dot(space, u, hv) - space_dot(space, v, hu)) < 1e-3 * size);
        double squares = space_dot(space, hv, hv);
        space_add(space, far, -1, hv);
        assert_all(space_dot(space, far, far) < 1e-4 * squares);
        mem_free(u);
        mem_free(v);
        mem_free(hu);
        mem_free(hv);
        mem_free(far);
        finish(&rig);
    }
}
END_TEST

/* Without batch norm the two modes are the same function, so nothing is dropped in either. */
START_TEST(test_nothing_is_dropped)
{
    static const char *const layers[] = {
        "[flatten, dropout: 0.5, dense: 9, gelu, dropout: 0.5, dense: 3]",
        "[flatten, dense: 40, tanh, dropout: 0.9, dense: 3]",
        "[attention: {heads: 2, dropout: 0.4}, pool_positions, dense: 3]",
    };
    for (int i = 0; i < 3; i++) {
        Rig rig;
        double losses[2], squares[2];
        build(&rig, layers[i], "softmax_cross_entropy", networks[i < 2 ? 0 : 3].shape, 29);
        for (int statistics = 0; statistics < 2; statistics++) {
            look(&rig, world, statistics, 2);
            Space *space = &rig.landscape.space;
            float *g = space_vector(space);
            losses[statistics] = loss_at(&rig.landscape, rig.w);
            landscape_gradient(&rig.landscape, rig.w, g);
            squares[statistics] = space_dot(space, g, g);
            mem_free(g);
            landscape_free(&rig.landscape);
        }
        assert_all(near(losses[0], losses[1], 1e-6));
        assert_all(near(squares[0], squares[1], 1e-5));
        finish(&rig);
    }
}
END_TEST

/* The mean of samples' gradients, one by one, is the gradient. */
START_TEST(test_samples)
{
    for (int i = 0; i < NETWORKS; i++) {
        Rig rig;
        build(&rig, networks[i].layers, "softmax_cross_entropy", networks[i].shape, 21);
        look(&rig, world, false, 2);
        Landscape *l = &rig.landscape;
        Space *space = &l->space;
        float *g = space_vector(space), *one = space_vector(space), *sum = space_vector(space);
        landscape_gradient(l, rig.w, g);
        landscape_stand(l, rig.w);
        for (int k = 0; k < rig.n; k++) {
            landscape_part(l, rig.w, k, 1, NULL, one);
            space_add(space, sum, 1.0 / rig.n, one);
        }
        space_add(space, sum, -1, g);
        assert_all(space_dot(space, sum, sum) < 1e-10 * space_dot(space, g, g));
        mem_free(g);
        mem_free(one);
        mem_free(sum);
        finish(&rig);
    }
}
END_TEST

/* What a model that knows the labels' chances expects: the Fisher matrix of drawn labels has the
 * trace of the exact one, nearly; probabilities add up, so that the mean gradient over classes is
 * 0. */
START_TEST(test_class_rows)
{
    Rig rig;
    Rows rows, drawn;
    Err err;
    build(&rig, networks[0].layers, "softmax_cross_entropy", networks[0].shape, 24);
    look(&rig, world, false, 2);
    Landscape *l = &rig.landscape;
    enum { CLASSES = 3, SAMPLES = 24 };
    assert_all(rows_init(&rows, &l->space, SAMPLES * CLASSES, &err));
    assert_all(rows_init(&drawn, &l->space, SAMPLES, &err));
    landscape_class_rows(l, &rows, CLASSES);
    landscape_drawn_rows(l, &drawn, 5);
    /* sum over classes of p g = 0, and a row is sqrt(p / n) g */
    float *sum = space_vector(&l->space);
    double trace = 0, estimate = 0, p[CLASSES];
    landscape_stand(l, rig.w);
    for (int i = 0; i < SAMPLES; i++) {
        const float *y = landscape_output(l, i);
        double all = 0;
        for (int k = 0; k < CLASSES; k++)
            all += p[k] = exp((double)y[k]);
        memset(sum, 0, l->space.layout->n * sizeof *sum);
        for (int k = 0; k < CLASSES; k++) {
            const float *row = rows_row(&rows, i * CLASSES + k);
            for (size_t j = 0; j < l->space.layout->n; j++)
                sum[j] += (float)sqrt(p[k] / all) * row[j];
            trace += space_own_dot(&l->space, row, row);
        }
        assert_all(space_own_dot(&l->space, sum, sum) < 1e-9);
        estimate += space_own_dot(&l->space, rows_row(&drawn, i), rows_row(&drawn, i));
    }
    assert_all(estimate > 0.3 * trace && estimate < 3 * trace);
    mem_free(sum);
    rows_free(&rows);
    rows_free(&drawn);
    finish(&rig);
}
END_TEST

/* All ranks together, and this one by itself. */
START_TEST(test_same_bits)
{
    Comm *alone = comm_split(world, comm_rank(world));
    for (int i = 0; i < NETWORKS; i++)
        for (int statistics = 0; statistics < 2; statistics++) {
            Rig rig;
            Err err;
            Spectrum s[2];
            double losses[2], ascents[2];
            for (int k = 0; k < 2; k++) {
                build(&rig, networks[i].layers, "softmax_cross_entropy", networks[i].shape, 29);
                look(&rig, k ? alone : world, statistics, 4);
                Landscape *l = &rig.landscape;
                LanczosWish wish = { .steps = 6, .seed = 3 };
                assert_all(lanczos(&l->space, landscape_hessian(l), &wish, &s[k], &err));
                losses[k] = loss_at(l, rig.w);
                assert_all(losses[k] == landscape_own_loss(l, rig.w).loss / rig.n);
                float *radius = space_vector(&l->space), *z = space_vector(&l->space);
                for (size_t j = 0; j < l->space.layout->n; j++)
                    radius[j] = 0.01f;
                Objective objective = { &l->space, box_value, &rig };
                ascents[k] = ascend(&objective, radius, 3, z).best;
                mem_free(radius);
                mem_free(z);
                finish(&rig);
            }
            assert_all(memcmp(&losses[0], &losses[1], sizeof *losses) == 0);
            assert_all(memcmp(&ascents[0], &ascents[1], sizeof *ascents) == 0);
            assert_all(memcmp(s[0].values, s[1].values, 6 * sizeof *s[0].values) == 0);
            assert_all(memcmp(s[0].weights, s[1].weights, 6 * sizeof *s[0].weights) == 0);
            spectrum_free(&s[0]);
            spectrum_free(&s[1]);
        }
    comm_free(alone);
}
END_TEST

START_TEST(test_too_many_samples)
{
    Rig rig;
    Err err;
    build_quadratic(&rig);
    LandscapeWish wish = { .model = &rig.model,
                           .comm = world,
                           .list = { read_samples, &rig, 0 },
                           .least_lanes = 8,
                           .lane_size = 4,
                           .points = 2 };
    assert_all(!landscape_init(&rig.landscape, &wish, rig.w, &err));
    ck_assert_str_eq(err.text, "samples: 0 found, 1 to 4194304 wanted");
    finish(&rig);
}
END_TEST

int main(void)
{
    world = comm_init(NULL, NULL);
    Suite *suite = suite_create("landscape");
    add_test(suite, test_quadratic_spectrum);
    add_test(suite, test_quadratic_trace);
    add_test(suite, test_quadratic_noise);
    add_test(suite, test_quadratic_rows);
    add_test(suite, test_quadratic_box);
    add_test(suite, test_hill);
    add_test(suite, test_quadratic_allocation);
    add_test(suite, test_gradients);
    add_test(suite, test_kinks);
    add_test(suite, test_nothing_is_dropped);
    add_test(suite, test_samples);
    add_test(suite, test_class_rows);
    add_test(suite, test_same_bits);
    add_test(suite, test_too_many_samples);
    int code = run_suite(suite);
    comm_free(world);
    return code;
}
