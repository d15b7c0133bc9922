/* Cyclical learning rates (Smith 2017): a triangle from min to the peak and back, again and again;
 * the momentum may move the other way. */
#include "lockstep/schedule.h"

#include <math.h>

enum { MODE_TRIANGULAR, MODE_TRIANGULAR2, MODE_EXP_RANGE };

typedef struct CyclicOptions {
    Span up, down;
    double min, gamma, base_momentum, max_momentum;
    int mode;
    bool cycle_momentum;
    int64_t rise, fall; /* steps; set by resolve */
} CyclicOptions;

static const Option options[] = {
    { "up", OPTION_SPAN, OPTION_AT(CyclicOptions, up), 1e-9, 1e15, NULL, "2ep",
      "from min to the peak" },
    { "down", OPTION_SPAN, OPTION_AT(CyclicOptions, down), 0, 1e15, NULL, "0",
      "from the peak to min; 0: as long as up" },
    { "min", OPTION_FLOAT, OPTION_AT(CyclicOptions, min), 0, 1e6, NULL, "0.1",
      "lowest lr, as a fraction of the peak" },
    { "mode", OPTION_CHOICE, OPTION_AT(CyclicOptions, mode), 0, 0,
      "triangular|triangular2|exp_range", "triangular",
      "height of the triangles: the same, halved each time, or times gamma in every step" },
    { "gamma", OPTION_FLOAT, OPTION_AT(CyclicOptions, gamma), 0, 1, NULL, "1",
      "of exp_range, per step" },
    { "cycle_momentum", OPTION_BOOL, OPTION_AT(CyclicOptions, cycle_momentum), 0, 0, NULL, "false",
      "move momentum (or beta1) inversely to the lr" },
    { "base_momentum", OPTION_FLOAT, OPTION_AT(CyclicOptions, base_momentum), 1e-6, 0.999999, NULL,
      "0.8", "momentum at the peak lr" },
    { "max_momentum", OPTION_FLOAT, OPTION_AT(CyclicOptions, max_momentum), 1e-6, 0.999999, NULL,
      "0.9", "momentum at the lowest lr" },
    OPTION_END,
};

static bool resolve(void *options_pointer, const ScheduleSetup *setup, Err *err)
{
    CyclicOptions *o = options_pointer;
    o->rise = schedule_period(setup, o->up);
    o->fall = o->down.value > 0 ? schedule_period(setup, o->down) : o->rise;
    if (o->down.value > 0 && (o->down.unit == SPAN_STEPS) != (o->up.unit == SPAN_STEPS))
        return config_error(setup->config, setup->node, err,
                            "up and down: both in steps or neither wanted");
    return true;
}

/* Height over min, 0 to 1: the triangle times what the mode leaves of it. */
static double height(const CyclicOptions *o, const ScheduleClock *clock)
{
    double t = (double)schedule_tick(clock, o->up);
    double period = (double)(o->rise + o->fall), share = (double)o->rise / period;
    double cycle = floor(t / period);
    double done = t / period - cycle;
    double triangle = done <= share ? done / share : (done - 1) / (share - 1);
    if (o->mode == MODE_TRIANGULAR2)
        return triangle * ldexp(1, -(int)fmin(cycle, 1e6));
    return o->mode == MODE_EXP_RANGE ? triangle * pow(o->gamma, t) : triangle;
}

static double factor(const void *options_pointer, const ScheduleClock *clock)
{
    const CyclicOptions *o = options_pointer;
    return o->min + (1 - o->min) * height(o, clock);
}

static double momentum(const void *options_pointer, const ScheduleClock *clock)
{
    const CyclicOptions *o = options_pointer;
    if (!o->cycle_momentum)
        return 0;
    return o->max_momentum - (o->max_momentum - o->base_momentum) * height(o, clock);
}

extern const ScheduleType schedule_cyclic;
const ScheduleType schedule_cyclic = {
    .name = "cyclic",
    .help = "triangles between min and the peak",
    .formula = "min + (1 - min) h; h: 0 to 1 over up, back over down; times 2^-cycle "
               "(triangular2) or gamma^t (exp_range)",
    .source = "Smith 2017",
    .options = options,
    .options_bytes = sizeof(CyclicOptions),
    .after_warmup = true,
    .factor = factor,
    .momentum = momentum,
    .resolve = resolve,
};
