/* Going on from a checkpoint: the newest that is whole, each rank reading the ranges that are its
 * own today, whoever wrote them. What is damaged is named and passed over. */
#include "checkpoint_parts.h"
#include "probes.h"
#include "run_parts.h"

#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/version.h"
#include "lockstep/weights.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- one checkpoint into the trainer ---- */

typedef struct Load {
    Trainer *trainer;
    const CheckpointState *state;
    const char *folder;
    bool changed; /* the optimizer may be another one than then */
    Pieces pieces;
    uint64_t *digests; /* of this rank's part of every piece */
} Load;

static bool check_entry(const Piece *piece, const TensorEntry *entry, const char *path, Err *err)
{
    bool same = strcmp(piece->type, entry->type) == 0 && entry->ndim == piece->ndim &&
                entry->total == piece->total;
    for (int i = 0; same && i < entry->ndim; i++)
        same = entry->shape[i] == piece->shape[i];
    return same || err_set(err, "%s: tensor %s: another type or shape than this network's", path,
                           piece->name);
}

/* State of an optimizer that was not in use then starts as in a new run. */
static bool load_piece(Load *load, const TensorFile *file, size_t index, Err *err)
{
    Piece *piece = &load->pieces.piece[index];
    const TensorEntry *entry = tensor_file_find(file, piece->name);
    if (!entry && (piece->optional || (load->changed && piece->file == FILE_OPTIMIZER)))
        return true;
    if (!entry)
        return err_set(err, "%s: tensor %s is missing", file->path, piece->name);
    if (!check_entry(piece, entry, file->path, err))
        return false;
    if (piece->count == 0)
        return true;
    if (!tensor_file_read(file, entry, piece->first, piece->count, piece->data, err))
        return false;
    load->digests[index] =
        tensor_digest(piece_mine(piece), piece->item, piece->mine_first, piece->mine);
    return true;
}

/* What has to be in the file, and what is: probes may be others today than they were. */
static size_t wanted_pieces(const Load *load, int number)
{
    size_t count = 0;
    for (size_t i = 0; i < load->pieces.count; i++) {
        const Piece *piece = &load->pieces.piece[i];
        count += piece->file == number && !piece->optional;
    }
    return count;
}

static size_t found_pieces(const TensorFile *file)
{
    size_t count = 0;
    for (size_t i = 0; i < file->count; i++)
        count += strncmp(file->entries[i].name, PROBE_PREFIX, strlen(PROBE_PREFIX)) != 0;
    return count;
}

static bool load_file(Load *load, int number, Err *err)
{
    const char *name = checkpoint_files[number];
    const json_t *record = state_file(load->state, name);
    char *path = path_join(load->folder, name);
    TensorFile file;
    uint64_t header = 0;
    size_t wanted = wanted_pieces(load, number);
    bool ok = tensor_file_open(&file, path, err);
    if (ok) {
        if (!state_hex(record, "header", &header) || header != file.header_digest)
            ok = err_set(err, "%s: header digest %016llx found, %016llx recorded: damaged", path,
                         (unsigned long long)file.header_digest, (unsigned long long)header);
        for (size_t i = 0; ok && i < load->pieces.count; i++)
            if (load->pieces.piece[i].file == number)
                ok = load_piece(load, &file, i, err);
        size_t found = number == FILE_OPTIMIZER ? found_pieces(&file) : file.count;
        if (ok && found != wanted && !(load->changed && number == FILE_OPTIMIZER))
            ok = err_set(err, "%s: %zu tensors found, %zu expected", path, found, wanted);
        tensor_file_close(&file);
    }
    mem_free(path);
    return ok;
}

/* Rank 0 alone knows all parts of the digests. */
static bool compare_digests(const Load *load, const uint64_t *digests, Err *err)
{
    for (size_t i = 0; i < load->pieces.count; i++) {
        const Piece *piece = &load->pieces.piece[i];
        const char *name = checkpoint_files[piece->file];
        const json_t *record = state_file(load->state, name);
        uint64_t wanted;
        bool known = state_hex(json_object_get(record, "tensors"), piece->name, &wanted);
        if (!known && (piece->optional || (load->changed && piece->file == FILE_OPTIMIZER)))
            continue;
        if (!known || digests[i] != wanted)
            return err_set(err, "%s/%s: tensor %s: its digest is not the recorded one: damaged",
                           load->folder, name, piece->name);
    }
    return true;
}

static bool check_digests(const Load *load, Err *err)
{
    Comm *comm = load->trainer->comm;
    size_t ranks = (size_t)comm_size(comm), count = load->pieces.count;
    bool first = comm_rank(comm) == 0, ok = true;
    uint64_t *all = first ? mem_array(uint64_t, ranks * count) : NULL;
    comm_gather(comm, load->digests, all, count * sizeof *all);
    if (first) {
        for (size_t rank = 1; rank < ranks; rank++)
            for (size_t i = 0; i < count; i++)
                all[i] ^= all[rank * count + i];
        ok = compare_digests(load, all, err);
    }
    mem_free(all);
    comm_broadcast(comm, &ok, sizeof ok, 0);
    if (!ok)
        comm_broadcast(comm, err, sizeof *err, 0);
    return ok;
}

