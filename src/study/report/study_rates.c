/* Pictures of a study: the best learning rate of each batch size, beside all that were tried. */
#include "parts.h"

#include <math.h>

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

void lr_picture(Album *album, const Analysis *analysis)
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
