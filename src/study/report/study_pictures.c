/* Pictures of a study: the answer against the batch, the learning rates, every trial. */
#include "parts.h"

#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define NAME_SIZE 256

typedef struct Range {
    double low, high;
} Range;

static const Range nothing = { (double)INFINITY, -(double)INFINITY };

static void include(Range *range, double value)
{
    if (!isfinite(value))
        return;
    range->low = fmin(range->low, value);
    range->high = fmax(range->high, value);
}

/* ---- batches ---- */

static bool has_batches(const Analysis *analysis)
{
    for (int i = 0; i < analysis->arm_count; i++)
        if (analysis->arms[i].batch != analysis->arms[0].batch && !isnan(analysis->arms[i].batch))
            return true;
    return false;
}

static Range batch_range(const Analysis *analysis)
{
    Range range = nothing;
    for (int i = 0; i < analysis->arm_count; i++)
        include(&range, analysis->arms[i].batch);
    return range;
}

/* "64", "8,192", "16k" */
static void batch_text(char *buffer, size_t size, double batch)
{
    if (batch >= 10000 && fmod(batch, 1024) == 0)
        snprintf(buffer, size, "%.0fk", batch / 1024);
    else
        text_count(buffer, size, (int64_t)batch);
}

/* A logarithmic x axis with the batches that were tried. */
static void batch_axis(Picture *picture, const Analysis *analysis)
{
    Range range = batch_range(analysis);
    double *places = mem_array(double, analysis->arm_count);
    char(*texts)[16] = mem_alloc(sizeof *texts * (size_t)analysis->arm_count);
    const char **names = mem_array(const char *, analysis->arm_count);
    int count = 0;
    picture_axis(picture, 'x', "batch size", range.low, range.high, true);
    for (int i = 0; i < analysis->arm_count; i++) {
        double batch = analysis->arms[i].batch;
        bool seen = isnan(batch);
        for (int j = 0; j < count; j++)
            seen = seen || places[j] == batch;
        if (seen)
            continue;
        batch_text(texts[count], sizeof texts[count], batch);
        names[count] = texts[count];
        places[count++] = batch;
    }
    picture_names(picture, names, places, count);
    mem_free(places);
    mem_free(texts);
    mem_free(names);
}

/* The curve's colour and, if there are several, its name. */
static int curve_color(const Analysis *analysis, const Curve *curve)
{
    return color_series((int)(curve - analysis->curves));
}

static void curve_key(Picture *picture, const Analysis *analysis, const Curve *curve, Mark mark,
                      const char *otherwise)
{
    char name[NAME_SIZE];
    curve_name(analysis, curve, name, sizeof name);
    picture_key(picture, mark, curve_color(analysis, curve), name[0] ? name : otherwise);
}

/* ---- a result against the batch ---- */

/* Rows batch, median, smallest, largest of the best settings; returns how many. */
static int spread_block(Picture *picture, const Analysis *analysis, const Curve *curve,
                        TrialResult result, int *block)
{
    int rows = 0;
    *block = picture_block(picture);
    for (int i = curve->first; i < curve->first + curve->count; i++) {
        const Arm *arm = &analysis->arms[i];
        const Spread *spread = &analysis->settings[arm->best].of[result];
        if (isnan(arm->batch) || !isfinite(spread->median))
            continue;
        double high = isfinite(spread->max) ? spread->max : spread->median;
        picture_row(picture, 4, (const double[4]){ arm->batch, spread->median, spread->min, high });
        rows++;
    }
    return rows;
}

static Range result_range(const Analysis *analysis, TrialResult result)
{
    Range range = nothing;
    for (int i = 0; i < analysis->arm_count; i++) {
        const Spread *spread = &analysis->settings[analysis->arms[i].best].of[result];
        if (isnan(analysis->arms[i].batch) || !isfinite(spread->median))
            continue;
        include(&range, spread->min);
        include(&range, spread->median);
        include(&range, spread->max);
    }
    return range;
}

static void draw_spreads(Picture *picture, const Analysis *analysis, TrialResult result, Mark line)
{
    for (int i = 0; i < analysis->curve_count; i++) {
        const Curve *curve = &analysis->curves[i];
        int block, rows = spread_block(picture, analysis, curve, result, &block);
        if (rows == 0)
            continue;
        int color = curve_color(analysis, curve);
        picture_draw(picture, block, MARK_BARS, color, 1.6);
        if (line != MARK_BARS && rows > 1)
            picture_draw(picture, block, line, color, 1.6);
        curve_key(picture, analysis, curve, MARK_BARS, "median, smallest to largest over seeds");
    }
}

/* ---- steps to target ---- */

enum { CURVE_POINTS = 80 };

