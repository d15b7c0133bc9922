/* Inverse time decay: the classical choice whose lr sums to infinity while its squares do not
 * (Robbins and Monro 1951), for powers above 1/2 and up to 1. */
#include "lockstep/schedule.h"

#include <math.h>

typedef struct InverseTimeOptions {
    double decay, power;
    Span every;
    int64_t period; /* steps; set by resolve */
} InverseTimeOptions;

static const Option options[] = {
    { "decay", OPTION_FLOAT, OPTION_AT(InverseTimeOptions, decay), 0, 1e9, NULL, "1",
      "what a period adds to the denominator" },
    { "power", OPTION_FLOAT, OPTION_AT(InverseTimeOptions, power), 0, 100, NULL, "1",
      "exponent of the denominator" },
    { "every", OPTION_SPAN, OPTION_AT(InverseTimeOptions, every), 1e-9, 1e15, NULL, "1ep",
      "the period that time is measured in" },
    OPTION_END,
};

static bool resolve(void *options_pointer, const ScheduleSetup *setup, Err *err)
{
    InverseTimeOptions *o = options_pointer;
    (void)err;
    o->period = schedule_period(setup, o->every);
    return true;
}

static double factor(const void *options_pointer, const ScheduleClock *clock)
{
    const InverseTimeOptions *o = options_pointer;
    double periods = (double)schedule_tick(clock, o->every) / (double)o->period;
    double below = 1 + o->decay * periods;
    return 1 / (o->power == 1 ? below : pow(below, o->power));
}

extern const ScheduleType schedule_inverse_time;
const ScheduleType schedule_inverse_time = {
    .name = "inverse_time",
    .help = "falls like one over time",
    .formula = "(1 + decay t / every)^-power",
    .source = "Robbins and Monro 1951",
    .options = options,
    .options_bytes = sizeof(InverseTimeOptions),
    .after_warmup = true,
    .factor = factor,
    .resolve = resolve,
};
