/* The answer in a sentence or two, and as a short table on a terminal. */
#include "parts.h"

#include "lockstep/log.h"
#include "lockstep/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SENTENCES = 4 }; /* curves that the verdict tells of */

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
    double unit = value > 0 && isfinite(value) ? pow(10, floor(log10(value)) - 1) : 1;
    return unit >= 1 ? unit * round(value / unit) : value;
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
        short_text(floor, curve->fit.s_min),
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

char *analysis_verdict(const Analysis *analysis, char *buffer, size_t size)
{
    char name[256];
    buffer[0] = '\0';
    if (analysis->curve_count == 0)
        text_append(buffer, size, "No trial has ended yet.");
    if (analysis->curve_count > 0 && analysis->question.target[0])
        text_append(buffer, size, "To %s: ", analysis->question.target);
    for (int i = 0; i < analysis->curve_count && i < SENTENCES; i++) {
        const Curve *curve = &analysis->curves[i];
        curve_name(analysis, curve, name, sizeof name);
        text_append(buffer, size, "%s%s%s", i ? " " : "", name, name[0] ? ": " : "");
        say_curve(analysis, curve, buffer, size);
        text_append(buffer, size, ".");
    }
    if (analysis->curve_count > SENTENCES)
        text_append(buffer, size, " And %d more curves.", analysis->curve_count - SENTENCES);
    return buffer;
}

/* ---- on a terminal ---- */

static void print_arm(const Analysis *analysis, const Arm *arm)
{
    const Setting *best = &analysis->settings[arm->best];
    char name[256], setting[256], score[SHORT_SIZE], samples[SHORT_SIZE], seconds[SHORT_SIZE];
    char efficiency[SHORT_SIZE];
    log_out("  %-28s %-18s %5d of %-5d %12s %10s %9s  %s",
            arm_name(analysis, arm, name, sizeof name), score_text(analysis, score, best->score),
            best->reached, best->count, short_text(samples, best->of[RESULT_TARGET_SAMPLES].median),
            short_text(seconds, best->of[RESULT_TARGET_SECONDS].median),
            short_text(efficiency, arm->efficiency),
            setting_name(analysis, best, setting, sizeof setting));
}

void analysis_print(const Analysis *analysis)
{
    char text[2048];
    log_out("%s", analysis_verdict(analysis, text, sizeof text));
    if (analysis->arm_count > 0)
        log_out("\n  %-28s %-18s %-14s %12s %10s %9s  %s", "arm", "best median", "reached target",
                "samples", "seconds", "efficiency", "best setting");
    for (int i = 0; i < analysis->arm_count; i++)
        print_arm(analysis, &analysis->arms[i]);
    for (size_t i = 0; i < analysis->warning_count; i++)
        log_out("%sWARNING: %s", i ? "" : "\n", analysis->warnings[i]);
}
