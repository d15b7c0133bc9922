/* Probes of a checkpoint: what the loss looks like around the weights of a run (docs/landscape.md).
 * A probe is one file in src/probe/probes and one line in src/probe/probes/probes.def. */
#ifndef LOCKSTEP_PROBE_H
#define LOCKSTEP_PROBE_H

#include "lockstep/landscape.h"
#include "lockstep/trainer.h"

/* ---- what a probe finds ---- */

/* A table on stdout, probe-NAME.json with the same values, probe-NAME.csv if there are rows. Every
 * rank finds the same; rank 0 writes. */
typedef struct Findings Findings;

/* A value; what is not finite is null in JSON. help: a few words, with the unit; NULL: not on
 * stdout, like texts and integers. */
void found(Findings *findings, const char *key, double value, const char *help);
void found_text(Findings *findings, const char *key, const char *value);
void found_integer(Findings *findings, const char *key, int64_t value);
void found_list(Findings *findings, const char *key, const double *values, int count,
                const char *help);

/* Rows of the CSV: its columns, separated by commas, then rows. */
void found_columns(Findings *findings, const char *columns);
void found_row(Findings *findings, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- a probe ---- */

enum { PROBE_TRAIN, PROBE_TEST };
enum { PROBE_EVALUATION, PROBE_TRAINING };

typedef struct ProbeCommon {
    int64_t samples; /* resolved */
    int set, mode;
    int64_t seed;
    int points; /* 0 and 1: of 2 or 4 */
    double step;
} ProbeCommon;

typedef struct ProbeType ProbeType;

typedef struct Probe {
    const ProbeType *type;
    Trainer *trainer;                /* stands at the checkpoint; borrowed */
    const char *folder, *checkpoint; /* of the run; which weights */
    ProbeCommon common;
    void *options;
    Model model;         /* the trainer's, in fp32, that keeps sides (layer.h) */
    Landscape landscape; /* of the samples asked for, at the weights asked for */
    float *initial;      /* whole: where training begins */
    Tally tally;         /* at the weights */
    Findings *findings;
    int64_t step; /* of the checkpoint: steps done */
    int code;     /* what an error would deserve */
} Probe;

struct ProbeType {
    const char *name, *help, *formula, *source;
    const Option *options;
    size_t options_bytes;
    int64_t samples;                     /* looked at unless the user says otherwise */
    bool single;                         /* looks at samples one by one: no statistics of chunks */
    bool resumes;                        /* wants the optimizer's state too */
    bool (*run)(Probe *probe, Err *err); /* collective */
};

const ProbeType *probe_find(const char *name); /* NULL: there is none */
const ProbeType *const *probe_all(int *count);
extern const Option probe_common_options[];

/* The run's weights of a checkpoint ("init", "final", "best", "latest", "step-N", a number, a file)
 * into the whole w. Collective. The trainer's own are others then. */
bool probe_weights(Probe *probe, const char *which, float *w, Err *err);

/* Losses of `count` points, shared out among the ranks: place(context, index, w) writes the weights
 * of a point to the whole w; tallies (count), on every rank. Collective. */
typedef void ProbePlace(const void *context, int index, float *w);
void probe_points(Probe *probe, int count, ProbePlace *place, const void *context, Tally *tallies);

/* May samples be looked at in groups of so many? */
bool probe_check_group(const Probe *probe, int64_t group, Err *err);

/* lr and batch of the step that the checkpoint stands before; of the last step, behind the end. */
double probe_lr(const Probe *probe);
int probe_batch(const Probe *probe);

/* ---- `lockstep probe` ---- */

typedef struct ProbeRequest {
    const char *name;
    const char *const *assignments; /* of its options: "samples=100" */
    int count;
    const char *folder;     /* of the run */
    const char *checkpoint; /* which weights */
    const char *out;        /* folder for the files; NULL: none */
    const char *command;    /* that asks */
    bool quiet;             /* print nothing */
} ProbeRequest;

/* A name and options that exist, before anything is built. */
bool probe_check(const ProbeRequest *request, Err *err);

/* Runs it with a trainer that trainer_init has built: EXIT_OK, or the exit code that err's message
 * deserves. Collective. */
int probe_run(Trainer *trainer, const ProbeRequest *request, Err *err);

/* ---- between the files of the probes ---- */
Findings *findings_new(void);
void findings_free(Findings *findings);
void findings_print(const Findings *findings);
bool findings_write(const Findings *findings, const char *folder, const char *name, Err *err);

#endif
