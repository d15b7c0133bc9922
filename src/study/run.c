/* Running a study: the job's ranks are split into groups; each takes a trial, trains it on a
 * communicator of its own and takes the next. */
#include "study_parts.h"

#include "lockstep/files.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/session.h"
#include "lockstep/trainer.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATIENCE 20 /* seconds for ranks of a killed job to let go of what they had */
#define NAP 0.1     /* seconds between looks at what others do */

typedef struct Group {
    Study *study;
    Comm *job, *comm; /* all ranks; those of this group */
    bool leads;       /* rank 0 of the group: claims, and writes what is not a run's */
    Claims claims;
    int argc;
    char *const *argv;
} Group;

/* ---- one trial ---- */

/* Trainer and session on `comm`. Trouble with files of the run folder, or between ranks, is *fatal:
 * it is the machine's, not the trial's. */
static int train(Group *g, Settings *settings, Comm *comm, Summary *summary, bool *fatal, Err *err)
{
    Trainer trainer;
    Session session = { .anew = true, .argc = g->argc, .argv = g->argv };
    int code;
    bool ok = trainer_init(&trainer, settings, comm, &code, err);
    if (ok)
        code = session_run(&trainer, &session, summary, err);
    *fatal = (ok && err->text[0]) || code == EXIT_REPLICAS;
    trainer_free(&trainer);
    return code;
}

/* As many ranks of the group as the trial has lanes; the others wait. */
static int train_on_group(Group *g, const Trial *trial, Summary *summary, bool *fatal, Err *err)
{
    Settings settings;
    int code = EXIT_USAGE, rank = comm_rank(g->comm);
    bool ok =
        study_settings(g->study, trial, &settings, err) && settings_apply_compute(&settings, err);
    ok = comm_all_ok(g->comm, ok, err);
    if (ok) {
        Comm *comm = comm_split(g->comm, rank < settings.train.lanes ? 0 : 1);
        if (rank < settings.train.lanes)
            code = train(g, &settings, comm, summary, fatal, err);
        comm_free(comm);
    }
    settings_free(&settings);
    return code;
}

static void say_end(const Group *g, const Trial *trial, const TrialState *state, int done)
{
    char text[512], line[256] = "", seconds[64];
    const json_t *summary = state->summary;
    double accuracy = json_number_value(json_object_get(summary, "test_accuracy"));
    if (accuracy > 0)
        text_append(line, sizeof line, "accuracy %.4f, ", accuracy);
    if (summary)
        text_append(line, sizeof line, "loss %.4g, %s",
                    json_number_value(json_object_get(summary, "test_loss")),
                    text_seconds(seconds, sizeof seconds,
                                 json_number_value(json_object_get(summary, "seconds"))));
    if (state->message)
        text_append(line, sizeof line, "%s%.200s", *line ? ": " : "", state->message);
    log_info("[%d/%d] %s  %s: %s: %s", done, g->study->count, trial->id,
             study_trial_text(g->study, trial, text, sizeof text),
             trial_status_names[state->status], line);
}

/* The leader's part after a trial: a note if it failed, a line, the table. */
static bool conclude(Group *g, const Trial *trial, const Summary *summary, int code,
                     const Err *problem, Err *err)
{
    TrialState state;
    int lock;
    if (!summary->status && !trial_fail(g->study, trial, code, problem->text, err))
        return false;
    trial_state(g->study, trial, &state);
    if (state.status != TRIAL_OPEN)
        say_end(g, trial, &state, claim_done(g->study, &g->claims));
    trial_state_free(&state);
    if (!claim_table(g->study, &lock, err))
        return false;
    bool ok = study_write_table(g->study, err);
    claim_release(lock);
    return ok;
}

static bool run_trial(Group *g, Claim *claim, int *code, Err *err)
{
    const Trial *trial = &g->study->trials[claim->trial];
    Summary summary = { .status = NULL };
    Err problem = { .text = "" };
    bool fatal = false;
    LogLevel level = log_get_level();
    log_set_level(level == LOG_VERBOSE ? level : LOG_QUIET);
    *code = train_on_group(g, trial, &summary, &fatal, &problem);
    log_set_level(level);
    bool ok = !fatal;
    if (fatal)
        err_set(err, "%s", problem.text);
    else if (g->leads)
        ok = conclude(g, trial, &summary, *code, &problem, err);
    claim_release(claim->lock);
    if (!fatal && !ok)
        *code = EXIT_CHECKPOINT;
    return comm_all_ok(g->comm, ok, err);
}

