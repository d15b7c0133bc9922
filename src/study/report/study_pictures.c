/* Pictures of a study: steps, results and costs against the batch. */
#include "parts.h"

#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define NAME_SIZE 256

const Range nothing = { (double)INFINITY, -(double)INFINITY };

void include(Range *range, double value)
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

Range batch_range(const Analysis *analysis)
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
void batch_axis(Picture *picture, const Analysis *analysis)
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
int curve_color(const Analysis *analysis, const Curve *curve)
{
    return color_series((int)(curve - analysis->curves));
}

void curve_key(Picture *picture, const Analysis *analysis, const Curve *curve, Mark mark,
               const char *otherwise)
{
    char name[NAME_SIZE];
    curve_name(analysis, curve, name, sizeof name);
    picture_key(picture, mark, curve_color(analysis, curve), name[0] ? name : otherwise);
}

/* ---- a result against the batch ---- */

/* Over the seeds of an arm's best setting: a result, or from RESULTS on what was measured
 * beside. */
static Spread arm_spread(const Analysis *analysis, const Arm *arm, int column)
{
    const Setting *best = &analysis->settings[arm->best];
    if (column < RESULTS)
        return best->of[column];
    double *values = mem_array(double, best->count);
    for (int i = 0; i < best->count; i++) {
        int trial = analysis->order[best->first + i];
        values[i] = analysis->table->trials[trial].measured[column - RESULTS];
    }
    Spread spread = spread_of(values, best->count);
    mem_free(values);
    return spread;
}

/* Rows batch, median, smallest, largest of the best settings; returns how many. */
static int spread_block(Picture *picture, const Analysis *analysis, const Curve *curve, int column,
                        int *block)
{
    int rows = 0;
    *block = picture_block(picture);
    for (int i = curve->first; i < curve->first + curve->count; i++) {
        const Arm *arm = &analysis->arms[i];
        Spread spread = arm_spread(analysis, arm, column);
        if (isnan(arm->batch) || !isfinite(spread.median))
            continue;
        double high = isfinite(spread.max) ? spread.max : spread.median;
        picture_row(picture, 4, (const double[4]){ arm->batch, spread.median, spread.min, high });
        rows++;
    }
    return rows;
}

static Range result_range(const Analysis *analysis, int column)
{
    Range range = nothing;
    for (int i = 0; i < analysis->arm_count; i++) {
        Spread spread = arm_spread(analysis, &analysis->arms[i], column);
        if (isnan(analysis->arms[i].batch) || !isfinite(spread.median))
            continue;
        include(&range, spread.min);
        include(&range, spread.median);
        include(&range, spread.max);
    }
    return range;
}

static void draw_spreads(Picture *picture, const Analysis *analysis, int column, Mark line)
{
    for (int i = 0; i < analysis->curve_count; i++) {
        const Curve *curve = &analysis->curves[i];
        int block, rows = spread_block(picture, analysis, curve, column, &block);
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
static void result_picture(Album *album, const Analysis *analysis, int column, const char *title,
                           const char *caption, const char *label, bool logarithmic)
{
    Range range = result_range(analysis, column);
    if (!(range.high >= range.low))
        return;
    Picture *picture = album_add(album, title, caption);
    batch_axis(picture, analysis);
    picture_axis(picture, 'y', label, range.low, range.high, logarithmic && range.low > 0);
    draw_spreads(picture, analysis, column, MARK_LINE);
}

/* ---- arms without batches ---- */

static void arms_picture(Album *album, const Analysis *analysis, int column, const char *title,
                         const char *label)
{
    Range range = nothing;
    char(*texts)[40] = mem_alloc(sizeof *texts * (size_t)analysis->arm_count);
    const char **names = mem_array(const char *, analysis->arm_count);
    double *places = mem_array(double, analysis->arm_count);
    for (int i = 0; i < analysis->arm_count; i++) {
        Spread spread = arm_spread(analysis, &analysis->arms[i], column);
        arm_label(analysis, &analysis->arms[i], texts[i], sizeof texts[i]);
        names[i] = texts[i];
        places[i] = i;
        include(&range, spread.min);
        include(&range, spread.max);
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
            Spread spread = arm_spread(analysis, &analysis->arms[i], column);
            if (isfinite(spread.max))
                picture_row(picture, 4,
                            (const double[4]){ i, spread.median, spread.min, spread.max });
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
    for (int i = 0; i < study->table.measured_count; i++) {
        const char *name = study->table.measured[i];
        if (has_batches(analysis))
            result_picture(album, analysis, RESULTS + i, name, caption, name, true);
        else
            arms_picture(album, analysis, RESULTS + i, name, name);
    }
}
