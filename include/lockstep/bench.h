/* `lockstep bench step CONFIG`: where the time of a training step goes, layer by layer and phase by
 * phase, against the machine's measured limits. */
#ifndef LOCKSTEP_BENCH_H
#define LOCKSTEP_BENCH_H

#include "lockstep/trainer.h"

/* Trains the network for a few steps to warm up and then for about `seconds`; rank 0 prints a
 * table, or one JSON object, of its own times. Collective. False: training diverged meanwhile. */
bool bench_step(Trainer *trainer, double seconds, bool json);

#endif
