/* Writing checkpoints while training goes on.
 *
 *   step 40, all ranks   copy my part of everything            the only pause: a memory copy
 *   a thread a rank      digest and write it into step-40.tmp, fsync
 *   some steps later     every lane has reported "written"; rank 0 gathers the digests
 *   a thread of rank 0   state.json, fsync, rename to step-40, fsync, `latest`, remove old ones
 *
 * Every rank writes its own ranges of the same two files, so nothing is gathered. The threads do
 * file work only: no MPI call is made outside the main thread. */
#include "checkpoint_parts.h"
#include "ending.h"
#include "run_parts.h"
#include "watch.h"

#include "lockstep/clock.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PART (64 * DIGEST_RUN) /* elements that are digested and written at a time: in the cache */

typedef enum Stage { STAGE_IDLE, STAGE_WRITE, STAGE_PUBLISH } Stage;

struct Checkpointer {
    const CheckpointSettings *settings; /* borrowed */
    const BatchPlan *plan;              /* borrowed; NULL: no rollbacks */
    bool takes_copy;
    char *copy; /* of this rank's part; owned */
    size_t copy_bytes;
    int rank, hosts;

    Stage stage;
    pthread_t thread;
    atomic_bool done; /* the thread's work of this stage */
    bool ok;
    Err err;
    char run[CHECKPOINT_PATH]; /* the run's folder */
    Run *files;                /* the run, borrowed while a checkpoint is written */
    int64_t step;              /* of the one that is being written, or the last */
    Pieces pieces;             /* `data` point into the copy, or into the trainer */
    uint64_t *digests;         /* of every piece: this rank's part, later all of it; owned */
    char *headers[CHECKPOINT_FILES];
    size_t header_bytes[CHECKPOINT_FILES];
    json_t *state; /* where the trainer stood, without the files; rank 0; owned */
    bool is_best;

    double began, pause, last; /* seconds: of this one; how long it held training up; the last one
                                  began */
    int64_t newest;            /* step of the newest whole one; -1: none; rank 0 */
    bool trouble;              /* the last attempt failed */
    bool ends_best;            /* the last evaluation was the best so far, at the last step */
};

/* ---- life ---- */

Checkpointer *checkpointer_new(Trainer *t)
{
    const CheckpointSettings *settings = &t->settings->checkpoint;
    Checkpointer *c = mem_new(Checkpointer);
    c->settings = settings;
    if (t->settings->train.on_diverged == DIVERGED_ROLLBACK)
        c->plan = &t->loader.plan;
    c->rank = comm_rank(t->comm);
    c->hosts = comm_hosts(t->comm);
    c->step = c->newest = -1;
    c->last = clock_seconds();
    c->takes_copy = settings->every.value > 0 || settings->minutes > 0 || settings->best;
    if (c->takes_copy) {
        Pieces pieces;
        pieces_collect(&pieces, t, INT64_MAX); /* the most there will be */
        c->copy_bytes = pieces.mine;
        pieces_free(&pieces);
        c->copy = mem_alloc(c->copy_bytes);
    }
    return c;
}

static void forget(Checkpointer *c)
{
    pieces_free(&c->pieces);
    mem_free(c->digests);
    c->digests = NULL;
    json_decref(c->state);
    c->state = NULL;
    for (int i = 0; i < CHECKPOINT_FILES; i++) {
        mem_free(c->headers[i]);
        c->headers[i] = NULL;
    }
    c->stage = STAGE_IDLE;
}

void checkpointer_free(Checkpointer *c)
{
    if (!c)
        return;
    if (c->stage != STAGE_IDLE)
        pthread_join(c->thread, NULL);
    forget(c);
    mem_free(c->copy);
    mem_free(c);
}

/* ---- a rank's part, in its thread ---- */

static char *temporary_path(const Checkpointer *c, char path[CHECKPOINT_PATH])
{
    snprintf(path, CHECKPOINT_PATH, "%.4000s/ckpt/step-%lld.tmp", c->run, (long long)c->step);
    return path;
}

static bool write_at(int fd, const void *data, size_t bytes, uint64_t offset)
{
    const char *next = data;
    while (bytes > 0) {
        ssize_t written = pwrite(fd, next, bytes, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            errno = written < 0 ? errno : ENOSPC;
            return false;
        }
        next += written;
        bytes -= (size_t)written;
        offset += (uint64_t)written;
    }
    return true;
}

static bool write_piece(int fd, const Piece *piece, uint64_t start, uint64_t *digest)
{
    const char *next = piece_mine(piece);
    for (uint64_t done = 0; done < piece->mine; done += PART) {
        uint64_t n = piece->mine - done < PART ? piece->mine - done : PART;
        uint64_t at = start + (piece->mine_first + done) * piece->item;
        *digest ^= tensor_digest(next, piece->item, piece->mine_first + done, n);
        if (!write_at(fd, next, n * piece->item, at))
            return false;
        next += n * piece->item;
    }
    return true;
}

