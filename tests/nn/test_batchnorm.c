/* batchnorm against its equations in double: images and features, ghost batches, running
 * statistics of several lanes, evaluation. */
#include "image_case.h"

#include "lockstep/cpu.h"

enum { WEIGHT, BIAS, RUNNING_MEAN, RUNNING_VAR };

typedef struct NaiveNorm {
    double *y, *dx, *dgain, *dbias;
    double *mean, *unbiased; /* (ghosts, C) */
    int ghosts;
} NaiveNorm;

static double tensor_value(const ImageCase *test, int t, int c)
{
    return (double)test->layer.tensors[t].w[c];
}

/* Samples [first, last), channel c, with the given mean and variance; adds to the gradients. */
static void naive_channel(const ImageCase *test, NaiveNorm *naive, const double *x,
                          const double *dy, int first, int last, int c, double mean, double var,
                          double eps, bool fixed)
{
    Shape shape = test->layer.in;
    int H = shape.dim[1], W = shape.dim[2];
    bool affine = test->layer.tensor_count == 4;
    double gain = affine ? tensor_value(test, WEIGHT, c) : 1,
           bias = affine ? tensor_value(test, BIAS, c) : 0;
    double deviation = sqrt(var + eps), sum = 0, product = 0, n = (double)(last - first) * H * W;
    for (int s = first; s < last; s++)
        for (int h = 0; h < H; h++)
            for (int w = 0; w < W; w++) {
                size_t at = plain_at(shape, s, c, h, w);
                naive->y[at] = (x[at] - mean) / deviation * gain + bias;
                sum += dy[at];
                product += dy[at] * (x[at] - mean) / deviation;
            }
    for (int s = first; s < last; s++)
        for (int h = 0; h < H; h++)
            for (int w = 0; w < W; w++) {
                size_t at = plain_at(shape, s, c, h, w);
                double through = fixed ? 0 : sum / n + (x[at] - mean) / deviation * product / n;
                naive->dx[at] = gain / deviation * (dy[at] - through);
            }
    naive->dgain[c] += product;
    naive->dbias[c] += sum;
}

/* ghost <= 0: evaluation with the running statistics. */
static NaiveNorm naive_norm(const ImageCase *test, int batch, int ghost, double eps)
{
    Shape shape = test->layer.in;
    int C = shape.dim[0], H = shape.dim[1], W = shape.dim[2],
        last_tensor = test->layer.tensor_count - 1;
    int size = ghost > 0 ? ghost : batch;
    NaiveNorm naive = { .ghosts = (batch + size - 1) / size };
    size_t values = (size_t)batch * shape_values(shape), rows = (size_t)(naive.ghosts * C);
    naive.y = mem_array(double, values);
    naive.dx = mem_array(double, values);
    naive.dgain = mem_array(double, C);
    naive.dbias = mem_array(double, C);
    naive.mean = mem_array(double, rows);
    naive.unbiased = mem_array(double, rows);
    double *x = plain_copy(shape, batch, test->x), *dy = plain_copy(shape, batch, test->dy);
    for (int g = 0; g < naive.ghosts; g++)
        for (int c = 0; c < C; c++) {
            int first = g * size, last = first + size < batch ? first + size : batch;
            double n = (double)(last - first) * H * W, sum = 0, squares = 0;
            for (int s = first; s < last; s++)
                for (int i = 0; i < H * W; i++)
                    sum += x[plain_at(shape, s, c, i / W, i % W)];
            double mean = sum / n;
            for (int s = first; s < last; s++)
                for (int i = 0; i < H * W; i++)
                    squares += pow(x[plain_at(shape, s, c, i / W, i % W)] - mean, 2);
            naive.mean[g * C + c] = mean;
            naive.unbiased[g * C + c] = squares / (n > 1 ? n - 1 : 1);
            bool fixed = ghost <= 0;
            naive_channel(test, &naive, x, dy, first, last, c,
                          fixed ? tensor_value(test, last_tensor - 1, c) : mean,
                          fixed ? tensor_value(test, last_tensor, c) : squares / n, eps, fixed);
        }
    mem_free(x);
    mem_free(dy);
    return naive;
}

