/* Learning-rate schedules: common options, warm-up, scaling with the batch; the shapes are in
 * schedules/. */
#include "lockstep/schedule.h"
#include "lockstep/error.h"
#include "lockstep/memory.h"

#include <math.h>
#include <string.h>

#define SCHEDULE(name) extern const ScheduleType schedule_##name;
#include "schedules.def"
#undef SCHEDULE
#define SCHEDULE(name) &schedule_##name,
static const ScheduleType *const schedules[] = {
#include "schedules.def"
};
#undef SCHEDULE

enum { SCHEDULE_COUNT = sizeof schedules / sizeof *schedules };

const ScheduleType *const *schedule_all(int *count)
{
    *count = SCHEDULE_COUNT;
    return schedules;
}

const ScheduleType *schedule_find(const char *name)
{
    for (int i = 0; i < SCHEDULE_COUNT; i++)
        if (strcmp(schedules[i]->name, name) == 0)
            return schedules[i];
    return NULL;
}

/* ---- options ---- */

enum { FROM_FRACTION, FROM_BASE };
enum { COUNT_AUTO, COUNT_FROM_ONE, COUNT_FROM_ZERO };
enum { WARMUP_LINEAR, WARMUP_CONSTANT };
enum { CLOCK_AUTO, CLOCK_RUN, CLOCK_AFTER_WARMUP };
enum { GROWTH_KEEP, GROWTH_SCALE };

typedef struct CommonOptions {
    char *type;
    Span warmup, length;
    double warmup_start, base_batch, min_lr;
    int warmup_from, warmup_count, warmup_shape, clock, lr_scaling, on_growth;
} CommonOptions;

const Option schedule_common_options[] = {
    { "type", OPTION_STRING, OPTION_AT(CommonOptions, type), 0, 0, NULL, "constant",
      "the shape after the warm-up: see `lockstep list schedules`" },
    { "warmup", OPTION_SPAN, OPTION_AT(CommonOptions, warmup), 0, 1e15, NULL, "0",
      "how long the lr rises to its peak" },
    { "warmup_start", OPTION_FLOAT, OPTION_AT(CommonOptions, warmup_start), 0, 1e6, NULL, "0",
      "where the warm-up starts, as a fraction of the peak" },
    { "warmup_from", OPTION_CHOICE, OPTION_AT(CommonOptions, warmup_from), 0, 0, "fraction|base",
      "fraction",
      "fraction: start at warmup_start; base: start at optimizer.lr before scaling (Goyal et "
      "al.)" },
    { "warmup_count", OPTION_CHOICE, OPTION_AT(CommonOptions, warmup_count), 0, 0,
      "auto|from_one|from_zero", "auto",
      "ramp (t+1)/W from_one or t/W from_zero at step t of W; auto: from_one if the start is 0, "
      "since a "
      "step with lr 0 is lost" },
    { "warmup_shape", OPTION_CHOICE, OPTION_AT(CommonOptions, warmup_shape), 0, 0,
      "linear|constant", "linear",
      "linear: rise in a line; constant: stay at the start, then jump to the peak" },
    { "clock", OPTION_CHOICE, OPTION_AT(CommonOptions, clock), 0, 0, "auto|run|after_warmup",
      "auto",
      "what the shape counts from: the start of the run or the end of the warm-up; auto: run for "
      "step, sequence, noam and constant, else after_warmup" },
    { "length", OPTION_SPAN, OPTION_AT(CommonOptions, length), 0, 1e15, NULL, "0",
      "how long the shape lasts; 0: to the end of the run" },
    { "lr_scaling", OPTION_CHOICE, OPTION_AT(CommonOptions, lr_scaling), 0, 0, "none|linear|sqrt",
      "none", "multiply optimizer.lr by batch / base_batch or its square root" },
    { "base_batch", OPTION_FLOAT, OPTION_AT(CommonOptions, base_batch), 0, 1e15, NULL, "0",
      "samples: the global batch that optimizer.lr is meant for; needed by lr_scaling" },
    { "on_growth", OPTION_CHOICE, OPTION_AT(CommonOptions, on_growth), 0, 0, "keep|scale", "keep",
      "when train.grow makes the batch larger: keep the lr, so that growth takes the place of "
      "decay (Smith et al. 2018), or scale it by lr_scaling again" },
    { "min_lr", OPTION_FLOAT, OPTION_AT(CommonOptions, min_lr), 0, 1e9, NULL, "0",
      "lowest lr after the warm-up, absolute" },
    OPTION_END,
};