static bool write_file(Checkpointer *c, int file, int fd)
{
    uint64_t start = c->header_bytes[file];
    bool ok = c->rank != 0 || write_at(fd, c->headers[file], c->header_bytes[file], 0);
    for (size_t i = 0; ok && i < c->pieces.count; i++) {
        const Piece *piece = &c->pieces.piece[i];
        if (piece->file == file)
            ok = write_piece(fd, piece, start + piece->offset, &c->digests[i]);
    }
    return ok && fsync(fd) == 0;
}

/* All ranks open the same file, whoever comes first makes it. */
static void *write_part(void *context)
{
    Checkpointer *c = context;
    char folder[CHECKPOINT_PATH], path[CHECKPOINT_PATH + 32];
    temporary_path(c, folder);
    c->ok = mkdir(folder, 0777) == 0 || errno == EEXIST ||
            err_set(&c->err, "%s: cannot make the folder: %s", folder, strerror(errno));
    for (int file = 0; c->ok && file < CHECKPOINT_FILES; file++) {
        snprintf(path, sizeof path, "%s/%s", folder, checkpoint_files[file]);
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        c->ok = fd >= 0 && write_file(c, file, fd);
        int error = errno;
        if (fd >= 0 && close(fd) != 0 && c->ok) {
            c->ok = false;
            error = errno;
        }
        if (!c->ok)
            err_set(&c->err, "%s: cannot write: %s", path, strerror(error));
    }
    atomic_store(&c->done, true);
    return NULL;
}

/* ---- the end of one, in a thread of rank 0 ---- */

static bool write_state(Checkpointer *c, const char *folder, Err *err)
{
    size_t bytes;
    char *path = path_join(folder, "state.json");
    char *text = state_text(c->state, &c->pieces, c->digests, c->headers, c->header_bytes, &bytes);
    bool ok = file_replace(path, text, bytes, err);
    mem_free(text);
    mem_free(path);
    return ok;
}

/* Whoever reads a name finds what it names: each rename comes after what it uncovers is on disk. */
static bool publish(Checkpointer *c, Err *err)
{
    char temporary[CHECKPOINT_PATH], path[CHECKPOINT_PATH], folder[CHECKPOINT_PATH];
    CheckpointState state;
    temporary_path(c, temporary);
    checkpoint_path(path, c->run, c->step);
    snprintf(folder, sizeof folder, "%.4000s/ckpt", c->run);
    bool ok = write_state(c, temporary, err) && folder_sync(temporary, err);
    /* Ranks of other hosts have written to what may not be the same disk. */
    if (ok && c->hosts > 1 && (ok = checkpoint_verify(temporary, &state, err)))
        state_free(&state);
    run_sync(c->files); /* every record up to this step is there when it is resumed */
    if (ok && access(path, F_OK) == 0)
        ok = checkpoint_remove(path, err);
    if (ok && rename(temporary, path) != 0)
        ok = err_set(err, "%s: cannot rename: %s", temporary, strerror(errno));
    ok = ok && folder_sync(folder, err) && pointer_write(c->run, "latest", c->step, err) &&
         (!c->is_best || pointer_write(c->run, "best", c->step, err)) && folder_sync(folder, err);
    if (ok)
        checkpoint_prune(c->run, c->settings, c->plan);
    return ok;
}

static void *publish_part(void *context)
{
    Checkpointer *c = context;
    c->ok = publish(c, &c->err);
    atomic_store(&c->done, true);
    return NULL;
}

/* ---- stages, in the main thread ---- */

/* Signals are the main thread's: they ask for an orderly end. */
static void start_thread(Checkpointer *c, Stage stage, void *(*work)(void *context))
{
    sigset_t all, before;
    c->stage = stage;
    atomic_store(&c->done, false);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&c->thread, NULL, work, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        die(EXIT_CHECKPOINT, "checkpoint: cannot start a thread: %s", strerror(error));
}

/* Pieces that this rank writes, copied; training may go on. */
static void take_copy(Checkpointer *c)
{
    char *next = c->copy;
    expect(c->pieces.mine <= c->copy_bytes);
    for (size_t i = 0; i < c->pieces.count; i++) {
        Piece *piece = &c->pieces.piece[i];
        if (piece->mine == 0)
            continue;
        memcpy(next, piece_mine(piece), piece->mine * piece->item);
        piece->first = piece->mine_first;
        piece->count = piece->mine;
        piece->data = next;
        next += piece->mine * piece->item;
    }
}

static void begin(Trainer *t, Run *run, bool best, bool copy)
{
    Checkpointer *c = t->checkpointer;
    c->began = c->last = clock_seconds();
    snprintf(c->run, sizeof c->run, "%s", run_folder(run));
    c->files = run;
    c->step = t->step;
    c->is_best = best;
    t->history.checkpoints++;
    pieces_collect(&c->pieces, t, t->step);
    c->digests = mem_array(uint64_t, c->pieces.count);
    for (int file = 0; file < CHECKPOINT_FILES; file++)
        c->headers[file] =
            pieces_header(&c->pieces, file, t->step, t->digest, &c->header_bytes[file]);
    if (c->rank == 0)
        c->state = state_root(t, t->history.checkpoints);
    if (copy)
        take_copy(c);
    start_thread(c, STAGE_WRITE, write_part);
    c->pause = clock_seconds() - c->began;
}

