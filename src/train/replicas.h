/* The replica check: all copies of the weights are the same, and what they were when they were
 * written. Private to src/train.
 *
 * Each rank's digest of the weights, taken in the update, travels with the next step's lane
 * reports: a copy that was updated otherwise is noticed one step later, for nothing. Every
 * comm.check_every, before each checkpoint and at the end the copies are read once more where they
 * lie, which also finds what has changed without an update. */
#ifndef LOCKSTEP_TRAIN_REPLICAS_H
#define LOCKSTEP_TRAIN_REPLICAS_H

#include "lockstep/trainer.h"

/* False if comm.inject_flip_* name a rank or a tensor that is not there. Not collective. */
bool replicas_init(Trainer *trainer, Err *err);
void replicas_free(Replicas *replicas); /* NULL is fine */

/* In trainer_step, when the lanes' reports are gathered: have all ranks reported the same
 * digest? */
bool replicas_reported(const Trainer *trainer);

/* Is the check due after the step that is done? */
bool replicas_due(const Trainer *trainer);

/* Reads all copies. If they differ, the job ends with exit code 7 and one message, after the
 * checkpoint that is being written, which was taken of checked weights. Collective. */
void replicas_check(Trainer *trainer, Run *run);

/* Says what the checks have cost (log_verbose). */
void replicas_say_cost(const Trainer *trainer);

/* After a step: flips the bit that comm.inject_flip_* ask for. Collective then. */
void replicas_inject(Trainer *trainer);

#endif
