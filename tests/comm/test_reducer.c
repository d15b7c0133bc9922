/* ranks: 1 2 3 4 5 7 8
 * The reduction's law: at every rank count its bits are those of a serial sum over the tree. */
#include "support.h"

#include "../../src/comm/world.h"
#include "lockstep/kernels.h"
#include "lockstep/memory.h"
#include "lockstep/reducer.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static Comm *comm;

/* A float whose exponent lies anywhere in -20 .. 19, so that every order rounds otherwise. */
static float leaf(int step, int lane, size_t i)
{
    uint64_t x = ((uint64_t)step << 52) ^ ((uint64_t)lane << 40) ^ i;
    for (int round = 0; round < 3; round++) { /* Steele et al. 2014, splitmix64 */
        x += 0x9e3779b97f4a7c15u;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
        x ^= x >> 31;
    }
    float mantissa = (float)((int32_t)(x & 0xffffff) - 0x800000) / (float)0x800000;
    int exponent = (int)(x >> 32 & 0xffff) % 40 - 20;
    return exponent < 0 ? mantissa / (float)(1 << -exponent) : mantissa * (float)(1 << exponent);
}

/* What is to be reduced. Lanes from `filled` on are empty: their gradient is zero. */
typedef struct Job {
    int lanes, filled, step;
    Wire wire; /* what sums are rounded to, but for statistics */
    Layout layout;
} Job;

static float rounded(const Job *job, float x, size_t i)
{
    float y = x;
    if (job->wire.type != WIRE_FP32 && i < layout_statistics(&job->layout))
        kernels()->wire_round(&job->wire, &y, &x, 1);
    return y;
}

static float job_leaf(const Job *job, int lane, size_t i)
{
    return lane < job->filled ? leaf(job->step, lane, i) : 0.0f;
}

static float serial_tree(const Job *job, int first, int width, size_t i)
{
    if (width == 1)
        return rounded(job, job_leaf(job, first, i), i);
    return rounded(job,
                   serial_tree(job, first, width / 2, i) +
                       serial_tree(job, first + width / 2, width / 2, i),
                   i);
}

/* Running sums inside each of `ranks` ranks, then over the ranks. */
static float serial_arrival(const Job *job, int ranks, size_t i)
{
    float all = 0;
    for (int rank = 0; rank < ranks; rank++) {
        int first = lanes_first(job->lanes, rank, ranks);
        float sum = job_leaf(job, first, i);
        for (int lane = first + 1; lane < lanes_first(job->lanes, rank + 1, ranks); lane++)
            sum += job_leaf(job, lane, i);
        all = rank == 0 ? sum : all + sum;
    }
    return all;
}

/* The wanted sum; padding is zero. ranks 0: over the tree. */
static float *serial_sum(const Job *job, int ranks)
{
    float *sum = mem_array(float, job->layout.n);
    for (int t = 0; t < job->layout.count; t++) {
        const LayoutTensor *tensor = &job->layout.tensors[t];
        for (size_t i = tensor->offset; i < tensor->offset + tensor->n; i++)
            sum[i] = ranks ? serial_arrival(job, ranks, i) : serial_tree(job, 0, job->lanes, i);
    }
    return sum;
}

static void write_lane(const Job *job, int lane, float *gradient)
{
    memset(gradient, 0, job->layout.n * sizeof *gradient);
    for (int t = 0; t < job->layout.count; t++) {
        const LayoutTensor *tensor = &job->layout.tensors[t];
        for (size_t i = tensor->offset; i < tensor->offset + tensor->n; i++)
            gradient[i] = job_leaf(job, lane, i);
    }
}

/* One tensor, with its padding. */
static void write_tensor(const Job *job, int lane, int t, float *gradient)
{
    const LayoutTensor *tensor = &job->layout.tensors[t];
    memset(gradient + tensor->offset, 0, tensor->padded * sizeof *gradient);
    for (size_t i = tensor->offset; i < tensor->offset + tensor->n; i++)
        gradient[i] = job_leaf(job, lane, i);
}

static Job new_job(int lanes, const int *sizes, int count)
{
    Job job = { .lanes = lanes, .filled = lanes };
    for (int i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "tensor%d", i);
        layout_add(&job.layout, name, 1, &sizes[i], i % 5 == 4 ? LAYOUT_STATISTIC : 0);
    }
    layout_seal(&job.layout);
    return job;
}

