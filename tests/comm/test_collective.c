/* ranks: 1 2 3 4 5
 * Collectives with real messages: every algorithm gives the bits of the lane tree, several at once,
 * messages cut into parts, on make-believe hosts and an injected network. */
#include "support.h"

#include "../../src/comm/world.h"
#include "lockstep/clock.h"
#include "lockstep/collective.h"
#include "lockstep/memory.h"
#include "lockstep/random.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16
#define RANKS 8
#define BUCKETS 3

static Comm *comm;
static int rank, size;

#define PERIOD 4093
static float lane_values[LANES][PERIOD];
static float tree_values[2 * LANES][PERIOD];

/* Node 1 is the sum of all lanes, node 2k + 1 the right half of node k; lanes are the last 16. */
static void make_values(void)
{
    for (int lane = 0; lane < LANES; lane++)
        for (size_t i = 0; i < PERIOD; i++) {
            double scale = (lane % 5 == 0) ? 1e4 : 1e-3; /* another order rounds differently */
            RandomKey key = random_key(7, RANDOM_TEST, (uint64_t)lane, 0);
            lane_values[lane][i] = (float)(scale * random_normal(key, i));
        }
    memcpy(tree_values[LANES], lane_values, sizeof lane_values);
    for (int node = LANES - 1; node > 0; node--)
        for (size_t i = 0; i < PERIOD; i++)
            tree_values[node][i] = tree_values[2 * node][i] + tree_values[2 * node + 1][i];
}

static float tree_value(int first, int width, size_t i)
{
    return tree_values[(LANES + first) / width][i % PERIOD];
}

/* One bucket: this rank's sums over floats [bounds[0], bounds[size]). */
typedef struct Bucket {
    size_t bounds[RANKS + 1];
    int counts[RANKS];
    Subtree subtrees[LANES * RANKS];
    Plan *plan;
    Collective *collective;
    float *inputs[LANES], *output;
    int input_count;
} Bucket;

static void fill(Bucket *bucket, CollectiveKind kind)
{
    size_t end = bucket->bounds[size];
    Subtree list[64];
    bucket->input_count =
        lanes_subtrees(lanes_first(LANES, rank, size), lanes_first(LANES, rank + 1, size), list);
    bucket->output = mem_array(float, end + 1);
    for (int k = 0; k < bucket->input_count; k++) {
        bucket->inputs[k] = mem_array(float, end);
        for (size_t i = bucket->bounds[0]; i < end; i++)
            bucket->inputs[k][i] = tree_value(list[k].first, list[k].width, i);
    }
    for (size_t i = bucket->bounds[rank]; i < bucket->bounds[rank + 1]; i++)
        bucket->output[i] = kind == COLLECTIVE_ALL_GATHER ? tree_value(0, LANES, i) : 0;
}

/* n floats from `start` on. */
static Bucket *new_bucket(const CollectiveAlgorithm *algorithm, CollectiveKind kind, size_t start,
                          size_t n, int tag)
{
    Bucket *bucket = mem_new(Bucket);
    int total = 0, ranks[RANKS];
    for (int r = 0; r < size; r++) {
        bucket->bounds[r + 1] = start + n * (size_t)(r + 1) / (size_t)size;
        bucket->counts[r] = lanes_subtrees(
            lanes_first(LANES, r, size), lanes_first(LANES, r + 1, size), bucket->subtrees + total);
        total += bucket->counts[r];
        ranks[r] = r;
    }
    bucket->bounds[0] = start;
    CollectiveShape shape = { .members = size,
                              .me = rank,
                              .bounds = bucket->bounds,
                              .counts = bucket->counts,
                              .subtrees = bucket->subtrees };
    bucket->plan = plan_new(algorithm, kind, &shape);
    bucket->collective = collective_init(comm, bucket->plan, ranks, tag);
    fill(bucket, kind);
    return bucket;
}

static bool is_right(const Bucket *bucket, CollectiveKind kind)
{
    size_t first = kind == COLLECTIVE_REDUCE_SCATTER ? bucket->bounds[rank] : bucket->bounds[0];
    size_t last =
        kind == COLLECTIVE_REDUCE_SCATTER ? bucket->bounds[rank + 1] : bucket->bounds[size];
    for (size_t i = 0; i <= bucket->bounds[size]; i++) {
        float wanted = i >= first && i < last ? tree_value(0, LANES, i) : 0;
        if (memcmp(&bucket->output[i], &wanted, sizeof wanted) != 0)
            return false;
    }
    return true;
}

