/* What the paths of a report are: runs, folders of runs, a study or its table. */
#include "parts.h"

#include "lockstep/files.h"
#include "lockstep/memory.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_RUNS = 1000 };

static bool holds(const char *folder, const char *name)
{
    char *path = path_join(folder, name);
    bool there = access(path, F_OK) == 0;
    mem_free(path);
    return there;
}

static bool is_folder(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

/* ---- runs ---- */

static bool add_run(Source *source, const char *folder, Err *err)
{
    if (source->run_count == MOST_RUNS)
        return err_set(err, "%s: more than %d runs", folder, MOST_RUNS);
    mem_grow(&source->runs, source->run_count, &source->run_capacity, sizeof *source->runs);
    return run_data_read(&source->runs[source->run_count++], folder, err);
}

static int by_name(const void *left, const void *right)
{
    const char *const *a = left, *const *b = right;
    return strcmp(*a, *b);
}

/* Paths of the run folders in a folder, sorted; the caller frees each and the array. */
static char **runs_in(const char *folder, size_t *count)
{
    char **paths = NULL;
    size_t capacity = 0;
    DIR *directory = opendir(folder);
    *count = 0;
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        char *path = path_join(folder, entry->d_name);
        bool run = entry->d_name[0] != '.' && holds(path, "metrics.jsonl");
        if (!run) {
            mem_free(path);
            continue;
        }
        mem_grow(&paths, *count, &capacity, sizeof *paths);
        paths[(*count)++] = path;
    }
    if (directory)
        closedir(directory);
    if (*count > 0)
        qsort(paths, *count, sizeof *paths, by_name);
    return paths;
}

static bool add_folder(Source *source, const char *folder, Err *err)
{
    size_t count;
    char **paths = runs_in(folder, &count);
    bool ok = count > 0 || err_set(err,
                                   "%s: no run, no study and no folder of runs: no metrics.jsonl "
                                   "and no trials.csv in it",
                                   folder);
    for (size_t i = 0; i < count; i++) {
        ok = ok && add_run(source, paths[i], err);
        mem_free(paths[i]);
    }
    mem_free(paths);
    return ok;
}

static bool is_table(const char *path)
{
    size_t length = strlen(path);
    return length > 4 && strcmp(path + length - 4, ".csv") == 0;
}

static bool add_path(Source *source, const char *path, int count, Err *err)
{
    bool study = is_table(path) || holds(path, "trials.csv");
    if (access(path, F_OK) != 0)
        return err_set(err, "%s: %s", path, strerror(errno));
    if (study && count > 1)
        return err_set(err, "%s: a study comes alone in a report", path);
    if (study) {
        source->study = mem_new(Answer);
        source->study_path = mem_string(path);
        return answer_read(source->study, path, err);
    }
    if (!is_folder(path))
        return err_set(err, "%s: not a folder; a run, a study or a table (.csv) is wanted", path);
    return holds(path, "metrics.jsonl") ? add_run(source, path, err)
                                        : add_folder(source, path, err);
}

bool source_read(Source *source, const char *const *paths, int count, Err *err)
{
    *source = (Source){ 0 };
    for (int i = 0; i < count; i++)
        if (!add_path(source, paths[i], count, err))
            return false;
    return true;
}

void source_free(Source *source)
{
    for (size_t i = 0; i < source->run_count; i++)
        run_data_free(&source->runs[i]);
    mem_free(source->runs);
    if (source->study)
        answer_free(source->study);
    mem_free(source->study);
    mem_free(source->study_path);
    *source = (Source){ 0 };
}
