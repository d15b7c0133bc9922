/* What may not change when a run goes on: everything that the bits of its steps depend on. Settings
 * are compared one by one with those of the checkpoint; data and machine by what identifies
 * them. */
#include "checkpoint_parts.h"
#include "diff_parts.h"

#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <stdio.h>
#include <string.h>

#define SHOWN_MAX 10 /* differences */

/* Settings that change no step: names, what is recorded, how ranks exchange data, where files are
 * (data are compared by their digest), kernels (compared by what `auto` chose). A name stands for
 * everything below it. */
static const char *const neutral[] = {
    "name",
    "output",
    "log",
    "eval.tta",
    "comm",
    "checkpoint",
    "probes",
    "compute.blas_core",
    "compute.isa",
    "compute.bf16_kernel",
    "train.weights",
    "train.on_diverged", /* until now nothing has */
    "train.diverged_limit",
    "train.rollback_lr",
    "train.rollback_skip",
    "train.target_accuracy", /* where it ends */
    "train.target_loss",
    "train.stop_at_target",
    "train.stop_at",
    "train.seconds",
    "data.folder",
    "data.file",
    "data.validation_file",
    "data.vocab",
    "data.train",
    "data.validation",
    "data.train_images",
    "data.train_labels",
    "data.test_images",
    "data.test_labels",
};

/* But these of them do. */
static const char *const changing[] = { "comm.wire", "comm.wire_scale", "comm.compress" };

/* Is `path` the name, or below it? */
static bool covers(const char *name, size_t length, const char *path)
{
    return strncmp(name, path, length) == 0 &&
           (path[length] == '\0' || path[length] == '.' || path[length] == '[');
}

/* `data.train` is a file of type tokens and a number of samples of others: numbers count through
 * the data's digest as well. `eval.every` matters to schedules that look at the test loss. */
static bool is_neutral(const char *path, bool watches_loss)
{
    for (size_t i = 0; i < sizeof changing / sizeof *changing; i++)
        if (covers(changing[i], strlen(changing[i]), path))
            return false;
    for (size_t i = 0; i < sizeof neutral / sizeof *neutral; i++)
        if (covers(neutral[i], strlen(neutral[i]), path))
            return true;
    return strcmp(path, "eval.every") == 0 && !watches_loss;
}

bool settings_is_neutral(const char *path)
{
    return is_neutral(path, true);
}

/* Is it in the list "a,b.c"? */
static bool is_allowed(const char *allow, const char *path)
{
    while (allow && *allow) {
        size_t length = strcspn(allow, ", ");
        if (length > 0 && covers(allow, length, path))
            return true;
        allow += length + strspn(allow + length, ", ");
    }
    return false;
}

typedef struct Changes {
    const char *allow;
    bool watches_loss;
    int count;
    char list[900], names[400];
} Changes;

static void change(Changes *changes, const char *path, const char *then, const char *now)
{
    if (is_neutral(path, changes->watches_loss) || is_allowed(changes->allow, path))
        return;
    if (changes->count++ >= SHOWN_MAX)
        return;
    text_append(changes->list, sizeof changes->list, "\n  %-24s %.30s then, %.30s now", path, then,
                now);
    text_append(changes->names, sizeof changes->names, changes->count > 1 ? ",%s" : "%s", path);
}

static void compare_leaf(void *context, const char *path, const char *then, const char *now)
{
    change(context, path, then ? then : "(not there)", now ? now : "(not there)");
}

static void compare_identity(Changes *changes, const Trainer *t, const CheckpointState *state)
{
    Identity now[IDENTITIES];
    const json_t *then = json_object_get(state->root, "identity");
    state_identity(t, now);
    for (int i = 0; i < IDENTITIES; i++) {
        char path[64];
        const char *value = json_string_value(json_object_get(then, now[i].key));
        snprintf(path, sizeof path, "identity.%s", now[i].key);
        if (!value || strcmp(value, now[i].value) != 0)
            change(changes, path, value ? value : "(not there)", now[i].value);
    }
}

bool changes_check(const Trainer *t, const CheckpointState *state, const char *allow, Err *err)
{
    Changes changes = { .allow = allow, .watches_loss = t->schedule.type->observe != NULL };
    if (!leaves_compare(state->config, &t->settings->config, compare_leaf, &changes, err))
        return err_prefix(err, "state.json: config: ");
    compare_identity(&changes, t, state);
    if (changes.count == 0)
        return true;
    if (changes.count > SHOWN_MAX)
        return err_set(err,
                       "the run was made with other settings, which would change its steps:%s\n"
                       "  and %d more",
                       changes.list, changes.count - SHOWN_MAX);
    return err_set(err,
                   "the run was made with other settings, which would change its steps:%s\n"
                   "to go on all the same: --allow-change=%s",
                   changes.list, changes.names);
}
