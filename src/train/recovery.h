/* What happens when the loss or the gradient of a step is not finite (train.on_diverged), the same
 * on every rank and for any rank count: the run stops, the step is left out, or the run goes back
 * to a checkpoint, with a smaller learning rate and past the batch. Private to src/train. */
#ifndef LOCKSTEP_TRAIN_RECOVERY_H
#define LOCKSTEP_TRAIN_RECOVERY_H

#include "lockstep/trainer.h"

/* Has a rollback decided to pass over the batch of the step in hand? */
bool recovery_passes(const Trainer *trainer);

/* The end of a step that is not to be updated: counts it as a step if its batch is passed over
 * (STEP_SKIPPED) or if what has diverged is left out; other outcomes are handed on. Collective. */
StepOutcome recovery_skip(Trainer *trainer, StepOutcome outcome);

/* After STEP_DIVERGED: back to a checkpoint, if that is what is wanted and there is one; false: the
 * run has diverged. Collective. */
bool recovery_rollback(Trainer *trainer, Run *run);

#endif
