/* What trainer.c shares with the loop (training.c) and with the other ways to make a step. Private
 * to src/train. */
#ifndef LOCKSTEP_TRAIN_TRAINER_PARTS_H
#define LOCKSTEP_TRAIN_TRAINER_PARTS_H

#include "lockstep/trainer.h"

/* What happened since the last lap was `phase`. */
void trainer_lap(Trainer *trainer, Phase phase);

/* So many seconds of what happened since the last lap were `phase`; the rest is still to be
 * said. */
void trainer_lap_of(Trainer *trainer, Phase phase, double seconds);

/* samples -> loss -> gradient of one lane at weights w, in a buffer of the reducer, which is
 * returned. The gradient is the lane's share of the mean over the global batch; `alone`: the mean
 * over the lane, as if there were no others. */
float *trainer_run_lane(Trainer *trainer, float *w, int64_t step, int lane, bool alone);

/* What the lanes have added to the reducer, in this rank's slice at least. Digests of the weights
 * are taken behind every block's update. Collective. */
Gradient trainer_reduce(Trainer *trainer);

/* Each rank's slice of an arena to all ranks of its group; a shared copy has it already. */
void trainer_share(Trainer *trainer, const SharedMemory *shared, float *arena);

/* Share of samples, or positions, that were right; -1: the loss knows no right and wrong. */
double trainer_accuracy(const Trainer *trainer, Tally tally);

/* What a schedule may watch; the same on every rank. */
void trainer_observe(Trainer *trainer, ScheduleEvent event, Tally tally);

#endif
