/* The folders of checkpoints: which there are, which are whole, which may go. A checkpoint gets its
 * name, step-N, by a rename when everything in it is on the disk, and loses it by a rename before
 * anything in it is removed. */
#include "checkpoint_parts.h"
#include "run_parts.h"

#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- names ---- */

char *checkpoint_path(char path[CHECKPOINT_PATH], const char *run, int64_t step)
{
    snprintf(path, CHECKPOINT_PATH, "%s/ckpt/step-%lld", run, (long long)step);
    return path;
}

/* "step-40" -> 40; -1: not such a name. */
static int64_t step_of(const char *name)
{
    int64_t step;
    bool ok = strncmp(name, "step-", 5) == 0 && name[5] >= '0' && name[5] <= '9' &&
              text_to_int(name + 5, &step);
    return ok ? step : -1;
}

static int newest_first(const void *left, const void *right)
{
    const int64_t *a = left, *b = right;
    return (*a < *b) - (*a > *b);
}

int64_t *checkpoint_list(const char *run, size_t *count)
{
    int64_t *steps = NULL;
    size_t capacity = 0;
    char *path = path_join(run, "ckpt");
    DIR *directory = opendir(path);
    struct dirent *entry;
    *count = 0;
    while (directory && (entry = readdir(directory)) != NULL) {
        int64_t step = step_of(entry->d_name);
        if (step < 0)
            continue;
        mem_grow(&steps, *count, &capacity, sizeof *steps);
        steps[(*count)++] = step;
    }
    if (directory)
        closedir(directory);
    if (*count > 0)
        qsort(steps, *count, sizeof *steps, newest_first);
    mem_free(path);
    return steps;
}