/* What a whole checkpoint has cost. */
static void report(const Checkpointer *c, Run *run)
{
    char bytes[32], pause[32];
    double total = 0, seconds = clock_seconds() - c->began;
    for (int file = 0; file < CHECKPOINT_FILES; file++)
        total += (double)(c->header_bytes[file] + c->pieces.data_bytes[file]);
    log_verbose("checkpoint step-%lld: %s in %.2f s, %.0f MB/s, training held up for %s",
                (long long)c->step, text_bytes(bytes, sizeof bytes, total), seconds,
                1e-6 * total / seconds, text_seconds(pause, sizeof pause, c->pause));
    run_log_checkpoint(run, &(CheckpointRecord){
                                .step = c->step,
                                .bytes = (int64_t)total,
                                .pause = c->pause,
                                .seconds = seconds,
                            });
}

static void complain(Checkpointer *c, const char *text)
{
    c->trouble = true;
    if (c->newest >= 0)
        log_warn("%s; the newest checkpoint is step-%lld", text, (long long)c->newest);
    else
        log_warn("%s; there is no checkpoint yet", text);
}

static void remove_temporary(const Checkpointer *c)
{
    char path[CHECKPOINT_PATH];
    checkpoint_remove(temporary_path(c, path), NULL);
}

/* Rank 0's thread has done its work: the checkpoint is there or will not be. */
static void end_publish(Checkpointer *c, Run *run)
{
    pthread_join(c->thread, NULL);
    if (c->ok) {
        c->newest = c->step;
        c->trouble = false;
        report(c, run);
    } else {
        complain(c, c->err.text);
        remove_temporary(c);
    }
    forget(c);
}

/* A piece's digest is what the ranks have found for their parts of it, XORed. */
static void gather_digests(Trainer *t)
{
    Checkpointer *c = t->checkpointer;
    size_t ranks = (size_t)comm_size(t->comm), count = c->pieces.count;
    uint64_t *all = c->rank == 0 ? mem_array(uint64_t, ranks * count) : NULL;
    comm_gather(t->comm, c->digests, all, count * sizeof *all);
    for (size_t rank = 1; all && rank < ranks; rank++)
        for (size_t i = 0; i < count; i++)
            c->digests[i] ^= all[rank * count + i];
    mem_free(all);
}

/* Every rank's thread has ended or is waited for. Collective. */
static void end_write(Trainer *t)
{
    Checkpointer *c = t->checkpointer;
    pthread_join(c->thread, NULL);
    t->written = false;
    if (!comm_all_ok(t->comm, c->ok, &c->err)) {
        complain(c, c->err.text);
        comm_barrier(t->comm); /* nobody writes there any more */
        if (c->rank == 0)
            remove_temporary(c);
        forget(c);
        return;
    }
    gather_digests(t);
    if (c->rank == 0)
        start_thread(c, STAGE_PUBLISH, publish_part);
    else
        forget(c);
}

void checkpointer_wait(Trainer *t, Run *run)
{
    Checkpointer *c = t->checkpointer;
    watch_note(t->watch, t->step, WATCH_CHECKPOINT, 0);
    if (c->stage == STAGE_WRITE) /* on every rank or on none */
        end_write(t);
    if (c->stage == STAGE_PUBLISH)
        end_publish(c, run);
}

/* ---- the module's functions ---- */

bool checkpointer_due(const Trainer *t, bool best)
{
    bool due =
        best || t->save || batch_plan_due(&t->loader.plan, t->step, t->settings->checkpoint.every);
    return due && t->checkpointer->takes_copy && t->step < t->steps && !t->stop;
}

void checkpointer_step(Trainer *t, Run *run, bool best)
{
    Checkpointer *c = t->checkpointer;
    double minutes = t->settings->checkpoint.minutes;
    if (c->stage == STAGE_WRITE && t->all_written)
        end_write(t);
    if (c->stage == STAGE_PUBLISH && atomic_load(&c->done))
        end_publish(c, run);
    if (checkpointer_due(t, best)) {
        checkpointer_wait(
            t, run); /* at most one is being written: a slow disk holds training up here */
        begin(t, run, best, true);
    }
    c->ends_best = best;
    t->written = c->stage == STAGE_WRITE && atomic_load(&c->done);
    t->save_wanted = c->rank == 0 && minutes > 0 && clock_seconds() - c->last > 60 * minutes;
}

void checkpointer_resumed(Checkpointer *c, int64_t step)
{
    c->step = c->newest = step;
}

/* Nothing changes any more, so it is written from where it is. */
void checkpointer_end(Trainer *t, Run *run, bool diverged)
{
    Checkpointer *c = t->checkpointer;
    bool writes = t->settings->checkpoint.every.value > 0 || t->history.checkpoints > 0;
    checkpointer_wait(t, run);
    if (!diverged && t->step > 0 && ((t->step < t->steps && !ending_met(t)) || writes) &&
        c->step != t->step) {
        begin(t, run, c->ends_best, false);
        checkpointer_wait(t, run);
    }
    if (c->trouble)
        run_note_failure(run, &c->err);
}
