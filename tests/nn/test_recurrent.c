/* Recurrent layers against their equations in double, one number at a time: values, and gradients
 * by differences of those. Also what a lane relies on: a sample's bits depend neither on the other
 * samples nor on its place among them; and `reverse`. */
#include "image_case.h"

enum { T = 7, F = 19, U = 37, B = 5, STATES = 2 };

static const char *const variants[][2] = {
    { "rnn", "units: 37, initial: learned" },
    { "rnn", "units: 37, activation: relu, return: last" },
    { "gru", "units: 37" },
    { "gru", "units: 37, initial: learned, reverse: true, return: last" },
    { "gru", "units: 37, bias: false" },
    { "lstm", "units: 37" },
    { "lstm", "units: 37, initial: learned, reverse: true, return: last" },
    { "lstm", "units: 37, bias: false" },
};
enum { VARIANTS = sizeof variants / sizeof *variants };

/* ---- a layer ---- */

static void open_layer(ImageCase *test, const char *type, const char *options, Precision precision)
{
    Err err;
    ck_assert_msg(case_plan(test, type, options, sequence(T, F), &err), "%s", err.text);
    test->layer.precision = precision;
    case_fill(test, B);
    for (size_t i = 0; i < test->layout.n; i++)
        test->w[i] *= 0.25f;
    test->layer.type->begin_step(&test->layer, &test->layout, B);
}

/* Samples [first, first + count) as a batch of their own. */
static void run(ImageCase *test, int first, int count, float *y, float *dx)
{
    Layer *layer = &test->layer;
    const float *x = test->x + (size_t)first * T * F;
    const float *dy = test->dy + (size_t)first * shape_values(layer->out);
    test->pass.batch = count;
    layer->type->forward(layer, &test->pass, x, y);
    layer->type->backward(layer, &test->pass, x, NULL, dy, dx);
}

/* ---- the equations ---- */

/* Everything that a loss of sum(y dy) depends on. */
typedef struct Truth {
    const ImageCase *test;
    bool last, reverse, relu;
    int gates;
    size_t out;    /* floats of y a sample */
    double *x, *w; /* (B, T, F), arena */
} Truth;

/* A tensor in the arena, or NULL. */
static const double *tensor_of(const Truth *truth, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "it.%s", name);
    int index = layout_find(&truth->test->layout, full);
    return index < 0 ? NULL : truth->w + truth->test->layout.tensors[index].offset;
}

/* Row `row` of a weight (rows, n) times v, and the bias's number of that row. */
static double row_of(const Truth *truth, const char *weight, const char *bias, size_t row,
                     const double *v, size_t n)
{
    const double *w = tensor_of(truth, weight) + row * n, *b = tensor_of(truth, bias);
    double sum = b ? b[row] : 0;
    for (size_t i = 0; i < n; i++)
        sum += w[i] * v[i];
    return sum;
}

static double input_sum(const Truth *truth, size_t row, const double *x)
{
    return row_of(truth, "weight_ih", "bias_ih", row, x, F);
}

static double recurrent_sum(const Truth *truth, size_t row, const double *h)
{
    return row_of(truth, "weight_hh", "bias_hh", row, h, U);
}

static double sigmoid(double a)
{
    return 1 / (1 + exp(-a));
}

static double gate(const Truth *truth, size_t row, const double *x, const double *h)
{
    return sigmoid(input_sum(truth, row, x) + recurrent_sum(truth, row, h));
}

