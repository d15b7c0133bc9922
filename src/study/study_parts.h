/* What the files of the study engine share. Private to src/study. */
#ifndef LOCKSTEP_STUDY_PARTS_H
#define LOCKSTEP_STUDY_PARTS_H

#include "lockstep/probe.h"
#include "lockstep/study.h"

/* ---- axes.c: what varies ---- */

/* Keys that vary together: each row has a value for each key, as config_override takes it. */
typedef struct Axis {
    char **keys;
    int key_count, rows;
    char **cells; /* rows * key_count */
} Axis;

#define AXES_MAX STUDY_MAX_KEYS
#define STUDY_BASE "base.yaml" /* the copy of the base beside study.yaml */
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

/* Is it a map of options with paths of their own, "train: {batch: ...}"? */
bool key_is_group(const ConfigNode *node, const char *key);

/* ---- arms.c ---- */

typedef struct StudyArm {
    const char *name; /* or NULL; borrowed from the study's config */
    char **overrides; /* "key=value" of the study and of the arm */
    size_t override_count, capacity;
    Axes axes;
} StudyArm;

typedef struct StudyArms {
    StudyArm *arm;
    int count;
} StudyArms;

/* Also finds out which keys vary. arms_free in any case. */
bool arms_read(Study *study, StudyArms *arms, Err *err);
void arms_free(StudyArms *arms);

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
    bool trained;                  /* to the end; what is open is to be measured */
    struct json_t *summary;        /* summary.json, or NULL; owned */
    char *message;                 /* what went wrong, or NULL; owned */
    bool passed[STUDY_MAX_RUNGS];  /* it has come to this rung */
    double value[STUDY_MAX_RUNGS]; /* there: test accuracy, or minus the test loss; nan: none */
} TrialState;

void trial_state(const Study *study, const Trial *trial, TrialState *state);
void trial_state_free(TrialState *state);

/* A message without the "command line: " where overrides seem to come from. */
const char *trial_message(const char *message);

/* Notes in its folder that a trial could not be trained. */
bool trial_fail(const Study *study, const Trial *trial, int code, const char *message, Err *err);

/* Notes there that it stands at a rung. */
bool trial_pass(const Study *study, const Trial *trial, int rung, Err *err);

/* ---- prune.c: who goes on ---- */

typedef struct Decision {
    enum { DECISION_TRAIN, DECISION_WAIT, DECISION_PRUNED } what; /* of a trial that is open */
    int rung;          /* train up to it, or to the end: -1; wait there; pruned there */
    double value, cut; /* pruned: what it had, what was wanted */
} Decision;

bool prune_read(Study *study, Err *err);

/* `states` and `decisions`: one for each trial. */
void prune_decide(const Study *study, const TrialState *states, Decision *decisions);

/* "pruned at 1ep: accuracy 0.71, at least 0.8 wanted" into buffer; returns buffer. */
char *prune_text(const Study *study, const Decision *decision, char *buffer, size_t size);
/* A JSON object, or NULL: no such file, or not one. */
struct json_t *file_json(const char *folder, const char *name);

/* ---- measure.c ---- */

bool measures_read(Study *study, Err *err);
void measures_free(Study *study);

/* Has the folder of a trial what the probe finds with these options? */
bool measure_is_done(const Study *study, const char *folder, const Measure *measure);

/* A column of Study.measured; NAN if it is not there. */
double measured_value(const char *folder, const char *column);

/* All probes of a trial that is trained: EXIT_OK, or the exit code that err's message deserves.
 * Collective. */
int measure_trial(const Study *study, const Trial *trial, Trainer *trainer, Err *err);

/* ---- claim.c: who does what ---- */

typedef struct Claims {
    TrialState *states; /* of each trial, as far as we know */
    Decision *decisions;
    int taken, waiting; /* when we looked last: trials that others have; that wait at a rung */
} Claims;

typedef struct Claim {
    int trial, lock; /* -1: none */
    int rung;        /* where it is to stop; -1: nowhere */
} Claim;

void claims_init(const Study *study, Claims *claims);
void claims_free(const Study *study, Claims *claims);

/* The first trial that is to be trained and not taken: ours from then on. One process of a group.
 */
bool claim_next(const Study *study, Claims *claims, Claim *claim, Err *err);
void claim_release(int lock);

/* The lock of a trial; *lock is -1 if somebody else has it. */
bool claim_lock(const Study *study, const char *id, int *lock, Err *err);

/* The right to write the table; waits for it. */
bool claim_table(const Study *study, int *lock, Err *err);

/* Looks at all folders again; returns how many trials are done, the pruned ones among them. */
int claims_look(const Study *study, Claims *claims);

/* ---- say.c, status.c ---- */

/* "accuracy 0.8912, loss 0.311, 12 s" and what went wrong, into buffer; returns buffer. */
char *trial_results(const TrialState *state, char *buffer, size_t size);

/* Warns of run folders that the plan does not know. */
void say_left_over(const Study *study);

void say_begin(const Study *study, int groups);
bool say_end(const Study *study, Err *err); /* and the answer, if all trials are done */

/* What has become of the trial, and of those that end because it has come to its rung; looks. */
void say_news(const Study *study, Claims *claims, const Claim *claim, bool at_rung);

#endif
