/* Initial weights: standard deviation and bounds of every scheme against the golden table,
 * orthogonality, spelling, and that a tensor's numbers depend on (seed, tensor) only. */
#include "lockstep/initializer.h"
#include "lockstep/memory.h"
#include "lockstep/random.h"

#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The golden table's schemes in our spelling, with the uniform bound and the std for (fan_in,
 * fan_out); std 0: no bound. Values from init_scales.csv. */
static const struct {
    const char *scheme;
    int rows, columns, fan_in, fan_out;
    double bound, std;
} golden[] = {
    { "xavier_uniform", 7, 5, 5, 7, 0.7071067811865475, 0.408248290463863 },
    { "xavier_normal", 7, 5, 5, 7, 0, 0.408248290463863 },
    { "xavier_uniform*1.6666666666666667", 7, 5, 5, 7, 1.1785113019775793, 0.6804138174397718 },
    { "he_uniform", 7, 5, 5, 7, 1.0954451150103321, 0.6324555320336759 },
    { "he_normal", 7, 5, 5, 7, 0, 0.6324555320336759 },
    { "he_normal_out", 7, 5, 5, 7, 0, 0.5345224838248488 },
    { "torch", 7, 5, 5, 7, 0.44721359549995787, 0.2581988897471611 },
    { "xavier_uniform", 64, 27, 27, 576, 0.09975093361076329, 0.05759122837209068 },
    { "xavier_normal", 64, 27, 27, 576, 0, 0.05759122837209067 },
    { "xavier_uniform*1.6666666666666667", 64, 27, 27, 576, 0.1662515560179388,
      0.09598538062015112 },
    { "he_uniform", 64, 27, 27, 576, 0.4714045207910317, 0.2721655269759087 },
    { "he_normal", 64, 27, 27, 576, 0, 0.2721655269759087 },
    { "he_normal_out", 64, 27, 27, 576, 0, 0.05892556509887897 },
    { "torch", 64, 27, 27, 576, 0.19245008972987523, 0.1111111111111111 },
    { "xavier_uniform", 128, 64, 64, 128, 0.17677669529663687, 0.10206207261596575 },
    { "xavier_normal", 128, 64, 64, 128, 0, 0.10206207261596575 },
    { "he_uniform", 128, 64, 64, 128, 0.3061862178478973, 0.17677669529663692 },
    { "he_normal_out", 128, 64, 64, 128, 0, 0.125 },
    { "torch", 128, 64, 64, 128, 0.12499999999999999, 0.07216878364870322 },
    { "xavier_uniform", 10, 784, 784, 10, 0.0869291381699617, 0.050188561322849566 },
    { "he_uniform", 10, 784, 784, 10, 0.08748177652797065, 0.05050762722761054 },
    { "he_normal", 10, 784, 784, 10, 0, 0.05050762722761054 },
    { "he_normal_out", 10, 784, 784, 10, 0, 0.4472135954999579 },
    { "torch", 10, 784, 784, 10, 0.03571428571428571, 0.020619652471058063 },
    { "lecun_normal", 20, 30, 30, 20, 0, 0.18257418583505536 },
    { "lecun_uniform", 20, 30, 30, 20, 0.31622776601683794, 0.18257418583505536 },
    { "he_uniform_out", 20, 30, 30, 20, 0.5477225575051661, 0.31622776601683794 },
    { "normal(0.02)", 20, 30, 30, 20, 0, 0.02 },
    { "uniform(0.02)", 20, 30, 30, 20, 0.034641016151377544, 0.02 },
    { "normal(0.02)*2", 20, 30, 30, 20, 0, 0.04 },
};

enum { SAMPLES = 1 << 18 };

typedef struct Moments {
    double mean, std, largest;
} Moments;

static Moments moments(const float *w, size_t n)
{
    double sum = 0, squares = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)w[i];
        squares += (double)w[i] * (double)w[i];
        largest = fmax(largest, fabs((double)w[i]));
    }
    double mean = sum / (double)n;
    return (Moments){ mean, sqrt(squares / (double)n - mean * mean), largest };
}

