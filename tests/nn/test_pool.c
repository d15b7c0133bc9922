/* maxpool, avgpool and global_avgpool against naive versions in double. */
#include "image_case.h"

#include "lockstep/cpu.h"

typedef struct PoolShape {
    int C, H, W, kernel, stride, padding, batch;
} PoolShape;

static const PoolShape shapes[] = {
    { 1, 1, 1, 1, 1, 0, 1 },  { 3, 8, 9, 3, 2, 1, 2 },  { 16, 6, 7, 2, 2, 0, 2 },
    { 17, 7, 7, 3, 3, 1, 3 }, { 40, 9, 5, 3, 1, 1, 2 }, { 5, 10, 11, 4, 3, 2, 2 },
    { 2, 5, 5, 2, 3, 0, 2 },  { 33, 4, 4, 4, 4, 0, 1 }, { 3, 2, 2, 3, 2, 1, 2 },
};
#define SHAPES (sizeof shapes / sizeof *shapes)

typedef struct NaivePool {
    double *y, *dx;
} NaivePool;

static NaivePool naive_new(const ImageCase *test, int batch)
{
    return (NaivePool){ .y = mem_array(double, (size_t)batch *shape_values(test->layer.out)),
                        .dx = mem_array(double, (size_t)batch *shape_values(test->layer.in)) };
}

/* One output of a maximum or mean over pixels [h0, h1) x [w0, w1) of channel c of sample n,
 * which may reach over the border. divisor: of a mean; 0: maximum, -1: mean over the pixels
 * inside. */
static void naive_window(const ImageCase *test, NaivePool *naive, const double *x, double dy,
                         size_t at, int n, int c, const int box[4], int divisor)
{
    Shape in = test->layer.in;
    double largest = -HUGE_VAL, sum = 0;
    size_t winner = 0;
    int inside = 0;
    for (int h = box[0]; h < box[1]; h++)
        for (int w = box[2]; w < box[3]; w++) {
            if (h < 0 || h >= in.dim[1] || w < 0 || w >= in.dim[2])
                continue;
            size_t place = plain_at(in, n, c, h, w);
            inside++;
            sum += x[place];
            if (x[place] > largest) {
                largest = x[place];
                winner = place;
            }
        }
    if (divisor == 0) {
        naive->y[at] = largest;
        naive->dx[winner] += dy;
        return;
    }
    double pixels = divisor > 0 ? divisor : inside;
    naive->y[at] = sum / pixels;
    for (int h = box[0]; h < box[1]; h++)
        for (int w = box[2]; w < box[3]; w++)
            if (h >= 0 && h < in.dim[1] && w >= 0 && w < in.dim[2])
                naive->dx[plain_at(in, n, c, h, w)] += dy / pixels;
}

static NaivePool naive_pool(const ImageCase *test, const PoolShape *s, int divisor)
{
    Shape in = test->layer.in, out = test->layer.out;
    NaivePool naive = naive_new(test, s->batch);
    double *x = plain_copy(in, s->batch, test->x), *dy = plain_copy(out, s->batch, test->dy);
    for (int n = 0; n < s->batch; n++)
        for (int c = 0; c < s->C; c++)
            for (int oh = 0; oh < out.dim[1]; oh++)
                for (int ow = 0; ow < out.dim[2]; ow++) {
                    int h = oh * s->stride - s->padding, w = ow * s->stride - s->padding;
                    int box[4] = { h, h + s->kernel, w, w + s->kernel };
                    size_t at = plain_at(out, n, c, oh, ow);
                    naive_window(test, &naive, x, dy[at], at, n, c, box, divisor);
                }
    mem_free(x);
    mem_free(dy);
    return naive;
}

static void check_case(ImageCase *test, NaivePool *naive, int batch)
{
    case_run(test);
    assert_stored(test, "y", test->layer.out, batch, test->y, naive->y, 1e-6);
    assert_stored(test, "dx", test->layer.in, batch, test->dx, naive->dx, 1e-6);
    mem_free(naive->y);
    mem_free(naive->dx);
    case_close(test);
}

