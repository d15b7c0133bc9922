/* The answer in a sentence or two, and as a short table on a terminal. */
#include "parts.h"

#include "lockstep/log.h"
#include "lockstep/text.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SENTENCES = 4 }; /* curves that a verdict on several names */

/* " (95 %: 610 to 980)", or "" without an interval. */
static char *interval_text(char *buffer, size_t size, const Estimate *estimate)
{
    char low[SHORT_SIZE], high[SHORT_SIZE];
    buffer[0] = '\0';
    if (isnan(estimate->low) || isnan(estimate->high))
        return buffer;
    if (isinf(estimate->high))
        snprintf(buffer, size, " (95 %%: above %s)", short_text(low, estimate->low));
    else
        snprintf(buffer, size, " (95 %%: %s to %s)", short_text(low, estimate->low),
                 short_text(high, estimate->high));
    return buffer;
}

/* To two digits: a fit knows no more. */
static double about(double value)
{
    if (!(value > 0) || isinf(value))
        return value;
    double unit = pow(10, floor(log10(value)) - 1);
    return unit * round(value / unit);
}

static void say_fit(const Curve *curve, char *buffer, size_t size)
{
    char b_crit[SHORT_SIZE], interval[128], from[SHORT_SIZE], upto[SHORT_SIZE], floor[SHORT_SIZE];
    if (curve->fit.points == 0)
        return;
    if (isinf(curve->fit.b_crit)) {
        text_append(buffer, size, "; perfect scaling as far as it was tried");
        return;
    }
    if (curve->fit.b_crit == 0) {
        text_append(buffer, size, "; a larger batch saves no steps");
        return;
    }
    text_append(
        buffer, size,
        "; critical batch about %s%s: diminishing returns from batch %s, a plateau near %s steps "
        "from %s",
        short_text(b_crit, about(curve->b_crit.value)),
        interval_text(interval, sizeof interval, &curve->b_crit),
        short_text(from, about(batch_of_efficiency(curve, EFFICIENCY_DIMINISHING))),
        short_text(floor, about(curve->fit.s_min)),
        short_text(upto, about(batch_of_efficiency(curve, EFFICIENCY_PLATEAU))));
}

static const Arm *best_arm(const Analysis *analysis, const Curve *curve)
{
    const Arm *best = NULL;
    for (int i = curve->first; i < curve->first + curve->count; i++) {
        const Arm *arm = &analysis->arms[i];
        if (arm->found &&
            (!best || analysis->settings[arm->best].score < analysis->settings[best->best].score))
            best = arm;
    }
    return best;
}

/* " at batch 64", or "" where the batch does not vary. */
static void say_batch(const Arm *arm, char *buffer, size_t size)
{
    char batch[SHORT_SIZE];
    if (!isnan(arm->batch))
        text_append(buffer, size, " at batch %s", short_text(batch, arm->batch));
}

static void say_arm(const Analysis *analysis, const Arm *arm, char *buffer, size_t size)
{
    char score[SHORT_SIZE];
    text_append(buffer, size, "%s",
                score_text(analysis, score, analysis->settings[arm->best].score));
    say_batch(arm, buffer, size);
}

/* First and last batch with a result; for final values the best one in between too. */
static void say_curve(const Analysis *analysis, const Curve *curve, char *buffer, size_t size)
{
    const Arm *first = NULL, *last = NULL, *best = best_arm(analysis, curve);
    for (int i = curve->first; i < curve->first + curve->count; i++)
        if (analysis->arms[i].found) {
            first = first ? first : &analysis->arms[i];
            last = &analysis->arms[i];
        }
    if (!first) {
        text_append(buffer, size, "%s",
                    analysis->question.goal == GOAL_STEPS ? "no setting reached the target"
                                                          : "no trial ended with a result");
        return;
    }
    say_arm(analysis, first, buffer, size);
    bool between = analysis->question.goal != GOAL_STEPS && best != first && best != last;
    if (between) {
        text_append(buffer, size, ", ");
        say_arm(analysis, best, buffer, size);
    }
    if (last != first) {
        text_append(buffer, size, ", ");
        say_arm(analysis, last, buffer, size);
    }
    say_fit(curve, buffer, size);
}

