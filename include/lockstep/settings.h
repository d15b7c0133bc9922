/* A run's settings: the whole config as one struct. Sections that a family owns (data, model, loss,
 * optimizer, schedule) stay config nodes and are read by the family. */
#ifndef LOCKSTEP_SETTINGS_H
#define LOCKSTEP_SETTINGS_H

#include "lockstep/comm.h"
#include "lockstep/config.h"
#include "lockstep/text.h"

#define SETTINGS_MAX_BATCH 1048576
#define SETTINGS_MAX_LANES 4096
#define SETTINGS_AUTO_LANES 8
#define SETTINGS_NAME_BYTES 100

typedef enum OnDiverged { DIVERGED_STOP, DIVERGED_SKIP, DIVERGED_ROLLBACK } OnDiverged;
#define SETTINGS_MAX_ROLLBACKS 100
typedef enum TrainReduce { REDUCE_TREE, REDUCE_FAST, REDUCE_ADASUM } TrainReduce;

typedef struct TrainSettings {
    int64_t batch;    /* global, samples */
    char *lanes_text; /* "auto" or a power of two */
    int lanes;        /* resolved: auto is the largest power of two <= 8 that divides batch */
    double epochs;    /* how long to train: one of the three, the others are 0 */
    int64_t steps;
    double samples;
    double seconds;                      /* the most that all sessions may take; 0: no limit */
    double target_accuracy, target_loss; /* of the test set; 0: no target */
    bool stop_at_target;
    Span stop_at;
    char *weights;     /* safetensors file with the start values; "": the initialisers' */
    ConfigNode *grow;  /* list of {at, batch}, or NULL: read by the trainer; borrowed */
    int reduce;        /* TrainReduce */
    ConfigNode *local; /* map {steps, after, state}, or NULL: read by the trainer; borrowed */
    int on_diverged;   /* OnDiverged */
    int64_t diverged_limit;
    double rollback_lr;
    int64_t rollback_skip; /* batches */
} TrainSettings;

typedef enum Tta { TTA_NONE, TTA_FLIP, TTA_MULTICROP } Tta;

typedef struct EvalSettings {
    Span every;               /* 0: only at the end */
    int tta;                  /* Tta: at the end */
    int64_t statistics_steps; /* for averaged weights, at the end; 0: none */
} EvalSettings;

typedef struct LogSettings {
    Span every;   /* a terminal line when not on a terminal */
    Span metrics; /* a record in metrics.jsonl / metrics.csv */
    bool tensorboard;
    char *timeline; /* a file, or "" */
} LogSettings;

typedef struct ComputeSettings {
    char *blas_core; /* auto, keep or a name: cpu_blas_setup */
    char *isa;       /* auto, v2, v3 or v4: cpu_set_isa */
    int precision;   /* a Precision, of matrix products */
    int bf16_kernel; /* settings_bf16_kernel */
} ComputeSettings;

typedef struct ProbeSettings {
    Span every; /* 0: never */
    bool noise, norms, trust, update, effective_lr, distance, cosine;
    double smoothing;            /* of the noise scale, a probed step */
    bool tensors;                /* probes.csv */
    ConfigNode *scale_invariant; /* list of tensors, or NULL: found in the network; borrowed */
} ProbeSettings;

typedef enum Resume { RESUME_NEVER, RESUME_AUTO, RESUME_ALWAYS } Resume;
typedef enum Best { BEST_NONE, BEST_LOSS, BEST_ACCURACY } Best;

typedef struct CheckpointSettings {
    Span every;         /* 0: not by steps */
    double minutes;     /* 0: not by time */
    int best;           /* Best: of the test set */
    int64_t keep;       /* newest ones that stay */
    int64_t keep_every; /* every so manieth stays for good; 0: none */
    int resume;         /* Resume */
} CheckpointSettings;

enum { MEMORY_AUTO, MEMORY_PRIVATE };
enum { UPDATE_SHARDED, UPDATE_REPLICATED };
enum { DOMAIN_HOST, DOMAIN_NUMA };
enum { OVERLAP_OFF, OVERLAP_POLLING, OVERLAP_THREAD };

