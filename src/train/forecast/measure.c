/* What a rank's step is made of, measured by training for a few seconds, or from a given time of
 * forward and backward and the layers' floating-point operations. */
#include "parts.h"

#include "../bench/step_parts.h"

#include "lockstep/memory.h"

#define FORWARD (1.0 / 3)                /* of a given time */
#define MEMORY_BYTES ((size_t)192 << 20) /* beyond every cache */

/* ready[b] of each bucket: which part of backward is over when its stage is passed. `backward` has
 * the seconds, or any other measure, of each node. */
static void find_ready(StepProfile *profile, const Trainer *t, const double *backward)
{
    const Layout *layout = &t->model.layout;
    size_t bytes = (size_t)(t->settings->comm.bucket * 1024 * 1024);
    int *nodes = mem_array(int, layout->count);
    double *passed = mem_array(double, t->model.count + 1); /* after node i */
    model_last_nodes(&t->model, nodes);
    for (int i = t->model.count - 1; i >= 0; i--)
        passed[i] = passed[i + 1] + backward[i];
    profile->buckets = reducer_cut(layout, bytes, nodes, NULL);
    SumBucket *buckets = mem_array(SumBucket, profile->buckets);
    reducer_cut(layout, bytes, nodes, buckets);
    profile->bucket_floats = mem_array(double, profile->buckets);
    profile->ready = mem_array(double, profile->buckets);
    for (int b = 0; b < profile->buckets; b++) {
        profile->bucket_floats[b] = (double)(buckets[b].hi - buckets[b].lo);
        profile->ready[b] = passed[0] > 0 ? passed[buckets[b].stage] / passed[0] : 1;
    }
    mem_free(buckets);
    mem_free(passed);
    mem_free(nodes);
}

/* Of this job, that is one host or pretends to be several: then what a rank updates is complete. */
static void take_sizes(StepProfile *profile, const Trainer *t)
{
    int ranks = comm_size(t->comm), lanes = t->lanes.last - t->lanes.first;
    bool replicated = t->settings->comm.update == UPDATE_REPLICATED;
    StepMemory memory = step_memory(t);
    ForecastJob job = { .ranks = ranks, .ranks_per_host = ranks, .lanes = t->lanes.count };
    profile->floats = t->model.layout.n;
    profile->nodes = t->model.count;
    profile->update_share = replicated ? 1 : 1.0 / comm_size(t->group);
    profile->state_bytes = memory.optimizer / profile->update_share;
    profile->rank_bytes = memory.activations + memory.layers + memory.data;
    profile->folds = lanes - forecast_sums(&job, t->lanes.rank);
    profile->sums = comm_hosts(t->comm) > 1;
    for (int rank = 0; rank < ranks && comm_hosts(t->comm) == 1; rank++)
        profile->sums += forecast_sums(&job, rank);
}

static double a_step(const StepBench *bench, Phase phase)
{
    return bench->phases[phase] / (double)bench->steps;
}

bool profile_measure(StepProfile *profile, Trainer *t, double seconds, Err *err)
{
    StepBench bench = { .times = mem_array(ModelTimes, t->model.count) };
    double *backward = mem_array(double, t->model.count);
    bool ok = step_run(t, seconds, &bench) ||
              err_set(err, "plan: training diverged, so nothing was measured: try a smaller "
                           "optimizer.lr");
    if (ok) {
        for (int i = 0; i < t->model.count; i++)
            backward[i] = bench.times[i].backward;
        take_sizes(profile, t);
        find_ready(profile, t, backward);
        profile->samples = bench.rank_samples / (double)bench.steps;
        profile->load = a_step(&bench, PHASE_LOAD);
        profile->forward = a_step(&bench, PHASE_FORWARD);
        profile->backward = a_step(&bench, PHASE_BACKWARD);
        profile->fold = a_step(&bench, PHASE_FOLD);
        profile->update = a_step(&bench, PHASE_UPDATE);
        profile->digest = a_step(&bench, PHASE_DIGEST);
        if (comm_hosts(t->comm) == 1) /* else it is the exchange */
            profile->wait = a_step(&bench, PHASE_EXCHANGE);
    }
    if (ok && comm_rank(t->comm) == 0) {
        MemoryLimit memory = limits_measure_memory("", MEMORY_BYTES);
        profile->memory_rate = limits_bandwidth(&memory, false);
    }
    mem_free(backward);
    mem_free(bench.times);
    return ok;
}

void profile_give(StepProfile *profile, Trainer *t, const ForecastPlan *plan)
{
    double *backward = mem_array(double, t->model.count);
    double states;
    for (int i = 0; i < t->model.count; i++)
        backward[i] = t->model.nodes[i].layer ? t->model.nodes[i].layer->flops : 0;
    take_sizes(profile, t);
    find_ready(profile, t, backward);
    states = profile->state_bytes / (4.0 * (double)profile->floats);
    profile->samples = (double)t->settings->train.batch / comm_size(t->comm);
    profile->forward = plan->compute * FORWARD;
    profile->backward = plan->compute * (1 - FORWARD);
    profile->memory_rate = plan->network.memory_bytes_per_second;
    profile->update = 4 * (3 + 2 * states) * (double)profile->floats * profile->update_share /
                      profile->memory_rate; /* w and states read and written, g read */
    mem_free(backward);
}

void profile_free(StepProfile *profile)
{
    mem_free(profile->bucket_floats);
    mem_free(profile->ready);
}