static const float *run_step(const Job *job, const Lanes *lanes, Reducer *reducer)
{
    for (int lane = lanes->first; lane < lanes->last; lane++) {
        write_lane(job, lane, reducer_lane(reducer));
        reducer_add_lane(reducer, lane);
    }
    Gradient sum = reducer_reduce(reducer);
    Slice slice = layout_slice(&job->layout, lanes->rank, lanes->ranks);
    for (int block = slice.first_block; block < slice.last_block; block++) {
        LayoutBlock b = layout_block(&job->layout, block);
        const float *x = gradient_block(sum, b, block % 2 == 0);
        if (x != sum.sums + b.offset)
            memcpy(sum.sums + b.offset, x, b.n * sizeof *x);
    }
    return sum.sums;
}

/* One step; each rank's slice and the published arena have the bits of `wanted`. */
static bool step_gives(const Job *job, const Lanes *lanes, Reducer *reducer,
                       SliceExchange *exchange, const float *wanted)
{
    int rank = comm_rank(comm);
    size_t lo = exchange->float_bounds[rank];
    size_t hi = exchange->float_bounds[rank + 1];
    const float *sum = run_step(job, lanes, reducer);
    bool mine = same_bits(sum + lo, wanted + lo, hi - lo);
    float *arena = mem_array(float, job->layout.n);
    memcpy(arena + lo, sum + lo, (hi - lo) * sizeof *arena);
    comm_publish(exchange, arena);
    bool published = same_bits(arena, wanted, job->layout.n);
    mem_free(arena);
    return mine && published;
}

/* `steps` steps with new numbers, each equal to the serial sum; odd steps are short batches. */
static bool job_holds_now(Job *job, int steps, ReducerOrder order)
{
    Lanes lanes;
    SliceExchange exchange;
    bool holds = true;
    ck_assert(lanes_init(&lanes, job->lanes, job->lanes, comm_rank(comm), comm_size(comm), NULL));
    slice_exchange_init(&exchange, comm, &job->layout, NULL);
    Reducer *reducer = reducer_init(comm, &lanes, &job->layout, &exchange);
    reducer_set_order(reducer, order);
    for (job->step = 0; job->step < steps; job->step++) {
        job->filled = job->step % 2 == 1 ? job->lanes / 3 : job->lanes;
        float *wanted = serial_sum(job, order == REDUCER_ORDER_ARRIVAL ? comm_size(comm) : 0);
        holds &= step_gives(job, &lanes, reducer, &exchange, wanted);
        mem_free(wanted);
    }
    reducer_free(reducer);
    slice_exchange_free(&exchange);
    return holds;
}

/* ---- several hosts, make-believe ones ---- */

static bool stays_whole(const Job *job, Reducer *reducer, const Lanes *lanes, const float *wanted,
                        bool early, bool alone)
{
    for (int lane = lanes->first; lane < lanes->last; lane++) {
        float *gradient = reducer_lane(reducer);
        if (early)
            memset(gradient, 0xff, job->layout.n * sizeof *gradient); /* not a number yet */
        for (int stage = job->layout.count - 1; early && stage >= 0; stage--) {
            write_tensor(job, lane, stage, gradient);
            reducer_final(reducer, stage);
        }
        if (!early)
            write_lane(job, lane, gradient);
        reducer_add_lane(reducer, lane);
    }
    Gradient sum = alone ? reducer_reduce_all(reducer) : reducer_reduce(reducer);
    bool right = !sum.finish && same_bits(sum.sums, wanted, job->layout.n);
    comm_barrier(comm); /* nobody changes a shared sum before all have seen it */
    return right;
}

/* Every host gets the whole sum, with buckets of `bytes`, whether it travels early or late. */
typedef enum Early { LATE, POLLING, THREAD } Early;

