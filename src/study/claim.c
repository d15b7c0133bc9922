/* Who does what: the first trial that is not done and that nobody works on. Whoever works on one
 * holds the lock of locks/ID until it is done or the process ends, however it ends. */
#include "study_parts.h"

#include "lockstep/files.h"
#include "lockstep/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* Opens locks/NAME and locks it. *lock stays -1 if somebody else holds it and `wait` is not asked
 * for. */
static bool take_lock(const Study *study, const char *name, bool wait, int *lock, Err *err)
{
    char *folder = path_join(study->folder, "locks"), *path = path_join(folder, name);
    *lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    bool ok = *lock >= 0 || err_set(err, "%s: %s", path, strerror(errno));
    int result = -1;
    while (ok && (result = flock(*lock, LOCK_EX | (wait ? 0 : LOCK_NB))) != 0 && errno == EINTR)
        ;
    if (ok && result != 0) {
        ok =
            errno == EWOULDBLOCK || err_set(err, "%s: cannot be locked: %s", path, strerror(errno));
        close(*lock);
        *lock = -1;
    }
    mem_free(folder);
    mem_free(path);
    return ok;
}

void claim_release(int lock)
{
    if (lock >= 0)
        close(lock);
}

bool claim_table(const Study *study, int *lock, Err *err)
{
    return take_lock(study, "table", true, lock, err);
}

static bool is_done(const Study *study, Claims *claims, int trial)
{
    TrialState state;
    if (claims->done[trial])
        return true;
    trial_state(study, &study->trials[trial], &state);
    claims->done[trial] = state.status != TRIAL_OPEN;
    trial_state_free(&state);
    return claims->done[trial];
}

bool claim_next(const Study *study, Claims *claims, Claim *claim, Err *err)
{
    *claim = (Claim){ .trial = -1, .lock = -1 };
    claims->taken = 0;
    for (int i = 0; i < study->count; i++) {
        if (is_done(study, claims, i))
            continue;
        if (!take_lock(study, study->trials[i].id, false, &claim->lock, err))
            return false;
        claims->taken += claim->lock < 0;
        if (claim->lock < 0)
            continue;
        if (!is_done(study, claims, i)) { /* nobody was quicker */
            claim->trial = i;
            return true;
        }
        claim_release(claim->lock);
    }
    claim->lock = -1;
    return true;
}

int claim_done(const Study *study, Claims *claims)
{
    int done = 0;
    for (int i = 0; i < study->count; i++)
        done += is_done(study, claims, i);
    return done;
}
