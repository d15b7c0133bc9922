/* The watchdog: notices that the ranks stand still, names those that have not arrived, and ends the
 * job if it lasts. Where each rank is lies in a file of the run folder, which all ranks of a host
 * map and which survives them. Private to src/train. */
#ifndef LOCKSTEP_TRAIN_WATCH_H
#define LOCKSTEP_TRAIN_WATCH_H

#include "lockstep/trainer.h"

/* What a rank is at, in the order of a step; "at" means: has begun. */
typedef enum WatchPlace {
    WATCH_START,
    WATCH_LANES,
    WATCH_EXCHANGE,
    WATCH_UPDATE,
    WATCH_PUBLISH,
    WATCH_EVALUATE,
    WATCH_CHECKPOINT,
    WATCH_END,
    WATCH_PLACES
} WatchPlace;

/* Begins to watch; the thread of each rank beats once a second. NULL if the file cannot be made:
 * then nothing is watched (a warning says so). Collective. */
Watch *watch_start(Comm *comm, const char *folder, const CommSettings *settings);
void watch_free(Watch *watch); /* NULL is fine */

/* This rank has come to a place of a step (1-based: the step being done); `number`: a lane, a
 * chunk, or 0. About 50 ns; NULL is fine. */
void watch_note(Watch *watch, int64_t step, WatchPlace place, int number);

#endif
