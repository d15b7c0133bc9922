/* Where a trial stands, by what its folder holds: summary.json of a run that has ended or was
 * stopped, failed.json of one that could not begin. */
#include "study_parts.h"

#include "lockstep/files.h"
#include "lockstep/memory.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX_BYTES ((size_t)1 << 20)

const char *const trial_status_names[] = { "open",     "completed", "target",
                                           "diverged", "failed",    "pruned" };

json_t *file_json(const char *folder, const char *name)
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

bool study_forget_failed(const Study *study, Err *err)
{
    bool ok = true;
    for (int i = 0; ok && i < study->count; i++) {
        char *folder = trial_folder(study, &study->trials[i]);
        char *path = path_join(folder, "failed.json");
        ok = unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR ||
             err_set(err, "%s: cannot be removed: %s", path, strerror(errno));
        mem_free(folder);
        mem_free(path);
    }
    return ok;
}

/* ---- rungs ---- */

static double value_of(const Study *study, const json_t *eval)
{
    const json_t *accuracy = json_object_get(eval, "accuracy");
    const json_t *loss = json_object_get(eval, "loss");
    if (study->prune.by == PRUNE_ACCURACY && json_is_number(accuracy))
        return json_number_value(accuracy);
    return json_is_number(loss) ? -json_number_value(loss) : (double)NAN;
}

static double number_of(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* Was the evaluation made up to this rung? A rung is half a batch wide, as steps are rounded. */
static bool is_up_to(const json_t *eval, Span rung, double batch)
{
    double samples = number_of(eval, "samples"), epoch = samples / number_of(eval, "epoch");
    if (rung.unit == SPAN_STEPS)
        return number_of(eval, "step") <= rung.value;
    return samples <= rung.value * (rung.unit == SPAN_EPOCHS ? epoch : 1) + batch / 2;
}

/* The last evaluation in metrics.jsonl, of those up to a rung if one is given; NULL: there is none.
 */
static json_t *last_eval(const char *folder, const Span *rung, double batch)
{
    char *path = path_join(folder, "metrics.jsonl"), *line = NULL;
    size_t size = 0;
    json_t *last = NULL;
    FILE *file = fopen(path, "re");
    while (file && getline(&line, &size, file) > 0) {
        json_t *record = strstr(line, "\"eval\"") ? json_loads(line, 0, NULL) : NULL;
        bool taken = strcmp(text_of(record, "event"), "eval") == 0 &&
                     (!rung || is_up_to(record, *rung, batch));
        json_decref(taken ? last : record);
        last = taken ? record : last;
    }
    if (file)
        fclose(file);
    free(line);
    mem_free(path);
    return last;
}

/* rungs.json: what was there at each rung at which the trial has stopped. Of one that has ended the
 * rest is in its records. */
static void find_rungs(const Study *study, const char *folder, TrialState *state)
{
    json_t *rungs = file_json(folder, "rungs.json");
    bool ended = state->status == TRIAL_COMPLETED || state->status == TRIAL_TARGET;
    for (int i = 0; i < study->prune.rungs; i++) {
        const json_t *row = json_object_get(rungs, study->prune.text[i]);
        json_t *eval = NULL;
        state->passed[i] = row != NULL;
        if (!row && ended)
            eval =
                last_eval(folder, &study->prune.rung[i], number_of(state->summary, "global_batch"));
        state->value[i] = value_of(study, row ? row : eval);
        json_decref(eval);
    }
    json_decref(rungs);
}

bool trial_pass(const Study *study, const Trial *trial, int rung, Err *err)
{
    char *folder = trial_folder(study, trial), *path = path_join(folder, "rungs.json");
    json_t *rungs = file_json(folder, "rungs.json"), *eval = last_eval(folder, NULL, 0);
    rungs = rungs ? rungs : json_object();
    json_object_set_new(rungs, study->prune.text[rung], eval ? eval : json_object());
    char *text = json_dumps(rungs, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    bool ok = file_replace(path, text, strlen(text), err);
    free(text);
    json_decref(rungs);
    mem_free(folder);
    mem_free(path);
    return ok;
}

/* ---- the whole state ---- */

/* It is not over before everything has been measured. */
static void await_measures(const Study *study, const char *folder, TrialState *state)
{
    state->trained = state->status == TRIAL_COMPLETED || state->status == TRIAL_TARGET;
    for (int i = 0; state->trained && i < study->measure_count; i++)
        if (!measure_is_done(study, folder, &study->measures[i]))
            state->status = TRIAL_OPEN;
}

void trial_state(const Study *study, const Trial *trial, TrialState *state)
{
    char *folder = trial_folder(study, trial);
    *state = (TrialState){ .summary = file_json(folder, "summary.json") };
    if (state->summary) {
        state->status = status_of(text_of(state->summary, "status"));
        state->message = message_of(state->summary);
    }
    if (study->prune.rungs > 0)
        find_rungs(study, folder, state);
    await_measures(study, folder, state);
    json_t *failed = file_json(folder, "failed.json");
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

const char *trial_message(const char *message)
{
    static const char from[] = "command line: ";
    return message + (strncmp(message, from, sizeof from - 1) == 0 ? sizeof from - 1 : 0);
}

bool trial_fail(const Study *study, const Trial *trial, int code, const char *message, Err *err)
{
    char *folder = trial_folder(study, trial), *path = path_join(folder, "failed.json");
    json_t *object = json_pack("{s:s, s:i, s:s}", "status", "failed", "exit_code", code, "message",
                               trial_message(message));
    expect(object); /* messages are UTF-8: err_set */
    char *text = json_dumps(object, JSON_INDENT(2));
    bool ok = folder_make(folder, err) && file_replace(path, text, strlen(text), err);
    free(text);
    json_decref(object);
    mem_free(folder);
    mem_free(path);
    return ok;
}
