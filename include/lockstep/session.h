/* A session of a run: a trainer that is ready trains into its run folder, new or where an earlier
 * session has left it, until the run ends or is stopped. */
#ifndef LOCKSTEP_SESSION_H
#define LOCKSTEP_SESSION_H

#include "lockstep/trainer.h"

typedef struct Session {
    bool force; /* replace an existing run folder */
    bool anew;  /* begin again if the folder's run has ended without a checkpoint */
    const char
        *allow_change; /* settings that may have changed since (checkpoint_resume), or NULL */
    int argc;          /* the command, for meta.json */
    char *const *argv;
} Session;

/* Returns the exit code of `train`; what happened is in *summary, whose status is NULL if nothing
 * was to be done: the run had ended without a checkpoint. err->text is empty unless the folder
 * could not be opened or a file of it not be written (codes 2 and 4). Collective. */
int session_run(Trainer *trainer, const Session *session, Summary *summary, Err *err);

#endif
