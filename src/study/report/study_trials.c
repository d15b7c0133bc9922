/* Pictures of every trial: learning rate against result, and what searches of k trials find. */
#include "parts.h"

#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define NAME_SIZE 256

typedef struct Extent {
    double x_low, x_high, y_low, y_high;
} Extent;

/* Scores as people read them: accuracies have changed sign. */
static double shown(const Analysis *analysis, double score)
{
    return analysis->question.goal == GOAL_ACCURACY ? -score : score;
}

static void score_axis(Picture *picture, const Analysis *analysis, double low, double high)
{
    static const char *const labels[] = { [GOAL_STEPS] = "steps to target",
                                          [GOAL_LOSS] = "final loss",
                                          [GOAL_ACCURACY] = "final accuracy" };
    picture_axis(picture, 'y', labels[analysis->question.goal], low, high,
                 analysis->question.goal == GOAL_STEPS || (low > 0 && high > 12 * low));
}

/* ---- every trial ---- */

static const TrialRow *trial_at(const Analysis *analysis, int place)
{
    return &analysis->table->trials[analysis->order[place]];
}

/* The arm's first trial in `order`. */
static int first_place(const Analysis *analysis, const Arm *arm)
{
    return analysis->settings[arm->first].first;
}

static Extent extent_of(const Analysis *analysis, const Curve *curve)
{
    Extent e = { (double)INFINITY, -(double)INFINITY, (double)INFINITY, -(double)INFINITY };
    for (int i = curve->first; i < curve->first + curve->count; i++) {
        const Arm *arm = &analysis->arms[i];
        int first = first_place(analysis, arm);
        for (int place = first; place < first + arm->trials; place++) {
            double lr = trial_lr(analysis, trial_at(analysis, place));
            double score = shown(analysis, trial_score(analysis, trial_at(analysis, place)));
            if (!isnan(lr)) {
                e.x_low = fmin(e.x_low, lr);
                e.x_high = fmax(e.x_high, lr);
            }
            if (!isnan(lr) && isfinite(score)) {
                e.y_low = fmin(e.y_low, score);
                e.y_high = fmax(e.y_high, score);
            }
        }
    }
    return e;
}

/* Trials with a result, or those without one at the picture's bad end; returns how many. */
static int trial_block(Picture *picture, const Analysis *analysis, const Arm *arm, bool results,
                       double bad_end, int *block)
{
    int rows = 0, first = first_place(analysis, arm);
    *block = picture_block(picture);
    for (int place = first; place < first + arm->trials; place++) {
        double lr = trial_lr(analysis, trial_at(analysis, place));
        double score = shown(analysis, trial_score(analysis, trial_at(analysis, place)));
        if (isnan(lr) || (isfinite(score) != 0) != results)
            continue;
        picture_row(picture, 2, (const double[2]){ lr, results ? score : bad_end });
        rows++;
    }
    return rows;
}

/* Is the learning rate all that was tuned? Then a line through the medians means something. */
static bool only_lr(const Analysis *analysis)
{
    for (int key = 0; key < analysis->table->key_count; key++)
        if (analysis->in_setting[key] && key != analysis->lr_key)
            return false;
    return true;
}

/* A setting as a point of the line through the medians. */
typedef struct Median {
    double lr, score;
} Median;

static void draw_medians(Picture *picture, const Analysis *analysis, const Arm *arm, int color)
{
    Median *medians = mem_array(Median, arm->count);
    int count = 0;
    for (int i = arm->first; i < arm->first + arm->count; i++) {
        const Setting *setting = &analysis->settings[i];
        Median m = { trial_lr(analysis, setting_trial(analysis, setting)),
                     shown(analysis, setting->score) };
        if (isnan(m.lr) || !isfinite(m.score))
            continue;
        int place = count++;
        for (; place > 0 && medians[place - 1].lr > m.lr; place--)
            medians[place] = medians[place - 1];
        medians[place] = m;
    }
    int block = picture_block(picture);
    for (int i = 0; i < count; i++)
        picture_row(picture, 2, (const double[2]){ medians[i].lr, medians[i].score });
    if (count > 1)
        picture_draw(picture, block, MARK_LINE, color, 1.4);
    mem_free(medians);
}

