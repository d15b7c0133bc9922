/* Polynomial decay to a fraction of the peak: power 1 is linear, 2 is what large-batch LARS runs
 * use. */
#include "lockstep/schedule.h"

#include <math.h>

typedef struct PolyOptions {
    double power, end;
} PolyOptions;

static const Option options[] = {
    { "power", OPTION_FLOAT, OPTION_AT(PolyOptions, power), 0, 100, NULL, "2",
      "exponent; 1 is linear" },
    { "end", OPTION_FLOAT, OPTION_AT(PolyOptions, end), 0, 1e6, NULL, "0",
      "lr at the end, as a fraction of the peak; it stays there" },
    OPTION_END,
};

static double factor(const void *options_pointer, const ScheduleClock *clock)
{
    const PolyOptions *o = options_pointer;
    if (clock->step >= clock->steps)
        return o->end;
    double left = (double)(clock->steps - clock->step) / (double)clock->steps;
    return o->end + (1 - o->end) * pow(left, o->power);
}

extern const ScheduleType schedule_poly;
const ScheduleType schedule_poly = {
    .name = "poly",
    .help = "polynomial decay over the shape's length",
    .formula = "end + (1 - end) (1 - t / T)^power",
    .source = "You et al. 2017",
    .options = options,
    .options_bytes = sizeof(PolyOptions),
    .after_warmup = true,
    .factor = factor,
};
