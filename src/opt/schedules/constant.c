/* The peak learning rate all the way. */
#include "lockstep/schedule.h"

static const Option options[] = { OPTION_END };

static double factor(const void *options_pointer, const ScheduleClock *clock)
{
    (void)options_pointer;
    (void)clock;
    return 1;
}

extern const ScheduleType schedule_constant;
const ScheduleType schedule_constant = {
    .name = "constant",
    .help = "the peak lr after the warm-up",
    .formula = "1",
    .options = options,
    .factor = factor,
};