static bool hosts_hold(Job *job, const char *hosts, size_t bytes, Early early, bool alone)
{
    Lanes lanes;
    SliceExchange exchange;
    Err err = { "" };
    bool holds = true;
    ck_assert_msg(comm_pretend_hosts(comm, hosts, &err), "%s", err.text);
    Comm *host = comm_split(comm, comm_host_index(comm, comm_rank(comm)));
    ck_assert(lanes_init(&lanes, job->lanes, job->lanes, comm_rank(comm), comm_size(comm), NULL));
    slice_exchange_init(&exchange, host, &job->layout, NULL);
    comm_set_bucket(comm, bytes);
    Reducer *reducer = reducer_init(comm, &lanes, &job->layout, &exchange);
    int *stages = mem_array(int, job->layout.count);
    for (int i = 0; i < job->layout.count; i++) /* the last tensor is ready first */
        stages[i] = i;
    reducer_set_stages(reducer, stages, early == THREAD);
    for (job->step = 0; job->step < 3; job->step++) {
        job->filled = job->step % 2 == 1 ? job->lanes / 3 : job->lanes;
        float *wanted = serial_sum(job, 0);
        holds &= stays_whole(job, reducer, &lanes, wanted, early != LATE, alone);
        mem_free(wanted);
    }
    mem_free(stages);
    reducer_free(reducer);
    slice_exchange_free(&exchange);
    comm_free(host);
    comm_set_bucket(comm, (size_t)4 << 20);
    ck_assert(comm_pretend_hosts(comm, "", NULL));
    return holds;
}

/* ---- several domains of a host, make-believe ones ---- */

/* One step: every domain has all of the sum, in slices of its ranks, and may spoil what it kept of
 * it without the others' noticing. */
static bool domain_step_gives(const Job *job, const Lanes *lanes, Reducer *reducer,
                              const SliceExchange *exchange, const float *wanted)
{
    bool holds = true;
    int rank = comm_rank(exchange->comm);
    for (int lane = lanes->first; lane < lanes->last; lane++) {
        write_lane(job, lane, reducer_lane(reducer));
        reducer_add_lane(reducer, lane);
    }
    Gradient sum = reducer_reduce(reducer);
    int last = (int)exchange->block_bounds[rank + 1];
    for (int block = (int)exchange->block_bounds[rank]; block < last; block++) {
        LayoutBlock b = layout_block(&job->layout, block);
        const float *x = gradient_block(sum, b, block % 2 == 0);
        holds &= same_bits(x, wanted + b.offset, b.n);
        if (block % 2 == 0) {
            holds &= x == sum.sums + b.offset;
            memset(sum.sums + b.offset, 0xff, b.n * sizeof *x);
        }
    }
    comm_barrier(comm); /* nobody changes a sum before all have seen it */
    return holds;
}

static bool domains_hold(Job *job, const char *hosts, int domains)
{
    Lanes lanes;
    SliceExchange exchange;
    Err err = { "" };
    bool holds = true;
    ck_assert_msg(comm_pretend_hosts(comm, hosts, &err), "%s", err.text);
    Comm *host = comm_split(comm, comm_host_index(comm, comm_rank(comm)));
    Comm *domain = comm_split_domain(*hosts ? host : comm, domains);
    ck_assert(lanes_init(&lanes, job->lanes, job->lanes, comm_rank(comm), comm_size(comm), NULL));
    slice_exchange_init(&exchange, domain, &job->layout, NULL);
    Reducer *reducer = reducer_init(comm, &lanes, &job->layout, &exchange);
    for (job->step = 0; job->step < 3; job->step++) {
        job->filled = job->step % 2 == 1 ? job->lanes / 3 : job->lanes;
        float *wanted = serial_sum(job, 0);
        holds &= domain_step_gives(job, &lanes, reducer, &exchange, wanted);
        mem_free(wanted);
    }
    reducer_free(reducer);
    slice_exchange_free(&exchange);
    comm_free(domain);
    comm_free(host);
    ck_assert(comm_pretend_hosts(comm, "", NULL));
    return holds;
}

/* In shared memory, which the ranks of a test have, and by messages. */
static bool job_holds(Job *job, int steps, ReducerOrder order)
{
    bool shared = job_holds_now(job, steps, order);
    comm_set_share(comm, false);
    bool sent = job_holds_now(job, steps, order);
    comm_set_share(comm, true);
    return shared && sent;
}

static bool sizes_hold(int lanes, const int *sizes, int count, int steps)
{
    Job job = new_job(lanes, sizes, count);
    bool holds = job_holds(&job, steps, REDUCER_ORDER_TREE);
    layout_free(&job.layout);
    return holds;
}

