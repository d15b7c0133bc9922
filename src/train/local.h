/* train.local: local SGD (Stich 2019) and post-local SGD (Lin, Stich, Patel, Jaggi 2020). From
 * step `after` on every lane is a worker with weights and optimizer state of its own, which makes
 * steps on its own samples; every `steps` steps the workers' weights are averaged over the lane
 * tree. Workers are lanes, not ranks, so the rank count changes nothing. Private to src/train. */
#ifndef LOCKSTEP_TRAIN_LOCAL_H
#define LOCKSTEP_TRAIN_LOCAL_H

#include "lockstep/trainer.h"

/* Reads train.local: t->local stays NULL if there is none. After the optimizer's options. */
bool local_read(Trainer *trainer, Err *err);

/* What this rank's lanes need. */
void local_allocate(Trainer *trainer);
void local_free(Trainer *trainer);

/* Is this step (0-based; the one that comes) made by lanes of their own? Is the last one, `done`
 * steps having been made? */
bool local_is_on(const Trainer *trainer);
bool local_has_begun(const Trainer *trainer, int64_t done);

/* A step of this rank's lanes, their reports left in `reports`: a loss that is not finite where a
 * gradient was not. */
void local_run_lanes(Trainer *trainer, const Rates *rates);

/* Behind the lanes' step: averages, if it is time. True if it did; the new weights are there on
 * every rank then, and the digests of this rank's blocks. Collective. */
bool local_average(Trainer *trainer);

/* The mean of the lanes' weights now, on every rank: the arena of t->average. Collective. */
float *local_weights(Trainer *trainer);

/* Arenas that are summed up in a step, on average. */
double local_travels(const Trainer *trainer);
size_t local_bytes(const Trainer *trainer); /* of this rank's lanes */
const char *local_text(const Trainer *trainer, char *text, size_t size);

/* What a checkpoint keeps of lane `lane`: its weights and its optimizer; NULL on other ranks than
 * the lane's. */
float *local_lane_weights(const Trainer *trainer, int lane);
Optimizer *local_lane_optimizer(const Trainer *trainer, int lane);

#endif
