/* Stages of constant lr that get longer as the lr gets smaller (START, Yuan et al. 2019). */
#include "lockstep/schedule.h"

#include <math.h>

typedef struct StagewiseOptions {
    Span first;
    double gamma, growth;
    int64_t steps; /* of the first stage; set by resolve */
} StagewiseOptions;

static const Option options[] = {
    { "first", OPTION_SPAN, OPTION_AT(StagewiseOptions, first), 1e-9, 1e15, NULL, "10ep",
      "length of the first stage" },
    { "gamma", OPTION_FLOAT, OPTION_AT(StagewiseOptions, gamma), 0, 1, NULL, "0.5",
      "each stage's lr is so many times the one before" },
    { "growth", OPTION_FLOAT, OPTION_AT(StagewiseOptions, growth), 1, 1e6, NULL, "2",
      "each stage is so many times as long as the one before; in the paper 1 / gamma" },
    OPTION_END,
};

static bool resolve(void *options_pointer, const ScheduleSetup *setup, Err *err)
{
    StagewiseOptions *o = options_pointer;
    (void)err;
    o->steps = schedule_period(setup, o->first);
    return true;
}

static double factor(const void *options_pointer, const ScheduleClock *clock)
{
    const StagewiseOptions *o = options_pointer;
    double t = (double)schedule_tick(clock, o->first), length = (double)o->steps, stage = 0;
    if (o->growth <= 1)
        return pow(o->gamma, floor(t / length));
    while (t >= length) {
        t -= length;
        length *= o->growth;
        stage++;
    }
    return pow(o->gamma, stage);
}

extern const ScheduleType schedule_stagewise;
const ScheduleType schedule_stagewise = {
    .name = "stagewise",
    .help = "stages of constant lr, each with a smaller lr and longer than the one before",
    .formula = "gamma^s in stage s, which lasts first growth^s",
    .source = "Yuan et al. 2019",
    .options = options,
    .options_bytes = sizeof(StagewiseOptions),
    .after_warmup = true,
    .factor = factor,
    .resolve = resolve,
};
