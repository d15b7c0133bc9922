/* Checkpoints: everything that a run needs to go on with the same bits, on any number of ranks.
 *
 * RUN/ckpt/step-N/ holds model.safetensors (weights and running statistics), optimizer.safetensors
 * (its state) and state.json (where the run stands, its configuration, the digest of every tensor);
 * nothing in it belongs to a rank. docs/checkpoints.md tells how it is written and what it
 * survives; docs/formats.md, what is in it. */
#ifndef LOCKSTEP_CHECKPOINT_H
#define LOCKSTEP_CHECKPOINT_H

#include "lockstep/trainer.h"

/* ---- writing ---- */

/* Takes the memory for a copy of this rank's part of everything, if the settings ask for
 * checkpoints. checkpointer_free waits for a checkpoint that is being written. */
Checkpointer *checkpointer_new(Trainer *trainer);
void checkpointer_free(Checkpointer *checkpointer); /* NULL is fine */

/* After every step and its evaluation: begins a checkpoint if one is due (`best`: because the
 * evaluation was the best so far) by copying this rank's part, which a thread then writes; ends one
 * that every rank has written. Trouble is warned about and training goes on. Collective. */
void checkpointer_step(Trainer *trainer, Run *run, bool best);

/* Does checkpointer_step begin one now? */
bool checkpointer_due(const Trainer *trainer, bool best);

/* Until nothing is being written. Collective. */
void checkpointer_wait(Trainer *trainer, Run *run);

/* After the last step: waits for the one that is being written, and writes one of the last step if
 * the run was interrupted or writes checkpoints at all. Collective. */
void checkpointer_end(Trainer *trainer, Run *run, bool diverged);

/* ---- going on ---- */

typedef enum ResumeOutcome {
    RESUME_FRESH, /* there is nothing to go on from */
    RESUME_DONE,  /* the trainer stands where a checkpoint has left it */
    RESUME_ENDED, /* the run of this folder has ended in order with no checkpoint: nothing to do */
    RESUME_FAILED /* err tells */
} ResumeOutcome;

/* Fills a trainer that trainer_init has built from the newest valid checkpoint of the run folder:
 * one that is damaged is passed over with a warning that says what is wrong. Settings that change
 * the trajectory must be those of the checkpoint, except those that `allow` names ("optimizer.lr,
 * schedule"; NULL: none); otherwise err lists the differences. Collective. */
ResumeOutcome checkpoint_resume(Trainer *trainer, const char *folder, const char *allow, Err *err);

/* Back to the newest valid checkpoint of a step below `before` that was written because of
 * checkpoint.every, in the run that goes on; others depend on clocks and signals. After an error
 * the trainer's weights may mean nothing. Collective; nothing is being written. */
bool checkpoint_back(Trainer *trainer, const char *folder, int64_t before, Err *err);

/* The weights, for evaluation: `what` is a safetensors file, a checkpoint's folder, or "latest",
 * "best", "step-N" or "final" in the run folder. Of a checkpoint it takes all that is needed for
 * trainer_final_weights to be what training evaluates there, the optimizer's average if it has one;
 * a file's weights are taken as they are. Collective. */
bool checkpoint_weights(Trainer *trainer, const char *folder, const char *what, int64_t *step,
                        Err *err);

/* All of a checkpoint's state, for training to go on from: `what` as above, but no file. After an
 * error the trainer's weights may mean nothing. Collective. */
bool checkpoint_restore(Trainer *trainer, const char *folder, const char *what, Err *err);

/* ---- `lockstep ckpt` ---- */

typedef struct CkptRequest {
    const char *const *words; /* list RUN, show RUN [NAME], verify RUN [NAME], export RUN [NAME],
                                 import FILE */
    int count;
    const char *out, *format; /* export, import; NULL: not given */
    bool force;
} CkptRequest;

/* Answers on stdout; returns the exit code, err holds the message if it is not EXIT_OK. One
 * process. */
int ckpt_command(const CkptRequest *request, Err *err);

#endif
