/* `lockstep ckpt`: what checkpoints a run has, what is in one, and whether every bit of it is as it
 * was written. */
#include "ckpt_parts.h"
#include "run_parts.h"

#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

bool ckpt_find(const char *run, const char *what, char folder[CHECKPOINT_PATH], Err *err)
{
    struct stat status;
    if (strcmp(what, "latest") == 0 || strcmp(what, "best") == 0) {
        int64_t step = pointer_read(run, what);
        if (step < 0)
            return err_set(err, "%s/ckpt/%s: names no checkpoint", run, what);
        checkpoint_path(folder, run, step);
    } else {
        snprintf(folder, CHECKPOINT_PATH, "%.4000s/ckpt/%.80s", run, what);
    }
    return (stat(folder, &status) == 0 && S_ISDIR(status.st_mode)) ||
           err_set(err, "%s: no such checkpoint", folder);
}

/* ---- list ---- */

static double size_of(const CheckpointState *state)
{
    size_t index;
    const json_t *file;
    double bytes = 0;
    json_array_foreach (json_object_get(state->root, "files"), index, file)
        bytes += (double)json_integer_value(json_object_get(file, "bytes"));
    return bytes;
}

static const char *text_of(const CheckpointState *state, const char *key)
{
    const char *text = json_string_value(json_object_get(state->root, key));
    return text ? text : "";
}

static void list_one(const char *run, int64_t step, int64_t latest, int64_t best)
{
    CheckpointState state;
    Err err;
    char folder[CHECKPOINT_PATH], bytes[32], name[32];
    snprintf(name, sizeof name, "step-%lld", (long long)step);
    if (!state_read(&state, checkpoint_path(folder, run, step), &err)) {
        log_out("%-16s %s", name, err.text);
        return;
    }
    log_out("%-16s %10s  %s  digest %016llx%s%s", name,
            text_bytes(bytes, sizeof bytes, size_of(&state)), text_of(&state, "time"),
            (unsigned long long)state.digest, step == latest ? "  latest" : "",
            step == best ? "  best" : "");
    state_free(&state);
}

static int list(const char *run, Err *err)
{
    size_t count;
    int64_t *steps = checkpoint_list(run, &count);
    int64_t latest = pointer_read(run, "latest"), best = pointer_read(run, "best");
    for (size_t i = 0; i < count; i++)
        list_one(run, steps[i], latest, best);
    mem_free(steps);
    if (count > 0)
        return EXIT_OK;
    err_set(err, "%s/ckpt: no checkpoints", run);
    return EXIT_CHECKPOINT;
}

/* ---- show ---- */

static void show_state(const CheckpointState *state, const char *folder)
{
    const json_t *progress = json_object_get(state->root, "progress"), *value;
    const char *key;
    char number[32];
    log_out("%s", folder);
    log_out("written      %s by lockstep %s (%s) on %lld ranks", text_of(state, "time"),
            text_of(state, "version"), text_of(state, "git"),
            (long long)json_integer_value(json_object_get(state->root, "ranks")));
    log_out("step         %lld of %lld, epoch %lld, sample %lld of it, %s samples",
            (long long)state->step,
            (long long)json_integer_value(json_object_get(progress, "steps")),
            (long long)json_integer_value(json_object_get(progress, "epoch")),
            (long long)json_integer_value(json_object_get(progress, "sample_in_epoch")),
            text_count(number, sizeof number, state->samples));
    log_out("digest       %016llx", (unsigned long long)state->digest);
    log_out("trajectory   %016llx", (unsigned long long)state->trajectory);
    log_out("test         loss %.6g, best %.6g; resumed %lld times", state->history.test_loss,
            state->history.best_loss, (long long)state->history.resumes);
    json_object_foreach (json_object_get(state->root, "identity"), key, value)
        log_out("%-16s %s", key, json_string_value(value) ? json_string_value(value) : "");
}

