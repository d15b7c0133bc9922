/* Which samples of which epoch a step takes, when the global batch may grow during the run (Smith
 * et al. 2018: instead of cutting the lr). Pure functions of the step.
 *
 * What grows is the number of lanes, by powers of two; a lane keeps its size, so nothing that
 * happens inside a lane (shapes, memory, ghost batches) changes when the batch does.
 *
 *   epochs of 40 samples, batch 8, grow: [{at: 2ep, batch: 16}]
 *   epoch     0               1               2          3
 *   step      0  1  2  3  4 | 5  6  7  8  9 | 10 11 12 | 13 14 15      12 and 15 are short: 8
 */
#ifndef LOCKSTEP_BATCH_PLAN_H
#define LOCKSTEP_BATCH_PLAN_H

#include "lockstep/error.h"
#include "lockstep/text.h"

#define BATCH_STAGES_MAX 16

/* Steps of one batch size. */
typedef struct BatchStage {
    int64_t step, samples;   /* steps and samples before it */
    int64_t epoch, position; /* where in the data it begins */
    int64_t first_epoch;     /* steps until the epoch is over in which it begins */
    int64_t per_epoch;       /* steps of a whole epoch */
    int batch;               /* samples of a full step */
} BatchStage;

typedef struct BatchPlan {
    int64_t epoch_samples;
    int count;
    BatchStage stages[BATCH_STAGES_MAX];
} BatchPlan;

/* A step's place in the data. */
typedef struct BatchPlace {
    int64_t epoch, position; /* of its first sample */
    int batch;               /* samples of a full step at this time */
    int size;                /* of this one: less at the end of an epoch */
} BatchPlace;

/* A batch that does not grow. */
BatchPlan batch_plan(int64_t epoch_samples, int batch);
/* From `at` on, counted from the start of the run, the batch is another one. False if `at` is not
 * behind the stage before or there are too many. */
bool batch_plan_grow(BatchPlan *plan, Span at, int batch, Err *err);

BatchPlace batch_plan_at(const BatchPlan *plan, int64_t step);
/* Samples seen before a step. */
int64_t batch_plan_samples(const BatchPlan *plan, int64_t step);
/* The step at a moment, rounded to the nearest; at least 1 if the moment is above 0. */
int64_t batch_plan_step(const BatchPlan *plan, Span moment);
/* How many steps `span` lasts that begins at step `from`. */
int64_t batch_plan_span(const BatchPlan *plan, int64_t from, Span span);
/* The number that a step would have if the batch had never grown: what periods in epochs or samples
 * are counted by. */
int64_t batch_plan_time(const BatchPlan *plan, int64_t step);
/* Is something that happens every so often due after `done` steps? */
bool batch_plan_due(const BatchPlan *plan, int64_t done, Span every);

#endif
