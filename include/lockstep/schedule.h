/* Learning-rate schedules: pure functions of the step number, without state. One file in
 * src/opt/schedules, one line in src/opt/schedules.def.
 *
 * lr(step) = peak * warm-up ramp        for step < warm-up steps
 *          = peak * shape(step)         after it
 * Row t of the golden schedules is schedule_lr(t): the value used by 0-based optimizer step t. */
#ifndef LOCKSTEP_SCHEDULE_H
#define LOCKSTEP_SCHEDULE_H

#include "lockstep/config.h"
#include "lockstep/text.h"

typedef enum LrScaling { LR_SCALING_NONE, LR_SCALING_LINEAR, LR_SCALING_SQRT } LrScaling;

/* What a schedule needs to know about the run. */
typedef struct ScheduleRun {
    int64_t steps, steps_per_epoch; /* of the whole run; per epoch, rounded up */
    int64_t batch;                  /* global batch */
    double base_lr;                 /* optimizer.lr */
} ScheduleRun;

typedef struct ScheduleClock {
    int64_t step;  /* steps since the shape began (after warm-up if it waits for it) */
    int64_t steps; /* steps that the shape lasts */
    int64_t steps_per_epoch, batch;
} ScheduleClock;

typedef struct ScheduleType {
    const char *name, *help, *formula, *source;
    const Option *options;
    size_t options_bytes;
    /* Multiple of the peak lr at a clock. */
    double (*factor)(const void *options, const ScheduleClock *clock);
    bool (*check)(const void *options, const ScheduleRun *run, Err *err); /* or NULL */
} ScheduleType;

typedef struct Schedule {
    const ScheduleType *type;
    void *options;
    ScheduleRun run;
    LrScaling scaling;
    double base_batch, factor, peak; /* peak = base_lr * factor */
    int64_t warmup_steps;
    double warmup_start; /* fraction of the peak that the ramp starts from */
    int warmup_first;    /* 0: step 0 uses warmup_start; 1: step 0 is already one rung up (t+1)/W */
    bool warmup_shifts;  /* the shape's clock starts after the warm-up */
    double min_lr;       /* floor, absolute */
} Schedule;

/* Reads {type: ..., warmup: 5ep, warmup_start: 0.1, lr_scaling: linear, base_batch: 256, ...}; a NULL
 * node is a constant schedule. lr_scaling other than none needs base_batch. */
bool schedule_init(Schedule *schedule, const Config *config, ConfigNode *node,
                   const ScheduleRun *run, Err *err);
void schedule_free(Schedule *schedule);
double schedule_lr(const Schedule *schedule, int64_t step);

const ScheduleType *schedule_find(const char *name);
const ScheduleType *const *schedule_all(int *count);
extern const Option schedule_common_options[];

#endif
