/* Recurrent layers against their equations in double, one number at a time: values, and gradients
 * by differences of those. Also what a lane relies on: a sample's bits depend neither on the other
 * samples nor on its place among them; and `reverse`. */
#include "lockstep/layer.h"
#include "lockstep/memory.h"
#include "lockstep/random.h"

#include "support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { T = 7, F = 19, U = 37, B = 5, STATES = 2 };

static const char *const variants[][2] = {
    { "rnn", "{units: 37, initial: learned}" },
    { "rnn", "{units: 37, activation: relu, return: last}" },
    { "gru", "{units: 37}" },
    { "gru", "{units: 37, initial: learned, reverse: true, return: last}" },
    { "gru", "{units: 37, bias: false}" },
    { "lstm", "{units: 37}" },
    { "lstm", "{units: 37, initial: learned, reverse: true, return: last}" },
    { "lstm", "{units: 37, bias: false}" },
};
enum { VARIANTS = sizeof variants / sizeof *variants };

/* ---- a layer and its arrays ---- */

typedef struct Rig {
    Config config;
    Layout layout;
    Layer *layer;
    Pass pass;
    size_t out; /* floats of y a sample */
    float *w, *dw, *x, *dx, *y, *dy;
} Rig;

static float *numbers(uint64_t stream, size_t n, float size)
{
    float *x = mem_array(float, n);
    random_fill_normal(random_key(1, RANDOM_TEST, 2, stream), 0, x, n);
    for (size_t i = 0; i < n; i++)
        x[i] *= size;
    return x;
}

static void bind(Rig *rig)
{
    for (int i = 0; i < rig->layer->tensor_count; i++) {
        LayerTensor *tensor = &rig->layer->tensors[i];
        tensor->w = rig->w + rig->layout.tensors[tensor->index].offset;
        tensor->dw = rig->dw + rig->layout.tensors[tensor->index].offset;
    }
}

static void rig_init(Rig *rig, const char *type, const char *options, Precision precision)
{
    char text[128];
    Err err;
    Shape in = { .ndim = 2, .dim = { T, F, 1 } };
    *rig = (Rig){ .pass = { .train = true, .batch = B, .global_batch = B } };
    snprintf(text, sizeof text, "options: %s\n", options);
    ck_assert(config_parse(&rig->config, "test", text, strlen(text), &err));
    rig->layer = layer_create(
        layer_find(type), &rig->config, config_get(rig->config.root, "options"),
        &(LayerPlace){ .name = "layer", .in = in, .precision = precision }, &rig->layout, &err);
    ck_assert_msg(rig->layer, "%s", err.text);
    layout_seal(&rig->layout);
    layer_allocate(rig->layer, B, NULL);
    rig->out = shape_stored(rig->layer->out);
    rig->w = numbers(0, rig->layout.n, 0.25f);
    rig->dw = mem_array(float, rig->layout.n);
    rig->x = numbers(1, (size_t)B * T * F, 1);
    rig->dy = numbers(2, B * rig->out, 1);
    rig->dx = mem_array(float, (size_t)B *T *F);
    rig->y = mem_array(float, B * rig->out);
    bind(rig);
    rig->layer->type->begin_step(rig->layer, &rig->layout, B);
}

static void rig_free(Rig *rig)
{
    float *arrays[] = { rig->w, rig->dw, rig->x, rig->dx, rig->y, rig->dy };
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        mem_free(arrays[i]);
    layer_free(rig->layer);
    layout_free(&rig->layout);
    config_free(&rig->config);
}

/* Samples [first, first + count) as a batch of their own. */
static void run(Rig *rig, int first, int count, float *y, float *dx)
{
    const LayerType *type = rig->layer->type;
    size_t at = (size_t)first;
    rig->pass.batch = count;
    type->forward(rig->layer, &rig->pass, rig->x + at * T * F, y);
    type->backward(rig->layer, &rig->pass, rig->x + at * T * F, NULL, rig->dy + at * rig->out, dx);
}

