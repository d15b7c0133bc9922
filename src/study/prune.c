/* Early ends: at each rung the settings of an arm are compared once all of them are there, so that
 * who is pruned depends on nothing but the runs. Median stopping (Golovin et al. 2017, Vizier);
 * successive halving (Jamieson and Talwalkar 2016), synchronous. */
#include "study_parts.h"

#include "lockstep/memory.h"
#include "lockstep/statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct PruneOptions {
    int type, by;
    double keep;
    ConfigNode *rungs;
} PruneOptions;

static const Option prune_options[] = {
    { "type", OPTION_CHOICE, OPTION_AT(PruneOptions, type), 0, 0, "none|median|halving", "none",
      "who ends at a rung: nobody, who is below the median, or all but the best" },
    { "rungs", OPTION_NODE, OPTION_AT(PruneOptions, rungs), 0, 0, NULL, "",
      "where trials are compared, such as [1ep, 3ep]" },
    { "keep", OPTION_FLOAT, OPTION_AT(PruneOptions, keep), 0.01, 1, NULL, "0.5",
      "halving: share of the settings that go on" },
    { "by", OPTION_CHOICE, OPTION_AT(PruneOptions, by), 0, 0, "accuracy|loss", "accuracy",
      "what is compared: of the test set, at the last evaluation" },
    OPTION_END,
};

static bool read_rungs(const Config *config, const ConfigNode *list, Prune *prune, Err *err)
{
    if (!list || list->kind != CONFIG_LIST || list->count == 0 || list->count > STUDY_MAX_RUNGS)
        return config_error(config, list ? list : config_get(config->root, "prune"), err,
                            "rungs: a list of 1 to %d is wanted, such as [1ep, 3ep]",
                            STUDY_MAX_RUNGS);
    for (size_t i = 0; i < list->count; i++) {
        const ConfigNode *node = list->children[i];
        Span *rung = &prune->rung[i];
        if (node->kind != CONFIG_SCALAR || !span_parse(node->text, rung) || !(rung->value > 0))
            return config_error(config, node, err, "500st, 5ep or 100000sa is wanted");
        if (i > 0 && (rung->unit != rung[-1].unit || rung->value <= rung[-1].value))
            return config_error(config, node, err,
                                "more than the rung before, in the same unit, "
                                "is wanted");
        prune->text[prune->rungs++] = mem_string(node->text);
    }
    return true;
}

bool prune_read(Study *study, Err *err)
{
    PruneOptions o;
    ConfigNode *node = config_get(study->config.root, "prune");
    if (!node || node->kind == CONFIG_NULL)
        return true;
    if (!options_read(&study->config, node, prune_options, NULL, &o, err))
        return false;
    study->prune.type = (PruneType)o.type;
    study->prune.by = (PruneBy)o.by;
    study->prune.keep = o.keep;
    return o.type == PRUNE_NONE || read_rungs(&study->config, o.rungs, &study->prune, err);
}

/* ---- one rung of one arm ---- */

/* A setting at a rung. */
typedef struct Standing {
    int setting;
    double value; /* median over its seeds; nan: unknown; -inf: it is lost */
} Standing;

/* Of n > 0 numbers, the larger the better, -INFINITY the worst; they are changed. */
static double median(double *x, int n)
{
    for (int i = 0; i < n; i++)
        x[i] = -x[i]; /* spread_of has the worst as INFINITY */
    return -spread_of(x, n).median;
}

/* The best first; as good ones in the order of the plan. */
static int by_value(const void *left, const void *right)
{
    const Standing *a = left, *b = right;
    if (a->value > b->value || a->value < b->value)
        return a->value > b->value ? -1 : 1;
    return a->setting - b->setting;
}

/* Who is lost later on was not when the others were compared with it here. */
static double value_at(const TrialState *state, int rung)
{
    bool lost = state->status == TRIAL_DIVERGED || state->status == TRIAL_FAILED;
    return lost && !state->passed[rung] ? -(double)INFINITY : state->value[rung];
}

/* Has it come this far, or ended before? */
static bool is_there(const TrialState *state, int rung)
{
    return state->passed[rung] || state->status != TRIAL_OPEN;
}

