/* A run folder: made, filled and closed. Rank 0 does the work; the others hold a Run without files,
 * so that the training loop reads the same on every rank. */
#include "checkpoint_parts.h"
#include "run_parts.h"

#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/weights.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct Run {
    char *folder;
    bool writes; /* rank 0 */
    bool probes; /* probes.csv is wanted */
    bool failed; /* a file that is written in one piece could not be; first_error tells */
    Err first_error;
    Metrics metrics;
    TensorBoard *board; /* or NULL */
};

/* Without metrics.jsonl, by which a run is known: it is emptied when it is opened, so that who is
 * killed in between leaves something that may be replaced. */
static const char *const run_files[] = {
    "summary.json",
    "config.yaml",
    "meta.json",
    "metrics.csv",
    "probes.csv",
    "watch.bin",
    "config.yaml.tmp",
    "meta.json.tmp",
    "summary.json.tmp",
    "ckpt/final.safetensors",
    "ckpt/final.safetensors.tmp",
    "ckpt/latest",
    "ckpt/latest.tmp",
    "ckpt/best",
    "ckpt/best.tmp",
};

static bool is_events(const char *name)
{
    return strncmp(name, "events.out.tfevents.", 20) == 0;
}

/* ---- an existing folder ---- */

static bool remove_file(const char *folder, const char *name, Err *err)
{
    char *path = path_join(folder, name);
    bool ok = unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR;
    if (!ok)
        err_set(err, "%s: cannot remove: %s", path, strerror(errno));
    mem_free(path);
    return ok;
}

static bool remove_events(const char *folder, Err *err)
{
    char *path = path_join(folder, "tb");
    DIR *directory = opendir(path);
    bool ok = true;
    struct dirent *entry;
    while (ok && directory && (entry = readdir(directory)) != NULL)
        if (is_events(entry->d_name))
            ok = remove_file(path, entry->d_name, err);
    if (directory)
        closedir(directory);
    mem_free(path);
    return ok;
}

static bool remove_checkpoints(const char *folder, Err *err)
{
    size_t count;
    bool ok = true;
    int64_t *steps = checkpoint_list(folder, &count);
    for (size_t i = 0; ok && i < count; i++) {
        char path[CHECKPOINT_PATH];
        ok = checkpoint_remove(checkpoint_path(path, folder, steps[i]), err);
    }
    mem_free(steps);
    checkpoint_clean(folder, true);
    return ok;
}

/* Only what a run makes: a folder may hold notes, plots or another program's files. */
static bool remove_run(const char *folder, Err *err)
{
    bool ok = remove_events(folder, err) && remove_checkpoints(folder, err);
    for (size_t i = 0; ok && i < sizeof run_files / sizeof *run_files; i++)
        ok = remove_file(folder, run_files[i], err);
    return ok;
}

