/* What a study answers: a pure function of its table of trials and of the question.
 *
 *   curve     arms that differ in the batch size only (one optimizer, say), ascending
 *   arm       trials with the same values of the keys in arms_by
 *   setting   trials of an arm with the same values of all other keys but the seed; the arm's best
 *             setting is that with the smallest median score over its seeds
 *
 * Definitions and formulas: docs/reports.md. */
#ifndef LOCKSTEP_ANALYSIS_H
#define LOCKSTEP_ANALYSIS_H

#include "lockstep/statistics.h"
#include "lockstep/table.h"

#include <stddef.h>

#define SEED_KEY "seed"
#define BATCH_KEY "train.batch"
#define LR_KEY "optimizer.lr"

typedef enum Goal { GOAL_STEPS, GOAL_LOSS, GOAL_ACCURACY } Goal; /* steps to target; final value */

#define ARM_KEYS 16
typedef struct Question {
    char arms_by[ARM_KEYS][128]; /* dotted names; a key that does not vary is passed over */
    int arm_keys;
    Goal goal;
    char target[64];   /* "accuracy 0.9", for people; "" without a target */
    double lr_power;   /* schedule.lr_scaling of all trials: none 0, sqrt 0.5, linear 1 */
    double base_batch; /* schedule.base_batch; 0: no scaling */
} Question;

/* arms_by arm and train.batch; the goal that the table's columns allow: steps to target if a trial
 * has reached one, else accuracy if there is any, else loss. */
Question question_default(const Table *table);

/* The question of a study's folder: arms_by of study.yaml; target (train.target_accuracy or
 * train.target_loss) and lr_scaling of its first trial that has a config.yaml; defaults for what is
 * not there. */
bool question_read(Question *question, const Table *table, const char *folder, Err *err);

typedef struct Setting {
    int first, count;   /* of Analysis.order */
    int reached;        /* trials that reached the target */
    double score;       /* median over seeds; smaller is better; INFINITY: not reached, diverged,
                               pruned or failed in half of them */
    Spread of[RESULTS]; /* over seeds; to target: INFINITY where it was not reached */
} Setting;

typedef struct Arm {
    int first, count; /* of Analysis.settings */
    int trials;
    int best;     /* of Analysis.settings; without a finite score that of the best loss */
    bool found;   /* the best setting has a finite score */
    double batch; /* NAN: train.batch does not vary */
    double
        efficiency; /* steps to target of perfect scaling from the curve's first arm / steps; NAN */
    double slope;   /* d log steps / d log batch from the arm before; NAN */
} Arm;

/* A number with a 95 % interval; low and high are NAN if there is none. */
typedef struct Estimate {
    double value, low, high;
} Estimate;

typedef struct Curve {
    int first, count; /* of Analysis.arms */
    ScalingFit fit;   /* points is 0 if there is none; of median steps, weighted by seeds */
    Estimate s_min, b_crit;
    int resamples;        /* of 1,000, that had a fit; 0: no interval */
    int lr_points;        /* arms with a best lr; 0: lr does not vary or batch does not */
    Estimate lr_exponent; /* of the best lr as a power of the batch */
    double lr_scale;
} Curve;

typedef struct Analysis {
    const Table *table; /* borrowed */
    Question question;
    Curve *curves;
    Arm *arms;
    Setting *settings;
    int *order; /* trials, by curve, arm and setting */
    int curve_count, arm_count, setting_count;
    bool in_arm[TABLE_MAX_COLUMNS],
        in_setting[TABLE_MAX_COLUMNS]; /* keys that tell curves and arms, settings apart */
    int seed_key, batch_key, lr_key;   /* columns, or -1 */
    char **warnings;                   /* the gravest first */
    size_t warning_count, warning_capacity;
} Analysis;

/* The table is borrowed until analysis_free. A table without trials is fine: it has no curves. */
void analysis_make(Analysis *analysis, const Table *table, const Question *question);
void analysis_free(Analysis *analysis);

/* Smaller is better; INFINITY if the trial does not have what is asked for. */
double trial_score(const Analysis *analysis, const TrialRow *trial);

/* By score, of equal ones by the median final loss. */
bool setting_is_better(const Setting *a, const Setting *b);

/* The learning rate that a trial reached: optimizer.lr, times (batch / base_batch)^lr_power. NAN
 * without one. */
double trial_lr(const Analysis *analysis, const TrialRow *trial);

/* The first trial of the range, whose values name it. */
const TrialRow *setting_trial(const Analysis *analysis, const Setting *setting);
const TrialRow *arm_trial(const Analysis *analysis, const Arm *arm);

/* "train.batch 64, optimizer.type lars", "optimizer.lr 0.1": into buffer; returns buffer. The name
 * of the only curve is "". */
char *curve_name(const Analysis *analysis, const Curve *curve, char *buffer, size_t size);
char *arm_name(const Analysis *analysis, const Arm *arm, char *buffer, size_t size);
char *setting_name(const Analysis *analysis, const Setting *setting, char *buffer, size_t size);

/* "lars 64", for the axis of a picture; into buffer; returns buffer. */
char *arm_label(const Analysis *analysis, const Arm *arm, char *buffer, size_t size);

/* "12,345", "0.0123", "never": three or four digits, for people; into buffer; returns buffer. */
#define SHORT_SIZE 32
char *short_text(char buffer[SHORT_SIZE], double value);

/* "812 steps", "accuracy 0.912", "loss 0.31", "never": a score as people read it. */
char *score_text(const Analysis *analysis, char buffer[SHORT_SIZE], double score);

/* Scores of an arm's settings, ascending; owned by the caller. *count: how many. */
double *arm_scores(const Analysis *analysis, const Arm *arm, int *count);

/* Where the fitted curve has lost a fifth of perfect scaling, and where all but a fifth. Its
 * efficiency, and minus its slope on log-log paper, is 1 / (1 + B / b_crit). */
#define EFFICIENCY_DIMINISHING 0.8
#define EFFICIENCY_PLATEAU 0.2
double batch_of_efficiency(const Curve *curve, double efficiency);

/* ---- the answer in words and as JSON ---- */

/* The verdict, one sentence or two; a curve's own; into buffer; returns buffer. */
char *analysis_verdict(const Analysis *analysis, char *buffer, size_t size);
char *curve_text(const Analysis *analysis, const Curve *curve, char *buffer, size_t size);

/* The batch at which most curves have a result, the largest such; NAN: no two have one. */
double common_batch(const Analysis *analysis);

/* Verdict, a line for each arm, warnings: on the standard output of rank 0. */
void analysis_print(const Analysis *analysis);

/* The same for programs; numbers that do not exist are null. Owned by the caller. */
struct json_t *analysis_json(const Analysis *analysis);

#endif