char *curve_text(const Analysis *analysis, const Curve *curve, char *buffer, size_t size)
{
    char name[256];
    buffer[0] = '\0';
    curve_name(analysis, curve, name, sizeof name);
    if (name[0])
        text_append(buffer, size, "%s: ", name);
    say_curve(analysis, curve, buffer, size);
    return buffer;
}

/* ---- several curves in one sentence ---- */

double common_batch(const Analysis *analysis)
{
    double best = (double)NAN;
    int most = 1;
    for (int i = 0; i < analysis->arm_count; i++) {
        int curves = 0;
        double batch = analysis->arms[i].batch;
        for (int j = 0; j < analysis->arm_count; j++)
            curves += analysis->arms[j].found && analysis->arms[j].batch == batch;
        if (curves > most || (curves == most && most > 1 && batch > best)) {
            most = curves;
            best = batch;
        }
    }
    return best;
}

/* "Critical batch about 610 for momentum, about 1,500 for lars." */
static void say_critical(const Analysis *analysis, char *buffer, size_t size)
{
    int said = 0;
    for (int i = 0; i < analysis->curve_count && said < SENTENCES; i++) {
        const Curve *curve = &analysis->curves[i];
        char name[256], number[SHORT_SIZE], value[64];
        if (curve->fit.points == 0)
            continue;
        snprintf(value, sizeof value, "about %s", short_text(number, about(curve->b_crit.value)));
        text_append(buffer, size, "%s%s for %s", said++ ? ", " : "critical batch ",
                    isinf(curve->fit.b_crit) ? "beyond what was tried"
                    : curve->fit.b_crit == 0 ? "below what was tried"
                                             : value,
                    curve_name(analysis, curve, name, sizeof name));
    }
    text_append(buffer, size, "%s", said ? "; " : "");
}

/* The arm of a curve with this batch; NAN: any. */
static const Arm *arm_at(const Analysis *analysis, const Curve *curve, double batch)
{
    const Arm *found = NULL;
    for (int i = curve->first; i < curve->first + curve->count; i++)
        if (analysis->arms[i].batch == batch || (isnan(batch) && isnan(analysis->arms[i].batch)))
            found = &analysis->arms[i];
    return found;
}

/* Is a arm better than b, which may be NULL? */
static bool leads(const Analysis *analysis, const Arm *a, const Arm *b)
{
    return a && a->found &&
           (!b || analysis->settings[a->best].score < analysis->settings[b->best].score);
}

/* "At batch 8,192: lars 72 steps, momentum 75 steps.", the best first. */
static void say_contest(const Analysis *analysis, char *buffer, size_t size)
{
    double batch = common_batch(analysis), before = -(double)INFINITY;
    char number[SHORT_SIZE], name[256];
    int said = 0;
    if (isnan(batch))
        text_append(buffer, size, "best first: ");
    else
        text_append(buffer, size, "at batch %s: ", short_text(number, batch));
    for (int turn = 0; turn < analysis->curve_count && said < SENTENCES; turn++) {
        const Arm *best = NULL;
        const Curve *of = NULL;
        for (int i = 0; i < analysis->curve_count; i++) {
            const Arm *arm = arm_at(analysis, &analysis->curves[i], batch);
            if (leads(analysis, arm, best) && analysis->settings[arm->best].score > before) {
                best = arm;
                of = &analysis->curves[i];
            }
        }
        if (!best)
            break;
        before = analysis->settings[best->best].score;
        text_append(buffer, size, "%s%s %s", said++ ? ", " : "",
                    curve_name(analysis, of, name, sizeof name),
                    score_text(analysis, number, before));
    }
    text_append(buffer, size, "%s.", said ? "" : "no result");
}

