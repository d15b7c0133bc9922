/* The answer for programs, of which summary.json is made. */
#include "parts.h"

#include "lockstep/text.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *text(const char *value)
{
    char copy[4096];
    return json_string(text_as_utf8(copy, sizeof copy, value));
}

static json_t *estimate_value(const Estimate *estimate)
{
    json_t *value = json_object();
    json_object_set_new(value, "value", number(estimate->value));
    json_object_set_new(value, "low", number(estimate->low));
    json_object_set_new(value, "high", number(estimate->high));
    return value;
}

static json_t *spread_value(const Spread *spread)
{
    json_t *value = json_object();
    json_object_set_new(value, "count", json_integer(spread->count));
    json_object_set_new(value, "reached", json_integer(spread->finite));
    json_object_set_new(value, "min", number(spread->min));
    json_object_set_new(value, "low", number(spread->low));
    json_object_set_new(value, "median", number(spread->median));
    json_object_set_new(value, "high", number(spread->high));
    json_object_set_new(value, "max", number(spread->max));
    return value;
}

/* {key: value as written} of a trial's keys in the mask. */
static json_t *values_value(const Analysis *analysis, const TrialRow *trial, const bool *mask)
{
    json_t *values = json_object();
    for (int key = 0; key < analysis->table->key_count; key++)
        if (mask[key])
            json_object_set_new(values, analysis->table->keys[key], text(trial->values[key]));
    return values;
}

static json_t *best_value(const Analysis *analysis, const Arm *arm)
{
    const Setting *best = &analysis->settings[arm->best];
    json_t *value = values_value(analysis, setting_trial(analysis, best), analysis->in_setting);
    json_t *result = json_object(), *trials = json_array();
    for (int i = best->first; i < best->first + best->count; i++)
        json_array_append_new(trials, text(analysis->table->trials[analysis->order[i]].id));
    json_object_set_new(result, "setting", value);
    json_object_set_new(result, "trials", trials);
    json_object_set_new(result, "score", number(fabs(best->score)));
    for (int i = 0; i < RESULTS; i++)
        if (best->of[i].count > 0)
            json_object_set_new(result, result_name((TrialResult)i), spread_value(&best->of[i]));
    return result;
}

static json_t *arm_value(const Analysis *analysis, const Arm *arm)
{
    json_t *value = json_object();
    json_object_set_new(value, "arm",
                        values_value(analysis, arm_trial(analysis, arm), analysis->in_arm));
    json_object_set_new(value, "batch", number(arm->batch));
    json_object_set_new(value, "settings", json_integer(arm->count));
    json_object_set_new(value, "trials", json_integer(arm->trials));
    json_object_set_new(value, "found", json_boolean(arm->found));
    json_object_set_new(value, "best", best_value(analysis, arm));
    json_object_set_new(value, "efficiency", number(arm->efficiency));
    json_object_set_new(value, "slope", number(arm->slope));
    return value;
}

static json_t *fit_value(const Curve *curve)
{
    json_t *value = json_object();
    bool open = isinf(curve->fit.b_crit);
    json_object_set_new(value, "points", json_integer(curve->fit.points));
    json_object_set_new(value, "perfect", json_boolean(open));
    json_object_set_new(value, "s_min", estimate_value(&curve->s_min));
    json_object_set_new(value, "b_crit", estimate_value(&curve->b_crit));
    json_object_set_new(value, "samples", number(curve->fit.samples));
    json_object_set_new(value, "residual", number(curve->fit.residual));
    json_object_set_new(value, "resamples", json_integer(curve->resamples));
    json_object_set_new(value, "diminishing_from",
                        number(batch_of_efficiency(curve, EFFICIENCY_DIMINISHING)));
    json_object_set_new(value, "plateau_from",
                        number(batch_of_efficiency(curve, EFFICIENCY_PLATEAU)));
    return value;
}

static json_t *curve_value(const Analysis *analysis, const Curve *curve)
{
    char name[512];
    json_t *value = json_object(), *arms = json_array();
    json_object_set_new(value, "name", text(curve_name(analysis, curve, name, sizeof name)));
    for (int i = curve->first; i < curve->first + curve->count; i++)
        json_array_append_new(arms, arm_value(analysis, &analysis->arms[i]));
    json_object_set_new(value, "arms", arms);
    json_object_set_new(value, "fit", curve->fit.points > 0 ? fit_value(curve) : json_null());
    json_object_set_new(value, "lr_exponent",
                        curve->lr_points > 0 ? estimate_value(&curve->lr_exponent) : json_null());
    return value;
}

static json_t *counts_value(const Table *table)
{
    static const char *const statuses[] = { "completed", "target", "diverged", "pruned", "failed" };
    json_t *counts = json_object();
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        int count = 0;
        for (int j = 0; j < table->count; j++)
            count += strcmp(table->trials[j].status, statuses[i]) == 0;
        json_object_set_new(counts, statuses[i], json_integer(count));
    }
    return counts;
}

json_t *analysis_json(const Analysis *analysis)
{
    static const char *const goals[] = { "steps", "loss", "accuracy" };
    char verdict[2048];
    json_t *value = json_object(), *curves = json_array(), *warnings = json_array();
    json_object_set_new(value, "verdict",
                        text(analysis_verdict(analysis, verdict, sizeof verdict)));
    json_object_set_new(value, "goal", json_string(goals[analysis->question.goal]));
    json_object_set_new(value, "target", text(analysis->question.target));
    json_object_set_new(value, "trials", counts_value(analysis->table));
    for (int i = 0; i < analysis->curve_count; i++)
        json_array_append_new(curves, curve_value(analysis, &analysis->curves[i]));
    json_object_set_new(value, "curves", curves);
    for (size_t i = 0; i < analysis->warning_count; i++)
        json_array_append_new(warnings, text(analysis->warnings[i]));
    json_object_set_new(value, "warnings", warnings);
    return value;
}