static void set_progress(Trainer *t, const CheckpointState *state)
{
    t->step = state->step;
    t->samples = state->samples;
    t->trajectory = state->trajectory;
    t->epoch_tally = state->epoch_tally;
    t->history = state->history;
    t->recovery = state->recovery;
    t->history.resumes++;
    checkpointer_resumed(t->checkpointer, state->step);
}

/* Collective. After an error the trainer's weights and state mean nothing. */
static bool load_checkpoint(Trainer *t, const CheckpointState *state, const char *folder,
                            bool changed, Err *err)
{
    Load load = { .trainer = t, .state = state, .folder = folder, .changed = changed };
    pieces_collect(&load.pieces, t, state->step);
    load.digests = mem_array(uint64_t, load.pieces.count);
    bool ok = true;
    for (int file = 0; ok && file < CHECKPOINT_FILES; file++)
        ok = load_file(&load, file, err);
    ok = comm_all_ok(t->comm, ok, err) && check_digests(&load, err);
    mem_free(load.digests);
    pieces_free(&load.pieces);
    if (!ok)
        return false;
    t->digest = trainer_digest(t);
    trainer_publish(t);
    if (t->digest != state->digest)
        return err_set(err, "%s: digest %016llx of the weights, %016llx recorded", folder,
                       (unsigned long long)t->digest, (unsigned long long)state->digest);
    set_progress(t, state);
    probes_loaded(t);
    return true;
}

/* ---- which one ---- */

/* Rank 0's list for all. */
static int64_t *list_for_all(Comm *comm, const char *run, size_t *count)
{
    int64_t *steps = comm_rank(comm) == 0 ? checkpoint_list(run, count) : NULL;
    uint64_t n = comm_rank(comm) == 0 ? *count : 0;
    comm_broadcast(comm, &n, sizeof n, 0);
    *count = (size_t)n;
    if (!steps)
        steps = mem_array(int64_t, n);
    comm_broadcast(comm, steps, n * sizeof *steps, 0);
    return steps;
}

/* Rank 0 reads; everybody parses the same text and comes to the same result. */
static bool read_for_all(Comm *comm, const char *folder, CheckpointState *state, Err *err)
{
    char *text = NULL, *path = path_join(folder, "state.json");
    size_t bytes = 0;
    Err problem = { .text = "" };
    struct {
        bool ok;
        Err err;
    } answer = { .ok = true };
    if (comm_rank(comm) == 0)
        answer.ok = file_text(path, (size_t)64 << 20, &text, &bytes, &problem);
    answer.err = problem;
    comm_broadcast(comm, &answer, sizeof answer, 0);
    bool ok = answer.ok;
    if (ok) {
        comm_broadcast_text(comm, &text, &bytes);
        ok = state_parse(state, path, text, bytes, err);
        mem_free(text);
    } else {
        *err = answer.err;
    }
    mem_free(path);
    return ok;
}

/* Things worth knowing that do not forbid to go on. */
static void say_differences(const CheckpointState *state)
{
    const char *version = json_string_value(json_object_get(state->root, "version"));
    const char *git = json_string_value(json_object_get(state->root, "git"));
    if (version && git &&
        (strcmp(version, version_string()) != 0 || strcmp(git, version_git()) != 0))
        log_warn("the checkpoint is of lockstep %s (%s), this is %s (%s): the bits may differ",
                 version, git, version_string(), version_git());
}

/* A run that has ended without a checkpoint has a summary. */
static ResumeOutcome without_checkpoint(Comm *comm, const char *run, bool always, Err *err)
{
    struct {
        bool ended, there;
    } found = { false, false };
    if (comm_rank(comm) == 0) {
        char *summary = path_join(run, "summary.json");
        struct stat status;
        found.ended = access(summary, F_OK) == 0;
        found.there = stat(run, &status) == 0;
        mem_free(summary);
    }
    comm_broadcast(comm, &found, sizeof found, 0);
    if (found.ended)
        return RESUME_ENDED;
    if (!always)
        return RESUME_FRESH;
    err_set(err, "%s: %s to resume from; checkpoint.resume=auto would start the run", run,
            found.there ? "there is no checkpoint" : "there is no run");
    return RESUME_FAILED;
}

