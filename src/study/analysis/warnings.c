/* What a reader must know before believing the answer: optima on the edge of their grid, arms
 * without a result, unequal budgets, single seeds. */
#include "parts.h"

#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NAME_SIZE 512

static void warn(Analysis *analysis, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void warn(Analysis *analysis, const char *format, ...)
{
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    mem_grow(&analysis->warnings, analysis->warning_count, &analysis->warning_capacity,
             sizeof *analysis->warnings);
    analysis->warnings[analysis->warning_count++] = mem_string(text);
}

/* "arm: ", or "" for the only arm without a name. */
static const char *place_of(const Analysis *analysis, const Arm *arm, char *buffer, size_t size)
{
    arm_name(analysis, arm, buffer, size);
    if (buffer[0])
        text_append(buffer, size, ": ");
    return buffer;
}

/* ---- edges ---- */

/* The values of a key in the settings of an arm. */
typedef struct Grid {
    double min, max;
    int values; /* different ones */
    bool numbers;
} Grid;

static Grid grid_of(const Analysis *analysis, const Arm *arm, int key)
{
    Grid grid = { (double)INFINITY, -(double)INFINITY, 0, true };
    const char *first_unit = NULL;
    for (int i = arm->first; i < arm->first + arm->count; i++) {
        double number;
        const char *unit, *text = setting_trial(analysis, &analysis->settings[i])->values[key];
        bool seen = false;
        for (int j = arm->first; j < i && !seen; j++)
            seen = strcmp(setting_trial(analysis, &analysis->settings[j])->values[key], text) == 0;
        if (seen)
            continue;
        grid.values++;
        if (!value_number(text, &number, &unit) || (first_unit && strcmp(unit, first_unit) != 0)) {
            grid.numbers = false;
            return grid;
        }
        first_unit = unit;
        grid.min = fmin(grid.min, number);
        grid.max = fmax(grid.max, number);
    }
    return grid;
}

/* -1: the best value of the key is the smallest that the arm tried, 1: the largest, 0: neither. One
 * or two values are a choice, not a grid; at 0 there is nothing beyond. */
static int edge_of(const Analysis *analysis, const Arm *arm, int key, Grid *grid)
{
    const char *unit;
    const Setting *setting = &analysis->settings[arm->best];
    double best;
    *grid = grid_of(analysis, arm, key);
    if (!arm->found || !grid->numbers || grid->values < 3 ||
        !value_number(setting_trial(analysis, setting)->values[key], &best, &unit))
        return 0;
    return best >= grid->max ? 1 : best <= grid->min && best != 0 ? -1 : 0;
}

/* One warning for all arms of a curve whose best value is at the same end. */
static void check_edge(Analysis *analysis, const Curve *curve, int key, int side)
{
    char name[NAME_SIZE], places[NAME_SIZE] = "", value[64] = "";
    int fewest = 0;
    for (int i = curve->first; i < curve->first + curve->count; i++) {
        const Arm *arm = &analysis->arms[i];
        char number[SHORT_SIZE];
        Grid grid;
        if (edge_of(analysis, arm, key, &grid) != side)
            continue;
        text_append(places, sizeof places, "%s%s", places[0] ? ", " : " at batch ",
                    short_text(number, arm->batch));
        snprintf(value, sizeof value, "%g", side > 0 ? grid.max : grid.min);
        fewest = fewest == 0 || grid.values < fewest ? grid.values : fewest;
    }
    if (fewest == 0)
        return;
    curve_name(analysis, curve, name, sizeof name);
    warn(analysis,
         "%s%sthe best %s is the %s of %d tried%s (%s): the optimum may lie beyond, so widen the "
         "grid",
         name, name[0] ? ": " : "", analysis->table->keys[key], side > 0 ? "largest" : "smallest",
         fewest, isnan(analysis->arms[curve->first].batch) ? "" : places, value);
}

/* ---- arms ---- */

static int with_status(const Analysis *analysis, const char *status)
{
    int count = 0;
    for (int i = 0; i < analysis->table->count; i++)
        count += strcmp(analysis->table->trials[i].status, status) == 0;
    return count;
}

static int arm_status(const Analysis *analysis, const Arm *arm, const char *status)
{
    int count = 0, first = analysis->settings[arm->first].first;
    for (int i = first; i < first + arm->trials; i++)
        count += strcmp(analysis->table->trials[analysis->order[i]].status, status) == 0;
    return count;
}

static void check_result(Analysis *analysis, const Arm *arm)
{
    char place[NAME_SIZE], target[128] = "";
    if (arm->found)
        return;
    if (analysis->question.target[0])
        snprintf(target, sizeof target, " (%s)", analysis->question.target);
    place_of(analysis, arm, place, sizeof place);
    int diverged = arm_status(analysis, arm, "diverged");
    if (diverged == arm->trials)
        warn(analysis, "%sall %d trials diverged", place, diverged);
    else if (analysis->question.goal == GOAL_STEPS)
        warn(analysis,
             "%sno setting reached the target%s with most of its seeds (%d trials, %d diverged)",
             place, target, arm->trials, diverged);
    else
        warn(analysis, "%sno setting ended with a result (%d trials, %d diverged)", place,
             arm->trials, diverged);
}

static void check_seeds(Analysis *analysis)
{
    int single = 0, found = 0;
    for (int i = 0; i < analysis->arm_count; i++) {
        const Arm *arm = &analysis->arms[i];
        found += arm->found;
        single += arm->found && analysis->settings[arm->best].count < 2;
    }
    if (single > 0)
        warn(analysis,
             "%d of %d best settings were tried with one seed: no spread and no interval there",
             single, found);
}

/* Settings an arm has tried: its tuning budget. */
static void check_budgets(Analysis *analysis)
{
    const Arm *least = NULL, *most = NULL;
    char least_name[NAME_SIZE], most_name[NAME_SIZE];
    for (int i = 0; i < analysis->arm_count; i++) {
        const Arm *arm = &analysis->arms[i];
        least = !least || arm->count < least->count ? arm : least;
        most = !most || arm->count > most->count ? arm : most;
    }
    if (least && least->count < most->count)
        warn(analysis,
             "unequal tuning: %d settings for %s, %d for %s; compare at equal budgets only",
             least->count, arm_name(analysis, least, least_name, sizeof least_name), most->count,
             arm_name(analysis, most, most_name, sizeof most_name));
}

static void check_fits(Analysis *analysis)
{
    for (int i = 0; i < analysis->curve_count; i++) {
        const Curve *curve = &analysis->curves[i];
        char name[NAME_SIZE];
        int found = 0;
        for (int j = curve->first; j < curve->first + curve->count; j++)
            found += analysis->arms[j].found && !isnan(analysis->arms[j].batch);
        curve_name(analysis, curve, name, sizeof name);
        if (analysis->question.goal == GOAL_STEPS && curve->count > 1 && curve->fit.points == 0)
            warn(analysis,
                 "%s%sno fit of S = S_min (1 + B_crit/B): %d batch size%s reached the target, at "
                 "least three are needed",
                 name, name[0] ? ": " : "", found, found == 1 ? "" : "s");
    }
}

void warnings_find(Analysis *analysis)
{
    for (int i = 0; i < analysis->arm_count; i++)
        check_result(analysis, &analysis->arms[i]);
    for (int i = 0; i < analysis->curve_count; i++)
        for (int key = 0; key < analysis->table->key_count; key++)
            for (int side = -1; side <= 1 && analysis->in_setting[key]; side += 2)
                check_edge(analysis, &analysis->curves[i], key, side);
    check_fits(analysis);
    check_budgets(analysis);
    check_seeds(analysis);
    int failed = with_status(analysis, "failed");
    if (failed > 0)
        warn(analysis, "%d of %d trials failed: see their messages", failed,
             analysis->table->count);
}