static const int mixed_sizes[] = { 1, 4096, 17, 4097, 640, 3, 9000 };

START_TEST(test_every_lane_count)
{
    for (int lanes = 1; lanes <= 64; lanes *= 2)
        if (lanes >= comm_size(comm))
            assert_all(sizes_hold(lanes, mixed_sizes, 7, 3));
}
END_TEST

START_TEST(test_one_big_tensor)
{
    int size = 100003;
    assert_all(sizes_hold(16, &size, 1, 1));
}
END_TEST

START_TEST(test_many_tiny_tensors)
{
    int sizes[150];
    for (int i = 0; i < 150; i++)
        sizes[i] = 1 + i % 37;
    assert_all(sizes_hold(8, sizes, 150, 2));
}
END_TEST

/* One block only: all ranks but one own nothing. */
START_TEST(test_more_ranks_than_blocks)
{
    int size = 5;
    assert_all(sizes_hold(8, &size, 1, 2));
}
END_TEST

/* Messages cut into parts, at a limit that divides nothing. */
START_TEST(test_parts)
{
    comm_set_message_bytes(comm, 1001);
    assert_all(sizes_hold(8, mixed_sizes, 7, 2));
    comm_set_message_bytes(comm, (size_t)1 << 30);
}
END_TEST

/* The test of the tests: without the tree the sum differs, and depends on the rank count. */
START_TEST(test_arrival_order_depends_on_ranks)
{
    Job job = new_job(16, mixed_sizes, 7);
    assert_all(job_holds(&job, 1, REDUCER_ORDER_ARRIVAL));
    job.step = 0;
    job.filled = job.lanes;
    float *tree = serial_sum(&job, 0);
    float *one = serial_sum(&job, 1);
    float *some = serial_sum(&job, comm_size(comm));
    assert_all(!same_bits(some, tree, job.layout.n));
    assert_all(comm_size(comm) == 1 || !same_bits(some, one, job.layout.n));
    mem_free(tree);
    mem_free(one);
    mem_free(some);
    layout_free(&job.layout);
}
END_TEST

/* As many hosts as divide the ranks or do not, and hosts of uneven size. */
START_TEST(test_hosts)
{
    int ranks = comm_size(comm);
    Job job = new_job(16, mixed_sizes, 7);
    for (int hosts = 2; hosts <= 4 && hosts <= ranks; hosts++) {
        char text[8];
        snprintf(text, sizeof text, "%d", hosts);
        assert_all(hosts_hold(&job, text, (size_t)4 << 20, POLLING, false));
        assert_all(hosts_hold(&job, text, 5000, THREAD, false));
        assert_all(hosts_hold(&job, text, 20000, LATE, false));
        assert_all(hosts_hold(&job, text, 20000, THREAD, true));
    }
    char uneven[32];
    snprintf(uneven, sizeof uneven, "%d+1", ranks - 1);
    if (ranks >= 3)
        assert_all(hosts_hold(&job, uneven, 20000, POLLING, false));
    snprintf(uneven, sizeof uneven, "1+%d+1", ranks - 2);
    if (ranks >= 4)
        assert_all(hosts_hold(&job, uneven, 20000, THREAD, false));
    layout_free(&job.layout);
}
END_TEST

START_TEST(test_domains)
{
    int ranks = comm_size(comm);
    Job job = new_job(16, mixed_sizes, 7);
    for (int domains = 1; domains <= 4; domains++) {
        assert_all(domains_hold(&job, "", domains));
        assert_all(ranks < 2 || domains_hold(&job, "2", domains));
        assert_all(ranks < 3 || domains_hold(&job, "3", domains));
    }
    layout_free(&job.layout);
}
END_TEST

/* Sums of 16 bits: the same everywhere, and half as many bytes between hosts. */
static void check_wire(Wire wire)
{
    int ranks = comm_size(comm);
    Job job = new_job(16, mixed_sizes, 7);
    job.wire = wire;
    comm_set_wire(comm, wire);
    assert_all(job_holds(&job, 3, REDUCER_ORDER_TREE));
    if (ranks >= 2) {
        assert_all(hosts_hold(&job, "2", (size_t)4 << 20, POLLING, false));
        assert_all(hosts_hold(&job, "2", 5000, THREAD, true));
    }
    if (ranks >= 4) {
        assert_all(hosts_hold(&job, "4", 20000, LATE, false));
        assert_all(ranks != 4 || hosts_hold(&job, "1+2+1", 20000, THREAD, false));
    }
    comm_set_wire(comm, (Wire){ 0 });
    layout_free(&job.layout);
}

