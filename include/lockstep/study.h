/* A scaling study: many runs ("trials") of one base configuration, each with settings of its own.
 * STUDY.yaml says which; the job's ranks are split into groups, each group trains one trial at a
 * time.
 *
 * A study is a folder: study.yaml and a copy of its base, trials/ID/ (ordinary run folders),
 * trials.csv, locks/. There is no other state: a trial is done if its folder says so, and who works
 * on one holds its lock, so any number of groups and jobs may work on a study, and whatever is
 * killed is taken up again. What a trial gives does not depend on who trains it
 * (docs/studies.md). */
#ifndef LOCKSTEP_STUDY_H
#define LOCKSTEP_STUDY_H

#include "lockstep/comm.h"
#include "lockstep/config.h"
#include "lockstep/settings.h"
#include "lockstep/text.h"

#define STUDY_ID_SIZE 13 /* twelve hex digits of a trial's settings */
#define STUDY_MAX_KEYS 32
#define STUDY_MAX_RUNGS 16
#define STUDY_MAX_TRIALS 10000
#define STUDY_MAX_MEASURED 32

typedef struct Trial {
    char id[STUDY_ID_SIZE]; /* digest of everything that changes a step: the run folder's name */
    int arm;                /* trials of an arm are compared with one another */
    int setting;            /* trials of a setting differ in their seed only */
    char *name;             /* of the arm, or NULL: the study has none */
    char **values;          /* of each varied key, as written; NULL: does not apply */
    char **overrides;       /* "key=value", in order */
    int override_count;
} Trial;

typedef enum PruneType { PRUNE_NONE, PRUNE_MEDIAN, PRUNE_HALVING } PruneType;
typedef enum PruneBy { PRUNE_ACCURACY, PRUNE_LOSS } PruneBy;

/* Trials wait for one another at the rungs; there those that are behind end. */
typedef struct Prune {
    PruneType type;
    PruneBy by;
    double keep; /* halving: share of the settings that go on */
    int rungs;
    Span rung[STUDY_MAX_RUNGS];
    char *text[STUDY_MAX_RUNGS]; /* as written */
} Prune;

/* A probe of every trial's final weights (probe.h). */
typedef struct Measure {
    const char *probe; /* borrowed from the study's config */
    char **options;    /* "samples=1000" */
    int option_count;
} Measure;

typedef struct Study {
    Config config;    /* of the study file, resolved */
    char *name;       /* of the study's folder */
    char *output;     /* where study folders are made; option `folder` */
    char *folder;     /* <output>/<name> */
    char *base;       /* the base config's file */
    int64_t ranks;    /* of a group */
    const char *text; /* of the base config; borrowed, as is the next */
    size_t bytes;
    char *const *environment; /* LOCKSTEP_* variables, ends with NULL */
    char **keys;              /* varied, in the order of the table's columns */
    int key_count;
    bool of_arm[STUDY_MAX_KEYS];                /* the key belongs to what the arms are */
    bool has_arms;                              /* the arms have names */
    bool arms_by_name, arms_by[STUDY_MAX_KEYS]; /* what separates arms */
    Prune prune;
    Measure measures[STUDY_MAX_MEASURED];
    int measure_count;
    char *measured[STUDY_MAX_MEASURED]; /* columns: "hessian.largest_1", "training.noise_scale" */
    int measured_count;
    Trial *trials;
    int count, arms, settings;
} Study;

/* Reads a study file (`text`, called `file`) with KEY=VALUE overrides of it. Then base is known,
 * and not yet what is to be trained. After an error study_free is still to be called. */
bool study_read(Study *study, const char *file, const char *text, size_t bytes,
                const char *const *overrides, int count, Err *err);

/* Which trials there are, once study->text and environment are given. */
bool study_plan(Study *study, Err *err);
void study_free(Study *study);

/* "lars train.batch=128 optimizer.lr=0.1 seed=2", for people, into buffer; returns buffer. */
char *study_trial_text(const Study *study, const Trial *trial, char *buffer, size_t size);

/* The settings of a trial as `lockstep train` would have them: base, environment, overrides; to the
 * end (-1) or to one of the rungs. False: the trial cannot be trained and err says why.
 * settings_free in any case. */
bool study_settings(const Study *study, const Trial *trial, int rung, Settings *settings, Err *err);

/* Makes the folder, trains what is not done, keeps trials.csv up to date. Returns the exit code;
 * err->text is empty unless the study could not go on. Collective over comm. */
int study_run(Study *study, Comm *comm, int argc, char *const *argv, Err *err);

/* Whatever the trial folders hold as the table trials.csv. */
bool study_write_table(const Study *study, Err *err);

/* `--dry-run` and `--status`: the trials on stdout, with their cost or where they stand. Rank 0;
 * `comm` has no other. */
void study_print_plan(const Study *study, Comm *comm);
void study_print_status(const Study *study);

/* Trials that failed are to be trained anew. Rank 0. */
bool study_forget_failed(const Study *study, Err *err);

/* Element `index` (from 0) of the low-discrepancy sequences, coordinate `dimension` (from 0), in
 * [0, 1). Halton 1960: radical inverse in the dimension's prime. Sobol 1967 with the direction
 * numbers of Joe and Kuo 2008, in the order of the Gray code. */
#define STUDY_MAX_DIMENSIONS 16
double study_halton(int64_t index, int dimension);
double study_sobol(int64_t index, int dimension);

#endif
