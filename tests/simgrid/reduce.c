/* Our reduction between hosts on a network of SimGrid's: src/comm as it is, compiled against SMPI,
 * one rank a host. docs/scaling.md says what comes out.
 *
 *   smpirun ... reduce check                 real numbers; every rank's sum has the tree's bits
 *   smpirun ... reduce step [KEY=VALUE]      a training step, with its computing as simulated time
 *   smpirun ... reduce alone [KEY=VALUE]     one all-reduce of bucket_mb, nothing else
 *
 * In `step` and `alone` nothing is computed: additions and copies take simulated time (timed.c),
 * and all messages are the same few megabytes. Ranks are contexts of one thread here, so there
 * is no helper thread; the loop of run_backward looks as often as that would. */
#include "timed.h"

#include "../../src/comm/world.h"
#include "lockstep/memory.h"
#include "lockstep/reducer.h"

#include <simgrid/actor.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Options {
    double parameters, bucket_mb, compute_ms, forward_share; /* as in `lockstep bench simulate` */
    double memory_gb, nap_us; /* nap: between looks in backward; 0: all begins after it */
    char algorithm[32];
} Options;

static void read_options(Options *options, int count, char **words)
{
    *options = (Options){ 25.6e6, 4, 100, 1.0 / 3, 50, 500, "halving" };
    for (int i = 0; i < count; i++)
        if (sscanf(words[i], "parameters=%lf", &options->parameters) != 1 &&
            sscanf(words[i], "bucket_mb=%lf", &options->bucket_mb) != 1 &&
            sscanf(words[i], "compute_ms=%lf", &options->compute_ms) != 1 &&
            sscanf(words[i], "memory_gb=%lf", &options->memory_gb) != 1 &&
            sscanf(words[i], "nap_us=%lf", &options->nap_us) != 1 &&
            sscanf(words[i], "algorithm=%31s", options->algorithm) != 1)
            die(EXIT_USAGE, "%s: not an option", words[i]);
}

/* ---- a job: one rank a host, one lane a rank ---- */

typedef struct Job {
    Comm *comm, *host;
    Layout layout;
    Lanes lanes;
    SliceExchange slices;
    Reducer *reducer;
    int *stages;
} Job;

static void job_init(Job *job, Comm *comm, int tensors, int floats, const char *algorithm)
{
    char text[32];
    Err err;
    int ranks = comm_size(comm), lanes = 1;
    *job = (Job){ .comm = comm };
    while (lanes < ranks)
        lanes *= 2;
    if (!collective_set_algorithm(comm, algorithm, &err) ||
        !lanes_init(&job->lanes, lanes, lanes, comm_rank(comm), ranks, &err))
        die(EXIT_USAGE, "%s", err.text);
    comm_set_bucket(comm, (size_t)floats * sizeof(float));
    job->host = comm_split(comm, comm_rank(comm));
    job->stages = mem_array(int, tensors);
    for (int t = 0; t < tensors; t++) {
        snprintf(text, sizeof text, "tensor%d", t);
        layout_add(&job->layout, text, 1, &floats, 0);
        job->stages[t] = t;
    }
    layout_seal(&job->layout);
    slice_exchange_init(&job->slices, job->host, &job->layout, NULL);
    job->reducer = reducer_init(comm, &job->lanes, &job->layout, &job->slices);
    reducer_set_stages(job->reducer, job->stages, false);
}

static void job_free(Job *job)
{
    reducer_free(job->reducer);
    slice_exchange_free(&job->slices);
    layout_free(&job->layout);
    mem_free(job->stages);
    comm_free(job->host);
}

/* ---- check ---- */

static float leaf(int lane, size_t i)
{
    uint64_t x = ((uint64_t)lane << 32 ^ i) * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9u;
    return (float)(int32_t)(x >> 32) / (float)(1 << (x & 15));
}

static float tree(int first, int width, size_t i)
{
    if (width == 1)
        return leaf(first, i);
    return tree(first, width / 2, i) + tree(first + width / 2, width / 2, i);
}

static int check(Comm *comm)
{
    Job job;
    Err err;
    int wrong = 0;
    job_init(&job, comm, 3, 1600, "auto");
    for (int lane = job.lanes.first; lane < job.lanes.last; lane++) {
        float *gradient = reducer_lane(job.reducer);
        for (int t = 2; t >= 0; t--) {
            for (size_t i = 0; i < 1600; i++)
                gradient[job.layout.tensors[t].offset + i] =
                    leaf(lane, job.layout.tensors[t].offset + i);
            reducer_final(job.reducer, t);
        }
        reducer_add_lane(job.reducer, lane);
    }
    Gradient sum = reducer_reduce(job.reducer);
    for (size_t i = 0; i < job.layout.n; i++)
        wrong += sum.sums[i] != tree(0, job.lanes.count, i);
    bool ok = comm_all_ok(comm, wrong == 0 || err_set(&err, "%d sums are wrong", wrong), &err);
    if (comm_rank(comm) == 0)
        printf("%d ranks: %s\n", comm_size(comm), ok ? "the bits of the lane tree" : err.text);
    job_free(&job);
    return ok ? 0 : 1;
}