/* ---- the groups ---- */

/* What the leader finds, the group knows. */
static bool next_trial(Group *g, Claim *claim, Err *err)
{
    struct {
        bool ok;
        int trial, taken;
        Err err;
    } answer = { .trial = -1 };
    if (g->leads) {
        answer.ok = claim_next(g->study, &g->claims, claim, &answer.err);
        answer.trial = claim->trial;
        answer.taken = g->claims.taken;
    }
    comm_broadcast(g->comm, &answer, sizeof answer, 0);
    claim->trial = answer.trial;
    g->claims.taken = answer.taken;
    return answer.ok || err_set(err, "%s", answer.err.text);
}

static void nap(double seconds)
{
    const struct timespec pause = { .tv_nsec = (long)(seconds * 1e9) };
    nanosleep(&pause, NULL);
}

/* Until everything is done, or somebody else does it. */
static int work(Group *g, Err *err)
{
    int code = EXIT_OK;
    double idle = 0;
    while (!comm_any(g->comm, trainer_stop_requested())) {
        Claim claim = { .trial = -1, .lock = -1 };
        if (!next_trial(g, &claim, err))
            return EXIT_CHECKPOINT;
        if (claim.trial < 0 && (g->claims.taken == 0 || idle > PATIENCE))
            break;
        idle = claim.trial < 0 ? idle + NAP : 0;
        if (claim.trial < 0)
            nap(NAP);
        else if (!run_trial(g, &claim, &code, err))
            return code;
    }
    return EXIT_OK;
}

/* The folder and what describes the study in it. */
static bool make_folder(const Study *study, Err *err)
{
    static const char *const parts[] = { "trials", "locks" };
    char *text = NULL, *path = path_join(study->folder, "study.yaml");
    size_t bytes = 0;
    bool ok = true;
    for (int i = 0; ok && i < 2; i++) {
        char *folder = path_join(study->folder, parts[i]);
        ok = folder_make(folder, err);
        mem_free(folder);
    }
    FILE *memory = open_memstream(&text, &bytes);
    expect(memory);
    config_print(&study->config, memory, false);
    expect(fclose(memory) == 0);
    ok = ok && file_replace(path, text, bytes, err);
    free(text);
    mem_free(path);
    return ok;
}

static void say_begin(const Group *g, int groups)
{
    const Study *study = g->study;
    Claims claims = { .done = mem_array(bool, study->count) };
    log_info("%s/: %d trials of %d settings, %d done; %d group%s of %d rank%s", study->folder,
             study->count, study->settings, claim_done(study, &claims), groups,
             groups == 1 ? "" : "s", (int)study->ranks, study->ranks == 1 ? "" : "s");
    mem_free(claims.done);
}

static void say_where(Group *g)
{
    int done = claim_done(g->study, &g->claims), count = g->study->count;
    if (done == count)
        log_info("%s/trials.csv: %d trials", g->study->folder, count);
    else if (trainer_stop_requested())
        log_info("interrupted: %d of %d trials are done; the same command goes on", done, count);
    else
        log_info("%d of %d trials are done, others work on the rest", done, count);
}

int study_run(Study *study, Comm *job, int argc, char *const *argv, Err *err)
{
    int rank = comm_rank(job), size = comm_size(job);
    Err problem = { .text = "" };
    bool ok = rank != 0 || make_folder(study, &problem);
    *err = problem;
    if (!comm_all_ok(job, ok, err))
        return EXIT_CHECKPOINT;
    int group = (int)(rank / study->ranks), groups = (int)((size - 1) / study->ranks) + 1;
    Group g = { .study = study,
                .job = job,
                .comm = comm_split(job, group),
                .claims = { .done = mem_array(bool, study->count) },
                .argc = argc,
                .argv = argv };
    g.leads = comm_rank(g.comm) == 0;
    if (rank == 0)
        say_begin(&g, groups);
    log_set_rank(comm_rank(g.comm), comm_size(g.comm)); /* leaders speak for their groups */
    int code = work(&g, &problem);
    comm_free(g.comm);
    comm_wait(job);
    log_set_rank(rank, size);
    *err = problem;
    if (!comm_all_ok(job, code == EXIT_OK, err))
        code = EXIT_CHECKPOINT;
    else if (rank == 0)
        say_where(&g);
    mem_free(g.claims.done);
    return code;
}
