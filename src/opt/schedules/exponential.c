/* Exponential decay: a smooth power of gamma. */
#include "lockstep/schedule.h"

#include <math.h>

typedef struct ExponentialOptions {
    double gamma;
    Span every;
    int64_t period; /* steps; set by resolve */
} ExponentialOptions;

static const Option options[] = {
    { "gamma", OPTION_FLOAT, OPTION_AT(ExponentialOptions, gamma), 0, 1e6, NULL, "0.95",
      "what the lr is multiplied by, in equal shares over the period" },
    { "every", OPTION_SPAN, OPTION_AT(ExponentialOptions, every), 1e-9, 1e15, NULL, "1ep",
      "the period in which the lr falls by gamma" },
    OPTION_END,
};

static bool resolve(void *options_pointer, const ScheduleSetup *setup, Err *err)
{
    ExponentialOptions *o = options_pointer;
    (void)err;
    o->period = schedule_period(setup, o->every);
    return true;
}

static double factor(const void *options_pointer, const ScheduleClock *clock)
{
    const ExponentialOptions *o = options_pointer;
    return pow(o->gamma, (double)schedule_tick(clock, o->every) / (double)o->period);
}

extern const ScheduleType schedule_exponential;
const ScheduleType schedule_exponential = {
    .name = "exponential",
    .help = "falls by the factor gamma in every period, smoothly",
    .formula = "gamma^(t / every)",
    .source = "PyTorch ExponentialLR",
    .options = options,
    .options_bytes = sizeof(ExponentialOptions),
    .after_warmup = true,
    .factor = factor,
    .resolve = resolve,
};
