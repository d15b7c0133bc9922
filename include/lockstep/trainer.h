/* The trainer: where data, network, reduction and optimizer meet. Every function is collective. */
#ifndef LOCKSTEP_TRAINER_H
#define LOCKSTEP_TRAINER_H

#include "lockstep/comm.h"
#include "lockstep/compress.h"
#include "lockstep/loader.h"
#include "lockstep/model.h"
#include "lockstep/optimizer.h"
#include "lockstep/reducer.h"
#include "lockstep/run.h"
#include "lockstep/schedule.h"
#include "lockstep/settings.h"

typedef struct Checkpointer Checkpointer; /* checkpoint.h */
typedef struct Watch Watch;               /* src/train/watch.h */
typedef struct Replicas Replicas;         /* src/train/replicas.h */
typedef struct Local Local;               /* src/train/local.h */
typedef struct Probes Probes;             /* src/train/probes.h */

/* What a lane reports in a step; gathered from all lanes and summed over the lane tree. */
typedef struct LaneReport {
    Tally tally;
    double stop;     /* 1: this lane's rank was asked to stop (signal) */
    double late;     /* 1: by its rank's clock train.seconds are over */
    double save;     /* 1: its rank (rank 0 by its clock) wants a checkpoint */
    double written;  /* 1: its rank has written its part of the checkpoint */
    uint64_t digest; /* of its rank's weights */
} LaneReport;

/* What a run knows beside weights and optimizer, over all its sessions; kept in checkpoints. */
typedef struct History {
    double seconds, evaluating;      /* since training began, as of the last checkpoint or resume;
                                        evaluations in that */
    double test_loss, test_accuracy; /* last evaluation: nan, -1 before the first */
    double best_loss, best_accuracy; /* best so far, the same way */
    int64_t checkpoints, resumes;    /* how many */
    int64_t target_step, target_samples; /* the first evaluation that met the target; 0: none has */
    double target_seconds;
    double target_accuracy, target_loss; /* the target that this is about; 0: not given */
    bool owes_eval;                      /* the run was stopped where an evaluation was due */
} History;

/* What has been done about losses and gradients that were not finite; kept in checkpoints. */
typedef struct Recovery {
    int64_t skipped, in_row; /* steps without an update: in all, and how many the last ones were */
    int64_t rollbacks, from, to; /* how many; where the last one began and ended: steps done */
    double lr_factor;            /* of the schedule's lr */
    struct {
        int64_t first, count;
    } passed[SETTINGS_MAX_ROLLBACKS]; /* by each rollback: steps whose batches are passed over */
} Recovery;

/* Where a step's time goes. EXCHANGE is exposed communication, waiting for other ranks included. */
typedef enum Phase {
    PHASE_LOAD,
    PHASE_FORWARD,
    PHASE_BACKWARD,
    PHASE_FOLD,
    PHASE_EXCHANGE,
    PHASE_UPDATE,
    PHASE_DIGEST,
    PHASE_PROBE,
    PHASE_COUNT
} Phase;

typedef enum StepOutcome { STEP_OK, STEP_SKIPPED, STEP_DIVERGED, STEP_REPLICAS } StepOutcome;

typedef struct Trainer {
    const Settings *settings; /* borrowed, as is comm */
    Comm *comm;
    Comm *host; /* ranks that read each other's gradients: those of a host, or all */
    Comm
        *group; /* ranks among which weights and update are shared out: `host`, or a domain of it */
    int *first_ranks; /* (ranks) the first rank of each rank's group */
    Lanes lanes;
    Loader loader;
    Model model;
    Optimizer optimizer;
    Schedule schedule;
    Reducer *reducer;
    Compression compression;            /* of gradients; its type is NULL without */
    double wire_scale;                  /* of gradients in fp16 (wire.h); kept in checkpoints */
    SliceExchange slices, world_slices; /* of the group; of all ranks, see trainer_reducer */
    Slice slice;                        /* the part of the arena that this rank updates */
    Exchange exchange;                  /* completes what slices make */
    SharedMemory *shared;               /* the group's one copy of w, or NULL */
    float *w;                           /* weights and running statistics, layout.n floats; owned
                                           unless shared */
    float *average;                     /* weights to evaluate, where they are not w, like w; or
                                           NULL */
    SharedMemory *shared_average;       /* the host's one copy of it; or NULL */
    bool average_is_final;              /* of the last step, its statistics taken anew */
    LaneReport *reports;                /* one per lane */
    double *lane_values;                /* scratch: one double per lane */
    Tally *chunk_tallies;               /* one per evaluation chunk */
    float *mean_output;                 /* (lane, stored output), for test-time augmentation */
    uint64_t *digests;                  /* one per block */
    size_t *lane_bounds, *chunk_bounds; /* ranks + 1 each: which lanes and chunks a rank owns */

    int64_t step, steps, samples; /* done; wanted; seen */
    int64_t stop_step;            /* train.stop_at; 0: none */
    double deadline;              /* train.seconds, as a time of the clock */
    Rates rates;                  /* of the last step */
    Tally tally;                  /* of the last step's global batch */
    Tally epoch_tally;            /* of the epoch so far */
    double seconds[PHASE_COUNT];  /* of this rank so far, by phase of a step */
    double lap;                   /* when the last phase ended */
    Timeline *timeline;           /* NULL: nobody wants one */
    ClockOffset clock;            /* of this rank, for the timeline */
    bool stop;                    /* some rank was asked to stop */
    bool late;                    /* train.seconds are over */
    bool save;                    /* rank 0's clock wants a checkpoint */
    bool all_written;             /* every rank has written its part of the checkpoint */
    bool save_wanted, written;    /* what this rank reports for these two */
    Checkpointer *checkpointer;   /* owned */
    Local *local;                 /* train.local, or NULL; owned */
    Probes *probes;               /* or NULL; owned */
    Watch *watch;                 /* while trainer_run runs; or NULL */
    Replicas *replicas;           /* owned */
    History history;
    Recovery recovery;
    uint64_t digest, trajectory; /* after the last step */
    size_t planned_bytes;        /* most memory of this rank until training starts (memory.h),
                                     from which on it grows no more; the same in a dry run */
} Trainer;

