/* Running a study: the job's ranks are split into groups; each takes a trial, trains it on a
 * communicator of its own and takes the next. */
#include "study_parts.h"

#include "lockstep/cpu.h"
#include "lockstep/files.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/session.h"
#include "lockstep/trainer.h"
#include "lockstep/version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATIENCE 20 /* seconds for ranks of a killed job to let go of what they had */

typedef struct Group {
    Study *study;
    Comm *comm;
    bool leads; /* its rank 0: claims, and writes what is not a run's */
    Claims claims;
    int argc;
    char *const *argv;
} Group;

/* ---- one trial ---- */

/* Trainer and session on `comm`. Trouble with files of the run folder, or between ranks, is *fatal:
 * it is the machine's, not the trial's. */
static int train(const Group *g, Settings *settings, Comm *comm, Summary *summary, bool *fatal,
                 Err *err)
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

/* A trainer to bring to the final weights. */
static int measure(Group *g, const Trial *trial, Settings *settings, Comm *comm, Err *err)
{
    Trainer trainer;
    int code;
    if (trainer_init(&trainer, settings, comm, &code, err))
        code = measure_trial(g->study, trial, &trainer, err);
    trainer_free(&trainer);
    return code;
}

/* What the leader sees, the group knows. */
static bool is_trained(Group *g, const Trial *trial)
{
    TrialState state = { .trained = false };
    if (g->leads)
        trial_state(g->study, trial, &state);
    bool trained = state.trained;
    trial_state_free(&state);
    comm_broadcast(g->comm, &trained, sizeof trained, 0);
    return trained;
}

/* As many ranks of the group as the trial has lanes; the others wait. */
static int train_on_group(Group *g, const Claim *claim, Summary *summary, bool *fatal, Err *err)
{
    Settings settings;
    int code = EXIT_USAGE, rank = comm_rank(g->comm);
    const Trial *trial = &g->study->trials[claim->trial];
    bool ok = study_settings(g->study, trial, claim->rung, &settings, err) &&
              settings_apply_compute(&settings, err);
    if (comm_all_ok(g->comm, ok, err)) {
        Comm *comm = comm_split(g->comm, rank < settings.train.lanes ? 0 : 1);
        bool works = rank < settings.train.lanes;
        if (!is_trained(g, trial) && works)
            code = train(g, &settings, comm, summary, fatal, err);
        if (g->study->measure_count > 0 && is_trained(g, trial) && works)
            code = measure(g, trial, &settings, comm, err);
        comm_free(comm);
    }
    settings_free(&settings);
    return code;
}

/* The leader's part after a trial: a note if it failed or stands at a rung, a line, the table. */
static bool conclude(Group *g, const Claim *claim, const Summary *summary, int code,
                     const Err *problem, Err *err)
{
    const Trial *trial = &g->study->trials[claim->trial];
    /* What has ended tells by its records what it had at the rung, and others may see them before
     * anything is noted here. */
    bool stopped = summary->status && strcmp(summary->status, "interrupted") == 0;
    bool at_rung = claim->rung >= 0 && stopped && summary->at_stop;
    int lock;
    if ((problem->text[0] && !trial_fail(g->study, trial, code, problem->text, err)) ||
        (at_rung && !trial_pass(g->study, trial, claim->rung, err)) ||
        !claim_table(g->study, &lock, err))
        return false;
    say_news(g->study, &g->claims, claim, at_rung);
    bool ok = study_write_table(g->study, err);
    claim_release(lock);
    return ok;
}

static bool run_trial(Group *g, const Claim *claim, int *code, Err *err)
{
    Summary summary = { .status = NULL };
    Err problem = { .text = "" };
    bool fatal = false;
    LogLevel level = log_get_level();
    log_set_level(level == LOG_VERBOSE ? level : LOG_QUIET);
    *code = train_on_group(g, claim, &summary, &fatal, &problem);
    log_set_level(level);
    bool ok = !fatal;
    if (fatal)
        err_set(err, "%s", problem.text);
    else if (g->leads)
        ok = conclude(g, claim, &summary, *code, &problem, err);
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
        Claim claim;
        int taken, waiting;
        Err err;
    } answer = { .ok = false };
    if (g->leads) {
        answer.ok = claim_next(g->study, &g->claims, claim, &answer.err);
        answer.claim = *claim;
        answer.taken = g->claims.taken;
        answer.waiting = g->claims.waiting;
    }
    comm_broadcast(g->comm, &answer, sizeof answer, 0);
    claim->trial = answer.claim.trial;
    claim->rung = answer.claim.rung;
    g->claims.taken = answer.taken;
    g->claims.waiting = answer.waiting;
    return answer.ok || err_set(err, "%s", answer.err.text);
}

