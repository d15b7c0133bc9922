/* Files of a run folder: append-only files that survive a full disk, files replaced in one
 * piece. */
#include "run_parts.h"

#include "lockstep/log.h"
#include "lockstep/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *path_join(const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = mem_alloc(size);
    snprintf(path, size, "%s/%s", folder, name);
    return path;
}

static bool folder_make_one(const char *path, Err *err)
{
    struct stat status;
    if (mkdir(path, 0777) == 0)
        return true;
    int error = errno;
    if (error == EEXIST && stat(path, &status) == 0 && S_ISDIR(status.st_mode))
        return true;
    return err_set(err, "%s: cannot make the folder: %s", path,
                   strerror(error == EEXIST ? ENOTDIR : error));
}

bool folder_make(const char *path, Err *err)
{
    char *part = mem_string(path);
    bool ok = true;
    for (char *slash = strchr(part + 1, '/'); ok && slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        ok = folder_make_one(part, err);
        *slash = '/';
    }
    mem_free(part);
    return ok && folder_make_one(path, err);
}

bool output_resume(Output *output, const char *folder, const char *name, int64_t keep, Err *err)
{
    char *path = path_join(folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0 || (ftruncate(fd, (off_t)keep) != 0 && errno != EINVAL)) { /* EINVAL: a device */
        err_set(err, "%s: cannot write: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        mem_free(path);
        return false;
    }
    *output = (Output){ .path = path, .fd = fd, .bytes = keep };
    return true;
}

bool output_open(Output *output, const char *folder, const char *name, Err *err)
{
    return output_resume(output, folder, name, 0, err);
}

/* All of data; false with errno set. */
static bool write_all(int fd, const void *data, size_t bytes)
{
    const char *next = data;
    while (bytes > 0) {
        ssize_t written = write(fd, next, bytes);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            errno = written < 0 ? errno : ENOSPC;
            return false;
        }
        next += written;
        bytes -= (size_t)written;
    }
    return true;
}

void output_write(Output *output, const void *data, size_t bytes, int64_t records)
{
    if (!output->path)
        return;
    if (write_all(output->fd, data, bytes)) {
        output->bytes += (int64_t)bytes;
        return;
    }
    output->lost += records;
    if (output->error == 0) {
        output->error = errno;
        log_warn("%s: %s; training goes on, records that cannot be written are left out",
                 output->path, strerror(output->error));
    }
    /* A device such as /dev/full cannot be cut; it holds no half record either. */
    if (ftruncate(output->fd, (off_t)output->bytes) != 0 && errno != EINVAL)
        log_warn("%s: cannot cut off a half-written record: %s", output->path, strerror(errno));
}

bool output_close(Output *output, Err *err)
{
    if (!output->path)
        return true;
    bool ok = true;
    int closed = close(output->fd) == 0 ? 0 : errno; /* NFS tells of a full disk here */
    if (output->lost > 0)
        ok = err_set(err, "%s: %s; %lld records are missing", output->path, strerror(output->error),
                     (long long)output->lost);
    else if (closed != 0)
        ok = err_set(err, "%s: cannot close: %s", output->path, strerror(closed));
    mem_free(output->path);
    *output = (Output){ .fd = -1 };
    return ok;
}

static bool write_and_sync(const char *path, const void *data, size_t bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return false;
    bool ok = write_all(fd, data, bytes) && fsync(fd) == 0;
    int error = errno;
    if (close(fd) != 0 && ok)
        return false;
    errno = error;
    return ok;
}

bool file_replace(const char *path, const void *data, size_t bytes, Err *err)
{
    size_t size = strlen(path) + 5;
    char *temporary = mem_alloc(size);
    snprintf(temporary, size, "%s.tmp", path);
    bool ok = write_and_sync(temporary, data, bytes) && rename(temporary, path) == 0;
    if (!ok) {
        err_set(err, "%s: cannot write: %s", path, strerror(errno));
        unlink(temporary);
    }
    mem_free(temporary);
    return ok;
}

/* One byte beyond the limit is enough to see that the file is larger. */
static size_t read_up_to(int fd, char *text, size_t limit, int *error)
{
    size_t used = 0;
    *error = 0;
    while (used < limit) {
        ssize_t got = read(fd, text + used, limit - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            *error = errno;
        if (got <= 0)
            break;
        used += (size_t)got;
    }
    return used;
}

bool file_text(const char *path, size_t limit, char **text, size_t *bytes, Err *err)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, "%s: %s", path, strerror(errno));
    size_t room = limit + 1;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && (uint64_t)status.st_size < limit)
        room = (size_t)status.st_size + 1;
    int error;
    *text = mem_alloc(room + 1);
    *bytes = read_up_to(fd, *text, room, &error);
    close(fd);
    if (error == 0 && *bytes <= limit)
        return true;
    mem_free(*text);
    *text = NULL;
    if (error != 0)
        return err_set(err, "%s: %s", path, strerror(error));
    return err_set(err, "%s: larger than %zu bytes", path, limit);
}