static const ScheduleType *read_type(const Config *config, ConfigNode *node, Err *err)
{
    config_as_map(node, "type");
    const ConfigNode *value = config_get(node, "type");
    bool given = value && value->kind == CONFIG_SCALAR && value->text;
    const ScheduleType *type = schedule_find(given ? value->text : schedule_common_options[0].def);
    if (type)
        return type;
    const char *names[SCHEDULE_COUNT];
    for (int i = 0; i < SCHEDULE_COUNT; i++)
        names[i] = schedules[i]->name;
    config_unknown(config, value, false, "schedule", "schedules", names, SCHEDULE_COUNT, err);
    return NULL;
}

static bool read_options(Schedule *schedule, const Config *config, ConfigNode *node,
                         CommonOptions *common, Err *err)
{
    const ScheduleType *type = read_type(config, node, err);
    const char *other[OPTIONS_MAX];
    if (!type)
        return false;
    options_names(type->options, other);
    if (!options_read(config, node, schedule_common_options, other, common, err))
        return false;
    options_free(schedule_common_options, common);
    options_names(schedule_common_options, other);
    void *options = mem_alloc(type->options_bytes);
    if (!options_read(config, node, type->options, other, options, err)) {
        mem_free(options);
        return false;
    }
    schedule->type = type;
    schedule->options = options;
    return true;
}

/* ---- derivation ---- */

static double scaling_factor(const Schedule *schedule, double batch)
{
    if (schedule->scaling == LR_SCALING_NONE)
        return 1;
    double ratio = batch / schedule->base_batch;
    return schedule->scaling == LR_SCALING_LINEAR ? ratio : sqrt(ratio);
}

static bool set_peak(Schedule *schedule, const CommonOptions *common, const Config *config,
                     ConfigNode *node, Err *err)
{
    schedule->scaling = (LrScaling)common->lr_scaling;
    schedule->base_batch = common->base_batch;
    schedule->grows = common->on_growth == GROWTH_SCALE;
    if (schedule->scaling != LR_SCALING_NONE && common->base_batch <= 0)
        return config_error(
            config, node, err,
            "lr_scaling needs base_batch, the global batch that optimizer.lr is for");
    if (schedule->scaling == LR_SCALING_NONE && schedule->grows)
        return config_error(config, config_get(node, "on_growth"), err,
                            "scale needs lr_scaling: linear or sqrt");
    schedule->factor = scaling_factor(schedule, (double)schedule->run.batch);
    schedule->peak = schedule->run.base_lr * schedule->factor;
    return true;
}

static void set_clock(Schedule *schedule, const CommonOptions *common)
{
    const ScheduleRun *run = &schedule->run;
    schedule->plan =
        run->plan ? *run->plan : batch_plan(run->steps_per_epoch * run->batch, (int)run->batch);
    schedule->warmup_steps = batch_plan_span(&schedule->plan, run->start, common->warmup);
    schedule->warmup_start =
        common->warmup_from == FROM_BASE ? 1 / schedule->factor : common->warmup_start;
    schedule->warmup_constant = common->warmup_shape == WARMUP_CONSTANT;
    bool starts_at_zero = schedule->warmup_start == 0;
    schedule->warmup_first = common->warmup_count == COUNT_FROM_ONE ||
                             (common->warmup_count == COUNT_AUTO && starts_at_zero);
    bool waits = common->clock == CLOCK_AFTER_WARMUP ||
                 (common->clock == CLOCK_AUTO && schedule->type->after_warmup);
    schedule->origin = waits ? schedule->warmup_steps : 0;
    schedule->length =
        batch_plan_span(&schedule->plan, run->start + schedule->origin, common->length);
    if (schedule->length == 0)
        schedule->length = run->steps - schedule->origin;
    if (schedule->length < 1)
        schedule->length = 1;
}