static void draw_fit(Picture *picture, const Analysis *analysis, const Curve *curve, Range batches)
{
    if (curve->fit.points == 0)
        return;
    int block = picture_block(picture);
    for (int i = 0; i <= CURVE_POINTS; i++) {
        double batch = batches.low * pow(batches.high / batches.low, (double)i / CURVE_POINTS);
        picture_row(picture, 2, (const double[2]){ batch, scaling_steps(&curve->fit, batch) });
    }
    picture_draw(picture, block, MARK_LINE, curve_color(analysis, curve), 1.8);
}

/* From the first arm of the first curve that got there, as far down as the picture goes. */
static void draw_perfect(Picture *picture, const Analysis *analysis, Range batches, double lowest)
{
    for (int i = 0; i < analysis->arm_count; i++) {
        const Arm *arm = &analysis->arms[i];
        if (!arm->found || isnan(arm->batch))
            continue;
        double work = analysis->settings[arm->best].score * arm->batch;
        double end = fmin(batches.high, work / lowest);
        int block = picture_block(picture);
        picture_row(picture, 2, (const double[2]){ arm->batch, work / arm->batch });
        picture_row(picture, 2, (const double[2]){ end, work / end });
        picture_draw(picture, block, MARK_DASHES, COLOR_MUTED, 1.4);
        picture_key(picture, MARK_DASHES, COLOR_MUTED, "perfect scaling");
        return;
    }
}

static void steps_picture(Album *album, const Analysis *analysis)
{
    Range steps = result_range(analysis, RESULT_TARGET_STEP), batches = batch_range(analysis);
    char title[128];
    if (analysis->question.goal != GOAL_STEPS || !(steps.high >= steps.low))
        return;
    snprintf(title, sizeof title, "Steps to %s",
             analysis->question.target[0] ? analysis->question.target : "target");
    Picture *picture = album_add(album, title,
                                 "Best setting of each batch size. Lines: S = S_min (1 + B_crit/B)"
                                 ", fitted where three or more batch sizes got there.");
    batch_axis(picture, analysis);
    picture_axis(picture, 'y', "steps", 0.8 * steps.low, 1.1 * steps.high, true);
    draw_perfect(picture, analysis, batches, 0.8 * steps.low);
    for (int i = 0; i < analysis->curve_count; i++)
        draw_fit(picture, analysis, &analysis->curves[i], batches);
    draw_spreads(picture, analysis, RESULT_TARGET_STEP, MARK_BARS);
}

/* A result of the best settings against the batch; nothing if no arm has it. */
static void result_picture(Album *album, const Analysis *analysis, TrialResult result,
                           const char *title, const char *caption, const char *label,
                           bool logarithmic)
{
    Range range = result_range(analysis, result);
    if (!(range.high >= range.low))
        return;
    Picture *picture = album_add(album, title, caption);
    batch_axis(picture, analysis);
    picture_axis(picture, 'y', label, range.low, range.high, logarithmic && range.low > 0);
    draw_spreads(picture, analysis, result, MARK_LINE);
}

/* ---- learning rates ---- */

static double best_lr(const Analysis *analysis, const Arm *arm)
{
    if (!arm->found || isnan(arm->batch))
        return (double)NAN;
    return trial_lr(analysis, setting_trial(analysis, &analysis->settings[arm->best]));
}

/* lr * (batch / first batch)^power from the curve's first best learning rate on. */
static void draw_rule(Picture *picture, const Arm *first, double lr, double power, Range batches,
                      Mark mark, const char *name)
{
    int block = picture_block(picture);
    picture_row(picture, 2, (const double[2]){ first->batch, lr });
    picture_row(picture, 2,
                (const double[2]){ batches.high, lr * pow(batches.high / first->batch, power) });
    picture_draw(picture, block, mark, COLOR_MUTED, 1.4);
    picture_key(picture, mark, COLOR_MUTED, name);
}

static void draw_best_lrs(Picture *picture, const Analysis *analysis, const Curve *curve,
                          Range batches)
{
    const Arm *first = NULL;
    int block = picture_block(picture), color = curve_color(analysis, curve), rows = 0;
    for (int i = curve->first; i < curve->first + curve->count; i++) {
        double lr = best_lr(analysis, &analysis->arms[i]);
        if (isnan(lr))
            continue;
        first = first ? first : &analysis->arms[i];
        picture_row(picture, 2, (const double[2]){ analysis->arms[i].batch, lr });
        rows++;
    }
    if (rows == 0)
        return;
    picture_draw(picture, block, MARK_POINTS, color, 2);
    curve_key(picture, analysis, curve, MARK_POINTS, "best");
    if (curve != analysis->curves)
        return;
    draw_rule(picture, first, best_lr(analysis, first), 1, batches, MARK_DASHES, "linear scaling");
    draw_rule(picture, first, best_lr(analysis, first), 0.5, batches, MARK_DOTTED, "square root");
}

