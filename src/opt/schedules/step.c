/* Step decay: times gamma every so often, or at milestones. */
#include "lockstep/error.h"
#include "lockstep/schedule.h"

#include <math.h>

enum { MILESTONES_MAX = 64 };

typedef struct StepOptions {
    Span every;
    ConfigNode *milestones;
    double gamma;
    int64_t every_steps, at[MILESTONES_MAX]; /* in steps; set by resolve */
    int count;
} StepOptions;

static const Option options[] = {
    { "every", OPTION_SPAN, OPTION_AT(StepOptions, every), 0, 1e15, NULL, "0",
      "multiply the lr by gamma each time this much has passed; 0: use milestones" },
    { "milestones", OPTION_NODE, OPTION_AT(StepOptions, milestones), 0, 0, NULL, "",
      "a list of moments, e.g. [30ep, 60ep, 80ep]: lr times gamma from each one on; a moment that "
      "is "
      "listed twice counts twice" },
    { "gamma", OPTION_FLOAT, OPTION_AT(StepOptions, gamma), 0, 1e6, NULL, "0.1",
      "what the lr is multiplied by" },
    OPTION_END,
};

static bool resolve_milestones(StepOptions *o, const ScheduleSetup *setup, Err *err)
{
    const ConfigNode *list = o->milestones;
    if (!list || list->kind == CONFIG_NULL)
        return true;
    if (list->kind != CONFIG_LIST || list->count > MILESTONES_MAX)
        return config_error(setup->config, setup->node, err,
                            "milestones: a list of at most %d moments wanted, e.g. [30ep, 60ep]",
                            MILESTONES_MAX);
    for (size_t i = 0; i < list->count; i++) {
        const ConfigNode *item = list->children[i];
        Span span;
        if (item->kind != CONFIG_SCALAR || !span_parse(item->text, &span))
            return config_error(
                setup->config, setup->node, err,
                "milestones[%zu]: %s is not a moment such as 30ep, 500st or 100000sa", i,
                item->kind == CONFIG_SCALAR ? item->text : "a list or map");
        o->at[o->count++] = schedule_span(setup, span);
    }
    return true;
}

static bool resolve(void *options_pointer, const ScheduleSetup *setup, Err *err)
{
    StepOptions *o = options_pointer;
    o->every_steps = schedule_period(setup, o->every);
    if (!resolve_milestones(o, setup, err))
        return false;
    if (o->every_steps > 0 && o->count > 0)
        return config_error(setup->config, setup->node, err,
                            "both every and milestones are given: one of them is wanted");
    if (o->every_steps == 0 && o->count == 0)
        return config_error(setup->config, setup->node, err,
                            "neither every nor milestones is given: one of them is wanted");
    return true;
}

static double factor(const void *options_pointer, const ScheduleClock *clock)
{
    const StepOptions *o = options_pointer;
    int64_t drops = o->every_steps > 0 ? schedule_tick(clock, o->every) / o->every_steps : 0;
    for (int i = 0; i < o->count; i++)
        drops += clock->step >= o->at[i];
    return pow(o->gamma, (double)drops);
}

extern const ScheduleType schedule_step;
const ScheduleType schedule_step = {
    .name = "step",
    .help = "drops by gamma every so often or at milestones; counts from the start of the run",
    .formula = "gamma^(t / every), or gamma^(milestones passed)",
    .source = "Goyal et al. 2017",
    .options = options,
    .options_bytes = sizeof(StepOptions),
    .factor = factor,
    .resolve = resolve,
};
