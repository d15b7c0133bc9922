/* What curves, arms, settings and scores are called. */
#include "parts.h"

#include "lockstep/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const TrialRow *setting_trial(const Analysis *analysis, const Setting *setting)
{
    return &analysis->table->trials[analysis->order[setting->first]];
}

const TrialRow *arm_trial(const Analysis *analysis, const Arm *arm)
{
    return setting_trial(analysis, &analysis->settings[arm->first]);
}

/* ", key value". Arms are known by their values, batch and learning rate by short names. */
static void put_value(char *buffer, size_t size, const char *key, const char *value)
{
    const char *name = strcmp(key, "arm") == 0       ? ""
                       : strcmp(key, BATCH_KEY) == 0 ? "batch"
                       : strcmp(key, LR_KEY) == 0    ? "lr"
                                                     : key;
    text_append(buffer, size, "%s%s%s%s", buffer[0] ? ", " : "", name, name[0] ? " " : "", value);
}

/* "key value, key value" of the trial's keys in the mask but one (-1: of all). */
static char *values_text(const Analysis *analysis, const TrialRow *trial, const bool *mask, int but,
                         char *buffer, size_t size)
{
    buffer[0] = '\0';
    for (int key = 0; key < analysis->table->key_count; key++)
        if (mask[key] && key != but && trial->values[key][0])
            put_value(buffer, size, analysis->table->keys[key], trial->values[key]);
    return buffer;
}

char *curve_name(const Analysis *analysis, const Curve *curve, char *buffer, size_t size)
{
    return values_text(analysis, arm_trial(analysis, &analysis->arms[curve->first]),
                       analysis->in_arm, analysis->batch_key, buffer, size);
}

char *arm_name(const Analysis *analysis, const Arm *arm, char *buffer, size_t size)
{
    return values_text(analysis, arm_trial(analysis, arm), analysis->in_arm, -1, buffer, size);
}

char *arm_label(const Analysis *analysis, const Arm *arm, char *buffer, size_t size)
{
    const TrialRow *trial = arm_trial(analysis, arm);
    buffer[0] = '\0';
    for (int key = 0; key < analysis->table->key_count; key++)
        if (analysis->in_arm[key] && trial->values[key][0])
            text_append(buffer, size, "%s%s", buffer[0] ? " " : "", trial->values[key]);
    return buffer;
}

char *setting_name(const Analysis *analysis, const Setting *setting, char *buffer, size_t size)
{
    return values_text(analysis, setting_trial(analysis, setting), analysis->in_setting, -1, buffer,
                       size);
}

char *short_text(char buffer[SHORT_SIZE], double value)
{
    if (isnan(value))
        snprintf(buffer, SHORT_SIZE, "-");
    else if (isinf(value))
        snprintf(buffer, SHORT_SIZE, "never");
    else if (fabs(value) >= 1e15)
        snprintf(buffer, SHORT_SIZE, "%.3g", value);
    else if (fabs(value) >= 999.5)
        text_count(buffer, SHORT_SIZE, (int64_t)llround(value));
    else if (fabs(value) >= 99.95)
        snprintf(buffer, SHORT_SIZE, "%.0f", value);
    else
        snprintf(buffer, SHORT_SIZE, "%.3g", value);
    return buffer;
}

char *score_text(const Analysis *analysis, char buffer[SHORT_SIZE], double score)
{
    static const char *const names[] = {
        [GOAL_STEPS] = "steps", [GOAL_LOSS] = "loss", [GOAL_ACCURACY] = "accuracy"
    };
    char number[SHORT_SIZE];
    Goal goal = analysis->question.goal;
    if (!isfinite(score))
        snprintf(buffer, SHORT_SIZE, "%s", goal == GOAL_STEPS ? "never" : "none");
    else if (goal == GOAL_STEPS)
        snprintf(buffer, SHORT_SIZE, "%s steps", short_text(number, score));
    else
        snprintf(buffer, SHORT_SIZE, "%s %.4f", names[goal], fabs(score));
    return buffer;
}
