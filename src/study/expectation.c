/* What a study is expected to show: read from its file, checked against its analysis. */
#include "lockstep/expectation.h"

#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAMES 128

static const char *const curve_metrics[] = { "b_crit", "s_min", "lr_exponent" };
enum { B_CRIT, S_MIN, LR_EXPONENT, CURVE_METRICS };

static const char *const relations[] = { "above", "below", "about" };

/* ---- reading ---- */

typedef struct ExpectationOptions {
    ConfigNode *claim, *value, *other[3];
    double by, factor;
} ExpectationOptions;

static const Option options[] = {
    { "claim", OPTION_NODE, OPTION_AT(ExpectationOptions, claim), 0, 0, NULL, NULL,
      "what is claimed, in words" },
    { "value", OPTION_NODE, OPTION_AT(ExpectationOptions, value), 0, 0, NULL, NULL,
      "{metric: COLUMN, KEY: VALUE, ...}: of the best setting of these trials" },
    { "above", OPTION_NODE, OPTION_AT(ExpectationOptions, other[RELATION_ABOVE]), 0, 0, NULL, "",
      "it is larger than this: a number, or as `value`" },
    { "below", OPTION_NODE, OPTION_AT(ExpectationOptions, other[RELATION_BELOW]), 0, 0, NULL, "",
      "smaller" },
    { "about", OPTION_NODE, OPTION_AT(ExpectationOptions, other[RELATION_ABOUT]), 0, 0, NULL, "",
      "equal, give or take `by` or `factor`" },
    { "by", OPTION_FLOAT, OPTION_AT(ExpectationOptions, by), 0, 1e30, NULL, "0",
      "the least difference, or with `about` the largest" },
    { "factor", OPTION_FLOAT, OPTION_AT(ExpectationOptions, factor), 1, 1e30, NULL, "1",
      "the same for the quotient" },
    OPTION_END,
};

static bool is_name(const char *const *names, int count, const char *name)
{
    int i = 0;
    while (i < count && strcmp(names[i], name) != 0)
        i++;
    return i < count;
}

/* Everything that may be a metric, for the message too. */
static int metric_names(const ExpectationNames *names, const char *all[MAX_NAMES])
{
    int count = 0;
    for (int i = 0; i < RESULTS; i++)
        all[count++] = result_name((TrialResult)i);
    for (int i = 0; i < CURVE_METRICS; i++)
        all[count++] = curve_metrics[i];
    for (int i = 0; i < names->measured_count; i++)
        all[count++] = names->measured[i];
    for (int i = 0; i < names->key_count; i++)
        all[count++] = names->keys[i];
    expect(count <= MAX_NAMES);
    return count;
}

static bool read_metric(Quantity *quantity, const Config *config, const ConfigNode *node,
                        const ExpectationNames *names, Err *err)
{
    const char *all[MAX_NAMES];
    int count = metric_names(names, all);
    const ConfigNode *metric = config_get(node, "metric");
    if (!metric || metric->kind != CONFIG_SCALAR)
        return config_error(config, metric ? metric : node, err,
                            "`metric` is wanted: which column");
    quantity->metric = metric->text;
    return is_name(all, count, metric->text) ||
           config_unknown(config, metric, false, "metric", "metrics", all, (size_t)count, err);
}

static bool read_quantity(Quantity *quantity, const Config *config, const ConfigNode *node,
                          const ExpectationNames *names, Err *err)
{
    *quantity = (Quantity){ .trials = node };
    if (node->kind == CONFIG_SCALAR && text_to_double(node->text, &quantity->number))
        return true;
    if (node->kind != CONFIG_MAP)
        return config_error(config, node, err,
                            "a number or a map is wanted, such as {metric: test_accuracy, "
                            "train.batch: 64}");
    for (size_t i = 0; i < node->count; i++) {
        const ConfigNode *key = node->children[i];
        if (strcmp(key->key, "metric") == 0)
            continue;
        if (!is_name(names->keys, names->key_count, key->key))
            return config_unknown(config, key, true, "key", "keys that vary", names->keys,
                                  (size_t)names->key_count, err);
        if (key->kind != CONFIG_SCALAR)
            return config_error(config, key, err, "one value is wanted");
    }
    return read_metric(quantity, config, node, names, err);
}

