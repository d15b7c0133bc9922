/* `lockstep ckpt`: what its two files share. Private to src/train. */
#ifndef LOCKSTEP_TRAIN_CKPT_PARTS_H
#define LOCKSTEP_TRAIN_CKPT_PARTS_H

#include "checkpoint_parts.h"

/* The folder of the checkpoint that `what` names in a run: "latest", "best", "step-N". */
bool ckpt_find(const char *run, const char *what, char folder[CHECKPOINT_PATH], Err *err);

int ckpt_export(const CkptRequest *request, Err *err);
int ckpt_import(const CkptRequest *request, Err *err);

#endif
