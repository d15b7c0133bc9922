/* A run's settings: the whole config as one struct. Sections that a family owns (data, model, loss,
 * optimizer, schedule) stay config nodes and are read by the family. */
#ifndef LOCKSTEP_SETTINGS_H
#define LOCKSTEP_SETTINGS_H

#include "lockstep/config.h"
#include "lockstep/text.h"

typedef struct TrainSettings {
    int64_t batch;
    char *lanes_text; /* "auto" or a power of two */
    int lanes;        /* resolved: auto is the largest power of two <= 8 that divides batch */
    Span length;      /* how long to train */
} TrainSettings;

typedef struct EvalSettings {
    Span every; /* 0: only at the end */
} EvalSettings;

typedef struct LogSettings {
    Span every;   /* a terminal line when not on a terminal */
    Span metrics; /* a record in metrics.jsonl / metrics.csv */
    bool tensorboard;
} LogSettings;

typedef struct ComputeSettings {
    char *blas_core, *isa;
} ComputeSettings;

typedef struct Settings {
    Config config; /* owned; resolved after settings_read and the families' init */
    char *name, *folder;
    int64_t seed;
    TrainSettings train;
    EvalSettings eval;
    LogSettings log;
    ComputeSettings compute;
    ConfigNode *data, *model, *loss, *optimizer, *schedule;
} Settings;

/* Reads the top level of settings->config (already parsed and overridden). */
bool settings_read(Settings *settings, Err *err);
void settings_free(Settings *settings);

/* Every option path there is ("train.batch", "optimizer.momentum", ...): for LOCKSTEP_* names and for
 * docs/options.md. The array ends with NULL; freed by settings_paths_free. */
char **settings_paths(size_t *count);
void settings_paths_free(char **paths);

/* A section of the config and its table, for `lockstep list` and docs. Ends with a NULL name. */
typedef struct SettingsSection {
    const char *name, *help; /* "train"; "" is the top level */
    const Option *options;
} SettingsSection;
extern const SettingsSection settings_sections[];

#endif
