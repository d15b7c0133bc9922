/* `lockstep study --status` and `--dry-run`: the trials and where they stand, or what they cost. */
#include "study_parts.h"

#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/trainer.h"

#include <dirent.h>
#include <jansson.h>
#include <string.h>

#define TEXT_SIZE 512

/* ---- where they stand ---- */

static bool is_taken(const Study *study, const Trial *trial)
{
    int lock;
    Err err;
    bool free = !claim_lock(study, trial->id, &lock, &err) || lock >= 0;
    claim_release(lock);
    return !free;
}

/* "completed", "at 1ep, waits for its arm", ... into buffer; returns buffer. */
static char *standing(const Study *study, const Claims *claims, int trial, char *buffer,
                      size_t size)
{
    const TrialState *state = &claims->states[trial];
    const Decision *decision = &claims->decisions[trial];
    if (state->status != TRIAL_OPEN)
        snprintf(buffer, size, "%s", trial_status_names[state->status]);
    else if (decision->what == DECISION_PRUNED)
        prune_text(study, decision, buffer, size);
    else if (decision->what == DECISION_WAIT)
        snprintf(buffer, size, "at %s, waits for its arm", study->prune.text[decision->rung]);
    else if (is_taken(study, &study->trials[trial]))
        snprintf(buffer, size, "in training");
    else
        snprintf(buffer, size, state->summary ? "stopped on the way" : "not begun");
    return buffer;
}

void study_print_status(const Study *study)
{
    char text[TEXT_SIZE], where[TEXT_SIZE], results[TEXT_SIZE];
    Claims claims;
    claims_init(study, &claims);
    int done = claims_look(study, &claims);
    for (int i = 0; i < study->count; i++)
        log_out("%s  %-60s  %s%s%s", study->trials[i].id,
                study_trial_text(study, &study->trials[i], text, sizeof text),
                standing(study, &claims, i, where, sizeof where),
                claims.states[i].summary || claims.states[i].message ? ": " : "",
                trial_results(&claims.states[i], results, sizeof results));
    log_out("%d of %d trials are done", done, study->count);
    claims_free(study, &claims);
}

/* ---- what is left of earlier plans ---- */

static bool is_planned(const Study *study, const char *id)
{
    for (int i = 0; i < study->count; i++)
        if (strcmp(study->trials[i].id, id) == 0)
            return true;
    return false;
}

void say_left_over(const Study *study)
{
    char folder[4096], names[256] = "";
    int count = 0;
    snprintf(folder, sizeof folder, "%s/trials", study->folder);
    DIR *directory = opendir(folder);
    const struct dirent *entry;
    while (directory && (entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] == '.' || is_planned(study, entry->d_name))
            continue;
        if (count++ < 5)
            text_append(names, sizeof names, "%s%s", count > 1 ? ", " : "", entry->d_name);
    }
    if (directory)
        closedir(directory);
    if (count > 0)
        log_warn("%s: %d trial%s of another plan, not in the table: %s%s", folder, count,
                 count == 1 ? "" : "s", names, count > 5 ? ", ..." : "");
}

/* ---- what they cost ---- */

typedef struct Cost {
    double samples, flop;
} Cost;

/* A trainer for the trial that does not train: its cost, or why it could not be trained. */
static bool find_cost(const Study *study, const Trial *trial, Comm *comm, int64_t *steps,
                      Cost *cost, Err *err)
{
    Settings settings;
    Trainer t;
    int code;
    bool ok =
        study_settings(study, trial, -1, &settings, err) && settings_apply_compute(&settings, err);
    settings.dry_run = true;
    if (ok) {
        ok = trainer_init(&t, &settings, comm, &code, err);
        *steps = t.steps;
        if (ok)
            cost->samples = (double)batch_plan_samples(&t.loader.plan, t.steps);
        if (ok)
            cost->flop = cost->samples * 3 * model_flops(&t.model);
        trainer_free(&t);
    }
    settings_free(&settings);
    return ok;
}

static int count_seeds(const Study *study, int setting)
{
    int count = 0;
    for (int i = 0; i < study->count; i++)
        count += study->trials[i].setting == setting;
    return count;
}

/* A line for the setting that begins with this trial. */
static void print_setting(const Study *study, const Trial *trial, Comm *comm, Cost *sum)
{
    char text[TEXT_SIZE], samples[32], flop[32];
    int seeds = count_seeds(study, trial->setting);
    int64_t steps;
    Cost cost = { 0, 0 };
    Err err;
    bool ok = find_cost(study, trial, comm, &steps, &cost, &err);
    study_trial_text(study, trial, text, sizeof text);
    if (ok)
        log_out("%-60s %2d x %8lld steps %9s samples %9sFLOP", text, seeds, (long long)steps,
                text_si(samples, sizeof samples, cost.samples),
                text_si(flop, sizeof flop, cost.flop));
    else
        log_out("%-60s %2d x %s", text, seeds, trial_message(err.text));
    sum->samples += seeds * cost.samples;
    sum->flop += seeds * cost.flop;
}

/* Seconds that trials have taken so far, and the samples they saw in them. */
static void find_speed(const Study *study, double *seconds, double *samples)
{
    Claims claims;
    claims_init(study, &claims);
    claims_look(study, &claims);
    for (int i = 0; i < study->count; i++) {
        const json_t *summary = claims.states[i].summary;
        *seconds += json_number_value(json_object_get(summary, "seconds"));
        *samples += json_number_value(json_object_get(summary, "samples"));
    }
    claims_free(study, &claims);
}

void study_print_plan(const Study *study, Comm *comm)
{
    char samples[32], flop[32], time[64];
    double seconds = 0, seen = 0;
    Cost sum = { 0, 0 };
    for (int i = 0, settings = 0; i < study->count; i++)
        if (study->trials[i].setting == settings) { /* its first seed */
            print_setting(study, &study->trials[i], comm, &sum);
            settings++;
        }
    log_out("%d trials of %d settings in %d arms: at most %s samples and %sFLOP", study->count,
            study->settings, study->arms, text_si(samples, sizeof samples, sum.samples),
            text_si(flop, sizeof flop, sum.flop));
    find_speed(study, &seconds, &seen);
    if (seen > 0)
        log_out("at the speed so far (%.0f samples/s) all of it takes one group %s", seen / seconds,
                text_seconds(time, sizeof time, sum.samples / seen * seconds));
    log_out("nothing was trained (--dry-run)");
}
