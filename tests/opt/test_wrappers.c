/* What each wrapper does to a gradient or to weights, against a few lines of plain arithmetic. The
 * laws (any cut, resume, padding) are in test_optimizer.c, lookahead and centralize in the golden
 * cases as well. */
#include "lockstep/memory.h"
#include "lockstep/optimizer.h"
#include "lockstep/random.h"
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 3, ROW = 21, VECTOR = 4, MATRIX = ROWS * ROW };

/* A matrix and a vector under a method. */
typedef struct Bench {
    Config config;
    Layout layout;
    Optimizer optimizer;
    float *w, *g, *matrix_w, *matrix_g, *vector_w, *vector_g;
    double lr;
    int64_t step;
    uint64_t seed;
} Bench;

static void bench_of(Bench *b, const char *method, const char *wrap)
{
    *b = (Bench){ .lr = 1, .seed = 7 };
    char text[512];
    Err err = { "" };
    snprintf(text, sizeof text, "optimizer: {%s, wrap: [%s]}\n", method, wrap);
    ck_assert_msg(config_parse(&b->config, "test.yaml", text, strlen(text), &err), "%s", err.text);
    layout_add(&b->layout, "matrix", 2, (int[]){ ROWS, ROW }, LAYOUT_DECAY | LAYOUT_ADAPT);
    layout_add(&b->layout, "vector", 1, (int[]){ VECTOR }, 0);
    layout_seal(&b->layout);
    bool ok = optimizer_init(&b->optimizer, &b->config, config_get(b->config.root, "optimizer"),
                             &b->layout, &err);
    ck_assert_msg(ok, "%s", err.text);
    optimizer_own(&b->optimizer, layout_slice(&b->layout, 0, 1));
    b->w = mem_array(float, b->layout.n);
    b->g = mem_array(float, b->layout.n);
    b->matrix_w = b->w + b->layout.tensors[0].offset;
    b->matrix_g = b->g + b->layout.tensors[0].offset;
    b->vector_w = b->w + b->layout.tensors[1].offset;
    b->vector_g = b->g + b->layout.tensors[1].offset;
}

/* SGD without momentum at lr 1: w - w' is the gradient that the method has seen. */
static void bench_init(Bench *b, const char *wrap)
{
    bench_of(b, "type: sgd, lr: 1, momentum: 0", wrap);
}

static void bench_free(Bench *b)
{
    optimizer_free(&b->optimizer);
    layout_free(&b->layout);
    config_free(&b->config);
    mem_free(b->w);
    mem_free(b->g);
}

static void fill(float *x, int n, uint64_t number, double scale)
{
    for (int i = 0; i < n; i++)
        x[i] = (float)(scale * random_normal(random_key(3, RANDOM_TEST, number, 0), (uint64_t)i));
}

static void bench_step(Bench *b)
{
    Rates rates = { .lr = b->lr, .step = b->step++, .seed = b->seed };
    ck_assert(
        optimizer_step(&b->optimizer, &rates, b->w, gradient_at(b->g), (Exchange){ NULL, NULL }));
}

