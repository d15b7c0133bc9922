/* ranks: 1 2 3 4 5 8
 * Compressed gradients: what is sent and what is kept make up what there was; sums are those of the
 * decoded lanes over the lane tree, with the same bits at every rank count and on any hosts. */
#include "support.h"

#include "../../src/comm/world.h"
#include "lockstep/cpu.h"
#include "lockstep/kernels.h"
#include "lockstep/memory.h"
#include "lockstep/reducer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LANES 8
#define STEPS 4

static Comm *comm;

typedef struct Tensor {
    int ndim, shape[3];
    unsigned flags;
} Tensor;
static const Tensor tensors[] = { { 2, { 70, 90 }, 0 },
                                  { 1, { 5 }, 0 },
                                  { 3, { 40, 30, 9 }, 0 },
                                  { 1, { 400 }, 0 },
                                  { 2, { 300, 1 }, 0 },
                                  { 1, { 333 }, LAYOUT_STATISTIC },
                                  { 2, { 20, 20 }, LAYOUT_FROZEN } };
enum { TENSORS = sizeof tensors / sizeof *tensors };

static Layout new_layout(void)
{
    Layout layout = { 0 };
    for (int i = 0; i < TENSORS; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        layout_add(&layout, name, tensors[i].ndim, tensors[i].shape, tensors[i].flags);
    }
    layout_seal(&layout);
    return layout;
}

/* Lanes have something in common, as gradients do. */
static void write_lane(const Layout *layout, int step, int lane, float *gradient)
{
    memset(gradient, 0, layout->n * sizeof *gradient);
    for (int t = 0; t < layout->count; t++) {
        const LayoutTensor *tensor = &layout->tensors[t];
        RandomKey own = random_key(1, RANDOM_TEST, (uint64_t)(step * LANES + lane), (uint64_t)t);
        RandomKey all = random_key(2, RANDOM_TEST, (uint64_t)t, 0);
        for (size_t i = 0; i < tensor->n; i++)
            gradient[tensor->offset + i] =
                (float)(0.1 * random_normal(own, i) + random_normal(all, i));
    }
}

static Compression compression(const char *text)
{
    Config config;
    Compression c;
    Err err = { "" };
    ck_assert_msg(config_parse(&config, "test", text, strlen(text), &err), "%s", err.text);
    ck_assert_msg(compression_init(&c, &config, config_get(config.root, "compress"), 7, &err), "%s",
                  err.text);
    config_free(&config);
    return c;
}

/* One encoding: what is decoded and what is left add up to what there was, exactly or to rounding;
 * parts of it decode to the same. */
static void check_law(const char *text, bool exact)
{
    Compression c = compression(text);
    enum { N = 5003 };
    float *before = mem_array(float, N), *left = mem_array(float, N), *sent = mem_array(float, N);
    void *code = mem_alloc(c.type->bytes(c.options, N));
    random_fill_normal(random_key(3, RANDOM_TEST, 0, 0), 0, before, N);
    before[17] = before[18] = before[4000] = -5; /* ties */
    memcpy(left, before, N * sizeof *left);
    c.type->encode(c.options, N, left, code);
    c.type->decode(c.options, N, code, 0, N, sent);
    double kept = 0, all = 0;
    for (size_t i = 0; i < N; i++) {
        double error = fabs((double)sent[i] + (double)left[i] - (double)before[i]);
        ck_assert(error <= (exact ? 0 : 1e-7 * (fabs((double)before[i]) + fabs((double)sent[i]))));
        kept += (double)left[i] * (double)left[i];
        all += (double)before[i] * (double)before[i];
    }
    ck_assert(kept < all); /* a contraction, without which error feedback may not converge */
    for (size_t first = 0; first < N; first += 613) {
        float part[700];
        size_t n = N - first < 700 ? N - first : 700;
        c.type->decode(c.options, N, code, first, n, part);
        ck_assert(same_bits(part, sent + first, n));
    }
    mem_free(before);
    mem_free(left);
    mem_free(sent);
    mem_free(code);
    compression_free(&c);
}