static bool read_expectation(Expectation *expectation, const Config *config, ConfigNode *node,
                             const ExpectationNames *names, Err *err)
{
    ExpectationOptions o;
    int given = 0;
    if (!options_read(config, node, options, NULL, &o, err))
        return false;
    if (o.claim->kind != CONFIG_SCALAR)
        return config_error(config, o.claim, err, "a text is wanted");
    *expectation = (Expectation){ .claim = o.claim->text, .by = o.by, .factor = o.factor };
    for (int i = 0; i < 3; i++)
        if (o.other[i]) {
            expectation->relation = (Relation)i;
            given++;
        }
    if (given != 1)
        return config_error(config, node, err, "one of above, below and about is wanted");
    if (o.other[RELATION_ABOUT] && o.by <= 0 && o.factor <= 1)
        return config_error(config, node, err, "about: how far? `by` or `factor` is wanted");
    return read_quantity(&expectation->value, config, o.value, names, err) &&
           read_quantity(&expectation->other, config, o.other[expectation->relation], names, err);
}

bool expectations_read(Expectations *expectations, const Config *config, const ConfigNode *list,
                       const ExpectationNames *names, Err *err)
{
    *expectations = (Expectations){ .count = 0 };
    if (!list || list->kind == CONFIG_NULL)
        return true;
    if (list->kind != CONFIG_LIST)
        return config_error(config, list, err, "a list of expectations is wanted");
    expectations->list = mem_array(Expectation, list->count);
    for (size_t i = 0; i < list->count; i++)
        if (!read_expectation(&expectations->list[expectations->count++], config, list->children[i],
                              names, err))
            return false;
    return true;
}

void expectations_free(Expectations *expectations)
{
    mem_free(expectations->list);
    *expectations = (Expectations){ .count = 0 };
}

/* ---- what was found ---- */

/* "64" is 64.0, "lars" is lars. */
static bool same_value(const char *left, const char *right)
{
    double a, b;
    const char *a_unit, *b_unit;
    if (value_number(left, &a, &a_unit) && value_number(right, &b, &b_unit))
        return !(a < b) && !(a > b) && strcmp(a_unit, b_unit) == 0;
    return strcmp(left, right) == 0;
}

static bool is_meant(const Quantity *quantity, const Table *table, const TrialRow *trial)
{
    for (size_t i = 0; i < quantity->trials->count; i++) {
        const ConfigNode *key = quantity->trials->children[i];
        int column = table_key(table, key->key);
        if (strcmp(key->key, "metric") != 0 &&
            (column < 0 || !same_value(trial->values[column], key->text)))
            return false;
    }
    return true;
}

/* The curve that the first such arm is on. */
static double curve_value(const Quantity *quantity, const Analysis *analysis, int metric)
{
    for (int c = 0; c < analysis->curve_count; c++) {
        const Curve *curve = &analysis->curves[c];
        const Arm *first = &analysis->arms[curve->first];
        if (!is_meant(quantity, analysis->table, arm_trial(analysis, first)))
            continue;
        if (metric == LR_EXPONENT)
            return curve->lr_points > 0 ? curve->lr_exponent.value : (double)NAN;
        if (curve->fit.points == 0)
            return (double)NAN;
        return metric == B_CRIT ? curve->b_crit.value : curve->s_min.value;
    }
    return (double)NAN;
}

/* A trial that came to nothing is worse than any other. */
static double trial_value(const Analysis *analysis, const char *metric, const TrialRow *trial)
{
    const Table *table = analysis->table;
    bool lost = strcmp(trial->status, "diverged") == 0 || strcmp(trial->status, "failed") == 0;
    int key = table_key(table, metric), measured = table_measured(table, metric);
    double value = (double)NAN;
    const char *unit;
    if (measured >= 0)
        return trial->measured[measured];
    if (key >= 0)
        return value_number(trial->values[key], &value, &unit) ? value : (double)NAN;
    for (int i = 0; i < RESULTS; i++)
        if (strcmp(result_name((TrialResult)i), metric) == 0)
            value = trial->result[i];
    if (isnan(value) && strncmp(metric, "target_", 7) == 0)
        return (double)INFINITY; /* it never got there */
    if (isnan(value) && lost)
        return strstr(metric, "accuracy") ? 0 : (double)INFINITY;
    return value;
}