static double norm(const float *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

/* From weights of zero: w' is minus the gradient of factor * g. */
static void check_scaled(const float *w, const float *g, int n, double factor)
{
    for (int i = 0; i < n; i++)
        ck_assert_double_eq_tol((double)w[i], -factor * (double)g[i], 1e-6);
}

START_TEST(test_centralize)
{
    Bench b;
    bench_init(&b, "centralize");
    float g[MATRIX];
    fill(g, MATRIX, 1, 1);
    memcpy(b.matrix_g, g, sizeof g);
    fill(b.vector_g, VECTOR, 2, 1);
    bench_step(&b);
    for (int r = 0; r < ROWS; r++) {
        double mean = 0;
        for (int i = 0; i < ROW; i++)
            mean += (double)g[r * ROW + i] / ROW;
        for (int i = 0; i < ROW; i++)
            ck_assert_double_eq_tol((double)b.matrix_w[r * ROW + i], mean - (double)g[r * ROW + i],
                                    1e-6);
    }
    check_scaled(b.vector_w, b.vector_g, VECTOR, 1);
    bench_free(&b);
}
END_TEST

/* conv_only leaves a matrix alone. */
START_TEST(test_centralize_convolutions)
{
    Bench b;
    bench_init(&b, "centralize: {conv_only: true}");
    fill(b.matrix_g, MATRIX, 1, 1);
    bench_step(&b);
    check_scaled(b.matrix_w, b.matrix_g, MATRIX, 1);
    bench_free(&b);
}
END_TEST

START_TEST(test_clip_layer)
{
    Bench b;
    bench_init(&b, "clip_layer: {max: 0.5}");
    fill(b.matrix_g, MATRIX, 1, 1);
    fill(b.vector_g, VECTOR, 2, 0.01);
    bench_step(&b);
    check_scaled(b.matrix_w, b.matrix_g, MATRIX, 0.5 / norm(b.matrix_g, MATRIX));
    check_scaled(b.vector_w, b.vector_g, VECTOR, 1);
    bench_free(&b);
}
END_TEST

/* Row 0 is within bounds, row 1 is not, row 2 has no weights yet; the vector is one row. */
START_TEST(test_agc)
{
    Bench b;
    bench_init(&b, "agc: {max: 0.1, eps: 0.25}");
    fill(b.matrix_w, 2 * ROW, 1, 1);
    fill(b.matrix_g, MATRIX, 2, 1);
    for (int i = 0; i < ROW; i++)
        b.matrix_g[i] *= 1e-3f;
    fill(b.vector_w, VECTOR, 3, 3);
    fill(b.vector_g, VECTOR, 4, 5);
    float w[MATRIX], g[MATRIX], v[VECTOR], dv[VECTOR];
    memcpy(w, b.matrix_w, sizeof w);
    memcpy(g, b.matrix_g, sizeof g);
    memcpy(v, b.vector_w, sizeof v);
    memcpy(dv, b.vector_g, sizeof dv);
    bench_step(&b);
    double scales[] = { 1, 0.1 * norm(w + ROW, ROW) / norm(g + ROW, ROW),
                        0.1 * 0.25 / norm(g + 2 * ROW, ROW) };
    for (int k = 0; k < MATRIX; k++)
        ck_assert_double_eq_tol((double)b.matrix_w[k],
                                (double)w[k] - scales[k / ROW] * (double)g[k], 1e-6);
    double scale = 0.1 * norm(v, VECTOR) / norm(dv, VECTOR);
    for (int k = 0; k < VECTOR; k++)
        ck_assert_double_eq_tol((double)b.vector_w[k], (double)v[k] - scale * (double)dv[k], 1e-6);
    bench_free(&b);
}
END_TEST

START_TEST(test_agc_skips)
{
    Bench b;
    bench_init(&b, "agc: {skip: vec*}");
    fill(b.matrix_g, MATRIX, 1, 1);
    fill(b.vector_g, VECTOR, 2, 1);
    float g[VECTOR];
    memcpy(g, b.vector_g, sizeof g);
    bench_step(&b);
    check_scaled(b.vector_w, g, VECTOR, 1);
    ck_assert_double_lt(norm(b.matrix_w, MATRIX), 1e-4);
    bench_free(&b);
}
END_TEST

/* Two young steps at an absolute norm, then against the mean; a gradient of zero changes
 * nothing. */
START_TEST(test_adagc)
{
    static const double sizes[] = { 1, 0.5, 3, 0.2, 0, 0.4 };
    Bench b;
    bench_init(&b, "adagc: {warmup: 2, warmup_norm: 0.75, max: 1.5, beta: 0.5}");
    double mean = 0;
    for (int t = 0; t < 6; t++) {
        memset(b.w, 0, b.layout.n * sizeof *b.w);
        fill(b.matrix_g, MATRIX, (uint64_t)t, 1);
        double size = norm(b.matrix_g, MATRIX), wanted = sizes[t];
        for (int i = 0; i < MATRIX; i++)
            b.matrix_g[i] *= (float)(sizes[t] / size);
        if (t < 2)
            wanted = fmin(wanted, 0.75);
        else if (sizes[t] > 0)
            wanted = fmin(wanted, 1.5 * mean);
        bench_step(&b);
        ck_assert_double_eq_tol(norm(b.matrix_w, MATRIX), wanted, 1e-6);
        if (t < 2)
            mean = t == 0 ? wanted : fmin(mean, wanted);
        else if (sizes[t] > 0)
            mean = 0.5 * mean + 0.5 * wanted;
    }
    bench_free(&b);
}
END_TEST

/* Around SGD it is the variant of lars that is made for it, whether the ratio is cut (first step:
 * lr 1e-3 below it, then above) or not; the vector has no ratio. */
START_TEST(test_larc_around_sgd)
{
    static const char *const clips[] = { "true", "false" }, *const switches[] = { "on", "off" };
    for (int k = 0; k < 2; k++) {
        char method[128], wrap[64];
        Bench around, variant;
        snprintf(wrap, sizeof wrap, "larc: {clip: %s}", clips[k]);
        snprintf(
            method, sizeof method,
            "type: lars, variant: larc, eps: 1e-8, trust_coefficient: 0.02, weight_decay: 0.1, "
            "trust_clip: %s",
            switches[k]);
        bench_of(&around, "type: sgd, weight_decay: 0.1", wrap);
        bench_of(&variant, method, "");
        for (int t = 0; t < 6; t++) {
            if (t == 0) {
                fill(around.matrix_w, MATRIX, 1, 1);
                memcpy(variant.matrix_w, around.matrix_w, MATRIX * sizeof(float));
            }
            fill(around.matrix_g, MATRIX, (uint64_t)(t + 2), t < 5 ? 1 : 0); /* then no decay */
            fill(around.vector_g, VECTOR, (uint64_t)(t + 9), 1);
            memcpy(variant.g, around.g, around.layout.n * sizeof(float));
            around.lr = variant.lr = t == 0 ? 1e-3 : 0.5;
            bench_step(&around);
            bench_step(&variant);
            for (size_t i = 0; i < around.layout.n; i++)
                ck_assert_double_eq_tol((double)around.w[i], (double)variant.w[i], 2e-6);
        }
        bench_free(&around);
        bench_free(&variant);
    }
}
END_TEST

/* Around Adam with an eps that can be felt: m and v are those of r (g + wd w). */
START_TEST(test_larc_around_adam)
{
    Bench b;
    bench_of(&b, "type: adam, beta1: 0.5, beta2: 0.75, eps: 0.1, weight_decay: 0.3",
             "larc: {trust_coefficient: 0.05}");
    double w[MATRIX], m[MATRIX] = { 0 }, v[MATRIX] = { 0 };
    fill(b.matrix_w, MATRIX, 1, 1);
    for (int i = 0; i < MATRIX; i++)
        w[i] = (double)b.matrix_w[i];
    b.lr = 0.2;
    for (int t = 1; t <= 3; t++) {
        fill(b.matrix_g, MATRIX, (uint64_t)t + 1, t == 2 ? 1e-3 : 1); /* once r is cut */
        double size = norm(b.matrix_w, MATRIX);
        double r = 0.05 * size / (norm(b.matrix_g, MATRIX) + 0.3 * size + 1e-8) / b.lr;
        ck_assert((r > 0.8) == (t == 2));
        r = fmin(r, 1);
        for (int i = 0; i < MATRIX; i++) {
            double g = r * ((double)b.matrix_g[i] + 0.3 * w[i]);
            m[i] = 0.5 * m[i] + 0.5 * g;
            v[i] = 0.75 * v[i] + 0.25 * g * g;
            w[i] -= b.lr * (m[i] / (1 - pow(0.5, t))) / (sqrt(v[i] / (1 - pow(0.75, t))) + 0.1);
        }
        bench_step(&b);
        for (int i = 0; i < MATRIX; i++)
            ck_assert_double_eq_tol((double)b.matrix_w[i], w[i], 2e-6);
    }
    bench_free(&b);
}
END_TEST

/* Noise: mean 0, the wanted spread, other numbers in another step, tensor, seed; the same if asked
 * again. */
START_TEST(test_noise)
{
    Bench b, again;
    bench_init(&b, "noise: {std: 2, decay: 1}");
    bench_init(&again, "noise: {std: 2, decay: 1}");
    double sum = 0, squares = 0, with_next = 0;
    int count = 0;
    float last[MATRIX] = { 0 };
    for (int t = 0; t < 400; t++) {
        memset(b.w, 0, b.layout.n * sizeof *b.w);
        memset(b.g, 0, b.layout.n * sizeof *b.g);
        memset(again.w, 0, b.layout.n * sizeof *b.w);
        memset(again.g, 0, b.layout.n * sizeof *b.g);
        bench_step(&b);
        bench_step(&again);
        ck_assert(memcmp(b.w, again.w, b.layout.n * sizeof *b.w) == 0);
        ck_assert(memcmp(b.vector_w, b.matrix_w, VECTOR * sizeof *b.w) != 0);
        for (int i = 0; i < MATRIX; i++, count++) {
            double x = (double)b.matrix_w[i] * sqrt(t + 1);
            sum += x;
            squares += x * x;
            with_next += x * (double)last[i];
            last[i] = (float)x;
        }
    }
    ck_assert_double_lt(fabs(sum / count), 4 * 2 / sqrt(count));
    ck_assert_double_eq_tol(squares / count, 4, 4 * 4 * sqrt(2.0 / count));
    ck_assert_double_lt(fabs(with_next / count), 4 * 4 / sqrt(count));
    again.seed = 8;
    bench_step(&b);
    bench_step(&again);
    ck_assert(memcmp(b.w, again.w, b.layout.n * sizeof *b.w) != 0);
    bench_free(&b);
    bench_free(&again);
}
END_TEST

/* The padding behind four floats gets no noise: their norm alone is what is clipped. */
START_TEST(test_noise_spares_padding)
{
    Bench b;
    bench_init(&b, "noise: {std: 2}, clip_layer: {max: 0.5}");
    bench_step(&b);
    ck_assert_double_eq_tol(norm(b.vector_w, VECTOR), 0.5, 1e-6);
    ck_assert_double_eq_tol(norm(b.matrix_w, MATRIX), 0.5, 1e-6);
    bench_free(&b);
}
END_TEST

/* A push where the gradient is small, the next one three steps later at the earliest. */
START_TEST(test_perturb)
{
    static const float sizes[] = { 1, 0.01f, 0.01f, 0.01f, 0.01f, 1, 1, 0.01f };
    static const bool pushed[] = { false, true, false, false, true, false, false, true };
    Bench b;
    bench_init(&b, "perturb: {threshold: 0.1, std: 0.5, wait: 3}");
    for (int t = 0; t < 8; t++) {
        memset(b.w, 0, b.layout.n * sizeof *b.w);
        memset(b.g, 0, b.layout.n * sizeof *b.g);
        b.matrix_g[0] = sizes[t];
        bench_step(&b);
        double length = norm(b.matrix_w + 1, MATRIX - 1);
        if (pushed[t])
            ck_assert_double_eq_tol(length, 0.5 * sqrt(MATRIX - 1), 1.5);
        else
            ck_assert_double_eq(length, 0);
    }
    bench_free(&b);
}
END_TEST

/* From step 3 on every second step: the mean of the weights after 4, 6 and 8. */
START_TEST(test_swa)
{
    Bench b;
    bench_init(&b, "swa: {start: 3st, every: 2st}");
    float *out = mem_array(float, b.layout.n);
    double mean = 0;
    ck_assert(optimizer_averages(&b.optimizer));
    for (int t = 1; t <= 9; t++) {
        b.matrix_g[5] = (float)t;
        bench_step(&b);
        mean += t == 4 || t == 6 || t == 8 ? (double)b.matrix_w[5] / 3 : 0;
        optimizer_evaluated(&b.optimizer, b.w, out);
        if (t < 4)
            ck_assert(out[b.matrix_w - b.w + 5] == b.matrix_w[5]);
    }
    ck_assert_double_eq_tol((double)out[b.matrix_w - b.w + 5], mean, 1e-5);
    mem_free(out);
    bench_free(&b);
}
END_TEST

/* Slow weights after every second step; before the first meeting a late start evaluates w. */
START_TEST(test_lookahead)
{
    for (int late = 0; late < 2; late++) {
        Bench b;
        bench_init(&b, late ? "lookahead: {k: 2, alpha: 0.25, start: sync}"
                            : "lookahead: {k: 2, alpha: 0.25}");
        float *out = mem_array(float, b.layout.n);
        double fast = 0, slow = 0;
        for (int t = 1; t <= 7; t++) {
            b.matrix_g[5] = -1;
            bench_step(&b);
            fast += 1;
            if (t % 2 == 0) {
                slow = late && t == 2 ? fast : slow + 0.25 * (fast - slow);
                fast = slow;
            }
            ck_assert_double_eq((double)b.matrix_w[5], fast);
            optimizer_evaluated(&b.optimizer, b.w, out);
            ck_assert_double_eq((double)out[b.matrix_w - b.w + 5], late && t < 2 ? fast : slow);
        }
        mem_free(out);
        bench_free(&b);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("wrappers");
    add_test(suite, test_centralize);
    add_test(suite, test_centralize_convolutions);
    add_test(suite, test_clip_layer);
    add_test(suite, test_agc);
    add_test(suite, test_agc_skips);
    add_test(suite, test_adagc);
    add_test(suite, test_larc_around_sgd);
    add_test(suite, test_larc_around_adam);
    add_test(suite, test_noise);
    add_test(suite, test_noise_spares_padding);
    add_test(suite, test_perturb);
    add_test(suite, test_swa);
    add_test(suite, test_lookahead);
    return run_suite(suite);
}
