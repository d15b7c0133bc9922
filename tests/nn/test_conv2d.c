/* conv2d against seven loops in double, over shapes, strides, padding, dilation and groups, by
 * every method, at every instruction-set level. */
#include "image_case.h"

#include "lockstep/cpu.h"

/* Largest error, relative to the largest value. */
#define DIRECT_TOLERANCE 3e-6
#define WINOGRAD_TOLERANCE 2e-5 /* its transforms subtract: docs/convolution.md */

typedef struct ConvShape {
    int C, H, W, OC, KH, KW, stride, padding, dilation, groups, batch;
} ConvShape;

typedef struct NaiveConv {
    double *y, *dx, *dw, *db;
} NaiveConv;

/* y and all gradients at once: each product w * x of the sum for y is a term of two derivatives. */
static NaiveConv naive_conv(const ImageCase *test, const ConvShape *s, int batch)
{
    Shape in = test->layer.in, out = test->layer.out;
    double *x = plain_copy(in, batch, test->x), *dy = plain_copy(out, batch, test->dy);
    int C = s->C / s->groups, OC = s->OC / s->groups;
    NaiveConv naive = {
        .y = mem_array(double, (size_t)batch *shape_values(out)),
        .dx = mem_array(double, (size_t)batch *shape_values(in)),
        .dw = mem_array(double, (size_t)(s->OC * C * s->KH * s->KW)),
        .db = mem_array(double, (size_t)s->OC),
    };
    for (int n = 0; n < batch; n++)
        for (int o = 0; o < s->OC; o++)
            for (int oh = 0; oh < out.dim[1]; oh++)
                for (int ow = 0; ow < out.dim[2]; ow++) {
                    size_t at = plain_at(out, n, o, oh, ow);
                    naive.db[o] += dy[at];
                    if (test->layer.tensor_count > 1)
                        naive.y[at] = (double)test->layer.tensors[1].w[o];
                    for (int c = 0; c < C; c++)
                        for (int i = 0; i < s->KH; i++)
                            for (int j = 0; j < s->KW; j++) {
                                int h = oh * s->stride - s->padding + i * s->dilation;
                                int w = ow * s->stride - s->padding + j * s->dilation;
                                if (h < 0 || h >= s->H || w < 0 || w >= s->W)
                                    continue;
                                size_t from = plain_at(in, n, o / OC * C + c, h, w);
                                size_t tap = (size_t)(((o * C + c) * s->KH + i) * s->KW + j);
                                double weight = (double)test->layer.tensors[0].w[tap];
                                naive.y[at] += weight * x[from];
                                naive.dx[from] += weight * dy[at];
                                naive.dw[tap] += x[from] * dy[at];
                            }
                }
    mem_free(x);
    mem_free(dy);
    return naive;
}

static void naive_free(NaiveConv *naive)
{
    mem_free(naive->y);
    mem_free(naive->dx);
    mem_free(naive->dw);
    mem_free(naive->db);
}

static void open_shape(ImageCase *test, const ConvShape *s, const char *method, bool bias)
{
    char options[256];
    snprintf(options, sizeof options,
             "channels: %d, kernel: %d, kernel_w: %d, stride: %d, padding: %d, dilation: %d, "
             "groups: %d, bias: %s, method: %s",
             s->OC, s->KH, s->KW == s->KH ? 0 : s->KW, s->stride, s->padding, s->dilation,
             s->groups, bias ? "true" : "false", method);
    case_open(test, "conv2d", options, image(s->C, s->H, s->W), s->batch);
}

static void check_pass(ImageCase *test, const ConvShape *s, double tolerance)
{
    int batch = test->pass.batch;
    NaiveConv naive = naive_conv(test, s, batch);
    case_run(test);
    assert_stored(test, "y", test->layer.out, batch, test->y, naive.y, tolerance);
    if (!test->layer.first)
        assert_stored(test, "dx", test->layer.in, batch, test->dx, naive.dx, tolerance);
    assert_tensor(test, 0, naive.dw, tolerance);
    if (test->layer.tensor_count > 1)
        assert_tensor(test, 1, naive.db, tolerance);
    naive_free(&naive);
}

static void check_method(const ConvShape *s, const char *method, double tolerance, bool bias)
{
    ImageCase test;
    open_shape(&test, s, method, bias);
    check_pass(&test, s, tolerance);
    if (s->batch > 1) { /* a short lane in the same buffers */
        test.pass.batch = s->batch - 1;
        check_pass(&test, s, tolerance);
    }
    case_close(&test);
}

