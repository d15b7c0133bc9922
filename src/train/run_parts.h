/* What the writers of a run folder share: append-only files, JSON text, the pieces of a progress
 * line. Private to src/train. */
#ifndef LOCKSTEP_TRAIN_RUN_PARTS_H
#define LOCKSTEP_TRAIN_RUN_PARTS_H

#include "lockstep/files.h"
#include "lockstep/run.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- run_files.c ---- */

/* A file that grows by whole records. A record that does not fit on the disk is cut off again and
 * counted, so that the file always ends with a whole record, and the next record is tried anew. */
typedef struct Output {
    char *path; /* owned; NULL: closed */
    int fd;
    int error;     /* errno of the first record that was lost, or 0 */
    int64_t bytes; /* of the whole records so far */
    int64_t lost;  /* records */
} Output;

bool output_open(Output *output, const char *folder, const char *name, Err *err);

/* A file that is there goes on behind its first `keep` bytes. */
bool output_resume(Output *output, const char *folder, const char *name, int64_t keep, Err *err);
void output_write(Output *output, const void *data, size_t bytes, int64_t records);
bool output_close(Output *output, Err *err); /* false if records were lost; frees path */

/* ---- run_json.c ---- */

/* One flat JSON object as text, in a fixed buffer: no allocation and a fraction of a microsecond a
 * number. Without `indent` it is one line. Text that is not UTF-8 gets '?' for its bytes. */
typedef struct JsonText {
    char *text;
    size_t size, used;
    bool indent, full; /* full: it did not fit, the text is cut */
} JsonText;

void json_start(JsonText *json, char *buffer, size_t size, bool indent);
void json_add_text(JsonText *json, const char *key, const char *value);
void json_add_integer(JsonText *json, const char *key, int64_t value);
void json_add_hex(JsonText *json, const char *key, uint64_t value);  /* "0123456789abcdef" */
void json_add_number(JsonText *json, const char *key, double value); /* reads back as itself; */
void json_add_fixed(JsonText *json, const char *key, double value, int digits); /* 1.250; */
void json_finish(JsonText *json); /* closes the object and the line; nan and inf are null above */

/* ---- metrics.c ---- */

typedef struct Metrics {
    Output jsonl, csv;
    Output probes; /* closed if there are none */
} Metrics;

bool metrics_open(Metrics *metrics, const char *folder, bool probes, Err *err);

/* Opens the files of a run that goes on from `step` after so many rollbacks, without the records of
 * later steps and rollbacks. */
bool metrics_resume(Metrics *metrics, const char *folder, bool probes, int64_t step,
                    int64_t rollbacks, Err *err);
bool metrics_close(Metrics *metrics, Err *err); /* as output_close, of all; the first error */
void metrics_probe(Metrics *metrics, const ProbeRecord *record);
void metrics_rollback(Metrics *metrics, const RollbackRecord *record);
void metrics_start(Metrics *metrics, const char *name);
void metrics_resumed(Metrics *metrics, int64_t step, int64_t resumes, int ranks);
void metrics_checkpoint(Metrics *metrics, const CheckpointRecord *record);
void metrics_step(Metrics *metrics, const StepRecord *record);
void metrics_eval(Metrics *metrics, const EvalRecord *record);
void metrics_end(Metrics *metrics, const Summary *summary);

/* Of a mean loss in nats a token. */
double perplexity(double loss);
double bits_per_token(double loss);

/* ---- summary.c, meta.c ---- */

bool summary_write(const char *path, const Summary *summary, Err *err);

/* hosts: `ranks` names of HOST_SIZE bytes, by rank. */
#define HOST_SIZE 256
bool meta_write(const char *path, int argc, char *const *argv, const char *hosts, int ranks,
                const RunFacts *facts, Err *err);

/* ISO 8601 in UTC, "2025-01-31T12:00:00Z". */
char *time_text(char *buffer, size_t size, int64_t unix_seconds);

/* ---- tensorboard.c ---- */

/* Tells readers to forget events of this step and later ones in older files. */
void tensorboard_restart(TensorBoard *board, int64_t step);

/* ---- progress.c ---- */

typedef struct ProgressView {
    int64_t steps; /* of the whole run */
    BatchPlan plan;
    int width; /* columns of the terminal; 0: a plain line */
    bool color;
} ProgressView;

/* The progress line for a record, without line end, at most `width` columns if that is not 0. */
void progress_line(const ProgressView *view, const StepRecord *record, char *line, size_t size);

#endif
