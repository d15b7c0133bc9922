/* One cycle (Smith and Topin 2018, "super-convergence"): up to the peak, down to almost nothing,
 * the momentum inversely. With PyTorch's boundaries: a phase of n steps ends on its step n - 1. */
#include "lockstep/schedule.h"

#include <math.h>

enum { ANNEAL_COS, ANNEAL_LINEAR };

typedef struct OnecycleOptions {
    double pct_start, div_factor, final_div_factor, base_momentum, max_momentum;
    int anneal;
    bool three_phase, cycle_momentum;
} OnecycleOptions;

static const Option options[] = {
    { "pct_start", OPTION_FLOAT, OPTION_AT(OnecycleOptions, pct_start), 0, 1, NULL, "0.3",
      "share of the length in which the lr rises" },
    { "div_factor", OPTION_FLOAT, OPTION_AT(OnecycleOptions, div_factor), 1e-6, 1e12, NULL, "25",
      "the lr starts at peak / div_factor" },
    { "final_div_factor", OPTION_FLOAT, OPTION_AT(OnecycleOptions, final_div_factor), 1e-6, 1e12,
      NULL, "1e4", "the lr ends at its start / final_div_factor" },
    { "anneal", OPTION_CHOICE, OPTION_AT(OnecycleOptions, anneal), 0, 0, "cos|linear", "cos",
      "the way from one value to the next" },
    { "three_phase", OPTION_BOOL, OPTION_AT(OnecycleOptions, three_phase), 0, 0, NULL, "false",
      "fall to the start in as many steps as it rose, then to the end (the paper's form)" },
    { "cycle_momentum", OPTION_BOOL, OPTION_AT(OnecycleOptions, cycle_momentum), 0, 0, NULL, "true",
      "move momentum (or beta1) inversely to the lr" },
    { "base_momentum", OPTION_FLOAT, OPTION_AT(OnecycleOptions, base_momentum), 1e-6, 0.999999,
      NULL, "0.85", "momentum at the peak lr" },
    { "max_momentum", OPTION_FLOAT, OPTION_AT(OnecycleOptions, max_momentum), 1e-6, 0.999999, NULL,
      "0.95", "momentum at the start and the end" },
    OPTION_END,
};

static bool resolve(void *options_pointer, const ScheduleSetup *setup, Err *err)
{
    const OnecycleOptions *o = options_pointer;
    if (o->three_phase && o->pct_start > 0.5)
        return config_error(setup->config, setup->node, err,
                            "pct_start: at most 0.5 wanted with three_phase, found %g",
                            o->pct_start);
    return true;
}

/* The values of lr and momentum at the turning points: rise, fall, (rest). */
static double value(const OnecycleOptions *o, const ScheduleClock *clock, double low, double high,
                    double end)
{
    double last = (double)clock->steps - 1, t = fmin((double)clock->step, last);
    double top = o->pct_start * (double)clock->steps - 1, back = 2 * top;
    double from, to, begin, finish;
    if (t <= top) {
        from = low, to = high, begin = 0, finish = top;
    } else if (o->three_phase && t <= back) {
        from = high, to = low, begin = top, finish = back;
    } else {
        from = o->three_phase ? low : high, to = end;
        begin = o->three_phase ? back : top, finish = last;
    }
    double done = finish > begin ? fmax(0, (t - begin) / (finish - begin)) : 1;
    if (o->anneal == ANNEAL_LINEAR)
        return from * (1 - done) + to * done;
    return to + (from - to) / 2 * (1 + cos(acos(-1) * done));
}

static double factor(const void *options_pointer, const ScheduleClock *clock)
{
    const OnecycleOptions *o = options_pointer;
    double start = 1 / o->div_factor;
    return value(o, clock, start, 1, start / o->final_div_factor);
}

static double momentum(const void *options_pointer, const ScheduleClock *clock)
{
    const OnecycleOptions *o = options_pointer;
    return o->cycle_momentum ? value(o, clock, o->max_momentum, o->base_momentum, o->max_momentum)
                             : 0;
}

extern const ScheduleType schedule_onecycle;
const ScheduleType schedule_onecycle = {
    .name = "onecycle",
    .help = "one rise and one fall over the shape's length, momentum inversely",
    .formula = "1 / div_factor -> 1 in pct_start T - 1 steps -> 1 / (div_factor final_div_factor)",
    .source = "Smith and Topin 2018",
    .options = options,
    .options_bytes = sizeof(OnecycleOptions),
    .after_warmup = true,
    .factor = factor,
    .momentum = momentum,
    .resolve = resolve,
};