/* The next h and c of unit k. */
static void cell(const Truth *truth, size_t k, const double *x, const double *h, double *new_h,
                 double *c)
{
    double a = input_sum(truth, (truth->gates == 3 ? 2 * U : 0) + k, x),
           r = recurrent_sum(truth, (truth->gates == 3 ? 2 * U : 0) + k, h);
    if (truth->gates == 1)
        *new_h = !truth->relu ? tanh(a + r) : a + r < 0 ? 0 : a + r;
    if (truth->gates == 3) {
        double z = gate(truth, U + k, x, h);
        *new_h = (1 - z) * tanh(a + gate(truth, k, x, h) * r) + z * h[k];
    }
    if (truth->gates == 4) {
        double g = tanh(input_sum(truth, 2 * U + k, x) + recurrent_sum(truth, 2 * U + k, h));
        *c = gate(truth, U + k, x, h) * *c + gate(truth, k, x, h) * g;
        *new_h = gate(truth, 3 * U + k, x, h) * tanh(*c);
    }
}

/* y of one sample, and its sum(y dy). */
static double sample(const Truth *truth, size_t b, double *y)
{
    const double *h0 = tensor_of(truth, "h0"), *c0 = tensor_of(truth, "c0");
    double h[U], next[U], c[U], loss = 0;
    for (size_t k = 0; k < U; k++) {
        h[k] = h0 ? h0[k] : 0;
        c[k] = c0 ? c0[k] : 0;
    }
    for (size_t step = 0; step < T; step++) {
        size_t t = truth->reverse ? T - 1 - step : step;
        for (size_t k = 0; k < U; k++)
            cell(truth, k, truth->x + (b * T + t) * F, h, &next[k], &c[k]);
        memcpy(h, next, sizeof h);
        for (size_t k = 0; k < U && (!truth->last || step == T - 1); k++)
            y[truth->last ? k : t * U + k] = h[k];
    }
    for (size_t i = 0; i < truth->out; i++)
        loss += y[i] * (double)truth->test->dy[b * truth->out + i];
    return loss;
}

static double loss_of(const Truth *truth)
{
    double y[T * U], loss = 0;
    for (size_t b = 0; b < B; b++)
        loss += sample(truth, b, y);
    return loss;
}

static double *doubles(const float *x, size_t n)
{
    double *copy = mem_array(double, n);
    for (size_t i = 0; i < n; i++)
        copy[i] = (double)x[i];
    return copy;
}

/* ---- values and gradients ---- */

/* To 2e-6 of the sample's largest value, and at least of 1, the size of x. */
static void check_values(const Truth *truth)
{
    double y[T * U];
    for (size_t b = 0; b < B; b++) {
        double size = 1;
        sample(truth, b, y);
        for (size_t i = 0; i < truth->out; i++)
            size = fmax(size, fabs(y[i]));
        for (size_t i = 0; i < truth->out; i++) {
            double got = (double)truth->test->y[b * truth->out + i];
            ck_assert_msg(fabs(got - y[i]) <= 2e-6 * size, "%s: y is %g, not %g",
                          truth->test->label, got, y[i]);
        }
    }
}

/* The derivative along a direction of +1 and -1 in `point`, against the gradient. */
static void check_direction(const Truth *truth, double *point, const float *gradient, size_t n,
                            const char *array)
{
    double analytic = 0, size = 0, ends[2];
    for (uint64_t round = 0; round < 3; round++, analytic = size = 0) {
        const RandomKey key = random_key(1, RANDOM_TEST, 3, round);
        for (int end = 0; end < 2; end++) {
            double step = end ? -1e-6 : 1e-6;
            for (size_t i = 0; i < n; i++)
                point[i] += random_word(key, i) & 1 ? step : -step;
            ends[end] = loss_of(truth);
            for (size_t i = 0; i < n; i++)
                point[i] -= random_word(key, i) & 1 ? step : -step;
        }
        for (size_t i = 0; i < n; i++) {
            analytic += (double)gradient[i] * (random_word(key, i) & 1 ? 1 : -1);
            size += pow((double)gradient[i], 2);
        }
        double numeric = (ends[0] - ends[1]) / 2e-6;
        ck_assert_msg(fabs(numeric - analytic) <= 1e-5 * sqrt(size) && size > 0,
                      "%s: the gradient of %s is %g, not %g", truth->test->label, array, analytic,
                      numeric);
    }
}

