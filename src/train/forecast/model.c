/* A step on a cluster, put together from a rank's measured step and a simulated exchange. */
#include "lockstep/forecast.h"

#include "lockstep/memory.h"

#include <math.h>

/* ---- who has which lanes ---- */

static int first_lane(const ForecastJob *job, int rank)
{
    return lanes_first(job->lanes, rank, job->ranks);
}

static int busiest_lanes(const ForecastJob *job)
{
    return (job->lanes + job->ranks - 1) / job->ranks;
}

static int host_count(const ForecastJob *job)
{
    return (job->ranks + job->ranks_per_host - 1) / job->ranks_per_host;
}

static int host_ranks(const ForecastJob *job)
{
    return job->ranks < job->ranks_per_host ? job->ranks : job->ranks_per_host;
}

int forecast_sums(const ForecastJob *job, int rank)
{
    Subtree subtrees[64];
    return 1 + lanes_subtrees(first_lane(job, rank), first_lane(job, rank + 1) - 1, subtrees);
}

/* Most gradients that a rank keeps at once. */
static int rank_buffers(const ForecastJob *job, int rank)
{
    int first = first_lane(job, rank), deepest = 0;
    for (int lane = first; lane < first_lane(job, rank + 1); lane++) {
        Subtree subtrees[64];
        int depth = 1 + lanes_subtrees(first, lane, subtrees);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest;
}

/* Additions that make of the first host's ranks' sums the host's. */
static int host_additions(const ForecastJob *job)
{
    Subtree subtrees[64];
    int sums = 0, ranks = host_ranks(job);
    for (int rank = 0; rank < ranks; rank++)
        sums += forecast_sums(job, rank);
    return sums - lanes_subtrees(0, first_lane(job, ranks), subtrees);
}

/* ---- the exchange between hosts ---- */

typedef struct Between {
    SimulatedStep step;
    Network network;        /* a rank's share of its host's card */
    double backward;        /* of the last lane, seconds */
    double *shares, *ready; /* (buckets) owned, as is lanes */
    int *lanes;
} Between;

/* Narrow numbers take as long as fewer of full width. */
static double wire_share(const ForecastJob *job)
{
    return job->wire_bytes > 0 ? job->wire_bytes / 4 : 1;
}

/* The columns of a host travel side by side, one for each rank: one of them, with its share of the
 * card. */
static void between_init(Between *between, const StepProfile *profile, const ForecastJob *job,
                         double backward)
{
    int hosts = host_count(job), columns = host_ranks(job);
    double longest = 0;
    int *lanes = mem_array(int, hosts + 1);
    double *shares = mem_array(double, profile->buckets);
    double *ready = mem_array(double, profile->buckets);
    for (int b = 0; b < profile->buckets; b++)
        longest = fmax(longest, profile->bucket_floats[b]);
    for (int b = 0; b < profile->buckets; b++)
        shares[b] = profile->bucket_floats[b] / longest;
    for (int host = 0; host <= hosts; host++) {
        int rank = host * job->ranks_per_host;
        lanes[host] = first_lane(job, rank < job->ranks ? rank : job->ranks);
    }
    *between = (Between){
        .step = { .members = hosts,
                  .buckets = profile->buckets,
                  .bucket_floats = (size_t)ceil(longest / columns),
                  .shares = shares,
                  .ready = ready,
                  .lanes = lanes,
                  .reduce = job->algorithm,
                  .all_reduce = true,
                  .begin_bytes = 12.0 * host_additions(job) },
        .network = job->network,
        .backward = backward,
        .shares = shares,
        .ready = ready,
        .lanes = lanes,
    };
    between->network.bytes_per_second /= columns * wire_share(job);
    between->network.core_bytes_per_second /= wire_share(job);
    if (between->network.memory_bytes_per_second <= 0)
        between->network.memory_bytes_per_second = profile->memory_rate;
}

static void between_free(Between *between)
{
    mem_free(between->shares);
    mem_free(between->ready);
    mem_free(between->lanes);
}

/* With what communication takes of the core, backward lasts so much longer. */
static SimulatedResult exchange(Between *between, const StepProfile *profile,
                                const ForecastJob *job, double helping)
{
    double lasts = between->backward + helping;
    for (int b = 0; b < profile->buckets; b++)
        between->ready[b] = job->overlap == OVERLAP_OFF ? lasts : lasts * profile->ready[b];
    between->step.busy = lasts;
    between->step.nap = job->overlap == OVERLAP_POLLING ? lasts / profile->nodes : REDUCER_NAP;
    return simulate(&between->step, &between->network);
}

/* The same with equal buckets and looks at every moment. */
static double exchange_by_formula(const Between *between)
{
    SimulatedStep step = between->step;
    double floats = 0;
    for (int b = 0; b < step.buckets; b++)
        floats += step.shares[b] * (double)step.bucket_floats;
    step.bucket_floats = (size_t)(floats / step.buckets);
    return fmax(simulate_formula(&step, &between->network) - step.busy, 0);
}

static void add_exchange(Forecast *forecast, const StepProfile *profile, const ForecastJob *job)
{
    Between between;
    between_init(&between, profile, job, forecast->backward / busiest_lanes(job));
    SimulatedResult result = exchange(&between, profile, job, 0);
    if (result.core > 0) {
        forecast->helping = result.core;
        result = exchange(&between, profile, job, forecast->helping);
    }
    forecast->exposed = fmax(result.seconds - between.step.busy, 0);
    forecast->formula = exchange_by_formula(&between) - forecast->exposed;
    forecast->hidden = fmax(result.card - forecast->exposed, 0);
    forecast->sent = result.bytes * host_ranks(job) * wire_share(job);
    forecast->memory = result.memory * host_ranks(job);
    between_free(&between);
    forecast->reports = simulate_gather(job->ranks, &job->network);
}

/* ---- the step ---- */

/* Bytes that an update moves for a parameter: w and states, read and written, and the sums. */
static double update_bytes(const StepProfile *profile, double sums)
{
    double states = profile->state_bytes / (4 * (double)profile->floats);
    return 4 * (2 + 2 * states + sums);
}

/* A rank's slice. It reads the sums of all ranks of a single host, or the one that came from the
 * other hosts; as many bytes a second as in the measured step. */
static double update_seconds(const StepProfile *profile, const ForecastJob *job)
{
    int sums = 0;
    for (int rank = 0; host_count(job) == 1 && rank < job->ranks; rank++)
        sums += forecast_sums(job, rank);
    double bytes = update_bytes(profile, sums > 0 ? sums : 1);
    return profile->update / profile->update_share / host_ranks(job) * bytes /
           update_bytes(profile, profile->sums);
}

static double memory_bytes(const StepProfile *profile, const ForecastJob *job)
{
    int ranks = host_ranks(job);
    double arena = (double)profile->floats * sizeof(float), bytes = arena + profile->state_bytes;
    for (int rank = 0; rank < ranks; rank++)
        bytes += rank_buffers(job, rank) * arena + profile->rank_bytes;
    return bytes + (host_count(job) > 1 ? arena : 0);
}

Forecast forecast_step(const StepProfile *profile, const ForecastJob *job)
{
    int lanes = busiest_lanes(job);
    Forecast forecast = { .ranks = job->ranks, .hosts = host_count(job), .samples = job->samples };
    forecast.possible = job->ranks <= job->lanes;
    if (!forecast.possible)
        return forecast;
    double work = job->samples * lanes / job->lanes / profile->samples;
    int folds = lanes - forecast_sums(job, 0);
    forecast.load = profile->load * work;
    forecast.forward = profile->forward * work;
    forecast.backward = profile->backward * work;
    forecast.fold = profile->folds > 0
                        ? profile->fold * folds / profile->folds
                        : 12 * folds * (double)profile->floats / profile->memory_rate;
    forecast.update =
        update_seconds(profile, job) + profile->digest / profile->update_share / host_ranks(job);
    forecast.wait = job->ranks > 1 ? profile->wait : 0;
    if (forecast.hosts > 1)
        add_exchange(&forecast, profile, job);
    forecast.step = forecast.load + forecast.forward + forecast.backward + forecast.fold +
                    forecast.helping + forecast.exposed + forecast.reports + forecast.update +
                    forecast.wait;
    forecast.formula += forecast.step;
    forecast.rate = job->samples / forecast.step;
    forecast.memory += memory_bytes(profile, job);
    return forecast;
}
