/* What `bench step` measures and what it prints. Private to src/train/bench. */
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
    ModelTimes *times;   /* per node */
    double rank_samples; /* trained on by this rank */
    StepMemory memory;
    Limits limits;
} StepBench;

/* On rank 0. */
void step_print(const Trainer *trainer, const StepBench *result);
void step_print_json(const Trainer *trainer, const StepBench *result);

#endif
