/* Probes: what is measured of a training step while it is made (docs/probes.md). Everything comes
 * from sums over blocks or over lanes in a fixed order, so its bits are those of the step: the same
 * for any number of ranks. A step that is not probed costs nothing. Private to src/train. */
#ifndef LOCKSTEP_TRAIN_PROBES_H
#define LOCKSTEP_TRAIN_PROBES_H

#include "lockstep/trainer.h"

/* Checks section `probes` against the rest: t->probes stays NULL if nothing is to be probed. After
 * the optimizer's and train.local's options. */
bool probes_read(Trainer *trainer, Err *err);

/* Memory for steps of up to so many lanes, and what ranks tell each other of it at once; what has
 * to be known of the start values, when they are there. */
void probes_allocate(Trainer *trainer, int lanes);
size_t probes_board_bytes(const Trainer *trainer, int lanes);
void probes_start(Trainer *trainer);
void probes_free(Trainer *trainer);

/* ---- in a step, in this order; without probes, and in a step without, nothing happens ---- */

void probes_begin(Trainer *trainer);
/* Around a lane's backward: a node is past, everything is (and is not yet with other ranks). */
void probes_lane(Trainer *trainer, int lane);
void probes_passed(Trainer *trainer, int node);
void probes_lane_ends(Trainer *trainer, const float *gradient); /* NULL: an empty lane */
/* The lanes have been seen: what they do from here on is about other weights. */
void probes_lanes_end(Trainer *trainer);
/* Looks on while the optimizer works on this gradient; then takes the time for itself. */
void probes_watch(Trainer *trainer, Gradient *gradient);
void probes_watched(Trainer *trainer);
/* The step is done: t->step counts it. Collective. */
void probes_end(Trainer *trainer);

/* What has been found of the last step, or NULL. Valid until the next step. */
const ProbeRecord *probes_record(const Trainer *trainer);
int64_t probes_count(const Trainer *trainer); /* steps probed in this session */

/* ---- going on ---- */

/* Scalars that a checkpoint keeps: how many; 0 without probes. */
size_t probes_state(Trainer *trainer, double **values);
/* Arenas of this rank's slice that a checkpoint of so many steps keeps, by number: NULL behind the
 * last. INT64_MAX: of the checkpoint that keeps most. */
float *probes_arena(Trainer *trainer, int number, int64_t done, const char **name);
/* These have been read from a checkpoint. */
void probes_loaded(Trainer *trainer);

size_t probes_bytes(const Trainer *trainer); /* of this rank */
/* "every 20st: noise, norms", or "" without. */
const char *probes_text(const Trainer *trainer, char *text, size_t size);

#endif
