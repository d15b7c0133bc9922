/* Attention against its equations in double, with every mask there is, at every ISA level of this
 * CPU; and the laws that its blocks could break: a sample's bits do not depend on its place in the
 * batch, a causal result does not depend on later positions, a hidden key is not seen. */
#include "image_case.h"

#include "lockstep/cpu.h"

enum { PADDING = 3 }; /* token id that is hidden */

/* ---- the equations, in double ---- */

/* What the layer's options say. */
typedef struct Spec {
    int T, F, heads, batch;
    bool causal, bias, padding;
    double dropout;
} Spec;

typedef struct Naive {
    double *x, *dy;         /* (B, T, F) */
    double *y, *dx;         /* (B, T, F) */
    double *qkv, *dqkv;     /* (B, T, 3 F) */
    double *mixed, *dmixed; /* (B, T, F) */
    double *dw[4];
    double *p, *dp; /* (T, T) of a head, queries first */
} Naive;

/* y (R, N) = x (R, K) w^T + b */
static void naive_dense(size_t R, size_t N, size_t K, const double *x, const float *w,
                        const float *b, double *y)
{
    for (size_t r = 0; r < R; r++)
        for (size_t n = 0; n < N; n++) {
            double sum = b ? (double)b[n] : 0;
            for (size_t k = 0; k < K; k++)
                sum += x[r * K + k] * (double)w[n * K + k];
            y[r * N + n] = sum;
        }
}

/* dx (R, K) += dy w */
static void naive_data_gradient(size_t R, size_t N, size_t K, const float *w, const double *dy,
                                double *dx)
{
    for (size_t r = 0; r < R; r++)
        for (size_t n = 0; n < N; n++)
            for (size_t k = 0; k < K; k++)
                dx[r * K + k] += dy[r * N + n] * (double)w[n * K + k];
}

/* dw (N, K) += dy^T x, db += sum of the rows of dy */
static void naive_weight_gradient(size_t R, size_t N, size_t K, const double *x, const double *dy,
                                  double *dw, double *db)
{
    for (size_t r = 0; r < R; r++)
        for (size_t n = 0; n < N; n++) {
            db[n] += dy[r * N + n];
            for (size_t k = 0; k < K; k++)
                dw[n * K + k] += dy[r * N + n] * x[r * K + k];
        }
}

static bool is_seen(const ImageCase *test, const Spec *spec, size_t sample, size_t query,
                    size_t key)
{
    const int32_t *tokens = test->pass.tokens;
    if (spec->causal && key > query)
        return false;
    return !spec->padding || tokens[sample * (size_t)spec->T + key] != PADDING;
}

/* What a probability is multiplied by: 1 / (1 - p), or 0 if it is dropped. */
static double kept(const ImageCase *test, const Spec *spec, size_t sample, size_t head,
                   size_t query, size_t key)
{
    size_t T = (size_t)spec->T, row = (T + 63) / 64 * 64;
    RandomKey stream =
        random_key(SEED, RANDOM_DROPOUT, (uint64_t)test->pass.step, (uint64_t)test->layer.index);
    uint64_t place = ((size_t)test->pass.first_sample + sample) * (size_t)spec->heads + head;
    uint32_t word = random_word(stream, (place * T + key) * row + query);
    bool dropped = (double)word < floor(spec->dropout * 0x1p32);
    return dropped ? 0 : 1 / (1 - spec->dropout);
}

/* p (T, T) of a head; rows of queries that see no key are 0. */
static void naive_probabilities(const ImageCase *test, const Spec *spec, size_t sample,
                                const double *q, const double *k, double *p)
{
    size_t T = (size_t)spec->T, D = (size_t)(spec->F / spec->heads), row = 3 * (size_t)spec->F;
    for (size_t i = 0; i < T; i++) {
        double top = -HUGE_VAL, sum = 0;
        for (size_t j = 0; j < T; j++) {
            double score = 0;
            for (size_t d = 0; d < D; d++)
                score += q[i * row + d] * k[j * row + d];
            p[i * T + j] = is_seen(test, spec, sample, i, j) ? score / sqrt((double)D) : -HUGE_VAL;
            top = fmax(top, p[i * T + j]);
        }
        for (size_t j = 0; j < T; j++) {
            p[i * T + j] = isinf(p[i * T + j]) ? 0 : exp(p[i * T + j] - top);
            sum += p[i * T + j];
        }
        for (size_t j = 0; j < T; j++)
            p[i * T + j] /= sum > 0 ? sum : 1;
    }
}

