/* What a page says of a study beside its pictures: tables of arms, fits and optimizers at equal
 * budgets, every trial, the files that made it. */
#include "parts.h"

#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define NAME_SIZE 512

/* ---- arms ---- */

static const struct {
    TrialResult result;
    const char *head;
} columns[] = {
    { RESULT_TARGET_STEP, "steps" },      { RESULT_TARGET_SAMPLES, "samples" },
    { RESULT_TARGET_SECONDS, "seconds" }, { RESULT_TEST_ACCURACY, "final accuracy" },
    { RESULT_TEST_LOSS, "final loss" },
};
enum { COLUMNS = sizeof columns / sizeof *columns };

static bool has_result(const Analysis *analysis, TrialResult result)
{
    for (int i = 0; i < analysis->arm_count; i++)
        if (isfinite(analysis->settings[analysis->arms[i].best].of[result].min))
            return true;
    return false;
}

static char *result_text(char buffer[SHORT_SIZE], TrialResult result, double value)
{
    bool digits = result == RESULT_TEST_ACCURACY || result == RESULT_TEST_LOSS;
    if (!digits || !isfinite(value))
        return short_text(buffer, value);
    snprintf(buffer, SHORT_SIZE, "%.4f", value);
    return buffer;
}

/* What the study asks for: steps, loss or accuracy. */
static TrialResult asked(const Analysis *analysis)
{
    static const TrialResult results[] = { [GOAL_STEPS] = RESULT_TARGET_STEP,
                                           [GOAL_LOSS] = RESULT_TEST_LOSS,
                                           [GOAL_ACCURACY] = RESULT_TEST_ACCURACY };
    return results[analysis->question.goal];
}

/* The median; of what is asked for with its range: "812 (790 to 845)". */
static void result_cell(Page *page, const Analysis *analysis, const Setting *setting,
                        TrialResult result)
{
    const Spread *spread = &setting->of[result];
    char median[SHORT_SIZE], low[SHORT_SIZE], high[SHORT_SIZE];
    if (spread->count == 0)
        page_number(page, "%s", "");
    else if (spread->count == 1 || spread->finite == 0 || result != asked(analysis))
        page_number(page, "%s", result_text(median, result, spread->median));
    else
        page_number(page, "%s (%s to %s)", result_text(median, result, spread->median),
                    result_text(low, result, spread->min), result_text(high, result, spread->max));
}

static void arm_row(Page *page, const Analysis *analysis, const Arm *arm)
{
    const Setting *best = &analysis->settings[arm->best];
    char name[NAME_SIZE], number[SHORT_SIZE];
    bool steps = analysis->question.goal == GOAL_STEPS;
    page_row(page, arm->found ? NULL : "bad");
    page_word(page, arm_name(analysis, arm, name, sizeof name));
    page_word(page, setting_name(analysis, best, name, sizeof name));
    page_number(page, "%d", arm->count);
    if (steps)
        page_number(page, "%d of %d", best->reached, best->count);
    else
        page_number(page, "%d", best->count);
    for (int i = 0; i < COLUMNS; i++)
        if (has_result(analysis, columns[i].result))
            result_cell(page, analysis, best, columns[i].result);
    if (!steps)
        return;
    page_number(page, "%s", short_text(number, arm->efficiency));
    page_number(page, "%s", short_text(number, arm->slope));
}

static void arms_table(Page *page, const Analysis *analysis)
{
    char heads[512] = "arm|best setting|#settings tried";
    bool steps = analysis->question.goal == GOAL_STEPS;
    text_append(heads, sizeof heads, "%s", steps ? "|#seeds there" : "|#seeds");
    for (int i = 0; i < COLUMNS; i++)
        if (has_result(analysis, columns[i].result))
            text_append(heads, sizeof heads, "|#%s", columns[i].head);
    text_append(heads, sizeof heads, "%s", steps ? "|#efficiency|#slope" : "");
    page_head(page, "Best setting of each arm");
    page_table(page, heads);
    for (int i = 0; i < analysis->arm_count; i++)
        arm_row(page, analysis, &analysis->arms[i]);
    page_table_end(page);
    page_add(page, "<p class=\"facts\">Medians over seeds (smallest to largest). %s</p>\n",
             steps ? "Efficiency: steps of perfect scaling from the first batch size, divided by "
                     "the steps it took. Slope: of log steps against log batch from the arm "
                     "before; -1 is perfect, 0 a plateau."
                   : "");
}

/* ---- fits ---- */

static void estimate_cells(Page *page, const Estimate *estimate)
{
    char value[SHORT_SIZE], low[SHORT_SIZE], high[SHORT_SIZE];
    page_number(page, "%s", isinf(estimate->value) ? "beyond" : short_text(value, estimate->value));
    if (isnan(estimate->low))
        page_number(page, "-");
    else
        page_number(page, "%s to %s", short_text(low, estimate->low),
                    isinf(estimate->high) ? "beyond" : short_text(high, estimate->high));
}

static bool any_fit(const Analysis *analysis)
{
    for (int i = 0; i < analysis->curve_count; i++)
        if (analysis->curves[i].fit.points > 0)
            return true;
    return false;
}

static void fit_row(Page *page, const Analysis *analysis, const Curve *curve)
{
    char name[NAME_SIZE], number[SHORT_SIZE];
    page_row(page, NULL);
    curve_name(analysis, curve, name, sizeof name);
    page_word(page, name[0] ? name : "all");
    page_number(page, "%d", curve->fit.points);
    estimate_cells(page, &curve->b_crit);
    estimate_cells(page, &curve->s_min);
    page_number(page, "%s", short_text(number, curve->fit.samples));
    bool inside = isfinite(curve->fit.b_crit) && curve->fit.b_crit > 0;
    for (int i = 0; i < 2; i++) {
        double efficiency = i ? EFFICIENCY_PLATEAU : EFFICIENCY_DIMINISHING;
        page_number(page, "%s",
                    inside ? short_text(number, batch_of_efficiency(curve, efficiency)) : "-");
    }
    page_number(page, "%.1f %%", 100 * curve->fit.residual);
}