START_TEST(test_conservation)
{
    check_law("compress: {type: topk, ratio: 0.013}", true);
    check_law("compress: {type: topk, ratio: 1}", true);
    check_law("compress: {type: topk, ratio: 1e-6}", true);
    check_law("compress: sign", false);
}
END_TEST

/* The k largest, the first of equal ones. */
START_TEST(test_topk_choice)
{
    Compression c = compression("compress: {type: topk, ratio: 0.3}");
    float x[10] = { 1, -3, 2, 3, 0, 3, -2, 0.5f, -1, 0 }, y[10];
    const float wanted[10] = { 0, -3, 0, 3, 0, 3, 0, 0, 0, 0 };
    float ties[10] = { 1, 1, -1, 1, 1, 1, 1, 1, 1, 1 };
    const float first[10] = { 1, 1, -1 };
    char code[200] __attribute__((aligned(16)));
    c.type->encode(c.options, 10, x, code);
    c.type->decode(c.options, 10, code, 0, 10, y);
    ck_assert(same_bits(y, wanted, 10));
    c.type->encode(c.options, 10, ties, code);
    c.type->decode(c.options, 10, code, 0, 10, y);
    ck_assert(same_bits(y, first, 10));
    x[4] = NAN;
    c.type->encode(c.options, 10, x, code); /* a gradient that has diverged does not go unseen */
    c.type->decode(c.options, 10, code, 0, 10, y);
    ck_assert(isnan(y[4]));
    compression_free(&c);
}
END_TEST

/* ---- reducers ---- */

typedef struct Job {
    Layout layout;
    Lanes lanes;
    Comm *group;
    SliceExchange exchange;
    Reducer *reducer;
} Job;

static Job start(const char *hosts)
{
    Job job = { .layout = new_layout(), .group = comm };
    Err err = { "" };
    ck_assert_msg(comm_pretend_hosts(comm, hosts, &err), "%s", err.text);
    if (*hosts)
        job.group = comm_split(comm, comm_host_index(comm, comm_rank(comm)));
    ck_assert(lanes_init(&job.lanes, LANES, LANES, comm_rank(comm), comm_size(comm), NULL));
    return job;
}

/* A reducer keeps addresses of the job. */
static void open_reducer(Job *job, const Compression *c)
{
    comm_set_compression(comm, c);
    slice_exchange_init(&job->exchange, job->group, &job->layout, NULL);
    job->reducer = reducer_init(comm, &job->lanes, &job->layout, &job->exchange);
}

static void stop(Job *job)
{
    reducer_free(job->reducer);
    slice_exchange_free(&job->exchange);
    if (job->group != comm)
        comm_free(job->group);
    comm_set_compression(comm, NULL);
    ck_assert(comm_pretend_hosts(comm, "", NULL));
    layout_free(&job->layout);
}

/* The whole sum of a step, on every rank; owned by the caller. */
static float *reduce(Job *job, int step, bool alone)
{
    for (int lane = job->lanes.first; lane < job->lanes.last; lane++) {
        write_lane(&job->layout, step, lane, reducer_lane(job->reducer));
        reducer_add_lane(job->reducer, lane);
    }
    Gradient sum = alone ? reducer_reduce_all(job->reducer) : reducer_reduce(job->reducer);
    float *whole = mem_array(float, job->layout.n);
    const size_t *blocks = job->exchange.block_bounds;
    int me = comm_rank(job->group);
    int first = alone ? 0 : (int)blocks[me],
        last = alone ? job->layout.blocks : (int)blocks[me + 1];
    for (int block = first; block < last; block++) {
        LayoutBlock b = layout_block(&job->layout, block);
        memcpy(whole + b.offset, gradient_block(sum, b, block % 2 == 0), b.n * sizeof *whole);
    }
    comm_barrier(comm); /* as publishing weights is */
    if (!alone)
        comm_publish(&job->exchange, whole);
    return whole;
}

