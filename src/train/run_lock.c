/* The lock of a run folder. When mpirun is killed its ranks may live on for a moment, and whoever
 * restarts the job at once would write beside them. */
#include "run_parts.h"

#include "lockstep/log.h"
#include "lockstep/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define WAIT_SECONDS 20
#define TRIES_PER_SECOND 20

/* A folder can be locked itself: no file is needed. Where locks are unknown there are none. */
static bool take(const char *folder, int *lock, Err *err)
{
    const struct timespec pause = { .tv_nsec = 1000000000 / TRIES_PER_SECOND };
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *lock = fd;
    for (int i = 0; fd >= 0 && i < WAIT_SECONDS * TRIES_PER_SECOND; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 || (errno != EWOULDBLOCK && errno != EINTR))
            return true;
        if (i == TRIES_PER_SECOND)
            log_info("%s: another session is still writing there; waiting", folder);
        nanosleep(&pause, NULL);
    }
    if (fd < 0)
        return true; /* there is no folder */
    close(fd);
    *lock = -1;
    return err_set(err, "%s: another session is writing there", folder);
}

bool run_lock(Comm *comm, const Settings *settings, int *lock, Err *err)
{
    struct {
        bool ok;
        Err err;
    } answer = { .ok = true };
    if (comm_rank(comm) == 0 && *lock < 0) {
        char *folder = path_join(settings->folder, settings->name);
        answer.ok = take(folder, lock, &answer.err);
        mem_free(folder);
    }
    comm_broadcast(comm, &answer, sizeof answer, 0);
    return answer.ok || err_set(err, "%s", answer.err.text);
}

void run_unlock(int lock)
{
    if (lock >= 0)
        close(lock);
}