static void free_bucket(Bucket *bucket)
{
    for (int k = 0; k < bucket->input_count; k++)
        mem_free(bucket->inputs[k]);
    mem_free(bucket->output);
    collective_free(bucket->collective);
    plan_free(bucket->plan);
    mem_free(bucket);
}

static void finish_all(Bucket *buckets[BUCKETS], bool poll)
{
    int done = 0;
    while (poll && done < BUCKETS) {
        done = 0;
        for (int b = 0; b < BUCKETS; b++)
            done += collective_poll(buckets[(b + 2 * rank) % BUCKETS]->collective);
        sched_yield();
    }
    for (int b = 0; b < BUCKETS; b++)
        collective_finish(buckets[b]->collective);
}

/* Three collectives at once, each three times; ranks start and poll them in different orders. */
static bool works(const CollectiveAlgorithm *algorithm, CollectiveKind kind, size_t n)
{
    Bucket *buckets[BUCKETS];
    for (int b = 0; b < BUCKETS; b++)
        buckets[b] = new_bucket(algorithm, kind, 16 * (size_t)b, n + 16 * (size_t)b, b);
    size_t before = mem_use().allocations;
    for (int round = 0; round < 3; round++) {
        for (int b = 0; b < BUCKETS; b++) {
            Bucket *bucket = buckets[(b + rank) % BUCKETS];
            collective_start(bucket->collective, bucket->inputs, bucket->output);
            collective_poll(buckets[b]->collective);
        }
        finish_all(buckets, round == 1);
    }
    bool right = mem_use().allocations == before;
    for (int b = 0; b < BUCKETS; b++) {
        right &= is_right(buckets[b], kind);
        free_bucket(buckets[b]);
    }
    return right;
}

static bool all_work(size_t n)
{
    int count;
    bool right = true;
    const CollectiveAlgorithm *const *all = collective_all(&count);
    for (int a = 0; a < count; a++)
        for (CollectiveKind kind = 0; kind < COLLECTIVE_KINDS; kind++)
            right &= works(all[a], kind, n);
    return right;
}

START_TEST(test_lengths)
{
    size_t lengths[] = { 0, 1, (size_t)size - 1, 97, 4096, 16 * 1024 * (size_t)size };
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        assert_all(all_work(lengths[i]));
}
END_TEST

START_TEST(test_cut_messages)
{
    comm_set_message_bytes(comm, 100);
    assert_all(all_work(97));
    assert_all(all_work(1000));
    comm_set_message_bytes(comm, (size_t)1 << 30);
}
END_TEST

START_TEST(test_hosts)
{
    Err err = { "" };
    assert_all(comm_pretend_hosts(comm, "1", &err) && comm_hosts(comm) == 1);
    char text[32] = "1";
    for (int r = 1; r < size; r++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "+1");
    assert_all(comm_pretend_hosts(comm, text, &err) && comm_hosts(comm) == size);
    for (int r = 0; r < size; r++)
        assert_all(comm_host_index(comm, r) == r);
    assert_all(size == 1 || !comm_shares(comm));
    for (int hosts = 1; hosts <= size; hosts++) {
        snprintf(text, sizeof text, "%d", hosts);
        assert_all(comm_pretend_hosts(comm, text, &err) && comm_hosts(comm) == hosts);
        for (int r = 0; r < size; r++) {
            int host = comm_host_index(comm, r);
            assert_all(lanes_first(size, host, hosts) <= r &&
                       r < lanes_first(size, host + 1, hosts));
        }
    }
    Comm *part = comm_split(comm, 0);
    assert_all(comm_hosts(part) == size);
    comm_free(part);
    assert_all(!comm_pretend_hosts(comm, "0", &err) && !comm_pretend_hosts(comm, "99", &err));
    assert_all(!comm_pretend_hosts(comm, "1+x", &err) && !comm_pretend_hosts(comm, "9+9", &err));
    assert_all(!comm_pretend_hosts(comm, "+", &err) && comm_hosts(comm) == 1);
    assert_all(comm_pretend_hosts(comm, "", &err) && comm_hosts(comm) == 1);
}
END_TEST

