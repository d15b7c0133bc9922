/* Gradients that travel in fewer bits: what the trainer knows of it. Private to src/train. */
#ifndef LOCKSTEP_TRAIN_COMPRESSION_H
#define LOCKSTEP_TRAIN_COMPRESSION_H

#include "lockstep/trainer.h"

/* Reads the settings and refuses what makes no sense together; when the optimizer is there, before
 * the first reducer is made. */
bool compression_start(Trainer *trainer, Err *err);
void compression_stop(Trainer *trainer);

/* Around a step's gradient: what it is rounded to; what its norm says about the next one's. */
void compression_begin(Trainer *trainer);
void compression_end(Trainer *trainer);

/* "topk {ratio: 0.01}", "fp16": what is sent in the place of sums in fp32; "" without. */
const char *compression_text(const Trainer *trainer, char *text, size_t size);

/* Bytes that all ranks have sent to other hosts so far; known to rank 0. Collective. */
double compression_sent(const Trainer *trainer);

/* Is the scale of fp16 found from step to step? */
bool compression_scales(const Trainer *trainer);

#endif