/* What one process makes of all lanes: `errors` (LANES, n) are updated. Codecs only. */
static float *serial(const Layout *layout, const Compression *c, int step, float *errors)
{
    float *lanes = mem_array(float, LANES * layout->n);
    char *code = mem_alloc(layout->n * 8 + 64);
    for (int lane = 0; lane < LANES; lane++) {
        float *x = lanes + (size_t)lane * layout->n, *m = errors + (size_t)lane * layout->n;
        write_lane(layout, step, lane, x);
        for (int t = 0; t < layout->count; t++) {
            const LayoutTensor *tensor = &layout->tensors[t];
            float *y = x + tensor->offset, *e = m + tensor->offset;
            if (tensor->flags & LAYOUT_FROZEN)
                memset(y, 0, tensor->n * sizeof *y);
            if (tensor->flags || tensor->n < (size_t)c->whole)
                continue;
            for (size_t i = 0; i < tensor->n; i++)
                e[i] += y[i];
            c->type->encode(c->options, tensor->n, e, code);
            c->type->decode(c->options, tensor->n, code, 0, tensor->n, y);
        }
    }
    for (size_t width = 1; width < LANES; width *= 2)
        for (size_t lane = 0; lane < LANES; lane += 2 * width)
            for (size_t i = 0; i < layout->n; i++)
                lanes[lane * layout->n + i] += lanes[(lane + width) * layout->n + i];
    mem_free(code);
    return lanes; /* the first n */
}

static void check_codec(const char *text, const char *hosts, bool share, bool alone)
{
    Compression c = compression(text);
    comm_set_share(comm, share);
    Job job = start(hosts);
    open_reducer(&job, &c);
    size_t n = job.layout.n;
    float *errors = mem_array(float, LANES *n);
    for (int step = 0; step < STEPS; step++) {
        float *wanted = serial(&job.layout, &c, step, errors);
        float *got = reduce(&job, step, alone);
        assert_all(same_bits(got, wanted, n));
        mem_free(got);
        mem_free(wanted);
    }
    ReducerState state;
    for (int i = 0; reducer_state(job.reducer, i, &state); i++)
        assert_all(!state.data || same_bits(state.data, errors + (size_t)i * n, n));
    mem_free(errors);
    stop(&job);
    comm_set_share(comm, true);
    compression_free(&c);
}

static const char *const codecs[] = { "compress: {type: topk, ratio: 0.02}",
                                      "compress: {type: sign, whole: 0}" };

START_TEST(test_codecs)
{
    int ranks = comm_size(comm);
    char uneven[16];
    snprintf(uneven, sizeof uneven, "1+%d", ranks - 1);
    for (int i = 0; i < 2; i++) {
        check_codec(codecs[i], "", true, false);
        check_codec(codecs[i], "", true, true);
        check_codec(codecs[i], "", false, false);
        if (ranks >= 2)
            check_codec(codecs[i], "2", true, false);
        if (ranks >= 3)
            check_codec(codecs[i], uneven, true, true);
        if (ranks >= 4)
            check_codec(codecs[i], "4", true, false);
    }
}
END_TEST

/* ---- PowerSGD ---- */

/* Sums of all steps, one after another, with Q at the end behind them; the errors of lane 0 too if
 * they are here. */