static void naive_head(const ImageCase *test, const Spec *spec, Naive *naive, size_t sample,
                       size_t head)
{
    size_t T = (size_t)spec->T, F = (size_t)spec->F, D = F / (size_t)spec->heads, row = 3 * F;
    const double *q = naive->qkv + sample * T * row + head * D, *k = q + F, *v = k + F;
    double *dq = naive->dqkv + (q - naive->qkv), *dk = dq + F, *dv = dk + F;
    double *out = naive->mixed + sample * T * F + head * D;
    const double *dout = naive->dmixed + sample * T * F + head * D;
    naive_probabilities(test, spec, sample, q, k, naive->p);
    for (size_t i = 0; i < T; i++) {
        const double *p = naive->p + i * T;
        double *dp = naive->dp + i * T, mean = 0;
        for (size_t j = 0; j < T; j++) {
            double factor = kept(test, spec, sample, head, i, j);
            dp[j] = 0;
            for (size_t d = 0; d < D; d++) {
                out[i * F + d] += p[j] * factor * v[j * row + d];
                dv[j * row + d] += p[j] * factor * dout[i * F + d];
                dp[j] += dout[i * F + d] * v[j * row + d] * factor;
            }
            mean += p[j] * dp[j];
        }
        for (size_t j = 0; j < T; j++)
            for (size_t d = 0; d < D; d++) {
                double ds = p[j] * (dp[j] - mean) / sqrt((double)D);
                dq[i * row + d] += ds * k[j * row + d];
                dk[j * row + d] += ds * q[i * row + d];
            }
    }
}

static void naive_open(Naive *naive, const ImageCase *test, const Spec *spec)
{
    size_t T = (size_t)spec->T, F = (size_t)spec->F, n = (size_t)spec->batch * T * F;
    *naive = (Naive){ .x = plain_copy(test->layer.in, spec->batch, test->x),
                      .dy = plain_copy(test->layer.in, spec->batch, test->dy),
                      .y = mem_array(double, n),
                      .dx = mem_array(double, n),
                      .qkv = mem_array(double, 3 * n),
                      .dqkv = mem_array(double, 3 * n),
                      .mixed = mem_array(double, n),
                      .dmixed = mem_array(double, n),
                      .p = mem_array(double, T *T),
                      .dp = mem_array(double, T *T) };
    static const size_t sizes[4] = { 3, 1, 3, 1 };
    for (int t = 0; t < 4; t++)
        naive->dw[t] = mem_array(double, sizes[t] * F * (t < 2 ? F : 1));
}

static void naive_close(Naive *naive)
{
    double *arrays[] = { naive->x,     naive->dy,    naive->y,      naive->dx,   naive->qkv,
                         naive->dqkv,  naive->mixed, naive->dmixed, naive->p,    naive->dp,
                         naive->dw[0], naive->dw[1], naive->dw[2],  naive->dw[3] };
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        mem_free(arrays[i]);
}

static void naive_run(Naive *naive, const ImageCase *test, const Spec *spec)
{
    const LayerTensor *w = test->layer.tensors;
    size_t F = (size_t)spec->F, R = (size_t)(spec->batch * spec->T);
    naive_dense(R, 3 * F, F, naive->x, w[0].w, spec->bias ? w[2].w : NULL, naive->qkv);
    naive_data_gradient(R, F, F, w[1].w, naive->dy, naive->dmixed);
    for (size_t sample = 0; sample < (size_t)spec->batch; sample++)
        for (size_t head = 0; head < (size_t)spec->heads; head++)
            naive_head(test, spec, naive, sample, head);
    naive_dense(R, F, F, naive->mixed, w[1].w, spec->bias ? w[3].w : NULL, naive->y);
    naive_data_gradient(R, 3 * F, F, w[0].w, naive->dqkv, naive->dx);
    naive_weight_gradient(R, 3 * F, F, naive->x, naive->dqkv, naive->dw[0], naive->dw[2]);
    naive_weight_gradient(R, F, F, naive->mixed, naive->dy, naive->dw[1], naive->dw[3]);
}

