/* Cuts the lr when what it watches no longer gets better. The one schedule with a memory: its state
 * is part of a checkpoint. What it watches is the same on every rank (a sum over the lane tree, or
 * over the whole test set), so the lr is too. */
#include "lockstep/schedule.h"

#include <math.h>

enum { METRIC_TRAIN_LOSS, METRIC_TEST_LOSS, METRIC_TEST_ACCURACY };
enum { MODE_AUTO, MODE_MIN, MODE_MAX };
enum { THRESHOLD_REL, THRESHOLD_ABS };

/* Indices into ScheduleState.value. */
enum { CHECKS, BEST, BAD, COOLDOWN, CUTS, LOSS, COUNT };

typedef struct PlateauOptions {
    int metric, mode, threshold_mode, patience, cooldown;
    Span every;
    double factor, threshold;
} PlateauOptions;

static const Option options[] = {
    { "metric", OPTION_CHOICE, OPTION_AT(PlateauOptions, metric), 0, 0,
      "train_loss|test_loss|test_accuracy", "train_loss",
      "what is watched: the mean loss since the last look, or each evaluation (eval.every)" },
    { "every", OPTION_SPAN, OPTION_AT(PlateauOptions, every), 1e-9, 1e15, NULL, "1ep",
      "how often to look at train_loss" },
    { "factor", OPTION_FLOAT, OPTION_AT(PlateauOptions, factor), 0, 1, NULL, "0.1",
      "what the lr is multiplied by" },
    { "patience", OPTION_INT, OPTION_AT(PlateauOptions, patience), 0, 1e9, NULL, "10",
      "looks without improvement that are forgiven" },
    { "threshold", OPTION_FLOAT, OPTION_AT(PlateauOptions, threshold), 0, 1e9, NULL, "1e-4",
      "smallest change that counts as improvement" },
    { "threshold_mode", OPTION_CHOICE, OPTION_AT(PlateauOptions, threshold_mode), 0, 0, "rel|abs",
      "rel", "threshold as a share of the best value, or as it is" },
    { "cooldown", OPTION_INT, OPTION_AT(PlateauOptions, cooldown), 0, 1e9, NULL, "0",
      "looks after a cut that do not count" },
    { "mode", OPTION_CHOICE, OPTION_AT(PlateauOptions, mode), 0, 0, "auto|min|max", "auto",
      "is smaller or larger better; auto: max for accuracy" },
    OPTION_END,
};

static bool better(const PlateauOptions *o, double value, double best)
{
    bool max = o->mode == MODE_MAX || (o->mode == MODE_AUTO && o->metric == METRIC_TEST_ACCURACY);
    double sign = max ? 1 : -1;
    bool absolute = o->threshold_mode == THRESHOLD_ABS;
    double bar = absolute ? best + sign * o->threshold : best * (1 + sign * o->threshold);
    return max ? value > bar : value < bar;
}

static void look(const PlateauOptions *o, double *state, double value)
{
    bool improved = state[CHECKS] == 0 || better(o, value, state[BEST]);
    state[CHECKS]++;
    if (improved)
        state[BEST] = value;
    state[BAD] = improved ? 0 : state[BAD] + 1;
    if (state[COOLDOWN] > 0) {
        state[COOLDOWN]--;
        state[BAD] = 0;
    }
    if (state[BAD] > o->patience) {
        state[CUTS]++;
        state[COOLDOWN] = o->cooldown;
        state[BAD] = 0;
    }
}

static void observe(const void *options_pointer, const BatchPlan *plan, ScheduleState *state,
                    const ScheduleNews *news)
{
    const PlateauOptions *o = options_pointer;
    double *value = state->value;
    if (news->event == SCHEDULE_TEST && o->metric == METRIC_TEST_LOSS)
        look(o, value, news->loss / news->count);
    if (news->event == SCHEDULE_TEST && o->metric == METRIC_TEST_ACCURACY && news->accuracy >= 0)
        look(o, value, news->accuracy);
    if (news->event == SCHEDULE_STEP && o->metric == METRIC_TRAIN_LOSS) {
        value[LOSS] += news->loss;
        value[COUNT] += news->count;
        if (!batch_plan_due(plan, news->done, o->every))
            return;
        look(o, value, value[LOSS] / value[COUNT]);
        value[LOSS] = value[COUNT] = 0;
    }
}

static double factor(const void *options_pointer, const ScheduleClock *clock)
{
    const PlateauOptions *o = options_pointer;
    return pow(o->factor, clock->state->value[CUTS]);
}

extern const ScheduleType schedule_plateau;
const ScheduleType schedule_plateau = {
    .name = "plateau",
    .help = "cuts the lr when the loss or the accuracy no longer gets better; min_lr is its floor",
    .formula = "factor^cuts; a cut after more than `patience` looks without improvement",
    .source = "PyTorch ReduceLROnPlateau",
    .options = options,
    .options_bytes = sizeof(PlateauOptions),
    .after_warmup = true,
    .factor = factor,
    .observe = observe,
};