/* A run folder has metrics.jsonl from its first moment on; an empty folder is as good. */
static bool is_run(const char *folder)
{
    char *path = path_join(folder, "metrics.jsonl");
    bool found = access(path, F_OK) == 0, empty = true;
    mem_free(path);
    DIR *directory = opendir(folder);
    struct dirent *entry;
    while (directory && (entry = readdir(directory)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            empty = false;
    if (directory)
        closedir(directory);
    return found || empty;
}

static bool make_room(const char *folder, bool force, Err *err)
{
    struct stat status;
    if (lstat(folder, &status) != 0)
        return true; /* folder_make tells what is wrong with the way there */
    if (stat(folder, &status) != 0 || !S_ISDIR(status.st_mode))
        return err_set(err, "%s: exists and is not a folder; use name=OTHER", folder);
    if (!force)
        return err_set(err, "%s: exists; use --force to replace it, or name=OTHER", folder);
    if (!is_run(folder))
        return err_set(err,
                       "%s: holds files but no run (no metrics.jsonl): not replaced; "
                       "use name=OTHER",
                       folder);
    return remove_run(folder, err);
}

/* ---- open ---- */

static bool make_subfolder(const char *folder, const char *name, Err *err)
{
    char *path = path_join(folder, name);
    bool ok = folder_make(path, err);
    mem_free(path);
    return ok;
}

static bool open_board(Run *run, Err *err)
{
    char *path = path_join(run->folder, "tb");
    bool ok = folder_make(path, err);
    if (ok)
        run->board = tensorboard_open(path, err);
    mem_free(path);
    return ok && run->board;
}

static bool open_files(Run *run, const Settings *settings, bool force, Err *err)
{
    Err later;
    const char *name = settings->name;
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return err_set(err, "name: '%s' cannot name a run folder", name);
    /* metrics.jsonl first: who is killed here leaves an empty folder or one that is a run. */
    if (!make_room(run->folder, force, err) || !folder_make(run->folder, err) ||
        !metrics_open(&run->metrics, run->folder, run->probes, err))
        return false;
    if (!make_subfolder(run->folder, "ckpt", err) ||
        (settings->log.tensorboard && !open_board(run, err))) {
        metrics_close(&run->metrics, &later);
        return false;
    }
    metrics_start(&run->metrics, name);
    return true;
}

/* summary.json says that a run has ended: this one has not. */
static bool reopen_files(Run *run, const Settings *settings, int64_t step, int64_t rollbacks,
                         Err *err)
{
    Err later;
    checkpoint_set_aside(run->folder, step);
    checkpoint_clean(run->folder, false);
    if (!remove_file(run->folder, "summary.json", err) ||
        !remove_file(run->folder, "ckpt/final.safetensors", err) ||
        !metrics_resume(&run->metrics, run->folder, run->probes, step, rollbacks, err))
        return false;
    if (settings->log.tensorboard && !open_board(run, err)) {
        metrics_close(&run->metrics, &later);
        return false;
    }
    if (run->board)
        tensorboard_restart(run->board, step + 1);
    return true;
}

static Run *run_new(Comm *comm, const Settings *settings)
{
    Run *run = mem_new(Run);
    run->folder = path_join(settings->folder, settings->name);
    run->writes = comm_rank(comm) == 0;
    run->probes = settings->probes.every.value > 0 && settings->probes.tensors;
    return run;
}

/* What rank 0 knows, everybody knows; frees the run if it could not be opened. */
static Run *agree(Comm *comm, Run *run, bool ok, Err *err)
{
    struct {
        bool ok;
        Err err;
    } answer = { .ok = ok, .err = *err };
    comm_broadcast(comm, &answer, sizeof answer, 0);
    if (answer.ok)
        return run;
    *err = answer.err;
    mem_free(run->folder);
    mem_free(run);
    return NULL;
}

Run *run_open(Comm *comm, const Settings *settings, bool force, Err *err)
{
    Run *run = run_new(comm, settings);
    Err problem = { .text = "" };
    bool ok = !run->writes || open_files(run, settings, force, &problem);
    run = agree(comm, run, ok, &problem);
    if (!run)
        err_set(err, "%s", problem.text);
    return run;
}

Run *run_resume(Comm *comm, const Settings *settings, int64_t step, int64_t resumes,
                int64_t rollbacks, Err *err)
{
    Run *run = run_new(comm, settings);
    Err problem = { .text = "" };
    bool ok = !run->writes || reopen_files(run, settings, step, rollbacks, &problem);
    run = agree(comm, run, ok, &problem);
    if (!run)
        err_set(err, "%s", problem.text);
    else if (run->writes)
        metrics_resumed(&run->metrics, step, resumes, comm_size(comm));
    return run;
}

const char *run_folder(const Run *run)
{
    return run->folder;
}

/* ---- write ---- */

/* Keeps the first error of a file that is written in one piece, and says it. */
static void note(Run *run, bool ok, const Err *err)
{
    if (ok)
        return;
    log_warn("%s", err->text);
    if (!run->failed)
        run->first_error = *err;
    run->failed = true;
}

void run_write_config(Run *run, const Settings *settings)
{
    if (!run->writes)
        return;
    Err err;
    char *text = NULL, *path = path_join(run->folder, "config.yaml");
    size_t bytes = 0;
    FILE *memory = open_memstream(&text, &bytes);
    expect(memory);
    config_print(&settings->config, memory, false);
    expect(fclose(memory) == 0);
    note(run, file_replace(path, text, bytes, &err), &err);
    free(text);
    mem_free(path);
}

void run_write_meta(Run *run, int argc, char *const *argv, Comm *comm, const RunFacts *facts)
{
    char mine[HOST_SIZE] = "";
    size_t ranks = (size_t)comm_size(comm);
    char *hosts = run->writes ? mem_alloc(ranks * HOST_SIZE) : NULL;
    snprintf(mine, sizeof mine, "%s", comm_host(comm));
    comm_gather(comm, mine, hosts, sizeof mine);
    if (!run->writes)
        return;
    Err err;
    char *path = path_join(run->folder, "meta.json");
    note(run, meta_write(path, argc, argv, hosts, (int)ranks, facts, &err), &err);
    mem_free(path);
    mem_free(hosts);
}

/* Tags end in the key that metrics.jsonl uses. */
static void board_step(TensorBoard *board, const StepRecord *record, double now)
{
    int64_t step = record->step;
    tensorboard_scalar(board, "train/loss", step, now, record->loss);
    if (record->accuracy >= 0)
        tensorboard_scalar(board, "train/accuracy", step, now, record->accuracy);
    tensorboard_scalar(board, "train/lr", step, now, record->lr);
    tensorboard_scalar(board, "train/grad_norm", step, now, record->grad_norm);
    tensorboard_scalar(board, "train/clip", step, now, record->clip_factor);
    tensorboard_scalar(board, "train/samples_per_second", step, now, record->samples_per_second);
    if (record->tokens_per_second > 0)
        tensorboard_scalar(board, "train/tokens_per_second", step, now, record->tokens_per_second);
    tensorboard_scalar(board, "train/comm", step, now, record->comm);
    tensorboard_scalar(board, "train/epoch", step, now, record->epoch);
    tensorboard_flush(board);
}

static double unix_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void run_log_step(Run *run, const StepRecord *record)
{
    if (!run->writes)
        return;
    metrics_step(&run->metrics, record);
    if (run->board && !record->skipped)
        board_step(run->board, record, unix_now());
}

void run_log_eval(Run *run, const EvalRecord *record)
{
    if (!run->writes)
        return;
    metrics_eval(&run->metrics, record);
    if (!run->board)
        return;
    double now = unix_now();
    tensorboard_scalar(run->board, "eval/loss", record->step, now, record->loss);
    if (record->accuracy >= 0)
        tensorboard_scalar(run->board, "eval/accuracy", record->step, now, record->accuracy);
    if (record->per_token)
        tensorboard_scalar(run->board, "eval/perplexity", record->step, now,
                           perplexity(record->loss));
    tensorboard_flush(run->board);
}

void run_log_checkpoint(Run *run, const CheckpointRecord *record)
{
    if (run->writes)
        metrics_checkpoint(&run->metrics, record);
}

void run_log_probe(Run *run, const ProbeRecord *record)
{
    char tag[64];
    if (!run->writes)
        return;
    metrics_probe(&run->metrics, record);
    if (!run->board)
        return;
    double now = unix_now();
    for (int i = 0; i < record->value_count; i++) {
        snprintf(tag, sizeof tag, "probe/%s", record->values[i].key);
        if (isfinite(record->values[i].value))
            tensorboard_scalar(run->board, tag, record->step, now, record->values[i].value);
    }
    tensorboard_flush(run->board);
}

void run_rollback(Run *run, const RollbackRecord *record)
{
    Err err;
    if (!run->writes)
        return;
    note(run, metrics_close(&run->metrics, &err), &err);
    note(run,
         metrics_resume(&run->metrics, run->folder, run->probes, record->to, record->rollbacks - 1,
                        &err),
         &err);
    metrics_rollback(&run->metrics, record);
    if (run->board)
        tensorboard_restart(run->board, record->to + 1);
    checkpoint_set_aside(run->folder, record->to);
}

void run_sync(Run *run)
{
    if (run->metrics.jsonl.path)
        fdatasync(run->metrics.jsonl.fd);
    if (run->metrics.csv.path)
        fdatasync(run->metrics.csv.fd);
    if (run->metrics.probes.path)
        fdatasync(run->metrics.probes.fd);
}

void run_note_failure(Run *run, const Err *err)
{
    if (!run->failed)
        run->first_error = *err;
    run->failed = run->writes;
}

void run_write_summary(Run *run, const Summary *summary)
{
    if (!run->writes)
        return;
    Err err;
    char *path = path_join(run->folder, "summary.json");
    metrics_end(&run->metrics, summary);
    note(run, summary_write(path, summary, &err), &err);
    mem_free(path);
}

void run_write_weights(Run *run, const Layout *layout, const float *arena, int64_t step)
{
    if (!run->writes)
        return;
    Err err;
    char *path = path_join(run->folder, "ckpt/final.safetensors");
    note(run, weights_write(path, layout, arena, step, &err), &err);
    mem_free(path);
}

/* ---- close ---- */

bool run_close(Run *run, Err *err)
{
    Err later;
    bool ok = !run->failed;
    if (run->failed)
        err_set(err, "%s", run->first_error.text);
    if (!metrics_close(&run->metrics, &later) && ok)
        ok = err_set(err, "%s", later.text);
    if (!tensorboard_close(run->board, &later) && ok)
        ok = err_set(err, "%s", later.text);
    mem_free(run->folder);
    mem_free(run);
    return ok;
}
