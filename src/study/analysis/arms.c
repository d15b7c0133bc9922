/* Trials sorted into curves, arms and settings; the spread of each setting over its seeds; the best
 * setting of each arm. */
#include "parts.h"

#include "lockstep/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Where a trial belongs: groups are numbered in the order of their first trials. */
typedef struct Place {
    int curve, arm, setting, trial;
    double batch;
} Place;

double trial_score(const Analysis *analysis, const TrialRow *trial)
{
    const double *result = trial->result;
    double score = (double)NAN;
    bool ended = strcmp(trial->status, "completed") == 0 || strcmp(trial->status, "target") == 0;
    if (analysis->question.goal == GOAL_STEPS)
        score = result[RESULT_TARGET_STEP];
    else if (ended && analysis->question.goal == GOAL_ACCURACY)
        score = -result[RESULT_TEST_ACCURACY];
    else if (ended)
        score =
            isnan(result[RESULT_TEST_LOSS]) ? result[RESULT_TRAIN_LOSS] : result[RESULT_TEST_LOSS];
    return isnan(score) ? (double)INFINITY : score;
}

/* ---- groups ---- */

/* Which keys count, of which table. */
typedef struct Sorting {
    const Table *table;
    const bool *mask;
} Sorting;

static int compare_values(const Sorting *sorting, int a, int b)
{
    const TrialRow *trials = sorting->table->trials;
    int order = 0;
    for (int key = 0; key < sorting->table->key_count && order == 0; key++)
        if (sorting->mask[key])
            order = strcmp(trials[a].values[key], trials[b].values[key]);
    return order;
}

static int by_values(const void *left, const void *right, void *context)
{
    int a = *(const int *)left, b = *(const int *)right;
    int order = compare_values(context, a, b);
    return order != 0 ? order : (a > b) - (a < b);
}

/* group[i]: number of the first trial with the same values of the keys in the mask. */
static void group_trials(const Table *table, const bool *mask, int *group)
{
    Sorting sorting = { table, mask };
    int *sorted = mem_array(int, table->count), first = 0;
    for (int i = 0; i < table->count; i++)
        sorted[i] = i;
    qsort_r(sorted, (size_t)table->count, sizeof *sorted, by_values, &sorting);
    for (int i = 0; i < table->count; i++) {
        if (i == 0 || compare_values(&sorting, sorted[i - 1], sorted[i]) != 0)
            first = sorted[i];
        group[sorted[i]] = first;
    }
    mem_free(sorted);
}

static void find_keys(Analysis *analysis)
{
    const Question *question = &analysis->question;
    analysis->seed_key = table_key(analysis->table, SEED_KEY);
    analysis->lr_key = table_key(analysis->table, LR_KEY);
    analysis->batch_key = -1;
    for (int i = 0; i < question->arm_keys; i++) {
        int key = table_key(analysis->table, question->arms_by[i]);
        if (key >= 0)
            analysis->in_arm[key] = true;
        if (strcmp(question->arms_by[i], BATCH_KEY) == 0)
            analysis->batch_key = key;
    }
}

/* Keys that have been tuned: they vary within some arm. */
static void find_tuned(Analysis *analysis, const int *arm)
{
    const TrialRow *trials = analysis->table->trials;
    for (int key = 0; key < analysis->table->key_count; key++)
        for (int i = 0; i < analysis->table->count && key != analysis->seed_key; i++)
            if (strcmp(trials[i].values[key], trials[arm[i]].values[key]) != 0)
                analysis->in_setting[key] = true;
}

static double batch_of(const Analysis *analysis, int trial)
{
    double batch;
    const char *unit;
    const TrialRow *at = &analysis->table->trials[trial];
    if (analysis->batch_key < 0 || !value_number(at->values[analysis->batch_key], &batch, &unit) ||
        batch <= 0)
        return (double)NAN;
    return batch;
}

static int by_place(const void *left, const void *right)
{
    const Place *a = left, *b = right;
    if (a->curve != b->curve)
        return a->curve < b->curve ? -1 : 1;
    if (a->batch < b->batch || a->batch > b->batch)
        return a->batch < b->batch ? -1 : 1;
    if (a->arm != b->arm)
        return a->arm < b->arm ? -1 : 1;
    if (a->setting != b->setting)
        return a->setting < b->setting ? -1 : 1;
    return (a->trial > b->trial) - (a->trial < b->trial);
}

static Place *sorted_places(Analysis *analysis)
{
    const Table *table = analysis->table;
    bool curve_mask[TABLE_MAX_COLUMNS], setting_mask[TABLE_MAX_COLUMNS];
    for (int key = 0; key < table->key_count; key++) {
        curve_mask[key] = analysis->in_arm[key] && key != analysis->batch_key;
        setting_mask[key] = key != analysis->seed_key;
    }
    int *group = mem_array(int, 3 * table->count);
    int *curve = group, *arm = group + table->count, *setting = arm + table->count;
    group_trials(table, curve_mask, curve);
    group_trials(table, analysis->in_arm, arm);
    group_trials(table, setting_mask, setting);
    find_tuned(analysis, arm);
    Place *places = mem_array(Place, table->count);
    for (int i = 0; i < table->count; i++)
        places[i] = (Place){ curve[i], arm[i], setting[i], i, batch_of(analysis, i) };
    qsort(places, (size_t)table->count, sizeof *places, by_place);
    mem_free(group);
    return places;
}

