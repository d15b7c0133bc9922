/* Our own matrix products in both precisions, at every ISA level and with every bf16 family of this
 * CPU: against double, bits of rows and columns whatever stands beside them, what follows the
 * product, and that nothing beside C is written. */
#include "lockstep/activation.h"
#include "lockstep/bf16.h"
#include "lockstep/cpu.h"
#include "lockstep/linear.h"
#include "lockstep/memory.h"
#include "lockstep/random.h"
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const levels[] = { "v2", "v3", "v4" };
static const char *const families[] = { "portable", "avx512", "amx" };
enum { LEVELS = 3, FAMILIES = 3 };

/* (rows, features, units): whole tiles, edges in each dimension, thin, longer than a stretch of
 * k */
static const int shapes[][3] = {
    { 1, 1, 1 },      { 3, 5, 2 },      { 16, 32, 16 },  { 32, 64, 64 },
    { 33, 65, 31 },   { 6, 256, 64 },   { 7, 257, 129 }, { 70, 300, 10 },
    { 10, 17, 1000 }, { 130, 520, 70 }, { 600, 9, 80 },  { 300, 40, 72 },
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static float *random_floats(uint64_t stream, size_t n)
{
    float *x = mem_array(float, n + 64);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)random_normal(random_key(3, RANDOM_TEST, stream, 0), i);
    return x;
}

/* As the portable kernels do, but written the slow way. */
static float to_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (fabsf(x) < FLT_MIN)
        bits &= 0x80000000u;
    uint32_t rest = bits & 0xffffu, kept = bits >> 16;
    if (!isnan(x) && (rest > 0x8000u || (rest == 0x8000u && (kept & 1))))
        kept++;
    bits = kept << 16;
    memcpy(&x, &bits, sizeof bits);
    return x;
}

typedef struct Case {
    int rows, F, units;
    Precision precision;
    float *x, *w, *dy, *b, *y, *dx, *dw, *scratch;
    Linear linear;
} Case;

static void case_init(Case *c, const int shape[3], Precision precision)
{
    *c = (Case){ .rows = shape[0], .F = shape[1], .units = shape[2], .precision = precision };
    size_t rows = (size_t)c->rows, F = (size_t)c->F, units = (size_t)c->units;
    c->x = random_floats(1, rows * F);
    c->w = random_floats(2, units * F);
    c->dy = random_floats(3, rows * units);
    c->b = random_floats(4, units);
    c->y = mem_array(float, rows *units + 64);
    c->dx = mem_array(float, rows *F + 64);
    c->dw = mem_array(float, units *F + 64);
    c->scratch = mem_array(float, linear_scratch(c->F, c->units, precision, c->rows));
    linear_init(&c->linear, c->F, c->units, precision, true);
    linear_weights(&c->linear, c->w);
}

static void case_run(Case *c, int rows, const float *x, const float *dy)
{
    ProductEnd end = { .bias = c->b };
    linear_forward(&c->linear, rows, x, &end, c->y, c->scratch);
    linear_data_gradient(&c->linear, rows, dy, c->dx, c->scratch);
    linear_weight_gradient(&c->linear, rows, x, dy, false, c->dw, c->scratch);
}

static void case_free(Case *c)
{
    float *const all[] = { c->x, c->w, c->dy, c->b, c->y, c->dx, c->dw, c->scratch };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mem_free(all[i]);
    linear_free(&c->linear);
}

/* sum over k of a[k a_step] b[k b_step], operands rounded if the case says so; *size: of the
 * summands' absolute values */
static double exact(const Case *c, const float *a, int a_step, const float *b, int b_step, int n,
                    double *size)
{
    double sum = 0;
    *size = 0;
    for (int k = 0; k < n; k++) {
        float p = a[(size_t)k * (size_t)a_step], q = b[(size_t)k * (size_t)b_step];
        if (c->precision == PRECISION_BF16) {
            p = to_bf16(p);
            q = to_bf16(q);
        }
        sum += (double)p * (double)q;
        *size += fabs((double)p * (double)q);
    }
    return sum;
}

/* A chain of n float additions of summands whose sizes add up to `size`; its errors are random. */
static void check(float got, double wanted, double size, int n, const char *what)
{
    double tolerance = size * (double)FLT_EPSILON * (2 + 0.25 * sqrt((double)n)) + 1e-30;
    ck_assert_msg(fabs((double)got - wanted) <= tolerance, "%s: %.9g instead of %.9g, +-%.2g", what,
                  (double)got, wanted, tolerance);
}