static double setting_value(const Study *study, const TrialState *states, int setting, int rung)
{
    double *values = mem_array(double, study->count);
    double result = (double)NAN;
    int n = 0;
    for (int i = 0; i < study->count; i++)
        if (study->trials[i].setting == setting && !isnan(value_at(&states[i], rung)))
            values[n++] = value_at(&states[i], rung);
    if (n > 0)
        result = median(values, n);
    mem_free(values);
    return result;
}

/* The value below which a setting ends; of the known ones in order, the best first. */
static double find_cut(const Prune *prune, const Standing *sorted, int n)
{
    double cut = -(double)INFINITY, *values = mem_array(double, n);
    for (int i = 0; i < n; i++)
        values[i] = sorted[i].value;
    if (n > 0 && prune->type == PRUNE_MEDIAN)
        cut = median(values, n);
    else if (n > 0)
        cut = sorted[(int)ceil(n * prune->keep) - 1].value;
    mem_free(values);
    return cut;
}

/* Takes those that end out of `alive`. */
static void compare(const Study *study, const TrialState *states, int rung, int arm, bool *alive,
                    Decision *decisions)
{
    Standing *standings = mem_array(Standing, study->settings);
    int n = 0;
    for (int setting = 0; setting < study->settings; setting++) {
        double value = (double)NAN;
        if (alive[setting])
            value = setting_value(study, states, setting, rung);
        if (!isnan(value))
            standings[n++] = (Standing){ setting, value };
    }
    qsort(standings, (size_t)n, sizeof *standings, by_value);
    double cut = find_cut(&study->prune, standings, n);
    int kept = study->prune.type == PRUNE_HALVING ? (int)ceil(n * study->prune.keep) : n;
    for (int k = 0; k < n; k++)
        if (k >= kept || standings[k].value < cut)
            alive[standings[k].setting] = false;
    for (int i = 0; i < study->count; i++)
        for (int k = 0; k < n; k++)
            if (study->trials[i].arm == arm && study->trials[i].setting == standings[k].setting &&
                !alive[standings[k].setting] && states[i].status == TRIAL_OPEN)
                decisions[i] = (Decision){ DECISION_PRUNED, rung, standings[k].value, cut };
    mem_free(standings);
}

/* Those that are not at the rung yet go there, the others wait. False: all are there. */
static bool gather(const Study *study, const TrialState *states, int rung, const bool *alive,
                   Decision *decisions)
{
    bool missing = false;
    for (int i = 0; i < study->count; i++)
        missing = missing || (alive[study->trials[i].setting] && !is_there(&states[i], rung));
    for (int i = 0; missing && i < study->count; i++)
        if (alive[study->trials[i].setting] && states[i].status == TRIAL_OPEN)
            decisions[i] = (Decision){ is_there(&states[i], rung) ? DECISION_WAIT : DECISION_TRAIN,
                                       rung, 0, 0 };
    return missing;
}

static void decide_arm(const Study *study, const TrialState *states, int arm, Decision *decisions)
{
    bool *alive = mem_array(bool, study->settings);
    for (int i = 0; i < study->count; i++)
        alive[study->trials[i].setting] =
            alive[study->trials[i].setting] || study->trials[i].arm == arm;
    for (int rung = 0; rung < study->prune.rungs; rung++) {
        if (gather(study, states, rung, alive, decisions))
            break;
        compare(study, states, rung, arm, alive, decisions);
    }
    mem_free(alive);
}

void prune_decide(const Study *study, const TrialState *states, Decision *decisions)
{
    for (int i = 0; i < study->count; i++)
        decisions[i] = (Decision){ .what = DECISION_TRAIN, .rung = -1 };
    for (int arm = 0; study->prune.rungs > 0 && arm < study->arms; arm++)
        decide_arm(study, states, arm, decisions);
}

char *prune_text(const Study *study, const Decision *decision, char *buffer, size_t size)
{
    bool loss = decision->value <= 0;
    if (isinf(decision->value))
        snprintf(buffer, size, "pruned at %s: other seeds of the setting are lost",
                 study->prune.text[decision->rung]);
    else
        snprintf(buffer, size, "pruned at %s: %s %.4g, %s %.4g wanted",
                 study->prune.text[decision->rung], loss ? "loss" : "accuracy",
                 fabs(decision->value), loss ? "at most" : "at least", fabs(decision->cut));
    return buffer;
}
