/* Steps to target and the best learning rate against the batch, with intervals by the bootstrap:
 * seeds are drawn anew within each setting and the best setting of each arm is chosen anew, so an
 * interval holds the luck of tuning too (Efron and Tibshirani 1993). Fixed keys: the same interval
 * every time. */
#include "parts.h"

#include "lockstep/error.h"
#include "lockstep/memory.h"
#include "lockstep/random.h"

#include <math.h>
#include <string.h>

enum { RESAMPLES = 1000 };

/* What one resample says of an arm. */
typedef struct Draw {
    double score, lr; /* of the setting that was best; NAN: none was */
} Draw;

/* The number of a trial under a key; `otherwise` if the study does not vary it. */
static double number_of(const Analysis *analysis, const TrialRow *trial, const char *key,
                        double otherwise)
{
    int column = table_key(analysis->table, key);
    double number;
    const char *unit;
    if (column < 0)
        return otherwise;
    return value_number(trial->values[column], &number, &unit) ? number : (double)NAN;
}

static double lr_power_of(const Analysis *analysis, const TrialRow *trial)
{
    int column = table_key(analysis->table, "schedule.lr_scaling");
    if (column < 0)
        return analysis->question.lr_power;
    const char *scaling = trial->values[column];
    return strcmp(scaling, "linear") == 0 ? 1 : strcmp(scaling, "sqrt") == 0 ? 0.5 : 0;
}

double trial_lr(const Analysis *analysis, const TrialRow *trial)
{
    double lr = number_of(analysis, trial, LR_KEY, (double)NAN);
    double power = lr_power_of(analysis, trial);
    double base = number_of(analysis, trial, "schedule.base_batch", analysis->question.base_batch);
    if (power > 0 && base > 0)
        lr *= pow(number_of(analysis, trial, BATCH_KEY, base) / base, power);
    return lr > 0 ? lr : (double)NAN;
}

/* The factor from one learning rate to the next around the best one of an arm; 1 with a single
 * one. */
static double grid_step(const Analysis *analysis, const Arm *arm, double best)
{
    double above = (double)INFINITY, below = 0;
    for (int i = arm->first; i < arm->first + arm->count; i++) {
        double lr = trial_lr(analysis, setting_trial(analysis, &analysis->settings[i]));
        if (lr > best)
            above = fmin(above, lr);
        if (lr < best)
            below = fmax(below, lr);
    }
    if (isfinite(above) && below > 0)
        return sqrt(above / below);
    return isfinite(above) ? above / best : below > 0 ? best / below : 1;
}

/* NAN if the arm has tried no other one: then it was not found but given. */
static double searched_lr(const Analysis *analysis, const Arm *arm, const Setting *setting)
{
    double lr = trial_lr(analysis, setting_trial(analysis, setting));
    return grid_step(analysis, arm, lr) > 1 ? lr : (double)NAN;
}

/* ---- resamples ---- */

/* Median score of a setting's seeds, drawn anew with repetition. */
static double resampled(const Analysis *analysis, const Setting *setting, RandomKey key,
                        double *values)
{
    for (int i = 0; i < setting->count; i++) {
        uint32_t drawn = random_below(key, (uint64_t)i, (uint32_t)setting->count);
        int trial = analysis->order[setting->first + (int)drawn];
        values[i] = trial_score(analysis, &analysis->table->trials[trial]);
    }
    return spread_of(values, setting->count).median;
}

/* A learning rate is known to half a step of its grid: it is moved by so much at random. */
static double jittered(const Analysis *analysis, const Arm *arm, double lr, RandomKey key)
{
    double place = random_uniform(key, 0) - 0.5;
    return lr * pow(grid_step(analysis, arm, lr), place);
}

static Draw draw_arm(const Analysis *analysis, const Arm *arm, int resample, double *values)
{
    Draw draw = { (double)INFINITY, (double)NAN };
    const Setting *best = NULL;
    for (int i = arm->first; i < arm->first + arm->count; i++) {
        RandomKey key = random_key(1, RANDOM_RESAMPLE, (uint64_t)resample,
                                   (uint64_t)analysis->settings[i].first);
        double score = resampled(analysis, &analysis->settings[i], key, values);
        if (score < draw.score) {
            draw.score = score;
            best = &analysis->settings[i];
        }
    }
    if (!best)
        return (Draw){ (double)NAN, (double)NAN };
    double lr = searched_lr(analysis, arm, best);
    RandomKey key = random_key(2, RANDOM_RESAMPLE, (uint64_t)resample, (uint64_t)arm->first);
    draw.lr = isnan(lr) ? lr : jittered(analysis, arm, lr, key);
    return draw;
}

static Draw best_draw(const Analysis *analysis, const Arm *arm)
{
    if (!arm->found)
        return (Draw){ (double)NAN, (double)NAN };
    const Setting *best = &analysis->settings[arm->best];
    return (Draw){ best->score, searched_lr(analysis, arm, best) };
}