static void naive_free(NaiveNorm *naive)
{
    mem_free(naive->y);
    mem_free(naive->dx);
    mem_free(naive->dgain);
    mem_free(naive->dbias);
    mem_free(naive->mean);
    mem_free(naive->unbiased);
}

static void open_norm(ImageCase *test, const char *options, Shape in, int batch)
{
    case_open(test, "batchnorm", options, in, batch);
    float *var = test->layer.tensors[test->layer.tensor_count - 1].w;
    for (int c = 0; c < in.dim[0]; c++)
        var[c] = 0.5f + var[c] * var[c];
}

static void check_values(ImageCase *test, const NaiveNorm *naive, double tolerance)
{
    int batch = test->pass.batch;
    case_run(test);
    assert_stored(test, "y", test->layer.out, batch, test->y, naive->y, tolerance);
    assert_stored(test, "dx", test->layer.in, batch, test->dx, naive->dx, tolerance);
    if (test->layer.tensor_count == 4) {
        assert_tensor(test, WEIGHT, naive->dgain, tolerance);
        assert_tensor(test, BIAS, naive->dbias, tolerance);
    }
}

static void check_norm(const char *options, Shape in, int batch, int ghost, double eps)
{
    ImageCase test;
    open_norm(&test, options, in, batch);
    NaiveNorm naive = naive_norm(&test, batch, ghost, eps);
    check_values(&test, &naive, 3e-6);
    naive_free(&naive);
    test.pass.train = false;
    naive = naive_norm(&test, batch, 0, eps);
    check_values(&test, &naive, 3e-6);
    naive_free(&naive);
    case_close(&test);
}

START_TEST(test_shapes)
{
    static const char *levels[] = { "v2", "v3", "v4" };
    static const int channels[] = { 1, 3, 16, 17, 40 };
    for (int level = 0; level < 3; level++) {
        Err err;
        if (!cpu_set_isa(levels[level], &err))
            continue;
        for (int i = 0; i < 5; i++) {
            int C = channels[i];
            check_norm("eps: 1e-3", image(C, 5, 7), 6, 6, 1e-3);
            check_norm("ghost: 2", image(C, 3, 4), 6, 2, 1e-5);
            check_norm("ghost: 4", image(C, 11, 13), 7, 4,
                       1e-5); /* the last ghost batch is short */
            check_norm("eps: 1e-3", features(C), 9, 9, 1e-3);
            check_norm("ghost: 70, affine: false", features(C), 140, 70, 1e-5);
            check_norm("ghost: 1", image(C, 2, 3), 3, 1, 1e-5);
        }
    }
    cpu_set_isa("auto", NULL);
}
END_TEST

/* The deviation is 1/8: E[x^2] - E[x]^2 in float would lose every digit of the variance. */
START_TEST(test_large_mean)
{
    ImageCase test;
    open_norm(&test, "ghost: 4", image(16, 9, 9), 8);
    for (size_t i = 0; i < 8 * shape_stored(test.layer.in); i++)
        test.x[i] = test.x[i] / 8 + 512;
    NaiveNorm naive = naive_norm(&test, 8, 4, 1e-5);
    check_values(&test, &naive, 1e-3); /* a float near 512 has steps of 6e-5 */
    naive_free(&naive);
    case_close(&test);
}
END_TEST

/* Runs the lanes of a step, one after another, and returns what the statistics become. Lane i is
 * samples [i * lane, ...) of the case's data; `t` is RUNNING_MEAN or RUNNING_VAR. */
static void run_lanes(ImageCase *test, int batch, int lane, int t, double *after)
{
    Layer *layer = &test->layer;
    int C = layer->in.dim[0];
    test->pass.global_batch = batch;
    test->pass.lane_size = lane;
    layer->type->begin_step(layer, &test->layout, batch);
    double keep = (double)test->layout.tensors[layer->tensors[t].index].keep;
    for (int c = 0; c < C; c++)
        after[c] = keep * tensor_value(test, t, c);
    for (int first = 0; first < batch; first += lane) {
        size_t skip = (size_t)first * shape_stored(layer->in);
        test->pass.first_sample = first;
        test->pass.batch = first + lane < batch ? lane : batch - first;
        layer->type->forward(layer, &test->pass, test->x + skip, test->y + skip);
        layer->type->backward(layer, &test->pass, test->x + skip, test->y + skip, test->dy + skip,
                              test->dx + skip);
        for (int c = 0; c < C; c++)
            after[c] += (double)layer->tensors[t].dw[c];
    }
}