START_TEST(test_wire)
{
    check_wire((Wire){ WIRE_BF16, 1 });
    check_wire((Wire){ WIRE_FP16, 1 });
    check_wire((Wire){ WIRE_FP16, 4096 });
}
END_TEST

/* A single lane meets no sum that would round it. */
START_TEST(test_wire_of_one_lane)
{
    Job job = new_job(1, mixed_sizes, 7);
    job.wire = (Wire){ WIRE_BF16, 1 };
    comm_set_wire(comm, job.wire);
    assert_all(comm_size(comm) > 1 || job_holds(&job, 2, REDUCER_ORDER_TREE));
    comm_set_wire(comm, (Wire){ 0 });
    layout_free(&job.layout);
}
END_TEST

/* What the plans promise is what leaves, in sums of 32 and 16 bits. */
static double sent_between_hosts(WireFormat type, double *promised)
{
    Job job = new_job(16, mixed_sizes, 4); /* no statistics */
    Lanes lanes;
    SliceExchange exchange;
    comm_set_wire(comm, (Wire){ type, 1 });
    ck_assert(comm_pretend_hosts(comm, "2", NULL));
    Comm *host = comm_split(comm, comm_host_index(comm, comm_rank(comm)));
    ck_assert(lanes_init(&lanes, 16, 16, comm_rank(comm), comm_size(comm), NULL));
    slice_exchange_init(&exchange, host, &job.layout, NULL);
    Reducer *reducer = reducer_init(comm, &lanes, &job.layout, &exchange);
    double before = comm_sent_bytes(comm);
    for (int lane = lanes.first; lane < lanes.last; lane++) {
        write_lane(&job, lane, reducer_lane(reducer));
        reducer_add_lane(reducer, lane);
    }
    reducer_reduce(reducer);
    double sent = comm_sent_bytes(comm) - before;
    *promised = reducer_step_bytes(reducer);
    reducer_free(reducer);
    slice_exchange_free(&exchange);
    comm_free(host);
    ck_assert(comm_pretend_hosts(comm, "", NULL));
    comm_set_wire(comm, (Wire){ 0 });
    layout_free(&job.layout);
    return sent;
}

START_TEST(test_wire_halves_bytes)
{
    double promised[2];
    if (comm_size(comm) == 1)
        return;
    double wide = sent_between_hosts(WIRE_FP32, &promised[0]);
    double narrow = sent_between_hosts(WIRE_FP16, &promised[1]);
    assert_all(wide > 0 && !(wide < 2 * narrow) && !(wide > 2 * narrow));
    assert_all(!(wide < promised[0]) && !(wide > promised[0]));
    assert_all(!(narrow < promised[1]) && !(narrow > promised[1]));
}
END_TEST

/* ---- Adasum ---- */

/* Of two tensors of a subtree, into a; the law written down once more, in plain loops over blocks
 * whose sums have the order of sixteen running ones. */
static double products(const float *a, const float *b, size_t n)
{
    double all = 0;
    for (size_t from = 0; from < n; from += LAYOUT_BLOCK) {
        size_t to = n < from + LAYOUT_BLOCK ? n : from + LAYOUT_BLOCK;
        double s = 0;
        for (size_t i = from; i < to; i++)
            s += (double)a[i] * (double)b[i];
        all += s;
    }
    return all;
}

static void serial_adasum(const Layout *layout, float *a, const float *b, float scale)
{
    for (int t = 0; t < layout->count; t++) {
        const LayoutTensor *tensor = &layout->tensors[t];
        float *x = a + tensor->offset;
        const float *y = b + tensor->offset;
        double dot = products(x, y, tensor->n);
        double xx = products(x, x, tensor->n), yy = products(y, y, tensor->n);
        bool sum = tensor->flags & LAYOUT_STATISTIC;
        double fx = sum || xx <= 0 ? 1 : 1 - dot / (2 * xx);
        double fy = sum || yy <= 0 ? 1 : 1 - dot / (2 * yy);
        for (size_t i = 0; i < tensor->n; i++)
            x[i] = (float)((sum ? 1.0 : (double)scale) * (fx * (double)x[i] + fy * (double)y[i]));
    }
}

