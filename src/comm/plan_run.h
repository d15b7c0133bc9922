/* What running a plan does to this member's memory; shared by the executor and by tests that run
 * the plans of all members in one process. */
#ifndef LOCKSTEP_COMM_PLAN_RUN_H
#define LOCKSTEP_COMM_PLAN_RUN_H

#include "lockstep/collective.h"

typedef struct PlanMemory {
    float *const *inputs; /* borrowed */
    float *output;        /* borrowed */
    float *scratch, *tiles;
    const Wire *wire; /* borrowed; NULL: sums are not rounded */
} PlanMemory;

void plan_memory_init(PlanMemory *memory, const Plan *plan); /* scratch and tiles */
void plan_memory_free(PlanMemory *memory);

float *plan_place(const PlanMemory *memory, Place place);
void plan_copies(const Plan *plan, int round, const PlanMemory *memory);
void plan_adds(const Plan *plan, int round, const PlanMemory *memory);

#endif
