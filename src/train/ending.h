/* What ends a training before its last step: a target that is met, a stop in order (train.stop_at),
 * a budget of seconds, a signal. Private to src/train. */
#ifndef LOCKSTEP_TRAIN_ENDING_H
#define LOCKSTEP_TRAIN_ENDING_H

#include "lockstep/trainer.h"

/* Reads train.target_* and train.stop_at, and checks that they suit the run. */
bool ending_read(Trainer *trainer, Err *err);

/* Training begins, or goes on, `start` being the clock when its first session would have begun. */
void ending_begin(Trainer *trainer, double start);

/* Is this evaluation the first that meets the target? The history remembers it. */
void ending_note(Trainer *trainer, const EvalRecord *eval);

/* No further step, for whatever reason. */
bool ending_reached(const Trainer *trainer);

/* train.stop_at is reached. */
bool ending_is_stop(const Trainer *trainer);

/* The target is met and ends the run: nothing is left to go on with. */
bool ending_met(const Trainer *trainer);

/* The run's status if it has not diverged. */
const char *ending_status(const Trainer *trainer);

#endif