/* ---- step ---- */

/* Time passes until `end`, with looks at what has arrived. */
static void compute(Job *job, double end, double nap, int stage)
{
    for (double left = end - MPI_Wtime(); left > 0; left = end - MPI_Wtime()) {
        sg_actor_sleep_for(nap > 0 && left > nap ? nap : left);
        if (nap > 0 && stage < job->layout.count)
            reducer_final(job->reducer, stage);
    }
}

/* Seconds until the whole gradient is there. */
static double run_step(Job *job, const Options *options)
{
    int tensors = job->layout.count, lane = job->lanes.first;
    double seconds = 1e-3 * options->compute_ms, start = MPI_Wtime();
    double backward = seconds * (1 - options->forward_share), forward = seconds - backward;
    reducer_lane(job->reducer);
    for (int k = 1; k <= tensors; k++) {
        double end = start + forward + backward * k / tensors;
        compute(job, end, 1e-6 * options->nap_us, tensors - k + 1);
        if (options->nap_us > 0)
            reducer_final(job->reducer, tensors - k);
    }
    reducer_add_lane(job->reducer, lane);
    reducer_reduce(job->reducer);
    return MPI_Wtime() - start;
}

static double slowest(double seconds)
{
    double all;
    MPI_Allreduce(&seconds, &all, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    return all;
}

static int step(Comm *comm, const Options *options)
{
    Job job;
    int buckets = (int)(options->parameters * 4e-6 / options->bucket_mb + 0.999999);
    int floats = (int)(options->parameters / buckets) / LAYOUT_ALIGN * LAYOUT_ALIGN;
    mem_reserve(true); /* arenas are address space only */
    timed_begin(1e9 * options->memory_gb, (size_t)floats * sizeof(float));
    job_init(&job, comm, buckets, floats, options->algorithm);
    MPI_Barrier(MPI_COMM_WORLD);
    double seconds = slowest(run_step(&job, options));
    if (comm_rank(comm) == 0)
        printf("%8d %11.3f %8.2f\n", comm_size(comm), 1e3 * seconds,
               0.1 * options->compute_ms / seconds);
    job_free(&job);
    return 0;
}

/* ---- alone ---- */

static int alone(Comm *comm, const Options *options)
{
    int ranks = comm_size(comm);
    size_t floats = (size_t)(options->bucket_mb * 1e6 / sizeof(float));
    size_t *bounds = mem_array(size_t, ranks + 1);
    int *counts = mem_array(int, ranks), *members = mem_array(int, ranks);
    Subtree *subtrees = mem_array(Subtree, 2 * ranks);
    for (int m = 0; m <= ranks; m++)
        bounds[m] = floats * (size_t)m / (size_t)ranks;
    for (int m = 0; m < ranks; m++)
        members[m] = m;
    collective_spread_lanes(ranks, counts, subtrees);
    CollectiveShape shape = { ranks, comm_rank(comm), bounds, counts, subtrees };
    timed_begin(1e9 * options->memory_gb, floats * sizeof(float));
    Plan *plan = plan_new(collective_find(options->algorithm), COLLECTIVE_ALL_REDUCE, &shape);
    mem_free(bounds);
    mem_free(counts);
    mem_free(subtrees);
    Collective *collective = collective_init(comm, plan, members, 0);
    MPI_Barrier(MPI_COMM_WORLD);
    double start = MPI_Wtime();
    collective_start(collective, NULL, NULL);
    collective_finish(collective);
    double seconds = slowest(MPI_Wtime() - start);
    if (comm_rank(comm) == 0)
        printf("%8d %11.3f\n", ranks, 1e3 * seconds);
    collective_free(collective);
    plan_free(plan);
    mem_free(members);
    return 0;
}

int main(int argc, char **argv)
{
    Options options;
    const char *what = argc > 1 ? argv[1] : "check";
    Comm *comm = comm_init(&argc, &argv);
    read_options(&options, argc > 2 ? argc - 2 : 0, argv + 2);
    int code = strcmp(what, "step") == 0    ? step(comm, &options)
               : strcmp(what, "alone") == 0 ? alone(comm, &options)
                                            : check(comm);
    comm_free(comm);
    return code;
}