ResumeOutcome checkpoint_resume(Trainer *t, const char *run, const char *allow, Err *err)
{
    size_t count;
    int64_t *steps = list_for_all(t->comm, run, &count);
    bool found = false, fatal = false;
    for (size_t i = 0; i < count && !found && !fatal; i++) {
        CheckpointState state;
        char folder[CHECKPOINT_PATH];
        checkpoint_path(folder, run, steps[i]);
        if (read_for_all(t->comm, folder, &state, err)) {
            fatal = !changes_check(t, &state, allow, err);
            found = !fatal && load_checkpoint(t, &state, folder, allow != NULL, err);
            if (found) {
                say_differences(&state);
                log_info("resumed from %s: step %lld of %lld, digest %016llx", folder,
                         (long long)t->step, (long long)t->steps, (unsigned long long)t->digest);
            }
            state_free(&state);
        }
        if (!found && !fatal)
            log_warn("checkpoint step-%lld is not used: %s", (long long)steps[i], err->text);
    }
    mem_free(steps);
    if (count == 0)
        return without_checkpoint(t->comm, run, t->settings->checkpoint.resume == RESUME_ALWAYS,
                                  err);
    if (!found && !fatal)
        err_set(err, "%s/ckpt: none of the %zu checkpoints can be used", run, count);
    return found ? RESUME_DONE : RESUME_FAILED;
}

bool checkpoint_back(Trainer *t, const char *run, int64_t before, Err *err)
{
    size_t count;
    int64_t *steps = list_for_all(t->comm, run, &count);
    bool found = false;
    for (size_t i = 0; i < count && !found; i++) {
        CheckpointState state;
        char folder[CHECKPOINT_PATH];
        if (steps[i] >= before ||
            !batch_plan_due(&t->loader.plan, steps[i], t->settings->checkpoint.every))
            continue;
        checkpoint_path(folder, run, steps[i]);
        if (read_for_all(t->comm, folder, &state, err)) {
            found = load_checkpoint(t, &state, folder, false, err);
            state_free(&state);
        }
        if (!found)
            log_warn("checkpoint step-%lld is not used: %s", (long long)steps[i], err->text);
    }
    mem_free(steps);
    return found || err_set(err, "%s/ckpt: no checkpoint to go back to", run);
}

/* ---- weights alone ---- */

static bool is_folder(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

/* The checkpoint's folder, or the safetensors file, that `what` means, into path. */
static bool find_weights(const char *run, const char *what, char path[CHECKPOINT_PATH], Err *err)
{
    if (strcmp(what, "final") == 0) {
        snprintf(path, CHECKPOINT_PATH, "%.4000s/ckpt/final.safetensors", run);
        return true;
    }
    if (strcmp(what, "latest") == 0 || strcmp(what, "best") == 0) {
        int64_t step = pointer_read(run, what);
        if (step < 0)
            return err_set(err, "%s/ckpt/%s: names no checkpoint", run, what);
        checkpoint_path(path, run, step);
        return true;
    }
    snprintf(path, CHECKPOINT_PATH, "%.4000s/ckpt/%.80s", run, what);
    if (!is_folder(path))
        snprintf(path, CHECKPOINT_PATH, "%s", what);
    return true;
}

/* Everything, so that the optimizer can tell which weights it would evaluate. */
static bool load_whole(Trainer *t, const char *folder, Err *err)
{
    CheckpointState state;
    if (!read_for_all(t->comm, folder, &state, err))
        return false;
    bool ok = load_checkpoint(t, &state, folder, false, err);
    state_free(&state);
    return ok;
}

static bool read_weights(Trainer *t, const char *place, bool folder, int64_t *step, Err *err)
{
    char *path = folder ? path_join(place, checkpoint_files[FILE_MODEL]) : mem_string(place);
    WeightsInfo info = { .step = -1 };
    bool ok = weights_read(path, &t->model.layout, t->w, &info, err);
    mem_free(path);
    *step = info.step;
    return ok;
}

bool checkpoint_weights(Trainer *t, const char *run, const char *what, int64_t *step, Err *err)
{
    struct {
        bool ok, folder, whole;
        char path[CHECKPOINT_PATH];
        int64_t step;
        Err err;
    } found = { .ok = true };
    if (comm_rank(t->comm) == 0) {
        found.ok = find_weights(run, what, found.path, &found.err);
        found.folder = found.ok && is_folder(found.path);
        found.whole = found.folder && t->average;
        if (found.ok && !found.whole)
            found.ok = read_weights(t, found.path, found.folder, &found.step, &found.err);
    }
    comm_broadcast(t->comm, &found, sizeof found, 0);
    if (!found.ok)
        return err_set(err, "%s", found.err.text);
    if (found.whole && !load_whole(t, found.path, err))
        return false;
    if (!found.whole)
        trainer_send_weights(t);
    *step = found.whole ? t->step : found.step;
    return true;
}

bool checkpoint_restore(Trainer *t, const char *run, const char *what, Err *err)
{
    struct {
        bool ok;
        char path[CHECKPOINT_PATH];
        Err err;
    } found = { .ok = true };
    if (comm_rank(t->comm) == 0) {
        found.ok = find_weights(run, what, found.path, &found.err);
        if (found.ok && !is_folder(found.path))
            found.ok = err_set(&found.err, "%s/ckpt: there is no checkpoint %s", run, what);
    }
    comm_broadcast(t->comm, &found, sizeof found, 0);
    return found.ok ? load_whole(t, found.path, err) : err_set(err, "%s", found.err.text);
}
