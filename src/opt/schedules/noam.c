/* The schedule of the first transformer, warm-up and constants included (Vaswani et al. 2017,
 * equation 3): optimizer.lr is a plain factor, 1 in the paper. */
#include "lockstep/schedule.h"

#include <math.h>

typedef struct NoamOptions {
    int dim;
    Span rise;
    int64_t steps; /* of the rise; set by resolve */
} NoamOptions;

static const Option options[] = {
    { "dim", OPTION_INT, OPTION_AT(NoamOptions, dim), 1, 1e9, NULL, "512",
      "width of the model; the lr is divided by its root" },
    { "rise", OPTION_SPAN, OPTION_AT(NoamOptions, rise), 1e-9, 1e15, NULL, "4000st",
      "how long the lr rises; instead of a warm-up" },
    OPTION_END,
};

static bool resolve(void *options_pointer, const ScheduleSetup *setup, Err *err)
{
    NoamOptions *o = options_pointer;
    (void)err;
    o->steps = schedule_span(setup, o->rise);
    return true;
}

static double factor(const void *options_pointer, const ScheduleClock *clock)
{
    const NoamOptions *o = options_pointer;
    double t = (double)clock->step + 1, rise = (double)o->steps;
    double falling = 1 / sqrt(t), rising = t / (rise * sqrt(rise));
    return fmin(falling, rising) / sqrt((double)o->dim);
}

extern const ScheduleType schedule_noam;
const ScheduleType schedule_noam = {
    .name = "noam",
    .help = "the first transformer's: rises in a line, falls like one over the root of time; "
            "optimizer.lr is 1 in the paper",
    .formula = "dim^-0.5 min((t + 1)^-0.5, (t + 1) rise^-1.5)",
    .source = "Vaswani et al. 2017, equation 3",
    .options = options,
    .options_bytes = sizeof(NoamOptions),
    .factor = factor,
    .resolve = resolve,
};