static void check_running(const char *options, int batch, int lane, int ghost, bool sequential)
{
    enum { C = 19 };
    const double m = 0.2;
    ImageCase test;
    Err err;
    ck_assert(case_plan(&test, "batchnorm", options, image(C, 3, 5), &err));
    ck_assert(test.layer.type->check_lane(&test.layer, lane, &err));
    case_fill(&test, batch);
    NaiveNorm naive = naive_norm(&test, batch, ghost, 1e-5);
    for (int t = RUNNING_MEAN; t <= RUNNING_VAR; t++) {
        const double *measured = t == RUNNING_MEAN ? naive.mean : naive.unbiased;
        double after[C];
        run_lanes(&test, batch, lane, t, after);
        for (int c = 0; c < C; c++) {
            double wanted = tensor_value(&test, t, c), mean = 0;
            for (int g = 0; g < naive.ghosts; g++) {
                if (sequential)
                    wanted = (1 - m) * wanted + m * measured[g * C + c];
                mean += measured[g * C + c] / naive.ghosts;
            }
            if (!sequential)
                wanted = (1 - m) * wanted + m * mean;
            ck_assert_msg(fabs(after[c] - wanted) <= 2e-6,
                          "%s, statistic %d[%d]: %.9g, wanted %.9g", test.label, t, c, after[c],
                          wanted);
        }
    }
    naive_free(&naive);
    case_close(&test);
}

START_TEST(test_running)
{
    check_running("momentum: 0.2", 16, 16, 16, false);
    check_running("momentum: 0.2", 16, 4, 4, false);
    check_running("momentum: 0.2, ghost: 2", 16, 4, 2, false);
    check_running("momentum: 0.2, ghost: 2", 11, 4, 2, false); /* a short step: 3 lanes, 6 ghosts */
    check_running("momentum: 0.2, running: sequential", 16, 4, 4, true);
    check_running("momentum: 0.2, running: sequential, ghost: 2", 16, 4, 2, true);
    check_running("momentum: 0.2, running: sequential, ghost: 2", 11, 4, 2, true);
}
END_TEST

START_TEST(test_evaluation_keeps_statistics)
{
    ImageCase test;
    open_norm(&test, "momentum: 0.2", image(3, 2, 2), 4);
    test.pass.train = false;
    test.pass.global_batch = 0;
    case_run(&test);
    double zeros[3] = { 0 };
    for (int t = RUNNING_MEAN; t <= RUNNING_VAR; t++) {
        ck_assert(test.layout.tensors[test.layer.tensors[t].index].keep == 1);
        assert_tensor(&test, t, zeros, 0);
    }
    case_close(&test);
}
END_TEST

START_TEST(test_plan)
{
    ImageCase test = { 0 };
    Err err;
    ck_assert(case_plan(&test, "batchnorm", "ghost: 6", image(5, 2, 2), &err));
    ck_assert_int_eq(test.layer.tensor_count, 4);
    ck_assert_str_eq(test.layer.tensors[WEIGHT].initializer, "ones");
    ck_assert_str_eq(test.layer.tensors[BIAS].initializer, "zeros");
    ck_assert_str_eq(test.layer.tensors[RUNNING_MEAN].initializer, "zeros");
    ck_assert_str_eq(test.layer.tensors[RUNNING_VAR].initializer, "ones");
    ck_assert_str_eq(test.layout.tensors[RUNNING_VAR].name, "it.running_var");
    ck_assert_uint_eq(test.layout.tensors[RUNNING_VAR].flags, LAYOUT_STATISTIC);
    ck_assert(test.layer.type->check_lane(&test.layer, 18, &err));
    ck_assert(!test.layer.type->check_lane(&test.layer, 16, &err));
    ck_assert_str_eq(err.text, "ghost: 6 samples do not divide a lane of 16 samples");
    case_close(&test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("batchnorm");
    add_test(suite, test_shapes);
    add_test(suite, test_large_mean);
    add_test(suite, test_running);
    add_test(suite, test_evaluation_keeps_statistics);
    add_test(suite, test_plan);
    return run_suite(suite);
}
