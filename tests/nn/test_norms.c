/* Group and instance norm against their equations in double, the statistic of a spectral norm, and
 * what holds for every layer that treats samples or rows one by one: the same bits wherever a
 * sample stands in the batch. */
#include "image_case.h"

#include "lockstep/cpu.h"

/* ---- group norm ---- */

typedef struct NaiveGroups {
    double *y, *dx, *dgain, *dbias;
} NaiveGroups;

/* Sample s, channels [first, last); gain and bias from the tensors, if there are any. */
static void naive_group(const ImageCase *test, NaiveGroups *naive, const double *x,
                        const double *dy, int s, int first, int last, double eps)
{
    Shape shape = test->layer.in;
    size_t from = plain_at(shape, s, first, 0, 0), to = plain_at(shape, s, last, 0, 0);
    size_t pixels = (size_t)(shape.dim[1] * shape.dim[2]);
    double n = (double)(to - from), mean = 0, var = 0, e = 0, en = 0;
    bool affine = test->layer.tensor_count > 0;
    for (size_t i = from; i < to; i++)
        mean += x[i] / n;
    for (size_t i = from; i < to; i++)
        var += (x[i] - mean) * (x[i] - mean) / n;
    double inverse = 1 / sqrt(var + eps);
    for (size_t i = from; i < to; i++) {
        size_t c = (size_t)first + (i - from) / pixels;
        double gain = affine ? (double)test->layer.tensors[0].w[c] : 1, h = (x[i] - mean) * inverse;
        naive->y[i] = gain * h + (affine ? (double)test->layer.tensors[1].w[c] : 0);
        naive->dgain[c] += dy[i] * h;
        naive->dbias[c] += dy[i];
        e += gain * dy[i] / n;
        en += gain * dy[i] * h / n;
    }
    for (size_t i = from; i < to; i++) {
        size_t c = (size_t)first + (i - from) / pixels;
        double gain = affine ? (double)test->layer.tensors[0].w[c] : 1, h = (x[i] - mean) * inverse;
        naive->dx[i] = (gain * dy[i] - e - h * en) * inverse;
    }
}

static void check_groups(const char *type, const char *options, Shape shape, int groups)
{
    enum { BATCH = 3 };
    ImageCase test;
    case_open(&test, type, options, shape, BATCH);
    size_t values = (size_t)BATCH * shape_values(shape), C = (size_t)shape.dim[0];
    NaiveGroups naive = { .y = mem_array(double, 2 * (values + C)) };
    naive.dx = naive.y + values;
    naive.dgain = naive.dx + values;
    naive.dbias = naive.dgain + C;
    double *x = plain_copy(shape, BATCH, test.x), *dy = plain_copy(shape, BATCH, test.dy);
    int size = shape.dim[0] / groups;
    for (int s = 0; s < BATCH; s++)
        for (int first = 0; first < shape.dim[0]; first += size)
            naive_group(&test, &naive, x, dy, s, first, first + size, 1e-5);
    case_run(&test);
    assert_stored(&test, "y", shape, BATCH, test.y, naive.y, 2e-6);
    assert_stored(&test, "dx", shape, BATCH, test.dx, naive.dx, 2e-6);
    if (test.layer.tensor_count > 0) {
        assert_tensor(&test, 0, naive.dgain, 2e-6);
        assert_tensor(&test, 1, naive.dbias, 2e-6);
    }
    mem_free(x);
    mem_free(dy);
    mem_free(naive.y);
    case_close(&test);
}