static void show_tensor(const TensorEntry *entry, const json_t *tensors)
{
    char shape[160] = "(";
    const char *digest = json_string_value(json_object_get(tensors, entry->name));
    for (int i = 0; i < entry->ndim; i++)
        text_append(shape, sizeof shape, i ? ", %lld" : "%lld", (long long)entry->shape[i]);
    text_append(shape, sizeof shape, ")");
    log_out("  %-48s %-5s %-24s %s", entry->name, entry->type, shape, digest ? digest : "");
}

static bool show_file(const CheckpointState *state, const char *folder, const char *name, Err *err)
{
    TensorFile file;
    char *path = path_join(folder, name), bytes[32];
    bool ok = tensor_file_open(&file, path, err);
    if (ok) {
        log_out("%s: %zu tensors, %s", name, file.count,
                text_bytes(bytes, sizeof bytes, (double)file.bytes));
        for (size_t i = 0; i < file.count; i++)
            show_tensor(&file.entries[i], json_object_get(state_file(state, name), "tensors"));
        tensor_file_close(&file);
    }
    mem_free(path);
    return ok;
}

static int show(const char *run, const char *what, Err *err)
{
    CheckpointState state;
    char folder[CHECKPOINT_PATH];
    if (!ckpt_find(run, what, folder, err) || !state_read(&state, folder, err))
        return EXIT_CHECKPOINT;
    show_state(&state, folder);
    bool ok = true;
    for (int i = 0; ok && i < CHECKPOINT_FILES; i++)
        ok = show_file(&state, folder, checkpoint_files[i], err);
    state_free(&state);
    return ok ? EXIT_OK : EXIT_CHECKPOINT;
}

/* ---- verify ---- */

static bool verify(const char *folder, Err *err)
{
    CheckpointState state;
    char bytes[32];
    if (!checkpoint_verify(folder, &state, err))
        return false;
    log_out("%s: valid, %s, step %lld", folder, text_bytes(bytes, sizeof bytes, size_of(&state)),
            (long long)state.step);
    state_free(&state);
    return true;
}

static int verify_all(const char *run, Err *err)
{
    size_t count, damaged = 0;
    int64_t *steps = checkpoint_list(run, &count);
    for (size_t i = 0; i < count; i++) {
        char folder[CHECKPOINT_PATH];
        if (!verify(checkpoint_path(folder, run, steps[i]), err)) {
            log_out("%s", err->text);
            damaged++;
        }
    }
    mem_free(steps);
    if (count == 0)
        err_set(err, "%s/ckpt: no checkpoints", run);
    else if (damaged > 0)
        err_set(err, "%s/ckpt: %zu of %zu checkpoints are damaged", run, damaged, count);
    return count == 0 || damaged > 0 ? EXIT_CHECKPOINT : EXIT_OK;
}

static int verify_one(const char *run, const char *what, Err *err)
{
    char folder[CHECKPOINT_PATH];
    return ckpt_find(run, what, folder, err) && verify(folder, err) ? EXIT_OK : EXIT_CHECKPOINT;
}

int ckpt_command(const CkptRequest *request, Err *err)
{
    static const char *const names[] = { "list", "show", "verify", "export", "import" };
    const char *verb = request->count > 0 ? request->words[0] : "";
    const char *run = request->count > 1 ? request->words[1] : NULL;
    const char *what = request->count > 2 ? request->words[2] : NULL;
    bool known = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        known = known || strcmp(verb, names[i]) == 0;
    if (!known)
        err_set(err, "ckpt: list, show, verify, export or import is wanted, found \"%.40s\"", verb);
    else if (!run)
        err_set(err, "ckpt %s: which %s?", verb,
                strcmp(verb, "import") == 0 ? "file" : "run folder");
    else if (request->count > (strcmp(verb, "import") == 0 || strcmp(verb, "list") == 0 ? 2 : 3))
        err_set(err, "ckpt %s: too many arguments", verb);
    else if (strcmp(verb, "list") == 0)
        return list(run, err);
    else if (strcmp(verb, "show") == 0)
        return show(run, what ? what : "latest", err);
    else if (strcmp(verb, "verify") == 0)
        return what ? verify_one(run, what, err) : verify_all(run, err);
    else
        return strcmp(verb, "export") == 0 ? ckpt_export(request, err) : ckpt_import(request, err);
    return EXIT_USAGE;
}
