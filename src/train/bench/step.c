/* `bench step`: trains for a few seconds and takes times and memory. */
#include "step_parts.h"

#include "lockstep/bench.h"
#include "lockstep/clock.h"
#include "lockstep/memory.h"

#include <math.h>
#include <string.h>
#include <sys/resource.h>

#define WARM_STEPS 3
#define MIN_STEPS 5

/* Samples that this rank's lanes hold in a step. */
static double rank_samples(const Trainer *t, int64_t step)
{
    double samples = 0;
    int batch = loader_batch_size(&t->loader, step);
    for (int lane = t->lanes.first; lane < t->lanes.last; lane++)
        samples += lanes_samples(&t->lanes, lane, batch);
    return samples;
}

bool step_run(Trainer *t, double seconds, StepBench *result)
{
    for (int i = 0; i < WARM_STEPS; i++)
        if (trainer_step(t) != STEP_OK)
            return false;
    t->model.times = result->times;
    memset(t->seconds, 0, sizeof t->seconds);
    int64_t samples = t->samples;
    double start = clock_seconds(), waited = reducer_waited(t->reducer);
    bool more = true;
    while (more && !t->stop) {
        result->rank_samples += rank_samples(t, t->step);
        if (trainer_step(t) != STEP_OK)
            return false;
        result->steps++;
        result->seconds = clock_seconds() - start;
        more = result->steps < MIN_STEPS || result->seconds < seconds;
        comm_broadcast(t->comm, &more, sizeof more, 0); /* clocks differ, decisions must not */
    }
    t->model.times = NULL;
    result->samples = t->samples - samples;
    memcpy(result->phases, t->seconds, sizeof t->seconds);
    result->waited = fmax(reducer_waited(t->reducer) - waited, 0); /* a new one if lanes grow */
    return true;
}

/* The process's peak is that of training: the arrays behind the limits come later. */
StepMemory step_memory(const Trainer *t)
{
    struct rusage usage = { 0 };
    getrusage(RUSAGE_SELF, &usage);
    return (StepMemory){
        .weights = (double)t->model.layout.n * sizeof(float),
        .shared = t->shared != NULL,
        .gradients = (double)reducer_bytes(t->reducer),
        .optimizer = (double)optimizer_bytes(&t->optimizer),
        .activations = (double)t->model.activation_bytes,
        .layers = (double)model_state_bytes(&t->model),
        .data = (double)(dataset_bytes(&t->loader.train) + dataset_bytes(&t->loader.test)),
        .peak = 1024.0 * (double)usage.ru_maxrss,
    };
}

bool bench_step(Trainer *t, double seconds, bool json)
{
    StepBench result = { .times = mem_array(ModelTimes, t->model.count) };
    bool ok = step_run(t, seconds, &result);
    if (ok && comm_rank(t->comm) == 0) {
        result.memory = step_memory(t);
        limits_measure(&result.limits);
        if (json)
            step_print_json(t, &result);
        else
            step_print(t, &result);
    }
    mem_free(result.times);
    return ok;
}