static float *adasum_tree(const Job *job, int first, int width, float scale)
{
    float *left;
    if (width == 1) {
        left = mem_array(float, job->layout.n);
        write_lane(job, first, left);
        return left;
    }
    left = adasum_tree(job, first, width / 2, 1);
    float *right = adasum_tree(job, first + width / 2, width / 2, 1);
    serial_adasum(&job->layout, left, right, scale);
    mem_free(right);
    return left;
}

/* One step by Adasum; the arena that all ranks have published, to be freed. */
static float *adasum_step(const Job *job, float scale)
{
    Lanes lanes;
    SliceExchange exchange;
    int rank = comm_rank(comm);
    ck_assert(lanes_init(&lanes, job->lanes, job->lanes, rank, comm_size(comm), NULL));
    slice_exchange_init(&exchange, comm, &job->layout, NULL);
    Reducer *reducer = reducer_init(comm, &lanes, &job->layout, &exchange);
    reducer_set_order(reducer, REDUCER_ORDER_ADASUM);
    reducer_set_scale(reducer, (double)scale);
    float *arena = mem_array(float, job->layout.n);
    size_t lo = exchange.float_bounds[rank], hi = exchange.float_bounds[rank + 1];
    memcpy(arena + lo, run_step(job, &lanes, reducer) + lo, (hi - lo) * sizeof *arena);
    comm_publish(&exchange, arena);
    reducer_free(reducer);
    slice_exchange_free(&exchange);
    return arena;
}

static bool is_near(const float *a, const float *b, size_t n, double tolerance)
{
    double error = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        error += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)b[i] * (double)b[i];
    }
    return error <= tolerance * tolerance * size;
}

/* Tensor by tensor the law, over a tree; by messages the bits of shared memory. Short batches leave
 * empty lanes. */
START_TEST(test_adasum_is_its_equation)
{
    Job job = new_job(16, mixed_sizes, 7);
    for (job.step = 0; job.step < 2; job.step++) {
        job.filled = job.step == 1 ? 5 : 16;
        float *wanted = adasum_tree(&job, 0, 16, 3), *shared = adasum_step(&job, 3);
        comm_set_share(comm, false);
        float *sent = adasum_step(&job, 3);
        comm_set_share(comm, true);
        assert_all(same_bits(shared, sent, job.layout.n));
        for (int t = 0; t < job.layout.count; t++) {
            size_t at = job.layout.tensors[t].offset;
            assert_all(is_near(shared + at, wanted + at, job.layout.tensors[t].n, 1e-6));
        }
        mem_free(wanted);
        mem_free(shared);
        mem_free(sent);
    }
    layout_free(&job.layout);
}
END_TEST

/* What lanes have in common counts once, what they do not have in common is added: equal gradients
 * give one of them, to the bit, and gradients in disjoint places their sum. */
static void write_law(const Lanes *lanes, const Job *job, int lane, bool equal, float *gradient)
{
    size_t n = job->layout.n, part = n / (size_t)lanes->count;
    for (size_t i = 0; i < n; i++)
        gradient[i] = equal || (int)(i / part) == lane ? leaf(0, 0, i) : 0;
}

START_TEST(test_adasum_laws)
{
    int size = 1 << 15;
    Job job = new_job(8, &size, 1);
    Lanes lanes;
    SliceExchange exchange;
    int rank = comm_rank(comm);
    ck_assert(lanes_init(&lanes, 8, 8, rank, comm_size(comm), NULL));
    slice_exchange_init(&exchange, comm, &job.layout, NULL);
    Reducer *reducer = reducer_init(comm, &lanes, &job.layout, &exchange);
    reducer_set_order(reducer, REDUCER_ORDER_ADASUM);
    for (int equal = 0; equal < 2; equal++) {
        for (int lane = lanes.first; lane < lanes.last; lane++) {
            write_law(&lanes, &job, lane, equal, reducer_lane(reducer));
            reducer_add_lane(reducer, lane);
        }
        const float *sum = reducer_reduce(reducer).sums;
        bool holds = true;
        for (size_t i = exchange.float_bounds[rank]; i < exchange.float_bounds[rank + 1]; i++) {
            float wanted = leaf(0, 0, i);
            holds = holds && memcmp(&sum[i], &wanted, sizeof wanted) == 0;
        }
        assert_all(holds);
        comm_barrier(comm);
    }
    reducer_free(reducer);
    slice_exchange_free(&exchange);
    layout_free(&job.layout);
}
END_TEST

