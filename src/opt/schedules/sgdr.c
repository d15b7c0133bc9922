/* Cosine annealing with warm restarts (Loshchilov and Hutter 2017): every cycle falls from the peak
 * to min, cycles may grow and peaks may shrink. */
#include "lockstep/schedule.h"

#include <math.h>

typedef struct SgdrOptions {
    Span cycle;
    double cycles, growth, decay, min;
    int64_t first; /* steps of the first cycle; set by resolve */
} SgdrOptions;

static const Option options[] = {
    { "cycle", OPTION_SPAN, OPTION_AT(SgdrOptions, cycle), 0, 1e15, NULL, "0",
      "length of the first cycle; this or cycles" },
    { "cycles", OPTION_FLOAT, OPTION_AT(SgdrOptions, cycles), 0, 1e6, NULL, "0",
      "so many equal cycles over the shape's length, then min; this or cycle" },
    { "growth", OPTION_FLOAT, OPTION_AT(SgdrOptions, growth), 1, 1e6, NULL, "1",
      "each cycle is so many times as long as the one before (T_mult)" },
    { "decay", OPTION_FLOAT, OPTION_AT(SgdrOptions, decay), 0, 1e6, NULL, "1",
      "each cycle's peak is so many times the one before" },
    { "min", OPTION_FLOAT, OPTION_AT(SgdrOptions, min), 0, 1e6, NULL, "0",
      "lowest lr, as a fraction of the peak" },
    OPTION_END,
};

static bool resolve(void *options_pointer, const ScheduleSetup *setup, Err *err)
{
    SgdrOptions *o = options_pointer;
    o->first = schedule_period(setup, o->cycle);
    if ((o->first > 0) == (o->cycles > 0))
        return config_error(setup->config, setup->node, err, "%s given: one of them is wanted",
                            o->first > 0 ? "both cycle and cycles are"
                                         : "neither cycle nor cycles is");
    if (o->cycles > 0 && o->growth > 1)
        return config_error(setup->config, setup->node, err,
                            "growth needs cycle, the length of the first one");
    return true;
}

/* The number of the cycle and which part of it is done, 0 to 1. */
static double place(const SgdrOptions *o, const ScheduleClock *clock, double *number)
{
    if (o->cycles > 0) {
        double done = o->cycles * ((double)clock->step / (double)clock->steps);
        *number = floor(done);
        return clock->step >= clock->steps ? 1 : fmod(done, 1);
    }
    double t = (double)schedule_tick(clock, o->cycle), length = (double)o->first;
    *number = 0;
    if (o->growth <= 1) {
        *number = floor(t / length);
        return fmod(t, length) / length;
    }
    while (t >= length) {
        t -= length;
        length *= o->growth;
        ++*number;
    }
    return t / length;
}

static double factor(const void *options_pointer, const ScheduleClock *clock)
{
    const SgdrOptions *o = options_pointer;
    double number, done = place(o, clock, &number);
    double peak = o->decay == 1 ? 1 : pow(o->decay, number);
    return o->min + (peak - o->min) * 0.5 * (1 + cos(acos(-1) * done));
}

extern const ScheduleType schedule_sgdr;
const ScheduleType schedule_sgdr = {
    .name = "sgdr",
    .help = "cosine annealing with warm restarts",
    .formula = "min + (decay^i - min) (1 + cos(pi t_i / T_i)) / 2 in cycle i, T_i = cycle growth^i",
    .source = "Loshchilov and Hutter 2017",
    .options = options,
    .options_bytes = sizeof(SgdrOptions),
    .after_warmup = true,
    .factor = factor,
    .resolve = resolve,
};
