/* Warm-up, stable, decay: the peak for most of the run, then a short cool-down (Hu et al. 2024). */
#include "lockstep/schedule.h"

#include <math.h>

#define DEFAULT_COOLDOWN 0.1 /* of the shape's length */

enum { COOLDOWN_SQRT, COOLDOWN_LINEAR, COOLDOWN_COSINE, COOLDOWN_SQUARE };

typedef struct WsdOptions {
    Span stable, decay;
    int cooldown;
    double min;
    int64_t begin, steps; /* of the decay; set by resolve */
} WsdOptions;

static const Option options[] = {
    { "stable", OPTION_SPAN, OPTION_AT(WsdOptions, stable), 0, 1e15, NULL, "0",
      "how long the lr stays at the peak; 0: what decay leaves of the length" },
    { "decay", OPTION_SPAN, OPTION_AT(WsdOptions, decay), 0, 1e15, NULL, "0",
      "how long the lr falls; 0: a tenth of the length" },
    { "cooldown", OPTION_CHOICE, OPTION_AT(WsdOptions, cooldown), 0, 0, "sqrt|linear|cosine|square",
      "sqrt", "how it falls over x = 0 to 1: 1 - sqrt(x), 1 - x, half a cosine, or 1 - x^2" },
    { "min", OPTION_FLOAT, OPTION_AT(WsdOptions, min), 0, 1e6, NULL, "0",
      "lr at the end, as a fraction of the peak" },
    OPTION_END,
};

static bool resolve(void *options_pointer, const ScheduleSetup *setup, Err *err)
{
    WsdOptions *o = options_pointer;
    (void)err;
    o->steps = schedule_span(setup, o->decay);
    if (o->steps == 0)
        o->steps = (int64_t)fmax(1, floor(DEFAULT_COOLDOWN * (double)setup->length));
    o->begin = schedule_span(setup, o->stable);
    if (o->begin == 0)
        o->begin = setup->length > o->steps ? setup->length - o->steps : 0;
    return true;
}

static double cooldown(int shape, double x)
{
    switch (shape) {
    case COOLDOWN_SQRT:
        return 1 - sqrt(x);
    case COOLDOWN_LINEAR:
        return 1 - x;
    case COOLDOWN_COSINE:
        return 0.5 * (1 + cos(acos(-1) * x));
    default:
        return 1 - x * x;
    }
}

static double factor(const void *options_pointer, const ScheduleClock *clock)
{
    const WsdOptions *o = options_pointer;
    if (clock->step < o->begin)
        return 1;
    double x = fmin(1, (double)(clock->step - o->begin) / (double)o->steps);
    return o->min + (1 - o->min) * cooldown(o->cooldown, x);
}

extern const ScheduleType schedule_wsd;
const ScheduleType schedule_wsd = {
    .name = "wsd",
    .help = "the peak lr for most of the run, then a short cool-down",
    .formula = "1 for `stable`, then min + (1 - min) c(x), x = 0 to 1 over `decay`",
    .source = "Hu et al. 2024",
    .options = options,
    .options_bytes = sizeof(WsdOptions),
    .after_warmup = true,
    .factor = factor,
    .resolve = resolve,
};