START_TEST(test_groups)
{
    check_groups("groupnorm", "groups: 1", image(3, 5, 7), 1);
    check_groups("groupnorm", "groups: 2", image(48, 6, 5), 2); /* across blocks */
    check_groups("groupnorm", "groups: 5", image(35, 3, 4), 5); /* and missing channels */
    check_groups("groupnorm", "groups: 35", image(35, 3, 4), 35);
    check_groups("groupnorm", "groups: 32", image(64, 31, 29), 32);
    check_groups("groupnorm", "groups: 3, affine: false", image(18, 2, 2), 3);
    check_groups("groupnorm", "groups: 3", features(39), 3);
    check_groups("groupnorm", "groups: 1", features(16), 1);
    check_groups("groupnorm", "groups: 2, affine: false", features(50), 2);
    check_groups("instancenorm", "", image(19, 5, 4), 19);
    check_groups("instancenorm", "affine: true", image(32, 7, 3), 32);
}
END_TEST

START_TEST(test_refused)
{
    static const struct {
        const char *type, *options, *wanted;
        Shape shape;
    } cases[] = {
        { "groupnorm",
          "groups: 4",
          "4 groups do not divide 6 channels",
          { .ndim = 3, .dim = { 6, 2, 2 } } },
        { "groupnorm",
          "groups: 6",
          "a group of one value has no variance",
          { .ndim = 1, .dim = { 6, 1, 1 } } },
        { "groupnorm",
          "groups: 6",
          "a group of one value has no variance",
          { .ndim = 3, .dim = { 6, 1, 1 } } },
        { "instancenorm",
          "",
          "a group of one value has no variance",
          { .ndim = 3, .dim = { 6, 1, 1 } } },
        { "instancenorm", "", "it needs an image (C, H, W)", { .ndim = 1, .dim = { 6, 1, 1 } } },
        { "rmsnorm",
          "",
          "it needs a vector (F): put flatten or global_avgpool before it",
          { .ndim = 3, .dim = { 6, 2, 2 } } },
        { "softmax",
          "",
          "it needs a vector (F): put flatten or global_avgpool before it",
          { .ndim = 3, .dim = { 6, 2, 2 } } },
        { "cosine_dense",
          "units: 3",
          "it needs a vector (F): put flatten or global_avgpool before it",
          { .ndim = 3, .dim = { 6, 2, 2 } } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ImageCase test;
        Err err;
        ck_assert(!case_plan(&test, cases[i].type, cases[i].options, cases[i].shape, &err));
        ck_assert_str_eq(err.text, cases[i].wanted);
        options_free(test.layer.type->options, test.layer.options);
        mem_free(test.layer.options);
        layout_free(&test.layout);
        config_free(&test.config);
    }
}
END_TEST

/* ---- spectral norm ---- */

static double length(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

/* One step of `lanes` lanes: increments are added, then the statistic is updated. */
static void spectral_step(ImageCase *test, int lanes)
{
    size_t units = shape_values(test->layer.out);
    float *sum = mem_array(float, test->layout.n);
    float *u = sum + test->layout.tensors[1].offset;
    test->pass.global_batch = lanes * test->pass.batch;
    for (int lane = 0; lane < lanes; lane++) {
        test->pass.first_sample = lane * test->pass.batch;
        case_run(test);
        for (size_t k = 0; k < units; k++)
            u[k] += test->layer.tensors[1].dw[k];
    }
    layout_update_statistics(&test->layout, layout_slice(&test->layout, 0, 1), test->w,
                             gradient_at(sum));
    mem_free(sum);
}

/* The statistic is the same for one lane and for four, has length 1, and converges: then W / sigma
 * has the largest singular value 1, in training and in evaluation, and evaluation keeps u. */
START_TEST(test_spectral)
{
    ImageCase one, four;
    case_open(&one, "spectralnorm_dense", "units: 5", features(9), 4);
    case_open(&four, "spectralnorm_dense", "units: 5", features(9), 4);
    for (int step = 0; step < 300; step++) {
        spectral_step(&one, 1);
        spectral_step(&four, 4);
        ck_assert_msg(same_bits(one.layer.tensors[1].w, four.layer.tensors[1].w, 5),
                      "lanes can be seen in u after step %d", step);
    }
    Layer *layer = &one.layer;
    const float *weight = layer->tensors[0].w, *u = layer->tensors[1].w;
    ck_assert_double_le(fabs(length(u, 5) - 1), 1e-6);
    memset(layer->tensors[2].w, 0, 5 * sizeof(float));
    float v[9]; /* W^T u */
    for (size_t i = 0; i < 9; i++) {
        double sum = 0;
        for (size_t k = 0; k < 5; k++)
            sum += (double)u[k] * (double)weight[k * 9 + i];
        v[i] = (float)sum;
    }
    double sigma = length(v, 9);
    for (int evaluate = 0; evaluate < 2; evaluate++) {
        memcpy(one.x, v, sizeof v); /* along v the layer only divides by sigma: |y| = |v| */
        one.pass.train = !evaluate;
        layer->type->begin_step(layer, &one.layout, evaluate ? 0 : 4);
        layer->type->forward(layer, &one.pass, one.x, one.y);
        ck_assert_double_le(fabs(length(one.y, 5) / sigma - 1), 1e-5);
        ck_assert(one.layout.tensors[1].keep == (float)evaluate);
    }
    case_close(&one);
    case_close(&four);
}
END_TEST

/* ---- rows ---- */

/* All samples of a batch are the same sample: so must be the results, at any alignment. */
static void check_rows(const char *type, const char *options, Shape shape)
{
    enum { BATCH = 5 };
    ImageCase test;
    case_open(&test, type, options, shape, BATCH);
    size_t n = shape_stored(shape);
    for (size_t s = 1; s < BATCH; s++) {
        memcpy(test.x + s * n, test.x, n * sizeof *test.x);
        memcpy(test.dy + s * n, test.dy, n * sizeof *test.dy);
    }
    case_run(&test);
    for (size_t s = 1; s < BATCH; s++)
        ck_assert_msg(same_bits(test.y, test.y + s * n, n) &&
                          same_bits(test.dx, test.dx + s * n, n),
                      "%s: sample %zu has other bits", test.label, s);
    case_close(&test);
}

START_TEST(test_rows)
{
    static const char *const types[] = {
        "adanorm", "elu",     "layernorm", "leaky_relu", "log_softmax",
        "rmsnorm", "sigmoid", "silu",      "softmax",    "softplus",
    };
    static const int sizes[] = { 2, 7, 16, 37, 301 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (size_t t = 0; t < sizeof types / sizeof *types; t++)
            check_rows(types[t], "", features(sizes[i]));
        check_rows("groupnorm", "groups: 1", features(sizes[i]));
    }
}
END_TEST

/* Exponentials far outside float: probabilities add up to 1, logarithms are exact. */
START_TEST(test_softmax_of_large_values)
{
    ImageCase soft, logarithm;
    case_open(&soft, "softmax", "", features(4), 1);
    case_open(&logarithm, "log_softmax", "", features(4), 1);
    const float x[4] = { 3000, -3000, 2999, 3000 };
    memcpy(soft.x, x, sizeof x);
    memcpy(logarithm.x, x, sizeof x);
    case_run(&soft);
    case_run(&logarithm);
    double sum = 2 + exp(-1);
    for (int i = 0; i < 4; i++) {
        double wanted = (double)x[i] - 3000 - log(sum);
        ck_assert_double_le(fabs((double)soft.y[i] - exp(wanted)), 1e-6);
        ck_assert_double_le(fabs((double)logarithm.y[i] - wanted), 1e-6 * (1 + fabs(wanted)));
        ck_assert(isfinite(soft.dx[i]) && isfinite(logarithm.dx[i]));
    }
    case_close(&soft);
    case_close(&logarithm);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("norms");
    Err err;
    if (!cpu_blas_setup("auto", &err))
        return 1;
    add_test(suite, test_groups);
    add_test(suite, test_refused);
    add_test(suite, test_spectral);
    add_test(suite, test_rows);
    add_test(suite, test_softmax_of_large_values);
    return run_suite(suite);
}