/* Builds everything the settings ask for: data, network, initial weights, optimizer, schedule. On
 * error every rank gets the same message and *exit_code says which code it deserves; the trainer
 * can be freed in any case. */
bool trainer_init(Trainer *trainer, Settings *settings, Comm *comm, int *exit_code, Err *err);
void trainer_free(Trainer *trainer);

/* One optimizer step on the next global batch. STEP_SKIPPED: the step is counted, but nothing was
 * updated (train.on_diverged). STEP_DIVERGED: the loss or the gradient is not finite; step, digest
 * and trajectory stay those of the step before, the weights are not to be used. STEP_REPLICAS: the
 * ranks' copies of the weights differ, nothing is done. */
StepOutcome trainer_step(Trainer *trainer);

/* The mean gradient of a step's batch at weights w (layout.n floats, on every rank), to be asked
 * for block by block in this rank's slice; the lanes' reports are left in `reports`. */
Gradient trainer_gradient(Trainer *trainer, float *w, int64_t step);

/* Exact evaluation on the test set: every sample once, the same bits for any rank count. The second
 * is for the end of a run: with the test-time augmentation that eval.tta asks for. */
Tally trainer_evaluate(Trainer *trainer);
Tally trainer_test(Trainer *trainer);

/* The weights to evaluate and to keep: w, or what the optimizer has as their average.
 * Collective. */
float *trainer_final_weights(Trainer *trainer);

/* Is the loss a mean over positions of sequences, each with a label of its own? Then e^loss is a
 * perplexity. */
bool trainer_per_token(const Trainer *trainer);

/* Adds the step that is done to `trajectory`. */
void trainer_extend_trajectory(Trainer *trainer);

/* The reducer for so many lanes, with the overlap that the settings ask for. */
Reducer *trainer_reducer(Trainer *trainer, const Lanes *lanes);

/* The model's watcher: lets sums travel while backward goes on. */
void trainer_passed(void *trainer, int node);

/* "tree", "fast" (other bits for another number of ranks), "adasum": train.reduce. */
const char *trainer_reduction(const Trainer *trainer);

/* Digest of weights and running statistics, from every rank's slice. */
uint64_t trainer_digest(Trainer *trainer);

/* Trains to the end (or to divergence, or a signal), logs every step and evaluation to `run`, fills
 * *summary and returns the exit code. */
int trainer_run(Trainer *trainer, Run *run, Summary *summary);

/* Writes log.timeline, if it is asked for; a file that cannot be written is warned about. */
void trainer_write_timeline(Trainer *trainer);

/* Asks for an orderly end after the current step; safe in a signal handler. */
void trainer_request_stop(int signal_number);
bool trainer_stop_requested(void); /* of this process */

/* Do the samples suit eval.tta? */
bool trainer_check_tta(const Trainer *trainer, Err *err);

/* Gives rank 0's weights to all ranks, after rank 0 alone has changed them. */
void trainer_send_weights(Trainer *trainer);

/* Each rank's slice of the weights to all ranks. */
void trainer_publish(Trainer *trainer);

/* `lockstep doctor --postmortem RUN`: where each rank of a run on several ranks was last, on
 * stdout. One process. */
bool trainer_postmortem(const char *folder, Err *err);

/* The start banner; what a run took of what it had planned; the whole plan (--dry-run). */
void trainer_banner(const Trainer *trainer, const char *folder);
void trainer_say_memory(const Trainer *trainer);
void trainer_plan(Trainer *trainer);

#endif
