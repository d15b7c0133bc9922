/* Every trial of a study as a table, what ended early, how to repeat it, and the table beside the
 * page. */
#include "parts.h"

#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool is_best(const Analysis *analysis, int place)
{
    for (int i = 0; i < analysis->arm_count; i++) {
        const Setting *best = &analysis->settings[analysis->arms[i].best];
        if (analysis->arms[i].found && place >= best->first && place < best->first + best->count)
            return true;
    }
    return false;
}

static const TrialResult shown[] = { RESULT_TARGET_STEP,   RESULT_STEPS,     RESULT_SECONDS,
                                     RESULT_TEST_ACCURACY, RESULT_TEST_LOSS, RESULT_TRAIN_LOSS };
enum { SHOWN = sizeof shown / sizeof *shown };

static void trial_row(Page *page, const Analysis *analysis, int place)
{
    const TrialRow *trial = &analysis->table->trials[analysis->order[place]];
    bool ended = strcmp(trial->status, "completed") == 0 || strcmp(trial->status, "target") == 0;
    page_row(page, is_best(analysis, place) ? "best" : ended ? NULL : "bad");
    page_word(page, trial->id);
    page_word(page, trial->status);
    for (int key = 0; key < analysis->table->key_count; key++)
        page_word(page, trial->values[key]);
    for (int i = 0; i < SHOWN; i++) {
        char number[SHORT_SIZE];
        double value = trial->result[shown[i]];
        bool fine = shown[i] == RESULT_TEST_ACCURACY || shown[i] == RESULT_TEST_LOSS ||
                    shown[i] == RESULT_TRAIN_LOSS;
        if (fine && !isnan(value))
            page_number(page, "%.4f", value);
        else
            page_number(page, "%s", isnan(value) ? "" : short_text(number, value));
    }
}

static void trials_table(Page *page, const Analysis *analysis)
{
    char title[64];
    Page heads = { 0 };
    snprintf(title, sizeof title, "Every trial (%d)", analysis->table->count);
    page_add(&heads, "trial|status");
    for (int key = 0; key < analysis->table->key_count; key++)
        page_add(&heads, "|%s", analysis->table->keys[key]);
    page_add(&heads, "|#steps to target|#steps|#seconds|#accuracy|#test loss|#training loss");
    page_details(page, title, true);
    page_add(page, "<p class=\"facts\">Bold: trials of an arm's best setting.</p>\n");
    page_table(page, heads.text);
    for (int place = 0; place < analysis->table->count; place++)
        trial_row(page, analysis, place);
    page_table_end(page);
    page_details_end(page);
    page_free(&heads);
}

/* ---- what did not go to its end ---- */

static bool ended_early(const TrialRow *trial)
{
    return strcmp(trial->status, "completed") != 0 && strcmp(trial->status, "target") != 0;
}

static void early_table(Page *page, const Analysis *analysis)
{
    int count = 0;
    for (int i = 0; i < analysis->table->count; i++)
        count += ended_early(&analysis->table->trials[i]);
    if (count == 0)
        return;
    char title[64];
    snprintf(title, sizeof title, "Pruned, diverged or failed (%d)", count);
    page_details(page, title, true);
    page_table(page, "trial|status|values|#steps|why");
    for (int place = 0; place < analysis->table->count; place++) {
        const TrialRow *trial = &analysis->table->trials[analysis->order[place]];
        char number[SHORT_SIZE];
        Page values = { 0 };
        if (!ended_early(trial))
            continue;
        for (int key = 0; key < analysis->table->key_count; key++)
            page_add(&values, "%s%s=%s", key ? " " : "", analysis->table->keys[key],
                     trial->values[key]);
        page_row(page, NULL);
        page_word(page, trial->id);
        page_word(page, trial->status);
        page_word(page, values.text ? values.text : "");
        double steps = trial->result[RESULT_STEPS];
        page_number(page, "%s", isnan(steps) ? "" : short_text(number, steps));
        page_word(page, trial->message);
        page_free(&values);
    }
    page_table_end(page);
    page_details_end(page);
}

/* ---- how to repeat it ---- */

static void commands(Page *page, const Answer *study, const char *path)
{
    Page text = { 0 };
    const Table *table = &study->table;
    page_details(page, "Commands: the study, this page, each trial by itself", true);
    page_add(&text, "lockstep study %s/study.yaml\nlockstep report %s\n\n", study->folder, path);
    for (int i = 0; i < table->count; i++) {
        page_add(&text, "lockstep train %s/trials/%s/config.yaml name=%s-again  #", study->folder,
                 table->trials[i].id, table->trials[i].id);
        for (int key = 0; key < table->key_count; key++)
            page_add(&text, " %s=%s", table->keys[key], table->trials[i].values[key]);
        page_add(&text, "\n");
    }
    page_code(page, text.text);
    page_details_end(page);
    page_free(&text);
}

void study_details(Page *page, const Answer *study, const char *path)
{
    page_head(page, "Trials and how to repeat them");
    if (study->table.count > 0)
        trials_table(page, &study->analysis);
    early_table(page, &study->analysis);
    commands(page, study, path);
    if (study->text) {
        page_details(page, "The study file (study.yaml)", false);
        page_code(page, study->text);
        page_details_end(page);
    }
}

/* ---- the table beside the page: a line an arm ---- */

static void csv_number(Page *csv, double value)
{
    char number[TEXT_NUMBER_SIZE];
    page_csv(csv, isfinite(value) ? text_number(number, value) : "", false);
}

static void csv_arm(Page *csv, const Analysis *analysis, const Arm *arm)
{
    char name[512];
    const Setting *best = &analysis->settings[arm->best];
    page_csv(csv, arm_name(analysis, arm, name, sizeof name), true);
    csv_number(csv, arm->batch);
    page_csv(csv, setting_name(analysis, best, name, sizeof name), false);
    page_add(csv, ",%d,%d,%d,%d", arm->count, arm->trials, best->count, best->reached);
    csv_number(csv, arm->efficiency);
    csv_number(csv, arm->slope);
    for (int i = 0; i < RESULTS; i++) {
        const Spread *spread = &best->of[i];
        const double values[] = { spread->median, spread->min, spread->low, spread->high,
                                  spread->max };
        for (size_t j = 0; j < sizeof values / sizeof *values; j++)
            csv_number(csv, values[j]);
    }
    page_add(csv, "\n");
}

void study_csv(Page *csv, const Answer *study)
{
    page_add(csv, "arm,batch,best_setting,settings,trials,seeds,reached,efficiency,slope");
    for (int i = 0; i < RESULTS; i++) {
        const char *name = result_name((TrialResult)i);
        page_add(csv, ",%s_median,%s_min,%s_low,%s_high,%s_max", name, name, name, name, name);
    }
    page_add(csv, "\n");
    for (int i = 0; i < study->analysis.arm_count; i++)
        csv_arm(csv, &study->analysis, &study->analysis.arms[i]);
}