bool folder_sync(const char *path, Err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (!ok)
        err_set(err, "%s: cannot sync: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return ok;
}

/* ---- pointers ---- */

bool pointer_write(const char *run, const char *pointer, int64_t step, Err *err)
{
    char path[CHECKPOINT_PATH], text[32];
    snprintf(path, sizeof path, "%s/ckpt/%s", run, pointer);
    int length = snprintf(text, sizeof text, "step-%lld\n", (long long)step);
    return file_replace(path, text, (size_t)length, err);
}

int64_t pointer_read(const char *run, const char *pointer)
{
    char path[CHECKPOINT_PATH], *text;
    size_t bytes;
    snprintf(path, sizeof path, "%s/ckpt/%s", run, pointer);
    if (!file_text(path, 64, &text, &bytes, NULL))
        return -1;
    if (bytes > 0 && text[bytes - 1] == '\n')
        text[bytes - 1] = '\0';
    int64_t step = step_of(text);
    mem_free(text);
    return step;
}

/* ---- removing ---- */

/* Checkpoints have no subfolders. */
static bool empty_and_remove(const char *folder, Err *err)
{
    DIR *directory = opendir(folder);
    struct dirent *entry;
    while (directory && (entry = readdir(directory)) != NULL)
        unlinkat(dirfd(directory), entry->d_name, 0); /* fails for . and .. */
    if (directory)
        closedir(directory);
    return rmdir(folder) == 0 || err_set(err, "%s: cannot remove: %s", folder, strerror(errno));
}

bool checkpoint_remove(const char *folder, Err *err)
{
    char aside[CHECKPOINT_PATH + 8];
    snprintf(aside, sizeof aside, "%s.old", folder);
    empty_and_remove(aside, NULL); /* left by somebody who was killed here */
    if (rename(folder, aside) != 0)
        return err_set(err, "%s: cannot remove: %s", folder, strerror(errno));
    return empty_and_remove(aside, err);
}

static bool ends_in(const char *name, const char *end)
{
    size_t length = strlen(name), tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

void checkpoint_clean(const char *run, bool unused)
{
    char *path = path_join(run, "ckpt");
    DIR *directory = opendir(path);
    struct dirent *entry;
    while (directory && (entry = readdir(directory)) != NULL) {
        bool left_over = ends_in(entry->d_name, ".tmp") || ends_in(entry->d_name, ".old") ||
                         (unused && ends_in(entry->d_name, ".unused"));
        if (!left_over || strncmp(entry->d_name, "step-", 5) != 0)
            continue;
        char *folder = path_join(path, entry->d_name);
        empty_and_remove(folder, NULL);
        mem_free(folder);
    }
    if (directory)
        closedir(directory);
    mem_free(path);
}

void checkpoint_set_aside(const char *run, int64_t step)
{
    size_t count;
    int64_t *steps = checkpoint_list(run, &count);
    for (size_t i = 0; i < count && steps[i] > step; i++) {
        char path[CHECKPOINT_PATH], aside[CHECKPOINT_PATH + 16];
        checkpoint_path(path, run, steps[i]);
        snprintf(aside, sizeof aside, "%s.unused", path);
        empty_and_remove(aside, NULL);
        if (rename(path, aside) != 0)
            log_warn("%s: cannot be moved aside: %s", path, strerror(errno));
    }
    mem_free(steps);
}

/* keep_every counts checkpoints as they were written; one that cannot be read is not kept for
 * it. */
static bool is_kept_for_good(const char *path, int64_t every)
{
    CheckpointState state;
    if (every <= 0 || !state_read(&state, path, NULL))
        return false;
    bool kept = state.number % every == 0;
    state_free(&state);
    return kept;
}

void checkpoint_prune(const char *run, const CheckpointSettings *settings, const BatchPlan *plan)
{
    size_t count;
    Err err;
    int64_t best = pointer_read(run, "best");
    int64_t *steps = checkpoint_list(run, &count);
    int64_t regular = 0;
    for (size_t i = 0; i < count; i++) {
        char path[CHECKPOINT_PATH];
        bool due = plan && batch_plan_due(plan, steps[i], settings->every);
        regular += due;
        if ((int64_t)i < settings->keep || (due && regular <= settings->keep))
            continue;
        checkpoint_path(path, run, steps[i]);
        if (steps[i] == best || is_kept_for_good(path, settings->keep_every))
            continue;
        if (!checkpoint_remove(path, &err))
            log_warn("%s", err.text);
    }
    mem_free(steps);
}

/* ---- verifying ---- */

static bool verify_tensors(const TensorFile *file, const json_t *record, Err *err)
{
    const json_t *tensors = json_object_get(record, "tensors");
    if (file->count != json_object_size(tensors))
        return err_set(err, "%s: %zu tensors found, %zu recorded", file->path, file->count,
                       json_object_size(tensors));
    for (size_t i = 0; i < file->count; i++) {
        uint64_t found, wanted;
        const TensorEntry *entry = &file->entries[i];
        if (!state_hex(tensors, entry->name, &wanted))
            return err_set(err, "%s: tensor %.100s: no digest is recorded", file->path,
                           entry->name);
        if (!tensor_file_digest(file, entry, &found, err))
            return false;
        if (found != wanted)
            return err_set(
                err, "%s: tensor %.100s: digest %016llx found, %016llx recorded: damaged",
                file->path, entry->name, (unsigned long long)found, (unsigned long long)wanted);
    }
    return true;
}

static bool verify_file(const char *folder, const char *name, const CheckpointState *state,
                        Err *err)
{
    TensorFile file;
    uint64_t header;
    const json_t *record = state_file(state, name);
    char *path = path_join(folder, name);
    bool ok = record && state_hex(record, "header", &header);
    if (!ok)
        err_set(err, "%s: nothing is recorded about it", path);
    if (ok && (ok = tensor_file_open(&file, path, err))) {
        if (file.header_digest != header)
            ok = err_set(err, "%s: header digest %016llx found, %016llx recorded: damaged", path,
                         (unsigned long long)file.header_digest, (unsigned long long)header);
        ok = ok && verify_tensors(&file, record, err);
        tensor_file_close(&file);
    }
    mem_free(path);
    return ok;
}

bool checkpoint_verify(const char *folder, CheckpointState *state, Err *err)
{
    if (!state_read(state, folder, err))
        return false;
    for (int i = 0; i < CHECKPOINT_FILES; i++)
        if (!verify_file(folder, checkpoint_files[i], state, err)) {
            state_free(state);
            return false;
        }
    return true;
}