static void draw_arm(Picture *picture, const Analysis *analysis, const Arm *arm, int color,
                     double bad_end, bool *bad)
{
    char text[SHORT_SIZE], name[NAME_SIZE];
    int block;
    if (only_lr(analysis))
        draw_medians(picture, analysis, arm, color);
    if (trial_block(picture, analysis, arm, true, bad_end, &block) > 0)
        picture_draw(picture, block, MARK_DOTS, color, 0.6);
    if (trial_block(picture, analysis, arm, false, bad_end, &block) > 0) {
        picture_draw(picture, block, MARK_CROSSES, color, 0.6);
        *bad = true;
    }
    arm_name(analysis, arm, name, sizeof name);
    picture_key(picture, MARK_DOTS, color, isnan(arm->batch) ? name : short_text(text, arm->batch));
}

static void curve_trials(Album *album, const Analysis *analysis, const Curve *curve)
{
    char title[NAME_SIZE + 64], name[NAME_SIZE];
    Extent e = extent_of(analysis, curve);
    if (!(e.x_high > e.x_low) || !(e.y_high >= e.y_low))
        return;
    curve_name(analysis, curve, name, sizeof name);
    snprintf(title, sizeof title, "Every trial%s%s", name[0] ? ": " : "", name);
    Picture *picture = album_add(album, title,
                                 only_lr(analysis) ? "A point a trial, by batch size; lines: "
                                                     "medians over seeds."
                                                   : "A point a trial, by batch size.");
    bool steps = analysis->question.goal == GOAL_STEPS, bad = false;
    double room = steps ? 1.2 : 0.08 * (e.y_high - e.y_low);
    double bad_end = steps                                  ? e.y_high * room
                     : analysis->question.goal == GOAL_LOSS ? e.y_high + room
                                                            : e.y_low - room;
    if (!isnan(analysis->arms[curve->first].batch))
        picture_key(picture, MARK_NONE, COLOR_AXIS, "batch size:");
    picture_axis(picture, 'x', "learning rate", e.x_low, e.x_high, true);
    for (int i = 0; i < curve->count; i++)
        draw_arm(picture, analysis, &analysis->arms[curve->first + i], color_ramp(i, curve->count),
                 bad_end, &bad);
    if (bad)
        picture_key(picture, MARK_CROSSES, COLOR_MUTED, steps ? "never got there" : "no result");
    score_axis(picture, analysis, bad ? fmin(e.y_low, bad_end) : e.y_low,
               bad ? fmax(e.y_high, bad_end) : e.y_high);
}

/* ---- the best of k ---- */

static void draw_best_of(Picture *picture, const Analysis *analysis, const Arm *arm, int color,
                         double range[2])
{
    int count;
    double *scores = arm_scores(analysis, arm, &count);
    int block = picture_block(picture), rows = 0;
    for (int k = 1; k <= count; k++) {
        double score = shown(analysis, best_of(scores, count, k).median);
        if (!isfinite(score))
            continue;
        picture_row(picture, 2, (const double[2]){ k, score });
        range[0] = fmin(range[0], score);
        range[1] = fmax(range[1], score);
        rows++;
    }
    mem_free(scores);
    if (rows > 0)
        picture_draw(picture, block, MARK_POINTS, color, 1.8);
}

/* Of several curves, at one batch size: what they find with the same tuning budget. */
static void budget_picture(Album *album, const Analysis *analysis)
{
    double batch = common_batch(analysis), range[2] = { (double)INFINITY, -(double)INFINITY };
    char title[128], number[SHORT_SIZE], name[NAME_SIZE];
    int most = 0;
    if (isnan(batch))
        return;
    snprintf(title, sizeof title, "Result against tuning budget, batch %s",
             short_text(number, batch));
    Picture *picture = album_add(album, title,
                                 "Best of k settings drawn at random from those that were tried: "
                                 "half of such searches end at or beyond the line.");
    for (int i = 0; i < analysis->curve_count; i++) {
        const Curve *curve = &analysis->curves[i];
        for (int j = curve->first; j < curve->first + curve->count; j++) {
            const Arm *arm = &analysis->arms[j];
            if (arm->batch != batch || !arm->found)
                continue;
            draw_best_of(picture, analysis, arm, color_series(i), range);
            curve_name(analysis, curve, name, sizeof name);
            picture_key(picture, MARK_POINTS, color_series(i), name);
            most = arm->count > most ? arm->count : most;
        }
    }
    picture_axis(picture, 'x', "settings tried", 1, most, false);
    score_axis(picture, analysis, range[0], range[1]);
}

void trial_pictures(Album *album, const Analysis *analysis)
{
    if (analysis->lr_key >= 0 && !analysis->in_arm[analysis->lr_key])
        for (int i = 0; i < analysis->curve_count; i++)
            curve_trials(album, analysis, &analysis->curves[i]);
    budget_picture(album, analysis);
}