/* Many numbers of the scheme with the given fans: the shape itself has too few for statistics. */
static Moments measure(const char *scheme, int fan_in, int fan_out, float *w)
{
    Err err;
    InitializerInput input = { .seed = 11,
                               .tensor = 2,
                               .fan_in = fan_in,
                               .fan_out = fan_out,
                               .rows = SAMPLES / 64,
                               .columns = 64 };
    ck_assert_msg(initializer_fill(scheme, &input, w, &err), "%s: %s", scheme, err.text);
    return moments(w, SAMPLES);
}

/* The standard error of the std of n normal numbers is std / sqrt(2 n) = 0.14 %, of the mean 0.2 %.
 * */
START_TEST(test_scales)
{
    float *w = mem_array(float, SAMPLES);
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        Moments m = measure(golden[i].scheme, golden[i].fan_in, golden[i].fan_out, w);
        const char *scheme = golden[i].scheme;
        double std = golden[i].std, bound = golden[i].bound;
        ck_assert_msg(fabs(m.std / std - 1) < 0.006, "%s: std %g, not %g", scheme, m.std, std);
        ck_assert_msg(fabs(m.mean) < 0.009 * std, "%s: mean %g", scheme, m.mean);
        if (bound > 0)
            ck_assert_msg(m.largest <= bound * (1 + 1e-7) && m.largest > 0.9999 * bound,
                          "%s: largest %.9g, bound %.9g", scheme, m.largest, bound);
        else
            ck_assert_msg(m.largest > 4 * std, "%s: largest %g is not normal", scheme, m.largest);
    }
    mem_free(w);
}
END_TEST

START_TEST(test_truncated)
{
    static const char *const schemes[] = { "he_truncated", "lecun_truncated", "xavier_truncated",
                                           "truncated(0.5)", "he_truncated_out" };
    static const double stds[] = { 0.2, 0.14142135623730951, 0.11547005383792516, 0.5, 0.1 };
    float *w = mem_array(float, SAMPLES);
    for (size_t i = 0; i < 5; i++) {
        Moments m = measure(schemes[i], 50, 200, w);
        if (i == 2)
            m = measure(schemes[i], 50, 100, w);
        double cut = 2 * stds[i] / 0.87962566103423978;
        ck_assert_msg(fabs(m.std / stds[i] - 1) < 0.006, "%s: std %g", schemes[i], m.std);
        ck_assert_msg(m.largest <= cut * (1 + 1e-6) && m.largest > 0.999 * cut, "%s: largest %g",
                      schemes[i], m.largest);
    }
    mem_free(w);
}
END_TEST

/* rows of w times their transposes: gain^2 on the diagonal, 0 elsewhere; or columns if they are
 * fewer. */
static void check_orthogonal(int rows, int columns, const char *scheme, double gain)
{
    Err err;
    float *w = mem_array(float, rows *columns);
    InitializerInput input = {
        .seed = 4, .fan_in = columns, .fan_out = rows, .rows = rows, .columns = columns
    };
    ck_assert(initializer_fill(scheme, &input, w, &err));
    bool by_rows = rows <= columns;
    int count = by_rows ? rows : columns, length = by_rows ? columns : rows;
    int step = by_rows ? 1 : columns, start = by_rows ? columns : 1;
    for (int a = 0; a < count; a++)
        for (int b = 0; b <= a; b++) {
            double sum = 0;
            for (int i = 0; i < length; i++)
                sum += (double)w[a * start + i * step] * (double)w[b * start + i * step];
            ck_assert_double_le(fabs(sum - (a == b ? gain * gain : 0)), 2e-6 * gain * gain);
        }
    mem_free(w);
}

START_TEST(test_orthogonal)
{
    check_orthogonal(16, 16, "orthogonal", 1);
    check_orthogonal(7, 40, "orthogonal", 1);
    check_orthogonal(65, 9, "orthogonal*1.5", 1.5);
    check_orthogonal(1, 1, "orthogonal", 1);
}
END_TEST