static bool winograd_fits(const ConvShape *s)
{
    return s->KH == s->KW && (s->KH == 3 || s->KH == 5) && s->stride == 1 && s->dilation == 1 &&
           s->groups == 1 && s->C >= 16 && s->OC >= 16;
}

static void check_shape(const ConvShape *s, bool bias)
{
    check_method(s, "direct", DIRECT_TOLERANCE, bias);
    if (winograd_fits(s))
        check_method(s, "winograd", WINOGRAD_TOLERANCE, bias);
}

/* Calls `check` at every level this CPU has. */
static void at_every_level(void (*check)(void))
{
    static const char *levels[] = { "v2", "v3", "v4" };
    for (int level = 0; level < 3; level++) {
        Err err;
        if (cpu_set_isa(levels[level], &err))
            check();
    }
    cpu_set_isa("auto", NULL);
}

static const ConvShape shapes[] = {
    /* C, H, W, OC, KH, KW, stride, padding, dilation, groups, batch */
    { 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1 },
    { 1, 12, 11, 32, 5, 5, 1, 2, 1, 1, 3 },
    { 3, 9, 10, 16, 3, 3, 1, 1, 1, 1, 2 },
    { 3, 33, 29, 24, 7, 7, 2, 3, 1, 1, 2 },
    { 16, 7, 5, 17, 3, 3, 1, 1, 1, 1, 3 },
    { 17, 6, 9, 16, 3, 3, 2, 1, 1, 1, 2 },
    { 40, 5, 5, 33, 3, 3, 1, 0, 1, 1, 2 },
    { 40, 8, 7, 48, 1, 1, 2, 0, 1, 1, 2 },
    { 16, 9, 9, 16, 3, 3, 1, 2, 2, 1, 2 },
    { 5, 11, 8, 6, 3, 2, 3, 4, 3, 1, 2 },
    { 32, 6, 6, 32, 3, 3, 1, 1, 1, 2, 2 },
    { 12, 7, 7, 18, 3, 3, 2, 1, 1, 3, 2 },
    { 20, 6, 5, 20, 3, 3, 1, 1, 1, 20, 2 },
    { 40, 6, 6, 80, 3, 5, 1, 2, 1, 4, 2 },
    { 48, 4, 4, 64, 4, 4, 4, 0, 1, 1, 2 },
    { 33, 30, 30, 20, 5, 5, 1, 2, 1, 1, 1 }, /* some rows of an image at a time */
    { 16, 4, 4, 16, 3, 3, 1, 1, 1, 1, 90 },  /* many images at a time, and a rest */
    { 1, 9, 8, 16, 1, 1, 1, 0, 1, 1, 2 },
    { 34, 9, 8, 50, 1, 1, 1, 0, 1, 1, 3 },
    { 16, 9, 8, 20, 1, 1, 3, 2, 1, 1, 2 },  /* taps that see only the border */
    { 16, 3, 2, 18, 2, 2, 4, 3, 3, 1, 2 },  /* a stride wider than the image */
    { 24, 8, 9, 24, 5, 5, 2, 2, 1, 24, 3 }, /* depthwise */
    { 20, 7, 7, 40, 3, 3, 1, 1, 1, 20, 2 }, /* two outputs a channel */
    { 96, 5, 6, 64, 3, 3, 2, 1, 2, 2, 2 },
    { 64, 6, 10, 48, 3, 3, 1, 1, 1, 1, 2 },
    { 17, 13, 21, 50, 3, 3, 1, 1, 1, 1, 3 },
    { 40, 11, 6, 70, 3, 3, 1, 2, 1, 1, 2 },
    { 130, 8, 8, 96, 3, 3, 1, 1, 1, 1, 3 },
    { 16, 20, 20, 16, 3, 3, 1, 1, 1, 1, 9 }, /* several blocks of tiles */
    { 32, 14, 14, 64, 5, 5, 1, 2, 1, 1, 2 },
    { 17, 7, 9, 50, 5, 5, 1, 1, 1, 1, 3 },
    { 40, 6, 5, 16, 5, 5, 1, 3, 1, 1, 2 },
    { 272, 5, 6, 40, 3, 3, 1, 1, 1, 1, 2 }, /* wide: all outputs of an xi at a time */
    { 48, 8, 8, 260, 3, 3, 1, 1, 1, 1, 2 },
};

static void check_shapes(void)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_shape(&shapes[i], i % 2 == 0);
}

START_TEST(test_shapes)
{
    at_every_level(check_shapes);
}
END_TEST

