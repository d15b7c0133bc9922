/* A run folder, runs/NAME/: config.yaml (resolved), meta.json (provenance), metrics.jsonl, metrics.csv,
 * tb/ (TensorBoard events), summary.json, ckpt/. Only rank 0 has one open; on other ranks every function
 * but run_open does nothing. */
#ifndef LOCKSTEP_RUN_H
#define LOCKSTEP_RUN_H

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
    uint64_t digest, trajectory; /* after the step */
} StepRecord;

typedef struct EvalRecord {
    int64_t step;
    double epoch;
    int64_t samples;
    double seconds; /* since training began */
    double loss, accuracy;
    int64_t count;
} EvalRecord;

typedef struct Summary {
    const char *status;              /* completed, diverged, interrupted */
    double test_loss, test_accuracy; /* accuracy < 0: does not apply */
    double train_loss;               /* mean over the last epoch */
    int64_t steps, samples;
    double epochs, seconds, samples_per_second;
    int64_t global_batch;
    int lanes, ranks;
    uint64_t digest, trajectory;
    const char *optimizer;
    int64_t seed;
    int64_t diverged_step; /* or -1 */
    int64_t parameters;
    double best_accuracy;
} Summary;

typedef struct Run Run;

/* Makes the folder and opens its files. An existing folder is an error unless `force` (then its files
 * are replaced). Collective: all ranks get the same answer. */
Run *run_open(Comm *comm, const Settings *settings, bool force, Err *err);
const char *run_folder(const Run *run);

void run_write_config(Run *run, const Settings *settings);
/* meta_json: a JSON object with what the trainer knows about itself; time, host, git, versions and
 * command line are added. */
void run_write_meta(Run *run, int argc, char *const *argv, Comm *comm);
void run_log_step(Run *run, const StepRecord *record);
void run_log_eval(Run *run, const EvalRecord *record);
void run_write_summary(Run *run, const Summary *summary);

/* Closes everything. False if anything could not be written (disk full): err names the file. */
bool run_close(Run *run, Err *err);

/* Progress: one updating line on a terminal, plain lines elsewhere. Rank 0 only. */
typedef struct Progress Progress;
Progress *progress_new(int64_t steps, int64_t steps_per_epoch, int64_t plain_every);
void progress_step(Progress *progress, const StepRecord *record);
void progress_eval(Progress *progress, const EvalRecord *record);
void progress_free(Progress *progress); /* ends the line */

/* TensorBoard event file: one scalar per call. */
typedef struct TensorBoard TensorBoard;
TensorBoard *tensorboard_open(const char *folder, Err *err);
void tensorboard_scalar(TensorBoard *board, const char *tag, int64_t step, double seconds,
                        double value);
bool tensorboard_close(TensorBoard *board);

#endif