char *analysis_verdict(const Analysis *analysis, char *buffer, size_t size)
{
    buffer[0] = '\0';
    if (analysis->curve_count == 0)
        text_append(buffer, size, "No trial has ended yet.");
    if (analysis->curve_count > 0 && analysis->question.target[0])
        text_append(buffer, size, "To %s: ", analysis->question.target);
    if (analysis->curve_count == 1) {
        say_curve(analysis, analysis->curves, buffer, size);
        text_append(buffer, size, ".");
    } else if (analysis->curve_count > 1) {
        say_critical(analysis, buffer, size);
        say_contest(analysis, buffer, size);
    }
    buffer[0] = (char)toupper((unsigned char)buffer[0]);
    return buffer;
}

/* ---- on a terminal ---- */

static int widest_arm(const Analysis *analysis)
{
    char name[256];
    size_t widest = strlen("arm");
    for (int i = 0; i < analysis->arm_count; i++) {
        size_t width = strlen(arm_name(analysis, &analysis->arms[i], name, sizeof name));
        widest = width > widest ? width : widest;
    }
    return (int)widest;
}

/* "812 steps  3 of 3  51,968  1.2  0.94": to the target. */
static void add_target(const Arm *arm, const Setting *best, char *line, size_t size)
{
    char samples[SHORT_SIZE], seconds[SHORT_SIZE], efficiency[SHORT_SIZE];
    text_append(line, size, "%5d of %-5d %12s %10s %9s", best->reached, best->count,
                short_text(samples, best->of[RESULT_TARGET_SAMPLES].median),
                short_text(seconds, best->of[RESULT_TARGET_SECONDS].median),
                short_text(efficiency, arm->efficiency));
}

/* "0.8656 to 0.8721": of the result that is the score, over seeds. */
static void add_spread(const Analysis *analysis, const Setting *best, char *line, size_t size)
{
    bool accuracy = analysis->question.goal == GOAL_ACCURACY;
    const Spread *spread = &best->of[accuracy ? RESULT_TEST_ACCURACY : RESULT_TEST_LOSS];
    char text[64] = "-";
    if (isfinite(spread->max))
        snprintf(text, sizeof text, "%.4f to %.4f", spread->min, spread->max);
    text_append(line, size, "%-18s %5d", text, best->count);
}

static void print_arm(const Analysis *analysis, const Arm *arm, int width)
{
    const Setting *best = &analysis->settings[arm->best];
    char name[256], setting[256], score[SHORT_SIZE], line[1024] = "";
    text_append(line, sizeof line, "  %-*s %-16s ", width,
                arm_name(analysis, arm, name, sizeof name),
                score_text(analysis, score, best->score));
    if (analysis->question.goal == GOAL_STEPS)
        add_target(arm, best, line, sizeof line);
    else
        add_spread(analysis, best, line, sizeof line);
    log_out("%s  %s", line, setting_name(analysis, best, setting, sizeof setting));
}

static void print_arms(const Analysis *analysis)
{
    int width = widest_arm(analysis);
    if (analysis->arm_count > 0 && analysis->question.goal == GOAL_STEPS)
        log_out("\n  %-*s %-16s %-14s %12s %10s %9s  %s", width, "arm", "best median",
                "reached target", "samples", "seconds", "efficiency", "best setting");
    else if (analysis->arm_count > 0)
        log_out("\n  %-*s %-16s %-18s %5s  %s", width, "arm", "best median", "of seeds", "seeds",
                "best setting");
    for (int i = 0; i < analysis->arm_count; i++)
        print_arm(analysis, &analysis->arms[i], width);
}

void analysis_print(const Analysis *analysis)
{
    char text[2048];
    log_out("%s", analysis_verdict(analysis, text, sizeof text));
    for (int i = 0; analysis->curve_count > 1 && i < analysis->curve_count; i++)
        log_out("%s", curve_text(analysis, &analysis->curves[i], text, sizeof text));
    print_arms(analysis);
    for (size_t i = 0; i < analysis->warning_count; i++)
        log_out("%sWARNING: %s", i ? "" : "\n", analysis->warnings[i]);
}