static void check_size(int H, int W, int kernel, int padding, int stride)
{
    if (H + 2 * padding < kernel || W + 2 * padding < kernel)
        return;
    ConvShape s = { 16, H, W, 17, kernel, kernel, stride, padding, 1, 1, H % 2 == 0 ? 3 : 1 };
    check_method(&s, "direct", DIRECT_TOLERANCE, true);
    if (stride == 1)
        check_method(&s, "winograd", WINOGRAD_TOLERANCE, true);
}

/* Every height from 1 to 9 with every width: images smaller than a tile, tiles over the edge. */
static void check_sizes(void)
{
    for (int H = 1; H <= 9; H++)
        for (int W = 1; W <= 9; W++) {
            check_size(H, W, 3, (H + W) % 4, 1);
            check_size(H, W, 3, 1, 1 + H % 2);
            check_size(H, W, 5, (H + W) % 6, 1);
        }
}

START_TEST(test_sizes)
{
    at_every_level(check_sizes);
}
END_TEST

/* A sample's y and dx have the same bits wherever it stands in the batch. */
static void check_position(const ConvShape *s, const char *method)
{
    ImageCase test;
    open_shape(&test, s, method, true);
    size_t in = shape_stored(test.layer.in), out = shape_stored(test.layer.out);
    int last = s->batch - 1;
    case_run(&test);
    float *y = mem_array(float, out), *dx = mem_array(float, in);
    memcpy(y, test.y + (size_t)last * out, out * sizeof *y);
    memcpy(dx, test.dx + (size_t)last * in, in * sizeof *dx);
    memcpy(test.x, test.x + (size_t)last * in, in * sizeof *dx);
    memcpy(test.dy, test.dy + (size_t)last * out, out * sizeof *y);
    test.pass.batch = 1;
    case_run(&test);
    ck_assert_msg(same_bits(y, test.y, out), "%s: y depends on the batch", test.label);
    ck_assert_msg(same_bits(dx, test.dx, in), "%s: dx depends on the batch", test.label);
    mem_free(y);
    mem_free(dx);
    case_close(&test);
}

static void check_positions(void)
{
    static const ConvShape positions[] = {
        { 16, 10, 7, 33, 3, 3, 1, 1, 1, 1, 40 }, /* several blocks of tiles */
        { 32, 3, 5, 16, 3, 3, 1, 0, 1, 1, 9 },   { 20, 6, 7, 33, 5, 5, 1, 2, 1, 1, 20 },
        { 272, 6, 5, 16, 3, 3, 1, 1, 1, 1, 90 }, /* wide, several blocks of tiles */
        { 3, 9, 9, 20, 5, 5, 2, 2, 1, 1, 9 },    { 24, 5, 7, 24, 3, 3, 1, 1, 1, 24, 9 },
    };
    for (size_t i = 0; i < sizeof positions / sizeof *positions; i++) {
        check_position(&positions[i], "direct");
        if (winograd_fits(&positions[i]))
            check_position(&positions[i], "winograd");
    }
}

START_TEST(test_position)
{
    at_every_level(check_positions);
}
END_TEST

START_TEST(test_first_layer)
{
    ConvShape s = { 3, 8, 8, 16, 3, 3, 1, 1, 1, 1, 2 };
    ImageCase test;
    Err err;
    ck_assert(
        case_plan(&test, "conv2d", "channels: 16, kernel: 3, padding: 1", image(3, 8, 8), &err));
    test.layer.first = true;
    case_fill(&test, 2);
    check_pass(&test, &s, DIRECT_TOLERANCE);
    case_close(&test);
}
END_TEST

/* What a pass gives does not depend on what the layer did before. */
static void check_repeat(const char *method, int kernel)
{
    ConvShape s = { 20, 9, 9, 24, kernel, kernel, 1, 1, 1, 1, 4 };
    ImageCase test;
    open_shape(&test, &s, method, true);
    size_t in = (size_t)s.batch * shape_stored(test.layer.in);
    size_t out = (size_t)s.batch * shape_stored(test.layer.out);
    case_run(&test);
    float *y = mem_array(float, out), *dx = mem_array(float, in);
    float *dw = mem_array(float, test.layout.n);
    memcpy(y, test.y, out * sizeof *y);
    memcpy(dx, test.dx, in * sizeof *dx);
    memcpy(dw, test.dw, test.layout.n * sizeof *dw);
    fill_stored(test.layer.in, s.batch, 3, test.x);
    case_run(&test);
    ck_assert(!same_bits(y, test.y, out));
    fill_stored(test.layer.in, s.batch, 1, test.x);
    case_run(&test);
    ck_assert(same_bits(y, test.y, out));
    ck_assert(same_bits(dx, test.dx, in));
    ck_assert(same_bits(dw, test.dw, test.layout.n));
    mem_free(y);
    mem_free(dx);
    mem_free(dw);
    case_close(&test);
}

