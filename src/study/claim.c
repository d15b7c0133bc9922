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

bool claim_lock(const Study *study, const char *id, int *lock, Err *err)
{
    return take_lock(study, id, false, lock, err);
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

void claims_init(const Study *study, Claims *claims)
{
    *claims = (Claims){ .states = mem_array(TrialState, study->count),
                        .decisions = mem_array(Decision, study->count) };
}

void claims_free(const Study *study, Claims *claims)
{
    for (int i = 0; i < study->count; i++)
        trial_state_free(&claims->states[i]);
    mem_free(claims->states);
    mem_free(claims->decisions);
}

/* What has ended does not change. */
static void look_at(const Study *study, Claims *claims, int trial)
{
    TrialState *state = &claims->states[trial];
    if (state->status != TRIAL_OPEN)
        return;
    trial_state_free(state);
    trial_state(study, &study->trials[trial], state);
}

static bool is_done(const Claims *claims, int trial)
{
    return claims->states[trial].status != TRIAL_OPEN ||
           claims->decisions[trial].what == DECISION_PRUNED;
}

int claims_look(const Study *study, Claims *claims)
{
    int done = 0;
    for (int i = 0; i < study->count; i++)
        look_at(study, claims, i);
    prune_decide(study, claims->states, claims->decisions);
    for (int i = 0; i < study->count; i++)
        done += is_done(claims, i);
    return done;
}

/* Has nobody else brought it there since we looked? */
static bool is_still_open(const Study *study, Claims *claims, int trial)
{
    int rung = claims->decisions[trial].rung;
    look_at(study, claims, trial);
    const TrialState *state = &claims->states[trial];
    return state->status == TRIAL_OPEN && (rung < 0 || !state->passed[rung]);
}

bool claim_next(const Study *study, Claims *claims, Claim *claim, Err *err)
{
    *claim = (Claim){ .trial = -1, .lock = -1 };
    claims->taken = claims->waiting = 0;
    claims_look(study, claims);
    for (int i = 0; i < study->count; i++) {
        const Decision *decision = &claims->decisions[i];
        bool waits = decision->what == DECISION_WAIT;
        claims->waiting += waits;
        if (is_done(claims, i) || waits)
            continue;
        if (!claim_lock(study, study->trials[i].id, &claim->lock, err))
            return false;
        if (claim->lock >= 0 && is_still_open(study, claims, i)) {
            claim->trial = i;
            claim->rung = decision->rung;
            return true;
        }
        claims->taken++; /* somebody has it, or had it a moment ago */
        claim_release(claim->lock);
    }
    claim->lock = -1;
    return true;
}
