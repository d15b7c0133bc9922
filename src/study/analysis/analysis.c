/* A study's answer, from its table: grouping, fits, warnings; and what the parts share. */
#include "lockstep/analysis.h"
#include "parts.h"

#include "lockstep/memory.h"

#include <math.h>
#include <stdlib.h>

Question question_default(const Table *table)
{
    Question question = { .arms_by = { "arm", BATCH_KEY }, .arm_keys = 2, .goal = GOAL_LOSS };
    bool accuracy = false, target = false;
    for (int i = 0; i < table->count; i++) {
        accuracy = accuracy || !isnan(table->trials[i].result[RESULT_TEST_ACCURACY]);
        target = target || !isnan(table->trials[i].result[RESULT_TARGET_STEP]);
    }
    if (accuracy)
        question.goal = GOAL_ACCURACY;
    if (target)
        question.goal = GOAL_STEPS;
    return question;
}

void analysis_make(Analysis *analysis, const Table *table, const Question *question)
{
    *analysis = (Analysis){ .table = table, .question = *question };
    arms_make(analysis);
    curves_fit(analysis);
    warnings_find(analysis);
}

void analysis_free(Analysis *analysis)
{
    for (size_t i = 0; i < analysis->warning_count; i++)
        mem_free(analysis->warnings[i]);
    mem_free(analysis->warnings);
    mem_free(analysis->curves);
    mem_free(analysis->arms);
    mem_free(analysis->settings);
    mem_free(analysis->order);
    *analysis = (Analysis){ 0 };
}

double *arm_scores(const Analysis *analysis, const Arm *arm, int *count)
{
    double *scores = mem_array(double, arm->count);
    for (int i = 0; i < arm->count; i++)
        scores[i] = analysis->settings[arm->first + i].score;
    *count = spread_of(scores, arm->count).count;
    return scores;
}

double batch_of_efficiency(const Curve *curve, double efficiency)
{
    return curve->b_crit.value * (1 / efficiency - 1);
}
