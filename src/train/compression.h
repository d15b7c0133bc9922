/* Gradients that travel in fewer bits: what the trainer knows of it. Private to src/train. */
#ifndef LOCKSTEP_TRAIN_COMPRESSION_H
#define LOCKSTEP_TRAIN_COMPRESSION_H

#include "lockstep/trainer.h"

/* Before the first reducer is made. */
void compression_init(Trainer *trainer);

/* Around a step's gradient: what it is rounded to; what its norm says about the next one's. */
void compression_begin(Trainer *trainer);
void compression_end(Trainer *trainer);

/* Is the scale of fp16 found from step to step? */
bool compression_scales(const Trainer *trainer);

#endif
