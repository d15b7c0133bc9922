/* Running statistics of averaged weights, taken anew from training batches. */
#ifndef LOCKSTEP_TRAIN_STATISTICS_H
#define LOCKSTEP_TRAIN_STATISTICS_H

#include "lockstep/trainer.h"

/* How many of the last steps' batches; 0 if the network has no running statistics or the config
 * wants none. */
int64_t statistics_steps(const Trainer *trainer);

/* The statistics of the batch of a step go into w, where this rank owns them. Collective. */
void statistics_step(Trainer *trainer, float *w, int64_t step);

#endif
