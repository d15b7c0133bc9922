/* trials.csv: a row for every trial that is done, in the order of the plan. A pure function of the
 * trial folders; docs/formats.md describes the columns. */
#include "study_parts.h"

#include "lockstep/files.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Those of summary.json that follow the varied keys. */
static const char *const columns[] = {
    "steps",          "samples",        "epochs",    "seconds",       "train_loss",
    "test_loss",      "test_accuracy",  "best_loss", "best_accuracy", "target_step",
    "target_samples", "target_seconds", "digest",    "trajectory",
};
enum { COLUMNS = sizeof columns / sizeof *columns };

/* RFC 4180: quoted where it has to be; a line end within would make two rows. */
static void put_cell(FILE *out, const char *text)
{
    if (!strpbrk(text, ",\"\n\r")) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"')
            fputc('"', out);
        fputc(*text == '\n' || *text == '\r' ? ' ' : *text, out);
    }
    fputc('"', out);
}

static void put_value(FILE *out, const json_t *value)
{
    char number[TEXT_NUMBER_SIZE];
    if (json_is_string(value))
        put_cell(out, json_string_value(value));
    else if (json_is_integer(value))
        fprintf(out, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        fputs(text_number(number, json_real_value(value)), out);
}

static void put_header(FILE *out, const Study *study)
{
    fputs("trial,status", out);
    if (study->has_arms)
        fputs(",arm", out);
    for (int i = 0; i < study->key_count; i++) {
        fputc(',', out);
        put_cell(out, study->keys[i]);
    }
    for (int i = 0; i < COLUMNS; i++)
        fprintf(out, ",%s", columns[i]);
    for (int i = 0; i < study->measured_count; i++) {
        fputc(',', out);
        put_cell(out, study->measured[i]);
    }
    fputs(",message\n", out);
}

static void put_measured(FILE *out, const Study *study, const Trial *trial, const TrialState *state)
{
    char *folder = trial_folder(study, trial);
    for (int i = 0; i < study->measured_count; i++) {
        double value = state->trained ? measured_value(folder, study->measured[i]) : (double)NAN;
        json_t *number = isfinite(value) ? json_real(value) : NULL;
        fputc(',', out);
        put_value(out, number);
        json_decref(number);
    }
    mem_free(folder);
}

static void put_trial(FILE *out, const Study *study, const Trial *trial, const TrialState *state,
                      const Decision *decision)
{
    char text[128];
    bool pruned = state->status == TRIAL_OPEN;
    const char *message = state->message ? state->message : "";
    if (pruned)
        message = prune_text(study, decision, text, sizeof text);
    fprintf(out, "%s,%s", trial->id, trial_status_names[pruned ? TRIAL_PRUNED : state->status]);
    if (study->has_arms) {
        fputc(',', out);
        put_cell(out, trial->name);
    }
    for (int i = 0; i < study->key_count; i++) {
        fputc(',', out);
        put_cell(out, trial->values[i] ? trial->values[i] : "");
    }
    for (int i = 0; i < COLUMNS; i++) {
        fputc(',', out);
        put_value(out, json_object_get(state->summary, columns[i]));
    }
    put_measured(out, study, trial, state);
    fputc(',', out);
    put_cell(out, message);
    fputc('\n', out);
}

bool study_write_table(const Study *study, Err *err)
{
    char *text = NULL, *path = path_join(study->folder, "trials.csv");
    size_t bytes = 0;
    Claims claims;
    FILE *memory = open_memstream(&text, &bytes);
    expect(memory);
    put_header(memory, study);
    claims_init(study, &claims);
    claims_look(study, &claims);
    for (int i = 0; i < study->count; i++)
        if (claims.states[i].status != TRIAL_OPEN || claims.decisions[i].what == DECISION_PRUNED)
            put_trial(memory, study, &study->trials[i], &claims.states[i], &claims.decisions[i]);
    claims_free(study, &claims);
    expect(fclose(memory) == 0);
    bool ok = file_replace(path, text, bytes, err);
    free(text);
    mem_free(path);
    return ok;
}
