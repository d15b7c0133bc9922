/* `bench reduce`: what the fixed tree costs. Whole training steps whose gradients are added over
 * the tree, in the order of ranks, and by MPI_Allreduce take turns, so that whatever else the
 * machine does falls on all of them. */
#include "bench_parts.h"

#include "lockstep/bench.h"
#include "lockstep/clock.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"

#define WARM_STEPS 5
#define MIN_ROUNDS 9
#define MAX_ROUNDS 4000

enum { ORDERS = 3 };
static const ReducerOrder orders[ORDERS] = { REDUCER_ORDER_TREE, REDUCER_ORDER_ARRIVAL,
                                             REDUCER_ORDER_FAST };
static const char *const names[ORDERS] = { "fixed tree", "order of ranks", "MPI_Allreduce" };

typedef struct Rounds {
    double *seconds[ORDERS]; /* of each step; owned */
    int count;
} Rounds;

/* One step in each order, beginning with another one each time. */
static bool run_round(Trainer *t, int number, double seconds[ORDERS])
{
    for (int i = 0; i < ORDERS; i++) {
        int order = (number + i) % ORDERS;
        reducer_set_order(t->reducer, orders[order]);
        comm_barrier(t->comm);
        double start = clock_seconds();
        if (trainer_step(t) == STEP_DIVERGED)
            return false;
        seconds[order] = clock_seconds() - start;
    }
    return true;
}

static bool run_rounds(Trainer *t, double seconds, Rounds *rounds)
{
    double round[ORDERS];
    for (int i = 0; i < WARM_STEPS; i++)
        if (!run_round(t, i, round))
            return false;
    double start = clock_seconds();
    bool more = true;
    while (more && rounds->count < MAX_ROUNDS) {
        if (!run_round(t, rounds->count, round))
            return false;
        for (int i = 0; i < ORDERS; i++)
            rounds->seconds[i][rounds->count] = round[i];
        rounds->count++;
        more = rounds->count < MIN_ROUNDS || clock_seconds() - start < seconds;
        comm_broadcast(t->comm, &more, sizeof more, 0);
    }
    return true;
}

/* The tree's time over another's in the same round: what is left of disturbances that last. */
static double middle_ratio(const Rounds *rounds, int order, double *scratch)
{
    for (int i = 0; i < rounds->count; i++)
        scratch[i] = rounds->seconds[0][i] / rounds->seconds[order][i];
    return bench_median(scratch, rounds->count);
}

static void print(const Trainer *t, const Rounds *rounds, bool json)
{
    double *scratch = mem_array(double, rounds->count);
    json_t *all = json_pack("{s:s, s:i, s:i, s:i}", "name", t->settings->name, "ranks",
                            comm_size(t->comm), "lanes", t->lanes.count, "rounds", rounds->count);
    if (!json)
        log_out("%-16s %12s %12s %26s", "sum", "median ms", "shortest ms",
                "the tree's step over it");
    for (int i = 0; i < ORDERS; i++) {
        double ratio = middle_ratio(rounds, i, scratch);
        for (int k = 0; k < rounds->count; k++)
            scratch[k] = 1e3 * rounds->seconds[i][k];
        double median = bench_median(scratch, rounds->count), least = scratch[0];
        if (json)
            json_object_set_new(all, names[i],
                                json_pack("{s:f, s:f, s:f}", "median_ms", median, "min_ms", least,
                                          "tree_ratio", ratio));
        else
            log_out("%-16s %12.3f %12.3f %26.4f", names[i], median, least, ratio);
    }
    if (json)
        bench_print_json(all);
    else
        log_out("%d rounds of a step in each order, %d lanes, %d rank(s); times are rank 0's; "
                "ratios are medians over rounds",
                rounds->count, t->lanes.count, comm_size(t->comm));
    if (!json)
        json_decref(all);
    mem_free(scratch);
}

bool bench_reduce(Trainer *t, double seconds, bool json)
{
    Rounds rounds = { .count = 0 };
    for (int i = 0; i < ORDERS; i++)
        rounds.seconds[i] = mem_array(double, MAX_ROUNDS);
    bool ok = run_rounds(t, seconds, &rounds);
    if (ok && comm_rank(t->comm) == 0)
        print(t, &rounds, json);
    for (int i = 0; i < ORDERS; i++)
        mem_free(rounds.seconds[i]);
    return ok;
}