static void check_case(const Case *c)
{
    double size;
    for (int r = 0; r < c->rows; r++)
        for (int u = 0; u < c->units; u++) {
            double sum = exact(c, c->x + r * c->F, 1, c->w + u * c->F, 1, c->F, &size);
            check(c->y[r * c->units + u], sum + (double)c->b[u], size + fabs((double)c->b[u]), c->F,
                  "y");
        }
    for (int r = 0; r < c->rows; r++)
        for (int f = 0; f < c->F; f++) {
            double sum = exact(c, c->dy + r * c->units, 1, c->w + f, c->F, c->units, &size);
            check(c->dx[r * c->F + f], sum, size, c->units, "dx");
        }
    for (int u = 0; u < c->units; u++)
        for (int f = 0; f < c->F; f++) {
            double sum = exact(c, c->dy + u, c->units, c->x + f, c->F, c->rows, &size);
            check(c->dw[u * c->F + f], sum, size, c->rows, "dw");
        }
}

/* The guard behind each result is as it was. */
static void check_guards(const Case *c)
{
    static const float zeros[64];
    size_t rows = (size_t)c->rows, F = (size_t)c->F, units = (size_t)c->units;
    ck_assert(same_bits(c->y + rows * units, zeros, 64));
    ck_assert(same_bits(c->dx + rows * F, zeros, 64));
    ck_assert(same_bits(c->dw + units * F, zeros, 64));
}

static void against_double(Precision precision)
{
    for (int s = 0; s < SHAPES; s++) {
        Case c;
        case_init(&c, shapes[s], precision);
        case_run(&c, c.rows, c.x, c.dy);
        check_case(&c);
        check_guards(&c);
        case_free(&c);
    }
}

/* A row's results are the same alone, and as any other row of a batch. */
static void rows_alone(Precision precision)
{
    for (int s = 0; s < SHAPES; s++) {
        Case c;
        case_init(&c, shapes[s], precision);
        case_run(&c, c.rows, c.x, c.dy);
        size_t F = (size_t)c.F, units = (size_t)c.units;
        float *y = mem_array(float, units), *dx = mem_array(float, F);
        ProductEnd end = { .bias = c.b };
        for (size_t r = 0; r < (size_t)c.rows; r += 1 + (size_t)c.rows / 9) {
            linear_forward(&c.linear, 1, c.x + r * F, &end, y, c.scratch);
            linear_data_gradient(&c.linear, 1, c.dy + r * units, dx, c.scratch);
            ck_assert(same_bits(y, c.y + r * units, units));
            ck_assert(same_bits(dx, c.dx + r * F, F));
        }
        mem_free(y);
        mem_free(dx);
        case_free(&c);
    }
}

/* C += and what follows: the same as apart, bit for bit. */
static void epilogues(Precision precision)
{
    static const int shape[3] = { 35, 300, 83 };
    Case c;
    case_init(&c, shape, precision);
    size_t n = (size_t)c.rows * (size_t)c.units;
    float *before = mem_array(float, n + 64), *y = mem_array(float, n + 64);
    case_run(&c, c.rows, c.x, c.dy);
    for (Activation a = ACTIVATION_NONE; a <= ACTIVATION_GELU_TANH; a++) {
        ProductEnd end = { .bias = c.b, .activation = a, .before = before };
        linear_forward(&c.linear, c.rows, c.x, &end, y, c.scratch);
        ck_assert(same_bits(before, c.y, n));
        for (size_t i = 0; i < n; i++) /* other instructions here, so not the same bits */
            ck_assert_msg(fabs((double)y[i] - (double)activation_value(a, before[i])) <= 1e-6,
                          "activation %d of %g: %g", (int)a, (double)before[i], (double)y[i]);
    }
    size_t m = (size_t)c.F * (size_t)c.units;
    float *twice = mem_array(float, m + 64);
    memcpy(twice, c.dw, m * sizeof *twice);
    linear_weight_gradient(&c.linear, c.rows, c.x, c.dy, true, twice, c.scratch);
    for (size_t i = 0; i < m; i++)
        ck_assert(twice[i] == 2 * c.dw[i]);
    mem_free(before);
    mem_free(y);
    mem_free(twice);
    case_free(&c);
}

