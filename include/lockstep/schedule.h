/* Learning-rate schedules: pure functions of the step number, without state. One file in
 * src/opt/schedules, one line in src/opt/schedules.def.
 *
 *   lr(t) = peak * ramp(t)                      for t < W, the warm-up steps; t = 0, 1, ...
 *         = max(min_lr, peak * shape(t - s))    from then on; s = W or 0: see `clock`
 *   peak  = optimizer.lr * (1 | batch / base_batch | sqrt(batch / base_batch))
 *   ramp  = start + (1 - start) * (t or t + 1) / W, or the constant start
 *
 * The linear scaling rule and warming up from the unscaled lr: Goyal et al. 2017; the square root:
 * Krizhevsky 2014, Hoffer et al. 2017. Row t of the golden schedules is schedule_lr(t). */
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
    int64_t steps; /* steps that the shape lasts, at least 1; `step` may be past it */
} ScheduleClock;

typedef struct ScheduleType {
    const char *name, *help, *formula, *source;
    const Option *options;
    size_t options_bytes;
    bool after_warmup; /* `clock: auto`: the shape begins when the warm-up ends */
    /* Multiple of the peak lr at a clock. */
    double (*factor)(const void *options, const ScheduleClock *clock);
    /* Checks options and turns spans into steps inside them. NULL: nothing to do. The option at
     * fault is named by the message. */
    bool (*resolve)(void *options, const ScheduleRun *run, Err *err);
} ScheduleType;

typedef struct Schedule {
    const ScheduleType *type;
    void *options;
    ScheduleRun run;
    LrScaling scaling;
    double base_batch, factor, peak; /* peak = base_lr * factor */
    int64_t warmup_steps;
    double warmup_start;  /* fraction of the peak that the ramp starts from */
    bool warmup_constant; /* the ramp is flat: warmup_start all the way */
    int warmup_first; /* 0: step 0 uses warmup_start; 1: step 0 is already one rung up, (t+1)/W */
    bool shifted;     /* the shape's clock starts after the warm-up */
    int64_t length;   /* steps of the shape */
    double min_lr;    /* floor after the warm-up, absolute */
} Schedule;

/* Reads {type, warmup, warmup_start, warmup_from, warmup_count, warmup_shape, clock, length,
 * lr_scaling, base_batch, min_lr, options of the type}; a NULL node is a constant schedule.
 * lr_scaling other than none needs base_batch. Always schedule_free, also after an error. Not
 * collective. */
bool schedule_init(Schedule *schedule, const Config *config, ConfigNode *node,
                   const ScheduleRun *run, Err *err);
void schedule_free(Schedule *schedule);
double schedule_lr(const Schedule *schedule, int64_t step);

const ScheduleType *schedule_find(const char *name);
const ScheduleType *const *schedule_all(int *count);
extern const Option schedule_common_options[];

#endif