static double setting_value(const Analysis *analysis, const char *metric, const Setting *setting)
{
    double *values = mem_array(double, setting->count);
    for (int i = 0; i < setting->count; i++)
        values[i] = trial_value(analysis, metric,
                                &analysis->table->trials[analysis->order[setting->first + i]]);
    double median = spread_of(values, setting->count).median;
    mem_free(values);
    return median;
}

static double quantity_value(const Quantity *quantity, const Analysis *analysis)
{
    const Setting *best = NULL;
    if (!quantity->metric)
        return quantity->number;
    for (int i = 0; i < CURVE_METRICS; i++)
        if (strcmp(quantity->metric, curve_metrics[i]) == 0)
            return curve_value(quantity, analysis, i);
    for (int i = 0; i < analysis->setting_count; i++) {
        const Setting *setting = &analysis->settings[i];
        if (is_meant(quantity, analysis->table, setting_trial(analysis, setting)) &&
            (!best || setting_is_better(setting, best)))
            best = setting;
    }
    return best ? setting_value(analysis, quantity->metric, best) : (double)NAN;
}

static bool holds(const Expectation *e, double value, double other)
{
    switch (e->relation) {
    case RELATION_ABOVE:
        return value > e->factor * other + e->by;
    case RELATION_BELOW:
        return value < other / e->factor - e->by;
    case RELATION_ABOUT:
        break;
    }
    if (e->factor > 1 && value > 0 && other > 0 && fabs(log(value / other)) <= log(e->factor))
        return true;
    return e->by > 0 && fabs(value - other) <= e->by;
}

void expectations_check(Expectations *expectations, const Analysis *analysis)
{
    for (int i = 0; i < expectations->count; i++) {
        Expectation *e = &expectations->list[i];
        e->found[0] = quantity_value(&e->value, analysis);
        e->found[1] = quantity_value(&e->other, analysis);
        e->outcome = isnan(e->found[0]) || isnan(e->found[1]) ? OUTCOME_OPEN
                     : holds(e, e->found[0], e->found[1])     ? OUTCOME_YES
                                                              : OUTCOME_NO;
    }
}

/* ---- for people ---- */

char *quantity_text(const Quantity *quantity, double found, char *buffer, size_t size)
{
    const char *before = " (";
    snprintf(buffer, size, "%s%s%.4g", quantity->metric ? quantity->metric : "",
             quantity->metric ? " " : "", found);
    for (size_t i = 0; quantity->metric && i < quantity->trials->count; i++) {
        const ConfigNode *key = quantity->trials->children[i];
        if (strcmp(key->key, "metric") == 0)
            continue;
        text_append(buffer, size, "%s%s %s", before, key->key, key->text);
        before = ", ";
    }
    text_append(buffer, size, "%s", *before == ',' ? ")" : "");
    return buffer;
}

const char *outcome_text(Outcome outcome)
{
    static const char *const texts[] = { "open", "as expected", "NOT as expected" };
    return texts[outcome];
}

void expectations_print(const Expectations *expectations)
{
    int outcomes[3] = { 0 };
    for (int i = 0; i < expectations->count; i++) {
        const Expectation *e = &expectations->list[i];
        char value[512], other[512], margin[64] = "";
        if (e->factor > 1)
            text_append(margin, sizeof margin, ", factor %g", e->factor);
        if (e->by > 0)
            text_append(margin, sizeof margin, ", by %g", e->by);
        log_out("%s: %s", outcome_text(e->outcome), e->claim);
        log_out("    %s; wanted %s %s%s",
                quantity_text(&e->value, e->found[0], value, sizeof value), relations[e->relation],
                quantity_text(&e->other, e->found[1], other, sizeof other), margin);
        outcomes[e->outcome]++;
    }
    if (expectations->count > 0)
        log_out("%d of %d as expected, %d not, %d open", outcomes[OUTCOME_YES], expectations->count,
                outcomes[OUTCOME_NO], outcomes[OUTCOME_OPEN]);
}