/* ---- spreads ---- */

static bool to_target(int result)
{
    return result >= RESULT_TARGET_STEP;
}

static void measure(const Analysis *analysis, Setting *setting)
{
    double *values = mem_array(double, setting->count);
    const int *trials = analysis->order + setting->first;
    for (int result = 0; result < RESULTS; result++) {
        for (int i = 0; i < setting->count; i++) {
            values[i] = analysis->table->trials[trials[i]].result[result];
            if (to_target(result) && isnan(values[i]))
                values[i] = (double)INFINITY;
        }
        setting->of[result] = spread_of(values, setting->count);
    }
    for (int i = 0; i < setting->count; i++)
        values[i] = trial_score(analysis, &analysis->table->trials[trials[i]]);
    setting->score = spread_of(values, setting->count).median;
    setting->reached = setting->of[RESULT_TARGET_STEP].finite;
    mem_free(values);
}

/* Final losses decide between settings that never reach the target; nan is worst. */
static double final_loss(const Setting *setting)
{
    double test = setting->of[RESULT_TEST_LOSS].median;
    double loss = isnan(test) ? setting->of[RESULT_TRAIN_LOSS].median : test;
    return isnan(loss) ? (double)INFINITY : loss;
}

bool setting_is_better(const Setting *a, const Setting *b)
{
    if (a->score < b->score || a->score > b->score)
        return a->score < b->score;
    return final_loss(a) < final_loss(b);
}

static void find_best(const Analysis *analysis, Arm *arm)
{
    const Setting *settings = analysis->settings;
    arm->best = arm->first;
    for (int i = arm->first; i < arm->first + arm->count; i++)
        if (setting_is_better(&settings[i], &settings[arm->best]))
            arm->best = i;
    arm->found = isfinite(settings[arm->best].score);
}

/* ---- curves ---- */

static void compare_arms(const Analysis *analysis, const Curve *curve)
{
    const Arm *first = NULL, *before = NULL;
    for (int i = curve->first; i < curve->first + curve->count; i++) {
        Arm *arm = &analysis->arms[i];
        arm->efficiency = arm->slope = (double)NAN;
        if (analysis->question.goal != GOAL_STEPS || !arm->found || isnan(arm->batch))
            continue;
        double steps = analysis->settings[arm->best].score;
        first = first ? first : arm;
        arm->efficiency =
            analysis->settings[first->best].score * first->batch / (steps * arm->batch);
        if (before && before->batch < arm->batch)
            arm->slope = log(steps / analysis->settings[before->best].score) /
                         log(arm->batch / before->batch);
        before = arm;
    }
}

/* Opens the groups that trial number i of the order begins. */
static void open_groups(Analysis *analysis, const Place *places, int i)
{
    const Place *before = i > 0 ? &places[i - 1] : NULL, *here = &places[i];
    bool new_curve = !before || before->curve != here->curve;
    bool new_arm = new_curve || before->arm != here->arm;
    if (new_curve)
        analysis->curves[analysis->curve_count++] = (Curve){ .first = analysis->arm_count };
    Curve *curve = &analysis->curves[analysis->curve_count - 1];
    if (new_arm) {
        analysis->arms[analysis->arm_count++] =
            (Arm){ .first = analysis->setting_count, .batch = here->batch };
        curve->count++;
    }
    Arm *arm = &analysis->arms[analysis->arm_count - 1];
    if (new_arm || before->setting != here->setting) {
        analysis->settings[analysis->setting_count++] = (Setting){ .first = i };
        arm->count++;
    }
    arm->trials++;
    analysis->settings[analysis->setting_count - 1].count++;
    analysis->order[i] = here->trial;
}

void arms_make(Analysis *analysis)
{
    int count = analysis->table->count;
    find_keys(analysis);
    Place *places = sorted_places(analysis);
    analysis->curves = mem_array(Curve, count);
    analysis->arms = mem_array(Arm, count);
    analysis->settings = mem_array(Setting, count);
    analysis->order = mem_array(int, count);
    for (int i = 0; i < count; i++)
        open_groups(analysis, places, i);
    mem_free(places);
    for (int i = 0; i < analysis->setting_count; i++)
        measure(analysis, &analysis->settings[i]);
    for (int i = 0; i < analysis->arm_count; i++)
        find_best(analysis, &analysis->arms[i]);
    for (int i = 0; i < analysis->curve_count; i++)
        compare_arms(analysis, &analysis->curves[i]);
}