static float *run_power(const char *hosts, bool share, bool alone, size_t *count)
{
    Compression c = compression("compress: {type: powersgd, rank: 3}");
    comm_set_share(comm, share);
    Job job = start(hosts);
    open_reducer(&job, &c);
    size_t n = job.layout.n;
    ReducerState q = { .n = 0 };
    for (int i = 0; reducer_state(job.reducer, i, &q); i++)
        continue;
    *count = STEPS * n + q.n;
    float *sums = mem_array(float, *count);
    for (int step = 0; step < STEPS; step++) {
        float *sum = reduce(&job, step, alone);
        memcpy(sums + (size_t)step * n, sum, n * sizeof *sum);
        mem_free(sum);
    }
    memcpy(sums + STEPS * n, q.data, q.n * sizeof *sums);
    stop(&job);
    comm_set_share(comm, true);
    compression_free(&c);
    return sums;
}

static uint64_t digest_of(const float *x, size_t n)
{
    return kernels()->digest(x, n * sizeof *x);
}

/* Of the sums and Q, found with one rank; every number of ranks and every ISA level gives it. */
#define POWER_DIGEST UINT64_C(0x2089ec23111e973a)

START_TEST(test_power_bits)
{
    size_t count, again;
    int ranks = comm_size(comm);
    char uneven[16];
    snprintf(uneven, sizeof uneven, "1+%d", ranks - 1);
    float *wanted = run_power("", true, false, &count);
    uint64_t digest = digest_of(wanted, count);
    assert_all(digest == POWER_DIGEST);
    struct {
        const char *hosts;
        bool share, alone;
        int ranks;
    } others[] = { { "", true, true, 1 },
                   { "", false, false, 1 },
                   { "2", true, false, 2 },
                   { uneven, true, true, 3 },
                   { "4", true, false, 4 } };
    for (Isa isa = ISA_V2; isa < cpu_isa_best(); isa++) {
        const char *const names[] = { "v2", "v3" };
        ck_assert(cpu_set_isa(names[isa], NULL));
        float *got = run_power("", true, false, &again);
        assert_all(again == count && same_bits(got, wanted, count));
        mem_free(got);
    }
    ck_assert(cpu_set_isa("auto", NULL));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (ranks < others[i].ranks)
            continue;
        float *got = run_power(others[i].hosts, others[i].share, others[i].alone, &again);
        assert_all(again == count && same_bits(got, wanted, count));
        mem_free(got);
    }
    mem_free(wanted);
}
END_TEST

/* What was sent in all steps and what is kept at the end make up all gradients. On one rank, which
 * has all errors. */
static void check_balance(const char *text)
{
    Compression c = compression(text);
    Job job = start("");
    open_reducer(&job, &c);
    size_t n = job.layout.n;
    double *balance = mem_array(double, n), worst = 0;
    float *gradient = mem_array(float, n);
    ReducerState state;
    for (int step = 0; step < STEPS; step++) {
        float *sum = reduce(&job, step, false);
        for (int lane = 0; lane < LANES; lane++) {
            write_lane(&job.layout, step, lane, gradient);
            for (size_t i = 0; i < n; i++)
                balance[i] += (double)gradient[i] - (lane == 0 ? (double)sum[i] : 0);
        }
        mem_free(sum);
    }
    for (int lane = 0; lane < LANES && reducer_state(job.reducer, lane, &state); lane++)
        for (size_t i = 0; i < n && state.data; i++)
            balance[i] -= (double)state.data[i];
    for (int t = 0; t < TENSORS; t++)
        for (size_t i = 0; i < job.layout.tensors[t].n && !(tensors[t].flags & LAYOUT_FROZEN); i++)
            worst = fmax(worst, fabs(balance[job.layout.tensors[t].offset + i]));
    assert_all(comm_size(comm) > 1 || worst < 1e-4);
    mem_free(balance);
    mem_free(gradient);
    stop(&job);
    compression_free(&c);
}

START_TEST(test_balance)
{
    check_balance("compress: {type: topk, ratio: 0.02}");
    check_balance("compress: {type: sign}");
    check_balance("compress: {type: powersgd, rank: 3}");
}
END_TEST