START_TEST(test_constants)
{
    static const struct {
        const char *scheme;
        float value;
    } cases[] = {
        { "zeros", 0 }, { "ones", 1 }, { "constant(0.25)", 0.25f }, { "constant(-3)*2", -6 }
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float w[6] = { 9, 9, 9, 9, 9, 9 };
        Err err;
        InitializerInput input = { .fan_in = 3, .fan_out = 2, .rows = 2, .columns = 3 };
        ck_assert(initializer_fill(cases[i].scheme, &input, w, &err));
        for (int k = 0; k < 6; k++)
            ck_assert(w[k] == cases[i].value);
    }
}
END_TEST

/* Filter i of a group has a one at the middle tap of channel i; filters without a channel are what
 * `torch` gives. */
static void check_dirac(int filters, int channels, int height, int width, int groups)
{
    float w[256], torch[256];
    Err err;
    int taps = height * width, columns = channels * taps;
    InitializerInput input = { .seed = 3,
                               .fan_in = columns,
                               .fan_out = 9,
                               .rows = filters,
                               .columns = columns,
                               .kernel_h = height,
                               .kernel_w = width,
                               .groups = groups };
    ck_assert(initializer_fill("dirac*1.5", &input, w, &err));
    ck_assert(initializer_fill("torch*1.5", &input, torch, &err));
    int group = filters / (groups ? groups : 1);
    for (int f = 0; f < filters; f++)
        for (int k = 0; k < columns; k++) {
            int row = k % taps / width, column = k % width;
            bool middle = row == height / 2 && column == width / 2;
            float one = middle && k / taps == f % group ? 1.5f : 0;
            bool identity = f % group < channels;
            ck_assert(w[f * columns + k] == (identity ? one : torch[f * columns + k]));
        }
}

START_TEST(test_dirac)
{
    check_dirac(5, 3, 3, 3, 1);
    check_dirac(3, 5, 3, 3, 1);
    check_dirac(4, 4, 2, 2, 1);
    check_dirac(6, 2, 1, 3, 2);
    check_dirac(4, 1, 5, 5, 4);
    check_dirac(3, 7, 1, 1, 0);
}
END_TEST

/* A random symmetric positive matrix B B^T / n; or 4 times the identity. */
static void make_moments(int n, bool equal, double *moments)
{
    double *b = mem_array(double, n *n);
    for (int i = 0; i < n * n; i++)
        b[i] = random_normal(random_key(5, RANDOM_TEST, (uint64_t)n, 0), (uint64_t)i);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int k = 0; k < n; k++)
                sum += b[i * n + k] * b[j * n + k];
            moments[i * n + j] = equal ? (i == j ? 4 : 0) : sum / n;
        }
    mem_free(b);
}

/* a^T M b */
static double between(const double *moments, int n, const float *a, const float *b)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            sum += (double)a[i] * moments[i * n + j] * (double)b[j];
    return sum;
}

/* With M the moments and w_f = gain v_f / sqrt(lambda_f + eps): w_f M w_g = 0 for f != g and gain^2
 * lambda_f / (lambda_f + eps) for f = g, lambda_f falling; filter n + f is minus filter f. */
static void check_whiten(int n, int filters, bool equal)
{
    enum { N = 27 };
    static double moments[N * N];
    static float w[2 * N * N];
    Err err;
    const double eps = 0.125, gain = 2;
    make_moments(n, equal, moments);
    InitializerInput input = { .rows = filters, .columns = n, .moments = moments };
    ck_assert_msg(initializer_fill("whiten(0.125)*2", &input, w, &err), "%s", err.text);
    double last = (double)INFINITY;
    for (int f = 0; f < filters && f < n; f++) {
        double squares = 0;
        for (int i = 0; i < n; i++)
            squares += (double)w[f * n + i] * (double)w[f * n + i];
        double lambda = gain * gain / squares - eps;
        ck_assert_double_le(lambda, last * (1 + 1e-6));
        last = lambda;
        for (int g = 0; g <= f; g++)
            ck_assert_double_eq_tol(between(moments, n, w + f * n, w + g * n),
                                    f == g ? gain * gain * lambda / (lambda + eps) : 0, 1e-5);
    }
    for (int i = 0; i < (filters - n) * n; i++)
        ck_assert(w[n * n + i] == -w[i]);
}

START_TEST(test_whiten)
{
    check_whiten(1, 1, false);
    check_whiten(2, 4, false);
    check_whiten(12, 24, false);
    check_whiten(12, 24, true);
    check_whiten(12, 7, false);
    check_whiten(27, 40, false);
}
END_TEST