static void check_gradients(const Truth *truth)
{
    const ImageCase *test = truth->test;
    check_direction(truth, truth->x, test->dx, (size_t)B * T * F, "x");
    for (int i = 0; i < test->layout.count; i++) {
        const LayoutTensor *tensor = &test->layout.tensors[i];
        check_direction(truth, truth->w + tensor->offset, test->dw + tensor->offset, tensor->n,
                        tensor->name);
    }
}

START_TEST(test_equations)
{
    for (size_t i = 0; i < VARIANTS; i++) {
        const char *type = variants[i][0], *options = variants[i][1];
        ImageCase test;
        open_layer(&test, type, options, PRECISION_FP32);
        Truth truth = { .test = &test,
                        .last = strstr(options, "return: last"),
                        .reverse = strstr(options, "reverse: true"),
                        .relu = strstr(options, "relu"),
                        .gates = test.layout.tensors[0].shape[0] / U,
                        .out = shape_values(test.layer.out),
                        .x = doubles(test.x, (size_t)B * T * F),
                        .w = doubles(test.w, test.layout.n) };
        run(&test, 0, B, test.y, test.dx);
        check_values(&truth);
        check_gradients(&truth);
        mem_free(truth.x);
        mem_free(truth.w);
        case_close(&test);
    }
}
END_TEST

/* ---- a sample by itself ---- */

static void check_alone(const char *type, const char *options, Precision precision)
{
    ImageCase test;
    open_layer(&test, type, options, precision);
    size_t out = shape_values(test.layer.out);
    float *y = mem_array(float, out), *dx = mem_array(float, T *F);
    for (int b = 0; b < B; b++) {
        run(&test, 0, B, test.y, test.dx);
        run(&test, b, 1, y, dx);
        ck_assert_msg(same_bits(y, test.y + (size_t)b * out, out),
                      "%s: y of sample %d alone has other bits", test.label, b);
        ck_assert_msg(same_bits(dx, test.dx + (size_t)b * T * F, T * F),
                      "%s: dx of sample %d alone has other bits", test.label, b);
    }
    mem_free(y);
    mem_free(dx);
    case_close(&test);
}

START_TEST(test_place_in_batch)
{
    for (size_t i = 0; i < VARIANTS; i++) {
        check_alone(variants[i][0], variants[i][1], PRECISION_FP32);
        check_alone(variants[i][0], variants[i][1], PRECISION_BF16);
    }
}
END_TEST

/* ---- backwards ---- */

/* Turns the order of positions: (T, width) of each sample. */
static void turn(const float *from, size_t width, float *to)
{
    for (size_t b = 0; b < B; b++)
        for (size_t t = 0; t < T; t++)
            memcpy(to + (b * T + t) * width, from + (b * T + T - 1 - t) * width,
                   width * sizeof *to);
}

START_TEST(test_reverse)
{
    ImageCase forth, back;
    open_layer(&forth, "lstm", "units: 37", PRECISION_FP32);
    open_layer(&back, "lstm", "units: 37, reverse: true", PRECISION_FP32);
    turn(forth.x, F, back.x);
    turn(forth.dy, U, back.dy);
    run(&forth, 0, B, forth.y, forth.dx);
    run(&back, 0, B, back.y, back.dx);
    float *y = mem_array(float, (size_t)B *T *U), *dx = mem_array(float, (size_t)B *T *F);
    turn(back.y, U, y);
    turn(back.dx, F, dx);
    ck_assert(same_bits(y, forth.y, (size_t)B * T * U) &&
              same_bits(dx, forth.dx, (size_t)B * T * F) &&
              same_bits(back.dw, forth.dw, forth.layout.n));
    mem_free(y);
    mem_free(dx);
    case_close(&forth);
    case_close(&back);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("recurrent");
    add_test(suite, test_equations);
    add_test(suite, test_place_in_batch);
    add_test(suite, test_reverse);
    return run_suite(suite);
}