/* ---- the layer under test ---- */

/* Weights of about the size that training has, so that a softmax looks at many keys. */
static void open_case(ImageCase *test, const Spec *spec, int32_t *tokens)
{
    char options[256];
    Err err;
    Shape shape = sequence(spec->T, spec->F);
    snprintf(options, sizeof options, "heads: %d, causal: %s, bias: %s, padding: %d, dropout: %g",
             spec->heads, spec->causal ? "true" : "false", spec->bias ? "true" : "false",
             spec->padding ? PADDING : -1, spec->dropout);
    bool planned =
        case_plan_tokens(test, "attention", options, shape, spec->padding ? spec->T : 0, &err);
    ck_assert_msg(planned, "%s: %s", test->label, err.text);
    case_fill(test, spec->batch);
    test->pass.step = 11;
    test->pass.first_sample = 2 * spec->batch;
    test->pass.global_batch = 4 * spec->batch;
    test->pass.tokens = tokens;
    for (int t = 0; t < test->layer.tensor_count; t++) {
        LayerTensor *tensor = &test->layer.tensors[t];
        for (size_t i = 0; i < test->layout.tensors[tensor->index].n; i++)
            tensor->w[i] *= 1.5f / sqrtf((float)spec->F);
    }
}

/* Some padding everywhere; the first sample of a batch has nothing else. */
static int32_t *make_tokens(const Spec *spec)
{
    size_t n = (size_t)(spec->batch * spec->T);
    int32_t *tokens = mem_array(int32_t, n);
    for (size_t i = 0; i < n; i++)
        tokens[i] = i < (size_t)spec->T ? PADDING
                                        : (int32_t)random_below(random_key(SEED, RANDOM_TEST, 5, 5),
                                                                i, PADDING + 1);
    return tokens;
}

static void check_against_naive(const Spec *spec)
{
    ImageCase test;
    Naive naive;
    int32_t *tokens = make_tokens(spec);
    open_case(&test, spec, tokens);
    naive_open(&naive, &test, spec);
    case_run(&test);
    naive_run(&naive, &test, spec);
    Shape shape = test.layer.in;
    assert_stored(&test, "y", shape, spec->batch, test.y, naive.y, 3e-6);
    assert_stored(&test, "dx", shape, spec->batch, test.dx, naive.dx, 3e-6);
    for (int t = 0; t < test.layer.tensor_count; t++)
        assert_tensor(&test, t, naive.dw[t], 3e-6);
    naive_close(&naive);
    case_close(&test);
    mem_free(tokens);
}

static void at_all_levels(void (*check)(void))
{
    static const char *const levels[] = { "v2", "v3", "v4" };
    Err err;
    for (int i = 0; i < 3; i++)
        if (cpu_set_isa(levels[i], &err))
            check();
    ck_assert(cpu_set_isa("auto", &err));
}

/* Lengths around the blocks of 64 and the steps of 16; head dimensions that are no multiple of a
 * vector. */
static const Spec specs[] = {
    { .T = 1, .F = 4, .heads = 2, .batch = 2 },
    { .T = 5, .F = 6, .heads = 3, .batch = 3, .bias = true },
    { .T = 16, .F = 16, .heads = 1, .batch = 1, .bias = true },
    { .T = 63, .F = 34, .heads = 2, .batch = 2 },
    { .T = 64, .F = 64, .heads = 2, .batch = 2, .bias = true },
    { .T = 65, .F = 24, .heads = 2, .batch = 2, .bias = true },
    { .T = 145, .F = 33, .heads = 1, .batch = 1, .bias = true },
    { .T = 200, .F = 100, .heads = 5, .batch = 1 },
    { .T = 256, .F = 128, .heads = 1, .batch = 1, .bias = true },
};
enum { SPECS = sizeof specs / sizeof *specs };

static void check_masks(void)
{
    for (int i = 0; i < SPECS; i++)
        for (int mask = 0; mask < 4; mask++) {
            Spec spec = specs[i];
            spec.causal = mask & 1;
            spec.padding = mask & 2;
            check_against_naive(&spec);
        }
}

START_TEST(test_masks)
{
    at_all_levels(check_masks);
}
END_TEST

