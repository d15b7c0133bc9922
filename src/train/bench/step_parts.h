/* What `bench step` and `plan` measure, and what the first prints. Private to src/train. */
#ifndef LOCKSTEP_TRAIN_BENCH_STEP_PARTS_H
#define LOCKSTEP_TRAIN_BENCH_STEP_PARTS_H

#include "bench_parts.h"

#include "lockstep/trainer.h"

/* Memory of a rank, bytes. */
typedef struct StepMemory {
    double weights, gradients, optimizer, activations, layers, data;
    bool shared; /* the weights are one copy for all ranks of the host */
    double peak; /* resident, the most that the process ever had while it trained */
} StepMemory;

typedef struct StepBench {
    int64_t steps, samples; /* of the whole job */
    double seconds;         /* of the steps together */
    double phases[PHASE_COUNT];
    double waited;       /* of the exchange: reducer_waited */
    ModelTimes *times;   /* per node */
    double rank_samples; /* trained on by this rank */
    StepMemory memory;
    Limits limits;
} StepBench;

/* Trains a few steps to warm up, and then for about `seconds`; result->times has room for the
 * model's nodes. Collective. False: training diverged. */
bool step_run(Trainer *trainer, double seconds, StepBench *result);
StepMemory step_memory(const Trainer *trainer); /* of this rank */

/* On rank 0. */
void step_print(const Trainer *trainer, const StepBench *result);
void step_print_json(const Trainer *trainer, const StepBench *result);

#endif