static void at_every_level(void (*test)(Precision))
{
    Err err;
    for (int level = 0; level < LEVELS; level++)
        if (cpu_set_isa(levels[level], &err))
            test(PRECISION_FP32);
    for (int level = 0; level < LEVELS; level++)
        for (int f = 0; f < FAMILIES && cpu_set_isa(levels[level], &err); f++)
            if (bf16_set_kernel(families[f], &err)) {
                ck_assert_str_eq(bf16_kernel(), families[f]);
                test(PRECISION_BF16);
            }
    ck_assert(cpu_set_isa("auto", &err) && bf16_set_kernel("auto", &err));
}

START_TEST(sums_against_double)
{
    at_every_level(against_double);
}
END_TEST

START_TEST(bits_of_rows)
{
    at_every_level(rows_alone);
}
END_TEST

START_TEST(after_the_product)
{
    at_every_level(epilogues);
}
END_TEST

/* Every family packs the same numbers: special values, ties, both layouts, edges. */
START_TEST(packing)
{
    enum { LINES = 19, DEPTH = 45, STEP = 50 };
    float x[STEP * STEP];
    static const float special[] = { 0.0f,      -0.0f,         1.0f,     -1.0f,     0x1.01p0f,
                                     0x1.03p0f, 0x1.010002p0f, FLT_MAX,  -FLT_MAX,  FLT_MIN,
                                     0x1p-130f, -0x1p-149f,    INFINITY, -INFINITY, NAN };
    enum { SPECIAL = sizeof special / sizeof *special };
    for (size_t i = 0; i < STEP * STEP; i++)
        x[i] = i % 3 ? (float)random_normal(random_key(3, RANDOM_TEST, 5, 0), i)
                     : special[i / 3 % SPECIAL];
    size_t n = bf16_numbers(LINES, DEPTH);
    uint16_t *wanted = mem_array(uint16_t, n), *got = mem_array(uint16_t, n);
    Err err;
    for (int f = 1; f < FAMILIES; f++)
        for (int kind = 0; kind < 4; kind++) {
            Bf16Source source = { LINES, DEPTH, x, STEP, kind & 1 };
            Bf16Side side = kind & 2 ? BF16_RIGHT : BF16_LEFT;
            ck_assert(bf16_set_kernel("portable", &err));
            bf16_pack(side, &source, wanted);
            if (!bf16_set_kernel(families[f], &err))
                continue;
            bf16_pack(side, &source, got);
            for (size_t i = 0; i < n; i++)
                ck_assert_msg(got[i] == wanted[i], "%s, kind %d, number %zu: %04x, not %04x",
                              families[f], kind, i, got[i], wanted[i]);
        }
    ck_assert(wanted[0] == 0 && to_bf16(0x1.01p0f) == 1.0f && to_bf16(0x1.03p0f) == 0x1.04p0f);
    ck_assert(bf16_set_kernel("auto", &err));
    mem_free(wanted);
    mem_free(got);
}
END_TEST

START_TEST(column_sums)
{
    enum { ROWS = 37, COLUMNS = 300 };
    float *x = random_floats(6, ROWS * COLUMNS), sums[COLUMNS];
    for (int add = 0; add < 2; add++) {
        matmul_column_sums(ROWS, COLUMNS, x, add, sums);
        for (int j = 0; j < COLUMNS; j++) {
            double sum = 0, first = 0;
            for (int i = 0; i < ROWS; i++)
                sum += (double)x[i * COLUMNS + j];
            first = (double)(float)sum;
            for (int i = 0; i < ROWS; i++)
                first += (double)x[i * COLUMNS + j];
            ck_assert(sums[j] == (add ? (float)first : (float)sum));
        }
    }
    mem_free(x);
}
END_TEST

START_TEST(unknown_family)
{
    Err err;
    ck_assert(!bf16_set_kernel("sve", &err));
    ck_assert_str_eq(err.text, "compute.bf16_kernel: this CPU or operating system lacks sve");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("matmul");
    add_test(suite, sums_against_double);
    add_test(suite, bits_of_rows);
    add_test(suite, after_the_product);
    add_test(suite, packing);
    add_test(suite, column_sums);
    add_test(suite, unknown_family);
    return run_suite(suite);
}