START_TEST(test_whiten_messages)
{
    float w[25 * 12];
    double moments[144] = { 1 };
    Err err;
    InitializerInput input = { .rows = 25, .columns = 12 };
    ck_assert(!initializer_fill("whiten(1e-3)", &input, w, &err));
    ck_assert_str_eq(err.text, "whiten is for a convolution of one group that sees the training "
                               "images themselves, in patches of at most 128 values");
    input.moments = moments;
    ck_assert(!initializer_fill("whiten(1e-3)", &input, w, &err));
    ck_assert_str_eq(err.text, "whiten makes at most 24 filters of patches of 12 values, not 25");
}
END_TEST

static void fill_small(uint64_t seed, uint64_t tensor, const char *scheme, float w[35])
{
    Err err;
    InitializerInput input = {
        .seed = seed, .tensor = tensor, .fan_in = 5, .fan_out = 7, .rows = 7, .columns = 5
    };
    ck_assert(initializer_fill(scheme, &input, w, &err));
}

START_TEST(test_keys)
{
    static const char *const schemes[] = { "he_normal", "he_uniform", "he_truncated",
                                           "orthogonal" };
    for (size_t i = 0; i < 4; i++) {
        float a[35], b[35];
        fill_small(1, 2, schemes[i], a);
        fill_small(1, 2, schemes[i], b);
        ck_assert(same_bits(a, b, 35));
        fill_small(1, 3, schemes[i], b);
        ck_assert(!same_bits(a, b, 35));
        fill_small(2, 2, schemes[i], b);
        ck_assert(!same_bits(a, b, 35));
    }
}
END_TEST

static void assert_error(const char *scheme, const char *message)
{
    Err err;
    ck_assert(!initializer_check(scheme, &err));
    ck_assert_msg(strncmp(err.text, message, strlen(message)) == 0, "%s: \"%s\"", scheme, err.text);
}

START_TEST(test_spelling)
{
    int count = 0;
    Err err;
    for (const InitializerInfo *info = initializer_all(); info->name; info++, count++) {
        char scheme[64];
        snprintf(scheme, sizeof scheme, "%s", info->name);
        char *open = strchr(scheme, '(');
        if (open)
            snprintf(open, 8, "(0.5)");
        ck_assert_msg(initializer_check(scheme, &err), "%s: %s", scheme, err.text);
    }
    ck_assert_int_eq(count, 22);
    assert_error("he_nromal", "unknown initialiser \"he_nromal\"; did you mean \"he_normal\"? "
                              "(initialisers: he_normal, he_uniform, ");
    assert_error("", "unknown initialiser \"\"");
    assert_error("normal", "initialiser \"normal\" wants a number: \"normal(0.02)\"");
    assert_error("normal(x)", "initialiser \"normal(x)\": a number is wanted in the brackets");
    assert_error("normal(1", "initialiser \"normal(1\": \"name(number)\" is wanted");
    assert_error("normal(1)2", "initialiser \"normal(1)2\": \"name(number)\" is wanted");
    assert_error("he_normal*", "initialiser \"he_normal*\": a number is wanted after \"*\"");
    assert_error("he_normal*inf", "initialiser \"he_normal*inf\": a number is wanted after \"*\"");
    assert_error("whiten", "initialiser \"whiten\" wants a number: \"whiten(0.02)\"");
    assert_error("whiten(0)",
                 "initialiser \"whiten(0)\": a number above 0 is wanted in the brackets");
    assert_error("dirac(1)", "initialiser \"dirac(1)\": dirac takes no number in");
    assert_error("he_normal(2)", "initialiser \"he_normal(2)\": he_normal takes no number in");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("initializer");
    add_test(suite, test_scales);
    add_test(suite, test_truncated);
    add_test(suite, test_orthogonal);
    add_test(suite, test_constants);
    add_test(suite, test_dirac);
    add_test(suite, test_whiten);
    add_test(suite, test_whiten_messages);
    add_test(suite, test_keys);
    add_test(suite, test_spelling);
    return run_suite(suite);
}