/* Same bits; and a small message takes its delay, a long one its bandwidth. */
START_TEST(test_injected_network)
{
    Injection network = { .delay_us = 3000, .gbit = 0.1, .jitter_us = 100, .slow_rank = -1 };
    char hosts[16];
    snprintf(hosts, sizeof hosts, "%d", size);
    ck_assert(comm_pretend_hosts(comm, hosts, NULL) && comm_inject(comm, &network, NULL));
    assert_all(all_work(97));
    const CollectiveAlgorithm *direct = collective_find("direct");
    size_t n = 25000 * (size_t)size; /* 100 KB to each rank: 8 ms each at 0.1 Gbit/s */
    Bucket *bucket = new_bucket(direct, COLLECTIVE_ALL_GATHER, 0, n, 0);
    double start = clock_seconds();
    comm_barrier(comm); /* nobody sends before everybody has looked at the clock */
    collective_start(bucket->collective, NULL, bucket->output);
    collective_finish(bucket->collective);
    double seconds = clock_seconds() - start, least = size > 1 ? 0.003 + 0.008 * (size - 1) : 0;
    assert_all(seconds >= least && is_right(bucket, COLLECTIVE_ALL_GATHER));
    free_bucket(bucket);
    network = (Injection){ .slow_rank = size };
    assert_all(!comm_inject(comm, &network, NULL));
    network.slow_rank = -1;
    ck_assert(comm_inject(comm, &network, NULL) && comm_pretend_hosts(comm, "", NULL));
}
END_TEST

static double due(double due_at, size_t bytes)
{
    Stamp stamp = { .due = due_at, .bytes = bytes };
    inject_arrived(comm, &stamp);
    return stamp.due;
}

/* The receiving card takes one message at a time, at 1 MB/s, and fills gaps with those that are
 * seen late. */
START_TEST(test_injected_card)
{
    Injection network = { .gbit = 0.008, .slow_rank = -1 };
    char hosts[16];
    snprintf(hosts, sizeof hosts, "%d", size);
    ck_assert(comm_pretend_hosts(comm, hosts, NULL) && comm_inject(comm, &network, NULL));
    double t = clock_seconds() + 1000, rounding = 1e-6;
    assert_all(fabs(due(t + 0.030, 10000) - (t + 0.030)) < rounding); /* 20 to 30 ms */
    assert_all(fabs(due(t + 0.010, 10000) - (t + 0.010)) < rounding); /* 0 to 10 */
    assert_all(fabs(due(t + 0.012, 10000) - (t + 0.020)) < rounding); /* the gap */
    assert_all(fabs(due(t + 0.015, 10000) - (t + 0.040)) < rounding); /* behind */
    assert_all(comm->inject_in_count == 1);                           /* 0 to 40 */
    for (int i = 0; i < 2 * CARD_TIMES; i++) /* gaps between all: the oldest are forgotten */
        assert_all(fabs(due(t + 1 + i, 10000) - (t + 1 + i)) < rounding);
    network.gbit = 0;
    ck_assert(comm_inject(comm, &network, NULL) && comm_pretend_hosts(comm, "", NULL));
}
END_TEST

START_TEST(test_slow_rank)
{
    Injection slow = { .slow_rank = 0, .slow_factor = 3 };
    ck_assert(comm_inject(comm, &slow, NULL));
    double start = clock_seconds();
    comm_computes(comm);
    while (clock_seconds() < start + 0.02)
        ;
    comm_computed(comm);
    assert_all(rank != 0 || clock_seconds() >= start + 0.06);
    slow.slow_rank = -1;
    ck_assert(comm_inject(comm, &slow, NULL));
}
END_TEST

static bool chosen(int members, size_t bytes, const char *wanted)
{
    return strcmp(collective_choose(comm, COLLECTIVE_ALL_GATHER, members, bytes)->name, wanted) ==
           0;
}

static bool refused(const char *table, const char *wanted)
{
    Err err = { "" };
    return !collective_set_table(comm, table, &err) && strcmp(err.text, wanted) == 0;
}

