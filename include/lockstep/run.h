/* A run folder, runs/NAME/: config.yaml (resolved), meta.json (provenance), metrics.jsonl,
 * metrics.csv, probes.csv if steps are probed, tb/ (TensorBoard events), summary.json, ckpt/. Only
 * rank 0 has one open; on other ranks every function but run_open does nothing. */
#ifndef LOCKSTEP_RUN_H
#define LOCKSTEP_RUN_H

#include "lockstep/batch_plan.h"
#include "lockstep/comm.h"
#include "lockstep/settings.h"

typedef struct StepRecord {
    int64_t step; /* 1-based: steps done */
    double epoch; /* epochs done, fractional */
    int64_t samples;
    double seconds;        /* since training began */
    double loss, accuracy; /* mean over the step's global batch; accuracy < 0: none */
    double lr, grad_norm, clip_factor;
    double samples_per_second;
    double tokens_per_second;    /* 0: samples are not sequences of tokens */
    double comm;                 /* share of training time that was exposed communication, 0 to 1 */
    uint64_t digest, trajectory; /* after the step */
    bool skipped;                /* nothing was updated */
    const char *reduction;       /* trainer_reduction, or NULL */
} StepRecord;

typedef struct EvalRecord {
    int64_t step;
    double epoch;
    int64_t samples;
    double seconds; /* since training began */
    double loss, accuracy;
    bool per_token; /* the loss is a mean over positions: perplexity and bits a token follow */
    int64_t count;  /* targets: samples, or positions */
} EvalRecord;

typedef struct Summary {
    const char *status;              /* completed, target, diverged, interrupted, time_limit */
    double test_loss, test_accuracy; /* accuracy < 0: does not apply */
    double train_loss;               /* mean over the last epoch */
    int64_t steps, samples;
    double epochs, seconds, samples_per_second;
    double tokens_per_second; /* 0: samples are not sequences of tokens */
    bool per_token;           /* as in EvalRecord */
    double best_loss;         /* smallest test loss */
    double sent_bytes;        /* in a step, by a host to other hosts; 0: one host */
    int64_t global_batch;
    int lanes, ranks;
    uint64_t digest, trajectory;
    const char *optimizer;
    const char *reduction; /* trainer_reduction, or NULL */
    int64_t seed;
    int64_t diverged_step; /* or -1 */
    int64_t parameters;
    double best_accuracy;
    bool at_stop;                        /* it has come to train.stop_at */
    double target_accuracy, target_loss; /* what train.target_* ask for; 0: nothing */
    int64_t target_step, target_samples; /* the first evaluation that met it; 0: none has */
    double target_seconds;
    bool recovers; /* train.on_diverged is not stop: the next three apply */
    int64_t skipped_steps, rollbacks;
    double lr_factor;
    int64_t probed_steps; /* in this session; 0: the next two do not apply */
    double probe_seconds; /* of rank 0 */
    double probe_share;   /* of the time that all steps of the session took, 0 to 1 */
} Summary;

/* What a checkpoint has cost. */
typedef struct CheckpointRecord {
    int64_t step, bytes;
    double pause;   /* seconds that training was held up */
    double seconds; /* from there until it was whole */
} CheckpointRecord;

/* A way back to a checkpoint after a loss or gradient that was not finite. */
typedef struct RollbackRecord {
    int64_t from, to;       /* the step that could not be done (1-based); the checkpoint's */
    double loss, grad_norm; /* of that step: one of them is not finite */
    int64_t rollbacks;      /* so far, with this one */
    double lr_factor;       /* from now on */
    int64_t passed;         /* batches that are passed over from now on */
} RollbackRecord;

/* What a probed step has given (docs/probes.md): a number of the whole network, or of one tensor.
 * nan: not known. All borrowed. */
typedef struct ProbeValue {
    const char *key; /* "noise_scale" */
    double value;
} ProbeValue;

typedef struct ProbeRow {
    const char *tensor, *quantity;
    double value;
} ProbeRow;

typedef struct ProbeRecord {
    int64_t step; /* 1-based: steps done */
    double epoch; /* epochs done, fractional */
    int64_t samples;
    const ProbeValue *values;
    const ProbeRow *rows;
    int value_count, row_count;
} ProbeRecord;

