/* Cosine annealing without restarts (Loshchilov and Hutter 2017). */
#include "lockstep/schedule.h"

#include <math.h>

enum { PAST_HOLD, PAST_CONTINUE };

typedef struct CosineOptions {
    double min, cycles;
    int past_end;
} CosineOptions;

static const Option options[] = {
    { "min", OPTION_FLOAT, OPTION_AT(CosineOptions, min), 0, 1e6, NULL, "0",
      "lowest lr, as a fraction of the peak" },
    { "cycles", OPTION_FLOAT, OPTION_AT(CosineOptions, cycles), 0, 1e6, NULL, "0.5",
      "periods of the cosine over the length; 0.5 is one descent" },
    { "past_end", OPTION_CHOICE, OPTION_AT(CosineOptions, past_end), 0, 0, "hold|continue", "hold",
      "after the length: hold its last value, or continue the cosine, which rises again "
      "(PyTorch)" },
    OPTION_END,
};

static double factor(const void *options_pointer, const ScheduleClock *clock)
{
    const CosineOptions *o = options_pointer;
    bool hold = clock->step > clock->steps && o->past_end == PAST_HOLD;
    double done = hold ? 1 : (double)clock->step / (double)clock->steps;
    return o->min + (1 - o->min) * 0.5 * (1 + cos(acos(-1) * (2 * o->cycles * done)));
}

extern const ScheduleType schedule_cosine;
const ScheduleType schedule_cosine = {
    .name = "cosine",
    .help = "half a cosine from the peak to min over the shape's length",
    .formula = "min + (1 - min) (1 + cos(2 pi cycles t / T)) / 2",
    .source = "Loshchilov and Hutter 2017",
    .options = options,
    .options_bytes = sizeof(CosineOptions),
    .after_warmup = true,
    .factor = factor,
};
