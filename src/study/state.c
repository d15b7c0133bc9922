/* Where a trial stands, by what its folder holds: summary.json of a run that has ended or was
 * stopped, failed.json of one that could not begin. */
#include "study_parts.h"

#include "lockstep/files.h"
#include "lockstep/memory.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES ((size_t)1 << 20)

const char *const trial_status_names[] = { "open",     "completed", "target",
                                           "diverged", "failed",    "pruned" };

/* A JSON object, or NULL: no such file, or not one. */
static json_t *read_object(const char *folder, const char *name)
{
    char *text, *path = path_join(folder, name);
    size_t bytes;
    json_t *object = NULL;
    if (file_text(path, FILE_MAX_BYTES, &text, &bytes, NULL)) {
        object = json_loadb(text, bytes, 0, NULL);
        mem_free(text);
    }
    mem_free(path);
    return object;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* The status of a run (train.h) as that of a trial. */
static TrialStatus status_of(const char *status)
{
    if (strcmp(status, "completed") == 0 || strcmp(status, "time_limit") == 0)
        return TRIAL_COMPLETED;
    if (strcmp(status, "target") == 0)
        return TRIAL_TARGET;
    return strcmp(status, "diverged") == 0 ? TRIAL_DIVERGED : TRIAL_OPEN;
}

/* What the table tells beside the numbers. */
static char *message_of(const json_t *summary)
{
    char text[128] = "";
    const char *status = text_of(summary, "status");
    if (strcmp(status, "diverged") == 0)
        snprintf(text, sizeof text, "diverged in step %lld",
                 (long long)json_integer_value(json_object_get(summary, "diverged_step")));
    if (strcmp(status, "time_limit") == 0)
        snprintf(text, sizeof text, "ended by train.seconds");
    return *text ? mem_string(text) : NULL;
}

void trial_state(const Study *study, const Trial *trial, TrialState *state)
{
    char *folder = trial_folder(study, trial);
    *state = (TrialState){ .summary = read_object(folder, "summary.json") };
    if (state->summary) {
        state->status = status_of(text_of(state->summary, "status"));
        state->message = message_of(state->summary);
    }
    json_t *failed = read_object(folder, "failed.json");
    if (failed && state->status == TRIAL_OPEN) {
        state->status = TRIAL_FAILED;
        state->message = mem_string(text_of(failed, "message"));
    }
    json_decref(failed);
    mem_free(folder);
}

void trial_state_free(TrialState *state)
{
    json_decref(state->summary);
    mem_free(state->message);
    *state = (TrialState){ .status = TRIAL_OPEN };
}

bool trial_fail(const Study *study, const Trial *trial, int code, const char *message, Err *err)
{
    char *folder = trial_folder(study, trial), *path = path_join(folder, "failed.json");
    json_t *object =
        json_pack("{s:s, s:i, s:s}", "status", "failed", "exit_code", code, "message", message);
    expect(object); /* messages are UTF-8: err_set */
    char *text = json_dumps(object, JSON_INDENT(2));
    bool ok = folder_make(folder, err) && file_replace(path, text, strlen(text), err);
    free(text);
    json_decref(object);
    mem_free(folder);
    mem_free(path);
    return ok;
}
