/* Learning-rate schedules: functions of the step number, and of nothing else but for plateau, which
 * watches the loss. One file in src/opt/schedules, one line in src/opt/schedules.def.
 *
 *   lr(t) = peak * ramp(t)                      for t < W, the warm-up steps; t = 0, 1, ...
 *         = max(min_lr, peak * shape(t - s))    from then on; s = W or 0: see `clock`
 *   peak  = optimizer.lr * (1 | batch / base_batch | sqrt(batch / base_batch))
 *   ramp  = start + (1 - start) * (t or t + 1) / W, or the constant start
 *
 * The linear scaling rule and warming up from the unscaled lr: Goyal et al. 2017; the square root:
 * Krizhevsky 2014, Hoffer et al. 2017. Row t of the golden schedules is schedule_lr(t).
 *
 * Where the batch grows during the run, moments (warm-up, length, milestones) are exact: 30ep is
 * the step with which epoch 30 begins. Periods (every, cycle, up) in epochs or samples are counted
 * in samples, periods in steps in steps. */
#ifndef LOCKSTEP_SCHEDULE_H
#define LOCKSTEP_SCHEDULE_H

#include "lockstep/batch_plan.h"
#include "lockstep/config.h"
#include "lockstep/text.h"

typedef enum LrScaling { LR_SCALING_NONE, LR_SCALING_LINEAR, LR_SCALING_SQRT } LrScaling;

/* What a schedule needs to know about the run. */
typedef struct ScheduleRun {
    int64_t steps, steps_per_epoch; /* of the whole run; per epoch, rounded up */
    int64_t batch;                  /* global batch, at first */
    double base_lr;                 /* optimizer.lr */
    int64_t start;                  /* the run's step that is step 0 here: 0 but for the parts of a
                                       sequence */
    const BatchPlan *plan;          /* borrowed; NULL: the batch does not grow */
} ScheduleRun;

/* Kept between steps by types with `observe`: zero at first, the same on every rank, part of a
 * checkpoint. */
#define SCHEDULE_STATES 8
typedef struct ScheduleState {
    double value[SCHEDULE_STATES];
} ScheduleState;

typedef struct ScheduleClock {
    int64_t step;  /* steps since the shape began (after warm-up if it waits for it) */
    int64_t steps; /* steps that the shape lasts, at least 1; `step` may be past it */
    int64_t time;  /* what `step` would be if the batch had never grown */
    const ScheduleState *state;
} ScheduleClock;

/* What `resolve` may use to turn its options into steps. */
typedef struct ScheduleSetup {
    const Config *config;
    ConfigNode *node; /* of the schedule, for messages and parts */
    const ScheduleRun *run;
    const BatchPlan *plan;
    int64_t origin, warmup, length; /* steps: where in the run the shape begins, how long the
                                       warm-up and the shape last */
} ScheduleSetup;

/* Something has been measured; the same on every rank. */
typedef enum ScheduleEvent { SCHEDULE_STEP, SCHEDULE_TEST } ScheduleEvent;
typedef struct ScheduleNews {
    ScheduleEvent event;
    int64_t done; /* steps */
    double loss;  /* sum over `count` targets: of the step's batch, or of the test set */
    double count;
    double accuracy; /* below 0: none */
} ScheduleNews;

typedef struct ScheduleType {
    const char *name, *help, *formula, *source;
    const Option *options;
    size_t options_bytes;
    bool after_warmup; /* `clock: auto`: the shape begins when the warm-up ends */
    /* Multiple of the peak lr at a clock. */
    double (*factor)(const void *options, const ScheduleClock *clock);
    /* Momentum (or beta1) at a clock, 0: the optimizer's own. NULL: always that. */
    double (*momentum)(const void *options, const ScheduleClock *clock);
    /* Checks options and turns spans into steps inside them. NULL: nothing to do. */
    bool (*resolve)(void *options, const ScheduleSetup *setup, Err *err);
    /* Frees what `resolve` has made. Also after its error. NULL: nothing to do. */
    void (*release)(void *options);
    /* Takes note of what has been measured. NULL: a pure function of the step. */
    void (*observe)(const void *options, const BatchPlan *plan, ScheduleState *state,
                    const ScheduleNews *news);
} ScheduleType;

typedef struct Schedule {
    const ScheduleType *type;
    void *options;
    ScheduleRun run;
    BatchPlan plan;
    ScheduleState state;
    LrScaling scaling;
    bool grows;                      /* the peak is scaled again when the batch grows */
    double base_batch, factor, peak; /* peak = base_lr * factor, at the first batch */
    int64_t warmup_steps;
    double warmup_start;  /* fraction of the peak that the ramp starts from */
    bool warmup_constant; /* the ramp is flat: warmup_start all the way */
    int warmup_first; /* 0: step 0 uses warmup_start; 1: step 0 is already one rung up, (t+1)/W */
    int64_t origin;   /* step at which the shape's clock starts */
    int64_t length;   /* steps of the shape */
    double min_lr;    /* floor after the warm-up, absolute */
} Schedule;

/* Reads {type, warmup, warmup_start, warmup_from, warmup_count, warmup_shape, clock, length,
 * lr_scaling, base_batch, on_growth, min_lr, options of the type}; a NULL node is a constant
 * schedule. lr_scaling other than none needs base_batch. Always schedule_free, also after an error.
 * Not collective. */
bool schedule_init(Schedule *schedule, const Config *config, ConfigNode *node,
                   const ScheduleRun *run, Err *err);
void schedule_free(Schedule *schedule);
double schedule_lr(const Schedule *schedule, int64_t step);
/* What the schedule wants as the method's momentum (or beta1) in this step; 0: nothing. */
double schedule_momentum(const Schedule *schedule, int64_t step);
/* After every step and every evaluation, on every rank alike. */
void schedule_observe(Schedule *schedule, const ScheduleNews *news);

const ScheduleType *schedule_find(const char *name);
const ScheduleType *const *schedule_all(int *count);
extern const Option schedule_common_options[];

/* For the types: steps of a span that begins with the shape; steps of a period at the first batch,
 * and the clock that counts periods of that unit. */
int64_t schedule_span(const ScheduleSetup *setup, Span span);
int64_t schedule_period(const ScheduleSetup *setup, Span period);
int64_t schedule_tick(const ScheduleClock *clock, Span period);

#endif