/* ---- fits ---- */

static ScalingFit fit_steps(const Analysis *analysis, const Curve *curve, const Draw *draws,
                            ScalingPoint *points)
{
    int count = 0;
    for (int i = 0; i < curve->count; i++) {
        const Arm *arm = &analysis->arms[curve->first + i];
        if (!isnan(draws[i].score) && !isnan(arm->batch))
            points[count++] =
                (ScalingPoint){ arm->batch, draws[i].score, analysis->settings[arm->best].count };
    }
    return scaling_fit(points, count);
}

/* Returns the number of points. */
static int fit_lr(const Analysis *analysis, const Curve *curve, const Draw *draws, double *xy,
                  PowerFit *fit)
{
    int count = 0;
    double *x = xy, *y = xy + curve->count;
    for (int i = 0; i < curve->count; i++) {
        const Arm *arm = &analysis->arms[curve->first + i];
        if (isnan(draws[i].lr) || isnan(arm->batch))
            continue;
        x[count] = arm->batch;
        y[count++] = draws[i].lr;
    }
    *fit = power_fit(x, y, count);
    return isnan(fit->exponent) ? 0 : count;
}

static void set_interval(Estimate *estimate, double *values, int count)
{
    estimate->low = estimate->high = (double)NAN;
    Spread spread = spread_of(values, count);
    if (spread.count == 0)
        return;
    estimate->low = quantile(values, spread.count, 0.025);
    estimate->high = quantile(values, spread.count, 0.975);
}

/* Seeds can be drawn anew where there are two or more of each best setting. */
static bool has_seeds(const Analysis *analysis, const Curve *curve)
{
    bool seeds = true;
    for (int i = curve->first; i < curve->first + curve->count; i++) {
        const Arm *arm = &analysis->arms[i];
        if (arm->found && analysis->settings[arm->best].count < 2)
            seeds = false;
    }
    return seeds;
}

/* Room for the resamples of one curve. */
typedef struct Room {
    double *values, *xy, *s_min, *b_crit, *exponent;
    Draw *draws;
    ScalingPoint *points;
} Room;

static void resample_curve(const Analysis *analysis, Curve *curve, Room *room)
{
    int fits = 0, powers = 0;
    for (int resample = 0; resample < RESAMPLES; resample++) {
        PowerFit power;
        for (int i = 0; i < curve->count; i++)
            room->draws[i] =
                draw_arm(analysis, &analysis->arms[curve->first + i], resample, room->values);
        if (curve->fit.points > 0) {
            ScalingFit fit = fit_steps(analysis, curve, room->draws, room->points);
            room->s_min[fits] = fit.s_min;
            room->b_crit[fits] = fit.b_crit;
            fits += fit.points > 0;
        }
        if (fit_lr(analysis, curve, room->draws, room->xy, &power) > 0)
            room->exponent[powers++] = power.exponent;
    }
    curve->resamples = fits;
    set_interval(&curve->s_min, room->s_min, fits);
    set_interval(&curve->b_crit, room->b_crit, fits);
    if (curve->lr_points > 0)
        set_interval(&curve->lr_exponent, room->exponent, powers);
}

static void fit_curve(const Analysis *analysis, Curve *curve, Room *room)
{
    const double none = (double)NAN;
    PowerFit power;
    for (int i = 0; i < curve->count; i++)
        room->draws[i] = best_draw(analysis, &analysis->arms[curve->first + i]);
    curve->fit = (ScalingFit){ 0, none, none, none, none };
    if (analysis->question.goal == GOAL_STEPS)
        curve->fit = fit_steps(analysis, curve, room->draws, room->points);
    curve->s_min = (Estimate){ curve->fit.s_min, none, none };
    curve->b_crit = (Estimate){ curve->fit.b_crit, none, none };
    curve->lr_points = fit_lr(analysis, curve, room->draws, room->xy, &power);
    curve->lr_exponent = (Estimate){ power.exponent, none, none };
    curve->lr_scale = power.scale;
    if (has_seeds(analysis, curve) && (curve->fit.points > 0 || curve->lr_points > 0))
        resample_curve(analysis, curve, room);
}

void curves_fit(Analysis *analysis)
{
    int trials = analysis->table->count;
    double *numbers = mem_array(double, 3 * trials + 3 * RESAMPLES);
    Room room = { .values = numbers,
                  .xy = numbers + trials,
                  .s_min = numbers + 3 * trials,
                  .b_crit = numbers + 3 * trials + RESAMPLES,
                  .exponent = numbers + 3 * trials + 2 * RESAMPLES,
                  .draws = mem_array(Draw, trials),
                  .points = mem_array(ScalingPoint, trials) };
    for (int i = 0; i < analysis->curve_count; i++)
        fit_curve(analysis, &analysis->curves[i], &room);
    mem_free(numbers);
    mem_free(room.draws);
    mem_free(room.points);
}