typedef struct CommSettings {
    int memory, update, domain, overlap;
    double bucket;           /* MiB */
    char *algorithm, *table; /* collective_set_algorithm; a file for collective_set_table, or "" */
    int wire;                /* a WireFormat, of gradient sums */
    double wire_scale;       /* of fp16; 0: found from step to step */
    ConfigNode *compress;    /* map of a compressor's options, or NULL: read by the trainer */
    char *virtual_hosts;     /* comm_pretend_hosts */
    int64_t virtual_domains; /* of each host, comm_split_domain; 0: the truth */
    double inject_delay_us, inject_gbit, inject_jitter_us, inject_slow_factor; /* Injection */
    int inject_slow_rank;
    int inject_flip_rank; /* a fault for tests; -1: none */
    int64_t inject_flip_step;
    char *inject_flip_tensor;
    Span check_every;               /* the replica check; 0: never */
    double warn_after, abort_after; /* seconds that the ranks stand still; 0: never */
} CommSettings;

typedef struct Settings {
    Config config; /* owned; resolved after settings_read and the families' init */
    char *name;    /* of the run folder; default: the config file's name without .yaml */
    char *folder;  /* option `output`: where run folders are made */
    int64_t seed;
    TrainSettings train;
    EvalSettings eval;
    LogSettings log;
    ComputeSettings compute;
    CommSettings comm;
    CheckpointSettings checkpoint;
    ProbeSettings probes;
    ConfigNode *data, *model;                /* as the config has them */
    ConfigNode *loss, *optimizer, *schedule; /* never NULL: made if the config has none */
    bool dry_run;                            /* set by the command line, not by the config */
} Settings;

/* Reads the top level of settings->config (already parsed and overridden): own sections into the
 * struct, the families' as nodes. train.epochs and train.steps exclude one another; given at
 * different places, the one with precedence wins. After an error settings_free is still to be
 * called. */
bool settings_read(Settings *settings, Err *err);
void settings_free(Settings *settings);

/* Only the section `comm` of a config: false as above, and then there is nothing to free. */
bool settings_read_comm(const Config *config, CommSettings *comm, Err *err);
void settings_free_comm(CommSettings *comm);

/* Make-believe hosts, injected network and choice of algorithms. Before anything is allocated with
 * `comm`. Collective. */
bool settings_apply_comm(const CommSettings *settings, Comm *comm, Err *err);

/* Can it be a run's or a study's name: one folder? And the name that a file gives it, such as
 * "fashion_cnn" for "configs/fashion_cnn.yaml"; "run" if that is no name. */
bool settings_is_name(const char *name);
void settings_default_name(const char *file, char *name, size_t size);

/* Chooses the kernels that the section `compute` asks for; this process's from then on. */
bool settings_apply_compute(const Settings *settings, Err *err);

/* What bf16_set_kernel takes. */
const char *settings_bf16_kernel(const Settings *settings);

/* Every option path there is ("train.batch", "optimizer.momentum", ...), options of all members of
 * the families included, each once: for LOCKSTEP_* names. The array ends with NULL; freed by
 * settings_paths_free. */
char **settings_paths(size_t *count);
void settings_paths_free(char **paths);

/* Is this the path of an option, or of something below one that is a map or a list of its own
 * ("model.layers[2].dense.units")? False: *nearest is what may have been meant, or NULL. */
bool settings_path_known(const char *path, char **nearest);

/* "train", "comm.compress", ...: a map of options that have paths. */
bool settings_path_is_section(const char *path);

/* Settings that change no step of a run: names, files, how ranks exchange data. */
bool settings_is_neutral(const char *path);

/* A section of the config and its table, for `lockstep list` and docs. Ends with a NULL name. */
typedef struct SettingsSection {
    const char *name, *help; /* "train"; "" is the top level */
    const Option *options;   /* of a family's section: the options that all its members share */
} SettingsSection;
extern const SettingsSection settings_sections[];

#endif