static void check_dropout(void)
{
    for (int i = 0; i < SPECS; i++)
        for (int causal = 0; causal < 2; causal++) {
            Spec spec = specs[i];
            spec.causal = causal;
            spec.dropout = 0.25;
            check_against_naive(&spec);
        }
}

START_TEST(test_dropout)
{
    at_all_levels(check_dropout);
}
END_TEST

/* ---- laws ---- */

static void check_places(void)
{
    for (int i = 0; i < SPECS; i++) {
        ImageCase test;
        Spec spec = specs[i];
        spec.causal = i % 2;
        spec.batch = 7;
        open_case(&test, &spec, NULL);
        size_t n = shape_stored(test.layer.in);
        for (size_t s = 1; s < 7; s++) {
            memcpy(test.x + s * n, test.x, n * sizeof *test.x);
            memcpy(test.dy + s * n, test.dy, n * sizeof *test.dy);
        }
        case_run(&test);
        for (size_t s = 1; s < 7; s++)
            ck_assert_msg(same_bits(test.y, test.y + s * n, n) &&
                              same_bits(test.dx, test.dx + s * n, n),
                          "%s: sample %zu has other bits", test.label, s);
        case_close(&test);
    }
}

START_TEST(test_places)
{
    at_all_levels(check_places);
}
END_TEST

static void forward_only(ImageCase *test, float *y)
{
    test->layer.type->begin_step(&test->layer, &test->layout, 0);
    test->layer.type->forward(&test->layer, &test->pass, test->x, y);
}

/* Another x from position t on leaves the results before t alone. */
static void check_causality(void)
{
    static const int places[] = { 1, 15, 16, 63, 64, 100, 129 };
    const Spec spec = { .T = 130, .F = 20, .heads = 2, .batch = 1, .causal = true };
    ImageCase test;
    open_case(&test, &spec, NULL);
    float *y = mem_array(float, shape_stored(test.layer.out));
    forward_only(&test, test.y);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        size_t before = (size_t)(places[i] * spec.F), n = shape_stored(test.layer.in);
        fill_stored(test.layer.in, 1, 1, test.x);
        for (size_t k = before; k < n; k++)
            test.x[k] = k % 2 ? 1000 : -3;
        forward_only(&test, y);
        ck_assert_msg(same_bits(y, test.y, before), "position %d is seen before it", places[i]);
    }
    mem_free(y);
    case_close(&test);
}

START_TEST(test_causality)
{
    at_all_levels(check_causality);
}
END_TEST

/* Evaluation drops nothing. */
START_TEST(test_evaluation)
{
    ImageCase with, without;
    Spec spec = { .T = 70, .F = 32, .heads = 2, .batch = 2, .bias = true };
    open_case(&without, &spec, NULL);
    spec.dropout = 0.5;
    open_case(&with, &spec, NULL);
    with.pass.train = without.pass.train = false;
    forward_only(&with, with.y);
    forward_only(&without, without.y);
    ck_assert(same_bits(with.y, without.y, 2 * shape_stored(with.layer.out)));
    case_close(&with);
    case_close(&without);
}
END_TEST

static void assert_refused(const char *options, Shape shape, int tokens, const char *wanted)
{
    ImageCase test;
    Err err;
    ck_assert(!case_plan_tokens(&test, "attention", options, shape, tokens, &err));
    ck_assert_str_eq(err.text, wanted);
    case_close(&test);
}

START_TEST(test_refused)
{
    assert_refused("heads: 2", features(8), 0, "it needs a sequence (T, F)");
    assert_refused("heads: 3", sequence(5, 8), 0, "heads: 3 must divide the 8 features");
    assert_refused("heads: 1", sequence(5, 20000), 0, "20000 features are too many, at most 16384");
    assert_refused("heads: 2, padding: 0", sequence(5, 8), 0,
                   "padding: the network's input must be one token id for each of the 5 "
                   "positions");
    assert_refused("heads: 2, padding: 0", sequence(5, 8), 10,
                   "padding: the network's input must be one token id for each of the 5 "
                   "positions");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("attention");
    Err err;
    if (!cpu_blas_setup("auto", &err))
        return 1;
    add_test(suite, test_masks);
    add_test(suite, test_dropout);
    add_test(suite, test_places);
    add_test(suite, test_causality);
    add_test(suite, test_evaluation);
    add_test(suite, test_refused);
    return run_suite(suite);
}