/* Every learning rate that was tried, small. */
static Range draw_tried(Picture *picture, const Analysis *analysis)
{
    Range range = nothing;
    int block = picture_block(picture);
    for (int i = 0; i < analysis->table->count; i++) {
        const TrialRow *trial = &analysis->table->trials[i];
        double lr = trial_lr(analysis, trial), batch = (double)NAN;
        const char *unit;
        if (!value_number(trial->values[analysis->batch_key], &batch, &unit) || isnan(lr))
            continue;
        picture_row(picture, 2, (const double[2]){ batch, lr });
        include(&range, lr);
    }
    picture_draw(picture, block, MARK_DOTS, COLOR_MUTED, 0.25);
    picture_key(picture, MARK_DOTS, COLOR_MUTED, "tried");
    return range;
}

static void lr_picture(Album *album, const Analysis *analysis)
{
    if (analysis->lr_key < 0 || analysis->in_arm[analysis->lr_key])
        return;
    Picture *picture = album_add(album, "Best learning rate",
                                 "Lines: linear and square-root scaling from the smallest batch "
                                 "size that has a result.");
    batch_axis(picture, analysis);
    Range range = draw_tried(picture, analysis);
    picture_axis(picture, 'y', "learning rate", range.low, range.high, true);
    for (int i = 0; i < analysis->curve_count; i++)
        draw_best_lrs(picture, analysis, &analysis->curves[i], batch_range(analysis));
}

/* ---- arms without batches ---- */

static void arms_picture(Album *album, const Analysis *analysis, TrialResult result,
                         const char *title, const char *label)
{
    Range range = nothing;
    char(*texts)[40] = mem_alloc(sizeof *texts * (size_t)analysis->arm_count);
    const char **names = mem_array(const char *, analysis->arm_count);
    double *places = mem_array(double, analysis->arm_count);
    for (int i = 0; i < analysis->arm_count; i++) {
        const Spread *spread = &analysis->settings[analysis->arms[i].best].of[result];
        char name[NAME_SIZE];
        arm_name(analysis, &analysis->arms[i], name, sizeof name);
        const char *value = strrchr(name, ' ');
        snprintf(texts[i], sizeof texts[i], "%.30s", value ? value + 1 : "all");
        names[i] = texts[i];
        places[i] = i;
        include(&range, spread->min);
        include(&range, spread->max);
    }
    if (range.high >= range.low) {
        Picture *picture = album_add(album, title,
                                     "Best setting of each arm: median, smallest and "
                                     "largest over seeds.");
        picture_axis(picture, 'x', "", -0.5, analysis->arm_count - 0.5, false);
        picture_names(picture, names, places, analysis->arm_count);
        picture_axis(picture, 'y', label, range.low, range.high, false);
        int block = picture_block(picture);
        for (int i = 0; i < analysis->arm_count; i++) {
            const Spread *spread = &analysis->settings[analysis->arms[i].best].of[result];
            if (isfinite(spread->max))
                picture_row(picture, 4,
                            (const double[4]){ i, spread->median, spread->min, spread->max });
        }
        picture_draw(picture, block, MARK_BARS, color_series(0), 1.8);
    }
    mem_free(texts);
    mem_free(names);
    mem_free(places);
}

void study_pictures(Album *album, const Answer *study)
{
    const Analysis *analysis = &study->analysis;
    const char *caption =
        "Best setting of each batch size: median, smallest and largest over seeds.";
    if (has_batches(analysis)) {
        steps_picture(album, analysis);
        lr_picture(album, analysis);
        result_picture(album, analysis, RESULT_TEST_ACCURACY, "Final test accuracy", caption,
                       "accuracy", false);
        if (analysis->question.goal != GOAL_ACCURACY)
            result_picture(album, analysis, RESULT_TEST_LOSS, "Final test loss", caption, "loss",
                           false);
        result_picture(album, analysis, RESULT_TARGET_SAMPLES, "Samples to target",
                       "What a larger batch costs: samples that were needed.", "samples", true);
        result_picture(album, analysis, RESULT_TARGET_SECONDS, "Seconds to target",
                       "On the machines and ranks that the trials had.", "seconds", true);
    } else {
        arms_picture(album, analysis, RESULT_TARGET_STEP, "Steps to target", "steps");
        arms_picture(album, analysis, RESULT_TEST_ACCURACY, "Final test accuracy", "accuracy");
        arms_picture(album, analysis, RESULT_TEST_LOSS, "Final test loss", "loss");
    }
    trial_pictures(album, analysis);
}
