/* What the files of the study engine share. Private to src/study. */
#ifndef LOCKSTEP_STUDY_PARTS_H
#define LOCKSTEP_STUDY_PARTS_H

#include "lockstep/study.h"

/* ---- axes.c: what varies ---- */

/* Keys that vary together: each row has a value for each key, as config_override takes it. */
typedef struct Axis {
    char **keys;
    int key_count, rows;
    char **cells; /* rows * key_count */
} Axis;

#define AXES_MAX STUDY_MAX_KEYS
typedef struct Axes {
    Axis axis[AXES_MAX]; /* the first varies slowest */
    int count;
} Axes;

/* An empty axis at the end; its keys and cells are to be filled. */
Axis *axes_new(Axes *axes, int key_count, int rows);

/* `grid: {train.batch: [64, 128], "train.lanes, optimizer.lr": [[4, 0.1], [8, 0.2]]}`; an axis for
 * a key that is there already replaces it. */
bool axes_add_grid(Axes *axes, const Config *config, const ConfigNode *grid, Err *err);

/* `search: {type: halton, trials: 8, ranges: {optimizer.lr: {from: 0.01, to: 1, scale: log}}}`;
 * `own`: ranges of an arm instead of those with the same key, or NULL. */
bool axes_add_search(Axes *axes, const Config *config, ConfigNode *search, ConfigNode *own,
                     Err *err);

/* `seeds: [1, 2, 3]` or `seeds: 3`. */
bool axes_add_seeds(Axes *axes, const Config *config, const ConfigNode *seeds, Err *err);
void axes_free(Axes *axes);

/* A node on one line, mem_alloc'ed; a string without its quotes if `plain`. */
char *node_text(const ConfigNode *node, bool plain);

/* Is it the path of an option that a study may set? Otherwise one message with the nearest. */
bool key_check(const Config *config, const ConfigNode *node, const char *key, Err *err);

/* ---- arms.c ---- */

typedef struct Arm {
    const char *name; /* or NULL; borrowed from the study's config */
    char **overrides; /* "key=value" of the study and of the arm */
    size_t override_count, capacity;
    Axes axes;
} Arm;

typedef struct Arms {
    Arm *arm;
    int count;
} Arms;

/* Also finds out which keys vary. arms_free in any case. */
bool arms_read(Study *study, Arms *arms, Err *err);
void arms_free(Arms *arms);

/* ---- trial.c ---- */

void trial_set_id(const Study *study, Trial *trial);
char *trial_folder(const Study *study, const Trial *trial); /* mem_alloc'ed */

/* ---- state.c: where a trial stands ---- */

typedef enum TrialStatus {
    TRIAL_OPEN,      /* not begun, or stopped on the way */
    TRIAL_COMPLETED, /* these have ended for good */
    TRIAL_TARGET,
    TRIAL_DIVERGED,
    TRIAL_FAILED,
    TRIAL_PRUNED, /* by the others of its arm; never in a trial's own folder */
} TrialStatus;
extern const char *const trial_status_names[];

/* What the trial's folder says. */
typedef struct TrialState {
    TrialStatus status;
    bool begun;                    /* there is a summary: it ended or was stopped */
    struct json_t *summary;        /* summary.json, or NULL; owned */
    char *message;                 /* what went wrong, or NULL; owned */
    bool passed[STUDY_MAX_RUNGS];  /* it has come to this rung */
    double value[STUDY_MAX_RUNGS]; /* test accuracy, or minus the test loss, there; nan: none */
} TrialState;

void trial_state(const Study *study, const Trial *trial, TrialState *state);
void trial_state_free(TrialState *state);

/* Notes in its folder that a trial could not be trained. */
bool trial_fail(const Study *study, const Trial *trial, int code, const char *message, Err *err);

/* ---- claim.c: who does what ---- */

typedef struct Claims {
    bool *done; /* of each trial, as far as we know: once done, always done */
    int taken;  /* by others, when we looked last */
} Claims;

typedef struct Claim {
    int trial, lock; /* -1: none */
} Claim;

/* The first trial that is not done and not taken: ours from then on. One process of a group. */
bool claim_next(const Study *study, Claims *claims, Claim *claim, Err *err);
void claim_release(int lock);

/* The right to write the table; waits for it. */
bool claim_table(const Study *study, int *lock, Err *err);

int claim_done(const Study *study, Claims *claims); /* how many trials */

#endif
