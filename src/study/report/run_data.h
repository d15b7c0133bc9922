/* A run folder as a report reads it. Private to src/study/report. */
#ifndef LOCKSTEP_STUDY_REPORT_RUN_DATA_H
#define LOCKSTEP_STUDY_REPORT_RUN_DATA_H

#include "lockstep/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Records of one kind: a column for each key that has numbers, NAN where a record lacks it. */
typedef struct Column {
    char *name; /* owned */
    double *values;
    size_t capacity;
} Column;

typedef struct Frame {
    Column *columns;
    size_t count, capacity;
    size_t rows;
} Frame;

/* The values under a name, frame->rows of them, or NULL. */
const double *frame_column(const Frame *frame, const char *name);

/* A record of two numbers; both must be finite. */
void frame_add(Frame *frame, double step, const char *name, double value);
void frame_free(Frame *frame);

typedef struct RunData {
    char *folder, *name;    /* as given; the folder's last part */
    json_t *summary, *meta; /* NULL: not there */
    char *config;           /* text of config.yaml, or NULL */
    Frame steps, evals, probes;
    int resumes, rollbacks;
    bool cut; /* the last line of metrics.jsonl is not whole: the run was killed or goes on */
} RunData;

/* False: not a run, or its files are damaged. run_data_free in any case. */
bool run_data_read(RunData *run, const char *folder, Err *err);
void run_data_free(RunData *run);

/* Numbers of summary.json; NAN, "" without one. */
double run_number(const RunData *run, const char *key);
const char *run_text(const RunData *run, const char *key);

/* The global batch at the start: of the summary, else of the first record; NAN. */
double run_batch(const RunData *run);

/* Steps until an evaluation reached this accuracy or loss; INFINITY if none did. */
double run_steps_to(const RunData *run, bool accuracy, double value);

#endif