/* One value a block, from each block's owner to all. */
START_TEST(test_block_exchange)
{
    Job job = new_job(8, mixed_sizes, 7);
    SliceExchange exchange;
    slice_exchange_init(&exchange, comm, &job.layout, NULL);
    double *values = mem_array(double, job.layout.blocks);
    Slice slice = layout_slice(&job.layout, comm_rank(comm), comm_size(comm));
    for (int block = slice.first_block; block < slice.last_block; block++)
        values[block] = 1.0 / (block + 1);
    exchange_complete(slice_exchange(&exchange), values, sizeof *values);
    bool complete = true;
    for (int block = 0; block < job.layout.blocks; block++)
        complete &= values[block] * (block + 1) > 0.999;
    assert_all(complete);
    mem_free(values);
    slice_exchange_free(&exchange);
    layout_free(&job.layout);
}
END_TEST

/* At most log2 L + 1 arenas, and room for our slice of everybody else's subtrees. */
START_TEST(test_memory_and_traffic)
{
    int size = 1 << 20;
    int ranks = comm_size(comm);
    Job job = new_job(64, &size, 1);
    Lanes lanes;
    SliceExchange exchange;
    comm_set_share(comm, false);
    ck_assert(lanes_init(&lanes, 64, 64, comm_rank(comm), ranks, NULL));
    slice_exchange_init(&exchange, comm, &job.layout, NULL);
    Reducer *reducer = reducer_init(comm, &lanes, &job.layout, &exchange);
    int subtrees = 0;
    Subtree list[64];
    for (int rank = 0; rank < ranks; rank++)
        subtrees +=
            lanes_subtrees(lanes_first(64, rank, ranks), lanes_first(64, rank + 1, ranks), list);
    int mine = lanes_subtrees(lanes.first, lanes.last, list);
    size_t slice = exchange.float_bounds[lanes.rank + 1] - exchange.float_bounds[lanes.rank];
    size_t tiles = 1 << 17;
    size_t most = 7 * (size_t)size * 4 + (size_t)(subtrees - mine) * slice * 4 + tiles;
    assert_all(reducer_bytes(reducer) <= most);
    assert_all(reducer_bytes(reducer) == reducer_plan_bytes(comm, &lanes, &job.layout, &exchange));
    double sent = (double)mine * (double)(job.layout.n - slice) * 4;
    assert_all(reducer_step_bytes(reducer) <= sent && reducer_step_bytes(reducer) >= sent);
    reducer_free(reducer);
    comm_set_share(comm, true);
    reducer = reducer_init(comm, &lanes, &job.layout, &exchange);
    assert_all(reducer_bytes(reducer) <= 7 * (size_t)size * 4 + tiles);
    assert_all(reducer_bytes(reducer) == reducer_plan_bytes(comm, &lanes, &job.layout, &exchange));
    assert_all(ranks == 1 || reducer_step_bytes(reducer) <= 0);
    reducer_free(reducer);
    slice_exchange_free(&exchange);
    layout_free(&job.layout);
}
END_TEST

int main(int argc, char **argv)
{
    comm = comm_init(&argc, &argv);
    Suite *suite = suite_create("reducer");
    add_test(suite, test_every_lane_count);
    add_test(suite, test_one_big_tensor);
    add_test(suite, test_many_tiny_tensors);
    add_test(suite, test_more_ranks_than_blocks);
    add_test(suite, test_parts);
    add_test(suite, test_arrival_order_depends_on_ranks);
    add_test(suite, test_adasum_is_its_equation);
    add_test(suite, test_adasum_laws);
    add_test(suite, test_hosts);
    add_test(suite, test_domains);
    add_test(suite, test_wire);
    add_test(suite, test_wire_of_one_lane);
    add_test(suite, test_wire_halves_bytes);
    add_test(suite, test_block_exchange);
    add_test(suite, test_memory_and_traffic);
    int result = run_suite(suite);
    comm_free(comm);
    return result;
}