static bool resolve(Schedule *schedule, const Config *config, ConfigNode *node, Err *err)
{
    ScheduleSetup setup = { .config = config,
                            .node = node,
                            .run = &schedule->run,
                            .plan = &schedule->plan,
                            .origin = schedule->run.start + schedule->origin,
                            .warmup = schedule->warmup_steps,
                            .length = schedule->length };
    return !schedule->type->resolve || schedule->type->resolve(schedule->options, &setup, err);
}

bool schedule_init(Schedule *schedule, const Config *config, ConfigNode *node,
                   const ScheduleRun *run, Err *err)
{
    static const Span none;
    CommonOptions common = { .warmup = none };
    *schedule = (Schedule){ .run = *run };
    if (!node)
        schedule->type = schedule_find(schedule_common_options[0].def);
    else if (!read_options(schedule, config, node, &common, err))
        return false;
    if (!set_peak(schedule, &common, config, node, err))
        return false;
    set_clock(schedule, &common);
    schedule->min_lr = common.min_lr;
    return resolve(schedule, config, node, err);
}

void schedule_free(Schedule *schedule)
{
    if (schedule->options && schedule->type->release)
        schedule->type->release(schedule->options);
    if (schedule->options)
        options_free(schedule->type->options, schedule->options);
    mem_free(schedule->options);
    *schedule = (Schedule){ 0 };
}

int64_t schedule_span(const ScheduleSetup *setup, Span span)
{
    return batch_plan_span(setup->plan, setup->origin, span);
}

int64_t schedule_period(const ScheduleSetup *setup, Span period)
{
    const BatchStage *first = setup->plan->stages;
    return span_steps(period, first->per_epoch, first->batch);
}

int64_t schedule_tick(const ScheduleClock *clock, Span period)
{
    return period.unit == SPAN_STEPS ? clock->step : clock->time;
}

/* ---- every step ---- */

/* While the warm-up lasts, the shape stands at its beginning. */
static ScheduleClock clock_at(const Schedule *schedule, int64_t step)
{
    const BatchPlan *plan = &schedule->plan;
    int64_t since = step > schedule->origin ? step - schedule->origin : 0;
    ScheduleClock clock = {
        .step = since, .steps = schedule->length, .time = since, .state = &schedule->state
    };
    int64_t origin = schedule->run.start + schedule->origin;
    if (plan->count > 1)
        clock.time = batch_plan_time(plan, origin + since) - batch_plan_time(plan, origin);
    return clock;
}

static double peak_at(const Schedule *schedule, int64_t step)
{
    if (!schedule->grows)
        return schedule->peak;
    double batch = batch_plan_at(&schedule->plan, schedule->run.start + step).batch;
    return schedule->run.base_lr * scaling_factor(schedule, batch);
}

double schedule_lr(const Schedule *schedule, int64_t step)
{
    double peak = peak_at(schedule, step);
    if (step < schedule->warmup_steps) {
        double done = (double)(step + schedule->warmup_first) / (double)schedule->warmup_steps;
        double start = schedule->warmup_start;
        return peak * (schedule->warmup_constant ? start : start + (1 - start) * done);
    }
    ScheduleClock clock = clock_at(schedule, step);
    double lr = peak * schedule->type->factor(schedule->options, &clock);
    return lr > schedule->min_lr ? lr : schedule->min_lr;
}

double schedule_momentum(const Schedule *schedule, int64_t step)
{
    ScheduleClock clock = clock_at(schedule, step);
    return schedule->type->momentum ? schedule->type->momentum(schedule->options, &clock) : 0;
}

void schedule_observe(Schedule *schedule, const ScheduleNews *news)
{
    if (schedule->type->observe)
        schedule->type->observe(schedule->options, &schedule->plan, &schedule->state, news);
}