/* ---- the equations ---- */

/* Everything that a loss of sum(y dy) depends on. */
typedef struct Truth {
    const Rig *rig;
    bool last, reverse, relu;
    int gates;
    double *x, *w; /* (B, T, F), arena */
} Truth;

/* A tensor in the arena, or NULL. */
static const double *tensor_of(const Truth *truth, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "layer.%s", name);
    int index = layout_find(&truth->rig->layout, full);
    return index < 0 ? NULL : truth->w + truth->rig->layout.tensors[index].offset;
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
    for (size_t i = 0; i < truth->rig->out; i++)
        loss += y[i] * (double)truth->rig->dy[b * truth->rig->out + i];
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

static void check_values(const Truth *truth, const char *what)
{
    double y[T * U];
    for (size_t b = 0; b < B; b++) {
        sample(truth, b, y);
        for (size_t i = 0; i < truth->rig->out; i++) {
            double got = (double)truth->rig->y[b * truth->rig->out + i];
            ck_assert_msg(fabs(got - y[i]) <= 2e-6 * (1 + fabs(y[i])), "%s: y is %g, not %g", what,
                          got, y[i]);
        }
    }
}

/* The derivative along a direction of +1 and -1 in `point`, against the gradient. */
static void check_direction(const Truth *truth, double *point, const float *gradient, size_t n,
                            const char *what, const char *array)
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
                      "%s: the gradient of %s is %g, not %g", what, array, analytic, numeric);
    }
}

static void check_gradients(const Truth *truth, const char *what)
{
    const Rig *rig = truth->rig;
    check_direction(truth, truth->x, rig->dx, (size_t)B * T * F, what, "x");
    for (int i = 0; i < rig->layout.count; i++) {
        const LayoutTensor *tensor = &rig->layout.tensors[i];
        check_direction(truth, truth->w + tensor->offset, rig->dw + tensor->offset, tensor->n, what,
                        tensor->name);
    }
}

START_TEST(test_equations)
{
    for (size_t i = 0; i < VARIANTS; i++) {
        const char *type = variants[i][0], *options = variants[i][1];
        char what[128];
        Rig rig;
        snprintf(what, sizeof what, "%s %s", type, options);
        rig_init(&rig, type, options, PRECISION_FP32);
        Truth truth = { .rig = &rig,
                        .last = strstr(options, "return: last"),
                        .reverse = strstr(options, "reverse: true"),
                        .relu = strstr(options, "relu"),
                        .gates = rig.layout.tensors[0].shape[0] / U,
                        .x = doubles(rig.x, (size_t)B * T * F),
                        .w = doubles(rig.w, rig.layout.n) };
        run(&rig, 0, B, rig.y, rig.dx);
        check_values(&truth, what);
        check_gradients(&truth, what);
        mem_free(truth.x);
        mem_free(truth.w);
        rig_free(&rig);
    }
}
END_TEST

/* ---- a sample by itself ---- */

static void check_alone(const char *type, const char *options, Precision precision)
{
    Rig rig;
    rig_init(&rig, type, options, precision);
    float *y = mem_array(float, rig.out), *dx = mem_array(float, T *F);
    for (int b = 0; b < B; b++) {
        run(&rig, 0, B, rig.y, rig.dx);
        run(&rig, b, 1, y, dx);
        ck_assert_msg(same_bits(y, rig.y + (size_t)b * rig.out, rig.out),
                      "%s %s: y of sample %d alone has other bits", type, options, b);
        ck_assert_msg(same_bits(dx, rig.dx + (size_t)b * T * F, T * F),
                      "%s %s: dx of sample %d alone has other bits", type, options, b);
    }
    mem_free(y);
    mem_free(dx);
    rig_free(&rig);
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
    Rig forth, back;
    rig_init(&forth, "lstm", "{units: 37}", PRECISION_FP32);
    rig_init(&back, "lstm", "{units: 37, reverse: true}", PRECISION_FP32);
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
    rig_free(&forth);
    rig_free(&back);
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