static void check_pool(const char *type, const char *more, const PoolShape *s, int divisor)
{
    char options[128];
    ImageCase test;
    snprintf(options, sizeof options, "kernel: %d, stride: %d, padding: %d%s", s->kernel, s->stride,
             s->padding, more);
    case_open(&test, type, options, image(s->C, s->H, s->W), s->batch);
    size_t stored = (size_t)s->batch * shape_stored(test.layer.in);
    for (size_t i = 0; i < stored;
         i++) /* three levels: many ties, and missing channels stay zero */
        test.x[i] = test.x[i] == 0 ? 0 : test.x[i] < -1 ? -3.0f : test.x[i] < 0.5f ? -2.0f : -1.0f;
    NaivePool naive = naive_pool(&test, s, divisor);
    check_case(&test, &naive, s->batch);
}

START_TEST(test_windows)
{
    static const char *levels[] = { "v2", "v3", "v4" };
    for (int level = 0; level < 3; level++) {
        Err err;
        if (!cpu_set_isa(levels[level], &err))
            continue;
        for (size_t i = 0; i < SHAPES; i++) {
            const PoolShape *s = &shapes[i];
            check_pool("maxpool", "", s, 0);
            check_pool("avgpool", "", s, s->kernel * s->kernel);
            check_pool("avgpool", ", count_include_pad: false", s, -1);
        }
    }
    cpu_set_isa("auto", NULL);
}
END_TEST

START_TEST(test_global)
{
    for (size_t i = 0; i < SHAPES; i++) {
        const PoolShape *s = &shapes[i];
        ImageCase test;
        case_open(&test, "global_avgpool", "", image(s->C, s->H, s->W), s->batch);
        ck_assert_int_eq(test.layer.out.ndim, 1);
        ck_assert_int_eq(test.layer.out.dim[0], s->C);
        NaivePool naive = naive_new(&test, s->batch);
        double *x = plain_copy(test.layer.in, s->batch, test.x);
        int box[4] = { 0, s->H, 0, s->W };
        for (int n = 0; n < s->batch; n++)
            for (int c = 0; c < s->C; c++) {
                size_t at = (size_t)(n * s->C + c);
                naive_window(&test, &naive, x, (double)test.dy[at], at, n, c, box, s->H * s->W);
            }
        mem_free(x);
        check_case(&test, &naive, s->batch);
    }
}
END_TEST

START_TEST(test_nan_is_seen)
{
    ImageCase test;
    case_open(&test, "maxpool", "kernel: 2", image(1, 2, 4), 1);
    test.x[stored_at(test.layer.in, 0, 0, 0, 1)] = NAN;
    case_run(&test);
    ck_assert(isnan(test.y[stored_at(test.layer.out, 0, 0, 0, 0)]));
    ck_assert(!isnan(test.y[stored_at(test.layer.out, 0, 0, 0, 1)]));
    case_close(&test);
}
END_TEST

static void check_refused(const char *type, const char *options, Shape in, const char *message)
{
    ImageCase test;
    Err err;
    ck_assert(!case_plan(&test, type, options, in, &err));
    ck_assert_str_eq(err.text, message);
    case_close(&test);
}

START_TEST(test_refused)
{
    check_refused("maxpool", "kernel: 4", image(3, 3, 9),
                  "a 4 x 4 kernel with padding 0 and dilation 1 needs a larger image");
    check_refused("maxpool", "kernel: 3, padding: 2", image(3, 9, 9),
                  "padding: 2 is more than half the kernel, 3");
    check_refused("avgpool", "kernel: 3, padding: 2", image(3, 9, 9),
                  "padding: 2 is more than half the kernel, 3");
    check_refused("avgpool", "kernel: 2", features(8), "it needs an image (C, H, W)");
    check_refused("global_avgpool", "", features(8), "it needs an image (C, H, W)");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool");
    add_test(suite, test_windows);
    add_test(suite, test_global);
    add_test(suite, test_nan_is_seen);
    add_test(suite, test_refused);
    return run_suite(suite);
}