/* What the trainer knows and nobody else does; goes into meta.json. Digests of 0 are left out. */
typedef struct RunFacts {
    uint64_t train_data, test_data; /* Dataset.digest */
    uint64_t initial;               /* layout digest of the initial weights */
    int64_t resumes;                /* how often the run was resumed; 0: it was not */
    int64_t resumed_step;           /* where, the last time */
} RunFacts;

/* One session at a time writes to a run folder: takes the lock of <settings->folder>/<name>,
 * waiting up to 20 seconds for ranks of a killed job to go. *lock is -1 or, on rank 0, a lock that
 * is held already; it stays -1 if there is no such folder yet. Let go by run_unlock, or by the end
 * of the process. Collective. */
bool run_lock(Comm *comm, const Settings *settings, int *lock, Err *err);
void run_unlock(int lock);

typedef struct Run Run;

/* Makes the folder <settings->folder>/<settings->name> and opens its files. An existing folder is
 * an error unless `force`; then the files of the old run are removed, files that no run makes are
 * left alone, and a folder that holds files but no run is refused. Open it after everything else
 * that can fail, so that a failed start leaves no folder behind. Collective: rank 0 works, all
 * ranks get the same answer and the same message. NULL after an error. Borrows nothing. */
Run *run_open(Comm *comm, const Settings *settings, bool force, Err *err);

/* Opens the folder of a run that goes on from `step`, after so many resumes and rollbacks: records
 * of later steps are dropped (their steps will be done again), a `resume` event is recorded, events
 * for TensorBoard go on in a new file. Otherwise as run_open. */
Run *run_resume(Comm *comm, const Settings *settings, int64_t step, int64_t resumes,
                int64_t rollbacks, Err *err);

const char *run_folder(const Run *run); /* borrowed; on every rank */

/* Writers. None is collective but run_write_meta. A file that cannot be written is warned about
 * once; training goes on and run_close tells. A step record costs a few microseconds, and every
 * record has left the process when the call returns, so a killed run keeps all of them. */
void run_write_config(Run *run, const Settings *settings); /* config.yaml: the resolved tree */
void run_log_step(Run *run, const StepRecord *record);
void run_log_eval(Run *run, const EvalRecord *record);
void run_log_checkpoint(Run *run, const CheckpointRecord *record);
void run_log_probe(Run *run, const ProbeRecord *record);

/* Drops what has been recorded since a checkpoint, sets later checkpoints aside and records a
 * `rollback` event. */
void run_rollback(Run *run, const RollbackRecord *record);
void run_write_summary(Run *run, const Summary *summary);

/* The records so far to the disk. May be called by another thread than the rest. */
void run_sync(Run *run);

/* Something of the run could not be written: run_close tells, if nothing else went wrong before. */
void run_note_failure(Run *run, const Err *err);

/* ckpt/final.safetensors, from the whole arena; see weights.h. */
void run_write_weights(Run *run, const Layout *layout, const float *arena, int64_t step);

/* meta.json: where, when, with what and by which command. facts may be NULL. Collective (it gathers
 * the host names). */
void run_write_meta(Run *run, int argc, char *const *argv, Comm *comm, const RunFacts *facts);

/* Closes everything and frees run. False if anything could not be written (disk full): err names
 * the first such file. Not collective: always true on ranks other than 0. */
bool run_close(Run *run, Err *err);

/* Progress on stderr: one updating line on a terminal (at most ten times a second, cut to its
 * width), elsewhere one plain line every `plain_every` (0: never) and one per evaluation. Silent
 * with LOG_QUIET and on ranks other than 0, where every call is allowed and does nothing. */
typedef struct Progress Progress;
Progress *progress_new(int64_t steps, const BatchPlan *plan, Span plain_every);
void progress_step(Progress *progress, const StepRecord *record);
void progress_eval(Progress *progress, const EvalRecord *record);
void progress_free(Progress *progress); /* ends the line */

/* TensorBoard event file <folder>/events.out.tfevents.<seconds>.<host>: one scalar per call.
 * `wall_time` is in seconds since 1970. Records are buffered; tensorboard_flush hands them to the
 * system. False if anything could not be written: err names the file. */
typedef struct TensorBoard TensorBoard;
TensorBoard *tensorboard_open(const char *folder, Err *err);
void tensorboard_scalar(TensorBoard *board, const char *tag, int64_t step, double wall_time,
                        double value);
void tensorboard_flush(TensorBoard *board);
bool tensorboard_close(TensorBoard *board, Err *err); /* frees board; NULL is fine */

#endif
