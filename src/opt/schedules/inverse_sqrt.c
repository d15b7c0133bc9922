/* Inverse square root decay, as transformers use it behind a warm-up (Vaswani et al. 2017), with
 * the peak as optimizer.lr. */
#include "lockstep/schedule.h"

#include <math.h>

#define DEFAULT_TIMESCALE 10000 /* steps, without a warm-up, as in Hugging Face Transformers */

typedef struct InverseSqrtOptions {
    Span timescale;
    int64_t steps; /* of the timescale; set by resolve */
} InverseSqrtOptions;

static const Option options[] = {
    { "timescale", OPTION_SPAN, OPTION_AT(InverseSqrtOptions, timescale), 0, 1e15, NULL, "0",
      "after three of these the lr is half the peak; 0: the warm-up's length, or 10000st without "
      "one" },
    OPTION_END,
};

static bool resolve(void *options_pointer, const ScheduleSetup *setup, Err *err)
{
    InverseSqrtOptions *o = options_pointer;
    (void)err;
    o->steps = schedule_span(setup, o->timescale);
    if (o->steps == 0)
        o->steps = setup->warmup > 0 ? setup->warmup : DEFAULT_TIMESCALE;
    return true;
}

static double factor(const void *options_pointer, const ScheduleClock *clock)
{
    const InverseSqrtOptions *o = options_pointer;
    return 1 / sqrt((double)(clock->step + o->steps) / (double)o->steps);
}

extern const ScheduleType schedule_inverse_sqrt;
const ScheduleType schedule_inverse_sqrt = {
    .name = "inverse_sqrt",
    .help = "falls like one over the root of time; noam has the paper's constants",
    .formula = "sqrt(timescale / (t + timescale))",
    .source = "Vaswani et al. 2017",
    .options = options,
    .options_bytes = sizeof(InverseSqrtOptions),
    .after_warmup = true,
    .factor = factor,
    .resolve = resolve,
};