START_TEST(test_repeat)
{
    check_repeat("direct", 3);
    check_repeat("winograd", 3);
    check_repeat("winograd", 5);
}
END_TEST

/* Are y, dx and dw of `auto` those of `method`? */
static bool auto_is(const ConvShape *s, const char *method)
{
    ImageCase one, other;
    open_shape(&one, s, "auto", true);
    open_shape(&other, s, method, true);
    case_run(&one);
    case_run(&other);
    bool same = same_bits(one.y, other.y, (size_t)s->batch * shape_stored(one.layer.out)) &&
                same_bits(one.dx, other.dx, (size_t)s->batch * shape_stored(one.layer.in)) &&
                same_bits(one.dw, other.dw, one.layout.n);
    case_close(&one);
    case_close(&other);
    return same;
}

START_TEST(test_auto)
{
    ck_assert(auto_is(&(ConvShape){ 16, 8, 8, 16, 3, 3, 1, 1, 1, 1, 2 }, "winograd"));
    ck_assert(!auto_is(&(ConvShape){ 16, 8, 8, 16, 3, 3, 1, 1, 1, 1, 2 }, "direct"));
    ck_assert(auto_is(&(ConvShape){ 16, 8, 8, 16, 5, 5, 1, 2, 1, 1, 2 }, "winograd"));
    ck_assert(!auto_is(&(ConvShape){ 16, 8, 8, 16, 5, 5, 1, 2, 1, 1, 2 }, "direct"));
    ck_assert(auto_is(&(ConvShape){ 16, 2, 2, 16, 3, 3, 1, 1, 1, 1, 2 }, "direct")); /* too small */
    ck_assert(auto_is(&(ConvShape){ 16, 8, 8, 16, 3, 3, 2, 1, 1, 1, 2 }, "direct"));
    ck_assert(auto_is(&(ConvShape){ 3, 8, 8, 16, 3, 3, 1, 1, 1, 1, 2 }, "direct"));
}
END_TEST

START_TEST(test_plan)
{
    ImageCase test;
    Err err;
    ck_assert(case_plan(&test, "conv2d", "channels: 64, kernel: 5, stride: 2, padding: 2",
                        image(32, 14, 15), &err));
    ck_assert_int_eq(test.layer.out.dim[0], 64);
    ck_assert_int_eq(test.layer.out.dim[1], 7);
    ck_assert_int_eq(test.layer.out.dim[2], 8);
    ck_assert(test.layer.flops == 2.0 * 25 * 32 * 64 * 7 * 8);
    ck_assert_int_eq(test.layer.tensors[0].fan_in, 800);
    ck_assert_int_eq(test.layer.tensors[0].fan_out, 1600);
    ck_assert_str_eq(test.layout.tensors[0].name, "it.weight");
    ck_assert_str_eq(test.layout.tensors[1].name, "it.bias");
    case_close(&test);
}
END_TEST

static void check_refused(const char *options, Shape in, const char *message)
{
    ImageCase test;
    Err err;
    ck_assert(!case_plan(&test, "conv2d", options, in, &err));
    ck_assert_str_eq(err.text, message);
    case_close(&test);
}

START_TEST(test_refused)
{
    check_refused("channels: 8", features(10), "it needs an image (C, H, W)");
    check_refused("channels: 8, kernel: 5", image(3, 4, 9),
                  "a 5 x 5 kernel with padding 0 and dilation 1 needs a larger image");
    check_refused("channels: 9, groups: 3", image(4, 8, 8),
                  "groups: 3 must divide the 4 input and 9 output channels");
    check_refused("channels: 65536, kernel: 255, padding: 200", image(4, 8, 8),
                  "1.7e+10 weights are too many");
    check_refused("channels: 32, kernel: 4, method: winograd", image(16, 8, 8),
                  "method winograd needs a 3 x 3 or 5 x 5 kernel, found 4 x 4");
    check_refused("channels: 32, stride: 2, method: winograd", image(16, 8, 8),
                  "method winograd needs stride, dilation and groups 1, found 2, 1 and 1");
    check_refused("channels: 32, method: winograd", image(3, 8, 8),
                  "method winograd needs at least 16 input and output channels, found 3 and 32");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("conv2d");
    add_test(suite, test_shapes);
    add_test(suite, test_sizes);
    add_test(suite, test_position);
    add_test(suite, test_first_layer);
    add_test(suite, test_repeat);
    add_test(suite, test_auto);
    add_test(suite, test_plan);
    add_test(suite, test_refused);
    return run_suite(suite);
}
