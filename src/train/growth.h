/* A batch that grows during the run: more lanes of the same size. */
#ifndef LOCKSTEP_TRAIN_GROWTH_H
#define LOCKSTEP_TRAIN_GROWTH_H

#include "lockstep/trainer.h"

/* Reads train.grow into the loader's plan. The loader is there, nothing that knows the number of
 * lanes is. */
bool growth_read(Trainer *trainer, Err *err);

/* The lanes of a batch; of the run's largest batch, for which arrays are allocated. */
Lanes growth_lanes(const Trainer *trainer, int batch);
Lanes growth_last_lanes(const Trainer *trainer);

/* Which lanes each rank owns. */
void growth_set_bounds(Trainer *trainer);

/* Before the gradient of a step: when its batch is another than the last one, new lanes and a new
 * reducer. Collective then. */
void growth_step(Trainer *trainer, int64_t step);

#endif