/* Nothing is left, or what is left others have had for a while. Who waits at a rung will go on. */
static bool is_over(const Group *g, double idle)
{
    return g->claims.waiting == 0 && (g->claims.taken == 0 || idle > PATIENCE);
}

/* A while between looks at what others do, longer after a few; returns its seconds. */
static double nap(double idle)
{
    bool brief = idle < 2;
    const struct timespec pause = { .tv_sec = brief ? 0 : 1, .tv_nsec = brief ? 100000000 : 0 };
    nanosleep(&pause, NULL);
    return brief ? 0.1 : 1;
}

static int work(Group *g, Err *err)
{
    int code = EXIT_OK;
    double idle = 0;
    while (!comm_any(g->comm, trainer_stop_requested())) {
        Claim claim = { .trial = -1, .lock = -1 };
        if (!next_trial(g, &claim, err))
            return EXIT_CHECKPOINT;
        if (claim.trial < 0 && is_over(g, idle))
            break;
        idle = claim.trial < 0 ? idle + nap(idle) : 0;
        if (claim.trial < 0)
            continue;
        if (!run_trial(g, &claim, &code, err))
            return code;
    }
    return EXIT_OK;
}

/* study.yaml and its base, as this job has them: `lockstep study FOLDER/study.yaml` goes on. */
static bool write_study(const Study *study, Err *err)
{
    char *text = NULL, *path = path_join(study->folder, "study.yaml");
    char *base = path_join(study->folder, STUDY_BASE);
    size_t bytes = 0;
    FILE *memory = open_memstream(&text, &bytes);
    expect(memory);
    config_print(&study->config, memory, false);
    expect(fclose(memory) == 0);
    bool ok =
        file_replace(base, study->text, study->bytes, err) && file_replace(path, text, bytes, err);
    free(text);
    mem_free(base);
    mem_free(path);
    return ok;
}

/* The study's folder and what describes it there; other jobs may be at it as well. */
static bool make_folder(const Study *study, Err *err)
{
    char *trials = path_join(study->folder, "trials"), *locks = path_join(study->folder, "locks");
    int lock;
    bool ok = folder_make(trials, err) && folder_make(locks, err) && claim_table(study, &lock, err);
    if (ok) {
        ok = write_study(study, err);
        claim_release(lock);
    }
    mem_free(trials);
    mem_free(locks);
    return ok;
}

/* All groups train until nothing is left for them. */
static int run_groups(Study *study, Comm *job, int argc, char *const *argv, Err *err)
{
    int rank = comm_rank(job);
    Group g = { .study = study, .argc = argc, .argv = argv };
    g.comm = comm_split(job, (int)(rank / study->ranks));
    g.leads = comm_rank(g.comm) == 0;
    claims_init(study, &g.claims);
    log_set_rank(comm_rank(g.comm), comm_size(g.comm)); /* leaders speak for their groups */
    comm_set_apart(true);
    int code = work(&g, err);
    if (code != EXIT_OK)
        log_warn("a group ends here, others go on with what they have: %s", err->text);
    comm_wait(job);
    comm_set_apart(false);
    log_set_rank(rank, comm_size(job));
    claims_free(study, &g.claims);
    comm_free(g.comm);
    return code;
}

/* A trial has to have the same bits in every group, so all ranks need the kernels of the first. */
static bool same_kernels(const Study *study, Comm *job, Err *err)
{
    Settings settings;
    Err ignored; /* the trial's own */
    char text[512];
    if (study_settings(study, &study->trials[0], -1, &settings, &ignored))
        settings_apply_compute(&settings, &ignored);
    settings_free(&settings);
    snprintf(text, sizeof text, "version: %s\nrevision: %s\nISA level: %s\nOpenBLAS core: %s\n",
             version_string(), version_git(), cpu_isa_name(cpu_isa()), cpu_blas_core());
    return comm_same(job, text, err);
}

int study_run(Study *study, Comm *job, int argc, char *const *argv, Err *err)
{
    Err problem = { .text = "" };
    int code = EXIT_REPLICAS;
    bool ok = same_kernels(study, job, &problem);
    if (ok) {
        code = EXIT_CHECKPOINT;
        ok = comm_rank(job) != 0 || make_folder(study, &problem);
        ok = comm_all_ok(job, ok, &problem);
    }
    if (ok) {
        if (comm_rank(job) == 0)
            say_begin(study, (int)((comm_size(job) - 1) / study->ranks) + 1);
        code = run_groups(study, job, argc, argv, &problem);
        ok = comm_all_ok(job, code == EXIT_OK, &problem);
    }
    if (ok)
        ok = comm_all_ok(job, comm_rank(job) != 0 || say_end(study, &problem), &problem);
    *err = problem;
    return ok ? EXIT_OK : code != EXIT_OK ? code : EXIT_CHECKPOINT;
}
