/* Schedules one after another, each with its own warm-up and shape. */
#include "lockstep/memory.h"
#include "lockstep/schedule.h"

enum { PARTS_MAX = 16 };

typedef struct Part {
    Schedule schedule;
    int64_t start; /* steps since the sequence began */
} Part;

typedef struct SequenceOptions {
    ConfigNode *list;
    Part *parts; /* made by resolve; owned */
    int count;
} SequenceOptions;

static const Option options[] = {
    { "parts", OPTION_NODE, OPTION_AT(SequenceOptions, list), 0, 0, NULL, NULL,
      "a list of schedules, such as [{length: 5ep}, {type: cosine, length: 20ep}, {type: poly}]; "
      "each lasts its warm-up and its length, the last one to the end" },
    OPTION_END,
};

/* What concerns the whole schedule cannot be said in a part. */
static bool check_part(const ScheduleSetup *setup, const ConfigNode *node, Err *err)
{
    static const char *const common[] = { "lr_scaling",  "base_batch", "on_growth",
                                          "warmup_from", "min_lr",     "clock" };
    if (node->kind != CONFIG_MAP)
        return config_error(setup->config, node, err, "a schedule is wanted: {type: ..., ...}");
    for (size_t i = 0; i < sizeof common / sizeof *common; i++)
        if (config_get(node, common[i]))
            return config_error(setup->config, config_get(node, common[i]), err,
                                "%s belongs to the schedule, not to its parts", common[i]);
    return true;
}

static bool read_part(SequenceOptions *o, const ScheduleSetup *setup, int index, Err *err)
{
    ConfigNode *node = o->list->children[index];
    Part *part = &o->parts[index];
    const Part *before = index > 0 ? part - 1 : NULL;
    if (!check_part(setup, node, err))
        return false;
    if (before)
        part->start = before->start + before->schedule.warmup_steps + before->schedule.length;
    int64_t left = setup->length - part->start;
    ScheduleRun run = *setup->run;
    run.base_lr = 1;
    run.start = setup->origin + part->start;
    run.steps = left > 1 ? left : 1;
    run.plan = setup->plan;
    bool last = index + 1 == o->count;
    if (!last && !config_get(node, "length"))
        return config_error(setup->config, node, err,
                            "length is missing: when the next part begins");
    if (!schedule_init(&part->schedule, setup->config, node, &run, err))
        return false;
    if (part->schedule.type->observe)
        return config_error(setup->config, node, err, "%s cannot be a part of a sequence",
                            part->schedule.type->name);
    return true;
}

static bool resolve(void *options_pointer, const ScheduleSetup *setup, Err *err)
{
    SequenceOptions *o = options_pointer;
    const ConfigNode *list = o->list;
    if (list->kind != CONFIG_LIST || list->count == 0 || list->count > PARTS_MAX)
        return config_error(setup->config, list, err, "a list of 1 to %d schedules is wanted",
                            PARTS_MAX);
    o->count = (int)list->count;
    o->parts = mem_array(Part, list->count);
    for (int i = 0; i < o->count; i++)
        if (!read_part(o, setup, i, err))
            return false;
    return true;
}

static void release(void *options_pointer)
{
    SequenceOptions *o = options_pointer;
    for (int i = 0; o->parts && i < o->count; i++)
        schedule_free(&o->parts[i].schedule);
    mem_free(o->parts);
}

static const Part *part_at(const SequenceOptions *o, int64_t step)
{
    int i = o->count - 1;
    while (i > 0 && o->parts[i].start > step)
        i--;
    return &o->parts[i];
}

static double factor(const void *options_pointer, const ScheduleClock *clock)
{
    const Part *part = part_at(options_pointer, clock->step);
    return schedule_lr(&part->schedule, clock->step - part->start);
}

static double momentum(const void *options_pointer, const ScheduleClock *clock)
{
    const Part *part = part_at(options_pointer, clock->step);
    return schedule_momentum(&part->schedule, clock->step - part->start);
}

extern const ScheduleType schedule_sequence;
const ScheduleType schedule_sequence = {
    .name = "sequence",
    .help = "schedules one after another, each with its own warm-up and shape",
    .formula = "the shape of part i, t counted from where it begins",
    .source = "PyTorch SequentialLR",
    .options = options,
    .options_bytes = sizeof(SequenceOptions),
    .factor = factor,
    .momentum = momentum,
    .resolve = resolve,
    .release = release,
};