START_TEST(test_choice)
{
    Err err = { "" };
    assert_all(chosen(2, 1000000, "direct") && chosen(1000, 1000000, "halving"));
    assert_all(collective_set_table(comm,
                                    "# measured\n"
                                    "all-gather 4 1000 direct\n"
                                    "all-gather 4 1000000 ring # long\n\n"
                                    "all-gather 16 1000 halving",
                                    &err));
    assert_all(chosen(4, 500, "direct") && chosen(4, 900000, "ring") && chosen(5, 2000, "direct"));
    assert_all(chosen(12, 1000000, "halving") && chosen(4, (size_t)1 << 40, "ring"));
    assert_all(collective_set_algorithm(comm, "ring", &err) && chosen(16, 1000, "ring"));
    assert_all(collective_set_algorithm(comm, "auto", &err) && chosen(16, 1000, "halving"));
    assert_all(!collective_set_algorithm(comm, "rinq", &err));
    assert_all(strcmp(err.text,
                      "comm.algorithm: unknown algorithm \"rinq\"; did you mean \"ring\"? "
                      "(algorithms: auto, direct, doubling, halving, ring)") == 0);
    assert_all(refused("#\nall-gather 4", "line 2: \"all-gather 4\" found, wanted: kind members "
                                          "bytes algorithm"));
    assert_all(refused("gather 4 1 ring",
                       "line 1: gather: reduce-scatter, all-gather or all-reduce wanted"));
    assert_all(
        refused("all-gather 4 1 ring 7",
                "line 1: \"all-gather 4 1 ring 7\" found, wanted: kind members bytes algorithm"));
    assert_all(collective_set_table(comm, "", &err) && chosen(2, 1000000, "direct"));
}
END_TEST

/* Every rank's spans in one file; the clocks of one machine agree. */
START_TEST(test_timeline)
{
    char folder[TEST_PATH] = "", path[TEST_PATH];
    Timeline *timeline = timeline_new(16);
    ClockOffset clock = { .local = { 0, 1 } };
    Err err;
    comm_set_timeline(comm, timeline);
    assert_all(works(collective_find("ring"), COLLECTIVE_ALL_REDUCE, 1000));
    comm_set_timeline(comm, NULL);
    clock.offset[0] = clock.offset[1] = comm_clock_offset(comm);
    assert_all(clock.offset[0] > -0.1 && clock.offset[0] < 0.1);
    assert_all(size == 1 || timeline->count > 16);
    comm_set_timeline(comm, timeline);
    if (rank == 0)
        temp_create(folder);
    assert_all(comm_write_timeline(comm, join_path(path, folder, "trace"), &clock, &err));
    if (rank == 0) {
        char *text = read_text(path);
        int ranks = 0;
        for (const char *at = text; (at = strstr(at, "process_name")); at++)
            ranks++;
        ck_assert(ranks == size);
        free(text);
        temp_remove(folder);
    }
    assert_all(!comm_write_timeline(comm, "/nowhere/trace", &clock, &err));
    comm_set_timeline(comm, NULL);
    timeline_free(timeline);
}
END_TEST

START_TEST(test_same_plans)
{
    uint64_t digests[3] = { 7, rank == 0 ? 0 : 8, rank == size - 1 ? 9 : 10 };
    Err err = { "" };
    assert_all(comm_same_plans(comm, digests, 2, &err));
    assert_all(comm_same_plans(comm, digests, 3, &err) == (size == 1));
    assert_all(size == 1 || strstr(err.text, "plans of collective 2 differ"));
    assert_all(comm_same_plans(comm, digests, rank == 0 ? 1 : 2, &err) == (size == 1));
    assert_all(size == 1 ||
               strstr(err.text, "1 collectives between hosts are planned, 2 elsewhere"));
}
END_TEST

START_TEST(test_fast_sum)
{
    float x[100];
    for (int i = 0; i < 100; i++)
        x[i] = (float)(i + rank);
    comm_set_message_bytes(comm, 64);
    comm_allreduce_fast(comm, x, 100);
    comm_set_message_bytes(comm, (size_t)1 << 30);
    for (int i = 0; i < 100; i++)
        assert_all((int)x[i] == size * i + size * (size - 1) / 2);
}
END_TEST

int main(int argc, char **argv)
{
    comm = comm_init(&argc, &argv);
    rank = comm_rank(comm);
    size = comm_size(comm);
    make_values();
    Suite *suite = suite_create("collective");
    add_test(suite, test_lengths);
    add_test(suite, test_cut_messages);
    add_test(suite, test_hosts);
    add_test(suite, test_injected_network);
    add_test(suite, test_injected_card);
    add_test(suite, test_slow_rank);
    add_test(suite, test_choice);
    add_test(suite, test_timeline);
    add_test(suite, test_same_plans);
    add_test(suite, test_fast_sum);
    int result = run_suite(suite);
    comm_free(comm);
    return result | (mem_use().blocks != 0);
}
