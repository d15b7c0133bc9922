/* `bench comm`: one collective at one size, checked and timed. A repeat is several calls in a row,
 * as many as take half a millisecond; its time is that of the slowest rank. */
#include "comm_parts.h"

#include "lockstep/clock.h"
#include "lockstep/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MIN_REPEATS 5
#define MAX_REPEATS 500
#define REPEAT_SECONDS 5e-4

/* ---- timing ---- */

typedef struct Work {
    void (*run)(void *context);
    void *context;
} Work;

static double time_calls(const Work *work, int calls)
{
    double start = clock_seconds();
    for (int i = 0; i < calls; i++)
        work->run(work->context);
    return (clock_seconds() - start) / calls;
}

/* Calls in a repeat, by rank 0's clock; warms up on the way. */
static int calls_needed(Comm *comm, const Work *work)
{
    int calls = 1;
    bool more = true;
    work->run(work->context);
    while (more && calls < 1024) {
        more = time_calls(work, calls) * calls < REPEAT_SECONDS;
        comm_broadcast(comm, &more, sizeof more, 0);
        calls *= more ? 2 : 1;
    }
    return calls;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Every rank has its times; rank 0 makes each repeat's that of its slowest rank. */
static void join_times(Comm *comm, double *times, CommRow *row)
{
    size_t repeats = (size_t)row->repeats;
    double *all = mem_array(double, repeats *(size_t)comm_size(comm));
    comm_gather(comm, times, all, repeats * sizeof *times);
    for (size_t rank = 0; rank < (size_t)comm_size(comm); rank++)
        for (size_t i = 0; i < repeats && comm_rank(comm) == 0; i++)
            times[i] = fmax(times[i], all[rank * repeats + i]);
    qsort(times, repeats, sizeof *times, compare);
    row->min = times[0];
    row->median = times[repeats / 2];
    row->max = times[repeats - 1];
    mem_free(all);
}

static void measure(CommBench *bench, const Work *work, CommRow *row)
{
    double times[MAX_REPEATS];
    int calls = calls_needed(bench->comm, work);
    double start = clock_seconds();
    bool more = true;
    row->members = comm_size(bench->comm);
    for (row->repeats = 0; more;) {
        comm_barrier(bench->comm);
        times[row->repeats++] = time_calls(work, calls);
        more = row->repeats < MAX_REPEATS &&
               (row->repeats < MIN_REPEATS || clock_seconds() - start < bench->seconds);
        comm_broadcast(bench->comm, &more, sizeof more, 0);
    }
    join_times(bench->comm, times, row);
}

/* ---- collectives ---- */

typedef struct Job {
    CollectiveKind kind;
    int members, me, lanes, input_count;
    size_t *bounds; /* (members + 1) */
    int *counts;    /* (members) */
    Subtree *subtrees;
    Plan *plan;
    Collective *collective;
    float **inputs, *output;
} Job;

/* Lane l brings (l + 1)(1 + x mod 7): sums are whole numbers, exact in any order up to 1,024 lanes.
 * This value is the sum over `node`. */
static float sum_at(Subtree node, size_t x)
{
    double first = node.first + 1, last = node.first + node.width;
    return (float)((first + last) / 2 * node.width * (double)(1 + x % 7));
}

static void fill(Job *job)
{
    size_t n = job->bounds[job->members];
    const Subtree *mine = job->subtrees;
    for (int m = 0; m < job->me; m++)
        mine += job->counts[m];
    job->output = mem_array(float, n);
    job->inputs = mem_array(float *, job->input_count);
    for (int k = 0; k < job->input_count; k++) {
        job->inputs[k] = mem_array(float, n);
        for (size_t x = 0; x < n; x++)
            job->inputs[k][x] = sum_at(mine[k], x);
    }
    for (size_t x = job->bounds[job->me]; x < job->bounds[job->me + 1]; x++)
        job->output[x] =
            job->kind == COLLECTIVE_ALL_GATHER ? sum_at((Subtree){ 0, job->lanes }, x) : 0;
}

static Job new_job(Comm *comm, const CollectiveAlgorithm *algorithm, CollectiveKind kind,
                   size_t bytes)
{
    Job job = { .kind = kind, .members = comm_size(comm), .me = comm_rank(comm) };
    size_t blocks = bytes / sizeof(float) / LAYOUT_ALIGN;
    int *ranks = mem_array(int, job.members);
    job.bounds = mem_array(size_t, job.members + 1);
    for (int m = 0; m < job.members; m++) {
        ranks[m] = m;
        job.bounds[m + 1] = blocks * (size_t)(m + 1) / (size_t)job.members * LAYOUT_ALIGN;
    }
    job.subtrees = mem_array(Subtree, 2 * job.members);
    job.counts = mem_array(int, job.members);
    job.lanes = collective_spread_lanes(job.members, job.counts, job.subtrees);
    job.input_count = job.counts[job.me];
    CollectiveShape shape = { job.members, job.me, job.bounds, job.counts, job.subtrees };
    job.plan = plan_new(algorithm, kind, &shape);
    job.collective = collective_init(comm, job.plan, ranks, 0);
    fill(&job);
    mem_free(ranks);
    return job;
}

static void free_job(Job *job)
{
    for (int k = 0; k < job->input_count; k++)
        mem_free(job->inputs[k]);
    mem_free(job->inputs);
    mem_free(job->output);
    collective_free(job->collective);
    plan_free(job->plan);
    mem_free(job->bounds);
    mem_free(job->counts);
    mem_free(job->subtrees);
}

static bool is_right(const Job *job)
{
    bool part = job->kind == COLLECTIVE_REDUCE_SCATTER;
    size_t last = job->bounds[part ? job->me + 1 : job->members];
    for (size_t x = part ? job->bounds[job->me] : 0; x < last; x++) {
        float wanted = sum_at((Subtree){ 0, job->lanes }, x);
        if (memcmp(&job->output[x], &wanted, sizeof wanted) != 0)
            return false;
    }
    return true;
}

static void run_collective(void *context)
{
    Job *job = context;
    collective_start(job->collective, job->inputs, job->output);
    collective_finish(job->collective);
}

bool comm_measure(CommBench *bench, const CollectiveAlgorithm *algorithm, CollectiveKind kind,
                  size_t bytes, CommRow *row, Err *err)
{
    Job job = new_job(bench->comm, algorithm, kind, bytes);
    double share = (job.members - 1.0) / job.members;
    *row = (CommRow){ .what = collective_kind_name(kind),
                      .algorithm = algorithm->name,
                      .bytes = bytes,
                      .bus_factor = kind == COLLECTIVE_ALL_REDUCE ? 2 * share : share };
    run_collective(&job);
    bool right = is_right(&job) || err_set(err, "bench comm: %s %s of %zu bytes: wrong result",
                                           algorithm->name, row->what, bytes);
    right = comm_all_ok(bench->comm, right, err);
    if (right)
        measure(bench, &(Work){ run_collective, &job }, row);
    free_job(&job);
    return right;
}

/* ---- what they are compared with ---- */

typedef struct Arrays {
    Comm *comm;
    float *x, *y;
    size_t n;
} Arrays;

static void run_fast(void *context)
{
    Arrays *arrays = context;
    comm_allreduce_fast(arrays->comm, arrays->x, arrays->n);
}

static void run_copy(void *context)
{
    Arrays *arrays = context;
    memcpy(arrays->y, arrays->x, arrays->n * sizeof *arrays->x);
}

static void measure_arrays(CommBench *bench, void (*run)(void *), CommRow *row)
{
    size_t n = row->bytes / sizeof(float);
    Arrays arrays = { bench->comm, mem_array(float, n), mem_array(float, n), n };
    measure(bench, &(Work){ run, &arrays }, row);
    mem_free(arrays.x);
    mem_free(arrays.y);
}

void comm_measure_fast(CommBench *bench, size_t bytes, CommRow *row)
{
    double share = 1 - 1.0 / comm_size(bench->comm);
    *row = (CommRow){ "all-reduce", "MPI_Allreduce", .bytes = bytes, .bus_factor = 2 * share };
    measure_arrays(bench, run_fast, row);
}

void comm_measure_copy(CommBench *bench, size_t bytes, CommRow *row)
{
    *row = (CommRow){ "memory", "memcpy", .bytes = bytes, .bus_factor = 1 };
    measure_arrays(bench, run_copy, row);
}