static void fits_table(Page *page, const Analysis *analysis)
{
    if (!any_fit(analysis))
        return;
    page_head(page, "Scaling: S = S_min (1 + B_crit/B)");
    page_table(page, "curve|#batch sizes|#B_crit|#95 %|#S_min, steps|#95 %|#fewest samples|"
                     "#diminishing from|#plateau from|#misfit");
    for (int i = 0; i < analysis->curve_count; i++)
        if (analysis->curves[i].fit.points > 0)
            fit_row(page, analysis, &analysis->curves[i]);
    page_table_end(page);
    page_add(page,
             "<p class=\"facts\">Diminishing returns: the fitted efficiency 1/(1 + B/B_crit) falls "
             "below %.1f. Plateau: below %.1f. Intervals: 1,000 resamples of the seeds, the best "
             "setting chosen anew in each. Misfit: root mean square of log steps.</p>\n",
             EFFICIENCY_DIMINISHING, EFFICIENCY_PLATEAU);
}

/* ---- learning rates ---- */

static const char *rule_text(const Estimate *exponent)
{
    bool linear = exponent->low <= 1 && exponent->high >= 1;
    bool root = exponent->low <= 0.5 && exponent->high >= 0.5;
    if (isnan(exponent->low))
        return "one seed: no interval, so no verdict";
    return linear && root ? "both linear and square-root scaling fit"
           : linear       ? "linear scaling fits, square root does not"
           : root         ? "square-root scaling fits, linear does not"
                          : "neither linear nor square-root scaling fits";
}

static void lr_table(Page *page, const Analysis *analysis)
{
    bool any = false;
    for (int i = 0; i < analysis->curve_count; i++)
        any = any || analysis->curves[i].lr_points > 0;
    if (!any)
        return;
    page_head(page, "Best learning rate as a power of the batch size");
    page_table(page, "curve|#batch sizes|#exponent|#95 %|verdict (linear: 1, square root: 0.5)");
    for (int i = 0; i < analysis->curve_count; i++) {
        const Curve *curve = &analysis->curves[i];
        char name[NAME_SIZE];
        if (curve->lr_points == 0)
            continue;
        page_row(page, NULL);
        curve_name(analysis, curve, name, sizeof name);
        page_word(page, name[0] ? name : "all");
        page_number(page, "%d", curve->lr_points);
        page_number(page, "%.2f", curve->lr_exponent.value);
        if (isnan(curve->lr_exponent.low))
            page_number(page, "-");
        else
            page_number(page, "%.2f to %.2f", curve->lr_exponent.low, curve->lr_exponent.high);
        page_word(page, rule_text(&curve->lr_exponent));
    }
    page_table_end(page);
    page_add(page, "<p class=\"facts\">The interval holds the seeds' luck and the grid: a best "
                   "learning rate is known to half a step of its grid.</p>\n");
}

/* ---- equal budgets ---- */

/* The smallest number of settings among arms with this batch, of several curves; 0: only one. */
static int common_budget(const Analysis *analysis, double batch)
{
    int arms = 0, least = 0;
    for (int i = 0; i < analysis->arm_count; i++)
        if (analysis->arms[i].batch == batch) {
            least =
                arms++ == 0 || analysis->arms[i].count < least ? analysis->arms[i].count : least;
        }
    return arms > 1 ? least : 0;
}

static void budget_row(Page *page, const Analysis *analysis, const Arm *arm, int budget)
{
    char name[NAME_SIZE], number[SHORT_SIZE];
    int count;
    double *scores = arm_scores(analysis, arm, &count);
    BestOf equal = best_of(scores, count, budget);
    page_row(page, NULL);
    page_word(page, arm_name(analysis, arm, name, sizeof name));
    page_number(page, "%d", arm->count);
    page_number(page, "%s", score_text(analysis, number, analysis->settings[arm->best].score));
    page_number(page, "%d", budget);
    page_number(page, "%s", score_text(analysis, number, equal.median));
    page_number(page, "%s", score_text(analysis, number, equal.expected));
    mem_free(scores);
}

static void budgets_table(Page *page, const Analysis *analysis)
{
    bool any = false;
    for (int i = 0; i < analysis->arm_count; i++)
        any = any || common_budget(analysis, analysis->arms[i].batch) > 0;
    if (!any)
        return;
    page_head(page, "At equal tuning budget");
    page_table(page, "arm|#settings|#best of all|#k|#median best of k|#mean best of k");
    for (int i = 0; i < analysis->arm_count; i++) {
        const Arm *arm = &analysis->arms[i];
        bool first = true;
        for (int j = 0; j < i; j++)
            first = first && analysis->arms[j].batch != arm->batch;
        for (int j = i; first && j < analysis->arm_count; j++) {
            int budget = common_budget(analysis, arm->batch);
            if (budget > 0 && analysis->arms[j].batch == arm->batch)
                budget_row(page, analysis, &analysis->arms[j], budget);
        }
    }
    page_table_end(page);
    page_add(page, "<p class=\"facts\">k: the settings that each of the arms with this batch size "
                   "could afford; over all ways to draw k of those that were tried.</p>\n");
}

void study_tables(Page *page, const Answer *study)
{
    const Analysis *analysis = &study->analysis;
    if (analysis->arm_count == 0)
        return;
    arms_table(page, analysis);
    fits_table(page, analysis);
    lr_table(page, analysis);
    budgets_table(page, analysis);
}
