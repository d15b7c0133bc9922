/* What a study says while it runs: a line at the start, one for each trial that ends, stands at a
 * rung or is pruned, one at the end. */
#include "study_parts.h"

#include "lockstep/answer.h"
#include "lockstep/files.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/table.h"
#include "lockstep/trainer.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

char *trial_results(const TrialState *state, char *buffer, size_t size)
{
    char seconds[64];
    const json_t *accuracy = json_object_get(state->summary, "test_accuracy");
    const json_t *loss = json_object_get(state->summary, "test_loss");
    buffer[0] = '\0';
    if (json_is_number(accuracy))
        text_append(buffer, size, "accuracy %.4f, ", json_number_value(accuracy));
    if (json_is_number(loss))
        text_append(buffer, size, "loss %.4g, ", json_number_value(loss));
    if (state->summary)
        text_append(buffer, size, "%s",
                    text_seconds(seconds, sizeof seconds,
                                 json_number_value(json_object_get(state->summary, "seconds"))));
    if (state->message)
        text_append(buffer, size, "%s%.300s", *buffer ? "; " : "", state->message);
    return buffer;
}

/* `what`: "completed", "at 1ep", ... */
static void say(const Study *study, const Claims *claims, int trial, int done, const char *what)
{
    char text[512], results[512];
    log_info("[%d/%d] %s %s: %s: %s", done, study->count, study->trials[trial].id,
             study_trial_text(study, &study->trials[trial], text, sizeof text), what,
             trial_results(&claims->states[trial], results, sizeof results));
}

static bool is_pruned(const Claims *claims, int trial)
{
    return claims->states[trial].status == TRIAL_OPEN &&
           claims->decisions[trial].what == DECISION_PRUNED;
}

/* trials.csv as it is, or NULL: what has been told. */
static char *table_text(const Study *study)
{
    char *text = NULL, *path = path_join(study->folder, "trials.csv");
    size_t bytes;
    bool ok = file_text(path, TABLE_MAX_BYTES, &text, &bytes, NULL);
    mem_free(path);
    return ok ? text : NULL;
}

static bool is_row(const char *table, const char *id)
{
    char start[32];
    snprintf(start, sizeof start, "\n%s,", id);
    return table && strstr(table, start);
}

void say_news(const Study *study, Claims *claims, const Claim *claim, bool at_rung)
{
    char text[128], *table = table_text(study);
    int done = claims_look(study, claims);
    TrialStatus status = claims->states[claim->trial].status;
    if (status != TRIAL_OPEN)
        say(study, claims, claim->trial, done, trial_status_names[status]);
    else if (at_rung) {
        snprintf(text, sizeof text, "at %s", study->prune.text[claim->rung]);
        say(study, claims, claim->trial, done, text);
    }
    for (int i = 0; i < study->count; i++)
        if (is_pruned(claims, i) && !is_row(table, study->trials[i].id))
            say(study, claims, i, done,
                prune_text(study, &claims->decisions[i], text, sizeof text));
    mem_free(table);
}

/* Settings of an arm, which are its tuning budget, of all arms: the fewest and the most. */
static void count_settings(const Study *study, int *fewest, int *most)
{
    *fewest = study->count;
    *most = 0;
    for (int arm = 0; arm < study->arms; arm++) {
        int settings = 0, last = -1;
        for (int i = 0; i < study->count; i++) {
            const Trial *trial = &study->trials[i];
            settings += trial->arm == arm && trial->setting > last;
            last = trial->setting > last ? trial->setting : last;
        }
        *fewest = settings < *fewest ? settings : *fewest;
        *most = settings > *most ? settings : *most;
    }
}

void say_begin(const Study *study, int groups)
{
    int fewest, most;
    Claims claims;
    claims_init(study, &claims);
    log_info("%s/: %d trials of %d settings in %d arm%s, %d done; %d group%s of %d rank%s",
             study->folder, study->count, study->settings, study->arms, study->arms == 1 ? "" : "s",
             claims_look(study, &claims), groups, groups == 1 ? "" : "s", (int)study->ranks,
             study->ranks == 1 ? "" : "s");
    claims_free(study, &claims);
    say_left_over(study);
    count_settings(study, &fewest, &most);
    if (fewest != most)
        log_warn("arms are tuned unequally: the least with %d settings, the most with %d", fewest,
                 most);
}

/* ", 12 completed, 2 pruned" into buffer; returns buffer. */
static char *count_endings(const Study *study, const Claims *claims, char *buffer, size_t size)
{
    int counts[TRIAL_PRUNED + 1] = { 0 };
    buffer[0] = '\0';
    for (int i = 0; i < study->count; i++)
        counts[is_pruned(claims, i) ? TRIAL_PRUNED : claims->states[i].status]++;
    for (int i = TRIAL_COMPLETED; i <= TRIAL_PRUNED; i++)
        if (counts[i] > 0)
            text_append(buffer, size, ", %d %s", counts[i], trial_status_names[i]);
    return buffer;
}

bool say_end(const Study *study, Err *err)
{
    char text[128];
    int lock;
    Claims claims;
    claims_init(study, &claims);
    int done = claims_look(study, &claims), count = study->count;
    if (done == count)
        log_info("%s/trials.csv: %d trials%s", study->folder, count,
                 count_endings(study, &claims, text, sizeof text));
    else if (trainer_stop_requested())
        log_info("interrupted: %d of %d trials are done; the same command goes on", done, count);
    else
        log_info("%d of %d trials are done, others work on the rest", done, count);
    claims_free(study, &claims);
    if (done < count)
        return true;
    if (!claim_table(study, &lock, err)) /* another job may end as well */
        return false;
    /* The columns may be others than when the last trial ended. */
    bool ok = study_write_table(study, err) && answer_give(study->folder, err);
    claim_release(lock);
    return ok;
}