/* A matrix of low rank arrives as it is. */
START_TEST(test_power_exact)
{
    Compression c = compression("compress: {type: powersgd, rank: 3}");
    Job job = start("");
    open_reducer(&job, &c);
    const LayoutTensor *tensor = &job.layout.tensors[0];
    float *wanted = mem_array(float, job.layout.n), *sum = mem_array(float, job.layout.n);
    for (int row = 0; row < 70; row++)
        for (int column = 0; column < 90; column++)
            wanted[tensor->offset + (size_t)(row * 90 + column)] =
                (float)(sin(row) * cos(3 * column) + 0.5 * cos(row * row) * sin(column));
    for (int step = 0; step < 2; step++) {
        for (int lane = job.lanes.first; lane < job.lanes.last; lane++) {
            float *gradient = reducer_lane(job.reducer);
            memset(gradient, 0, job.layout.n * sizeof *gradient);
            for (size_t i = 0; i < tensor->n; i++)
                gradient[tensor->offset + i] = wanted[tensor->offset + i] / LANES;
            reducer_add_lane(job.reducer, lane);
        }
        Gradient g = reducer_reduce_all(job.reducer);
        memcpy(sum, g.sums, job.layout.n * sizeof *sum);
        assert_all(all_close(sum + tensor->offset, wanted + tensor->offset, tensor->n, 1e-5, 0));
        comm_barrier(comm);
    }
    mem_free(wanted);
    mem_free(sum);
    stop(&job);
    compression_free(&c);
}
END_TEST

/* With learning off nothing is learnt, and statistics are right. */
static void check_rest(const char *text, const char *hosts)
{
    Compression c = compression(text);
    Job job = start(hosts);
    open_reducer(&job, &c);
    mem_free(reduce(&job, 0, false));
    ReducerState state;
    uint64_t digests[LANES + 1] = { 0 };
    for (int i = 0; reducer_state(job.reducer, i, &state); i++)
        digests[i] = state.data ? digest_of(state.data, state.n) : 0;
    reducer_set_learning(job.reducer, false);
    float *sum = reduce(&job, 1, false), *lane = mem_array(float, job.layout.n);
    const LayoutTensor *statistic = &job.layout.tensors[5];
    float *wanted = mem_array(float, statistic->n *LANES);
    for (size_t k = 0; k < LANES; k++) {
        write_lane(&job.layout, 1, (int)k, lane);
        memcpy(wanted + k * statistic->n, lane + statistic->offset, statistic->n * sizeof *lane);
    }
    for (size_t width = 1; width < LANES; width *= 2)
        for (size_t k = 0; k < LANES; k += 2 * width)
            for (size_t i = 0; i < statistic->n; i++)
                wanted[k * statistic->n + i] += wanted[(k + width) * statistic->n + i];
    assert_all(same_bits(sum + statistic->offset, wanted, statistic->n));
    for (int i = 0; reducer_state(job.reducer, i, &state); i++)
        assert_all(digests[i] == (state.data ? digest_of(state.data, state.n) : 0));
    mem_free(sum);
    mem_free(lane);
    mem_free(wanted);
    stop(&job);
    compression_free(&c);
}

START_TEST(test_rest)
{
    const char *hosts = comm_size(comm) >= 2 ? "2" : "";
    check_rest("compress: {type: topk}", "");
    check_rest("compress: {type: topk}", hosts);
    check_rest("compress: {type: powersgd, rank: 2}", "");
    check_rest("compress: {type: powersgd, rank: 2}", hosts);
}
END_TEST

int main(int argc, char **argv)
{
    comm = comm_init(&argc, &argv);
    Suite *suite = suite_create("compress");
    add_test(suite, test_conservation);
    add_test(suite, test_topk_choice);
    add_test(suite, test_codecs);
    add_test(suite, test_power_bits);
    add_test(suite, test_balance);
    add_test(suite, test_power_exact);
    add_test(suite, test_rest);
    int result = run_suite(suite);
    comm_free(comm);
    return result;
}
