/* A session of a run: lock, resume or make the folder, train, write what is left of it. */
#include "lockstep/session.h"
#include "lockstep/checkpoint.h"
#include "lockstep/run.h"

#include <stdio.h>

/* The run folder, new or where an earlier session has left it. NULL with code EXIT_OK: there is
 * nothing to do. */
static Run *open_run(Trainer *t, const Session *session, int *lock, int *code, Err *err)
{
    const Settings *settings = t->settings;
    char folder[4096];
    ResumeOutcome outcome = RESUME_FRESH;
    bool resume = settings->checkpoint.resume != RESUME_NEVER;
    snprintf(folder, sizeof folder, "%s/%s", settings->folder, settings->name);
    *code = EXIT_CHECKPOINT;
    if ((resume || session->force) && !run_lock(t->comm, settings, lock, err))
        return NULL;
    if (resume)
        outcome = checkpoint_resume(t, folder, session->allow_change, err);
    if (outcome == RESUME_ENDED && session->anew)
        outcome = RESUME_FRESH;
    if (outcome == RESUME_FAILED)
        return NULL;
    *code = outcome == RESUME_ENDED   ? EXIT_OK
            : outcome == RESUME_FRESH ? EXIT_USAGE
                                      : EXIT_CHECKPOINT;
    if (outcome == RESUME_ENDED)
        return NULL;
    /* Replaced without being asked for: a run that was killed before its first checkpoint. */
    return outcome == RESUME_FRESH ? run_open(t->comm, settings, session->force || resume, err)
                                   : run_resume(t->comm, settings, t->step, t->history.resumes,
                                                t->recovery.rollbacks, err);
}

/* Everything that happens in the open folder. */
static int train(Trainer *t, const Session *session, Run *run, RunFacts *facts, Summary *summary)
{
    facts->resumes = t->history.resumes;
    facts->resumed_step = t->step;
    run_write_config(run, t->settings);
    run_write_meta(run, session->argc, session->argv, t->comm, facts);
    trainer_banner(t, run_folder(run));
    int code = trainer_run(t, run, summary);
    trainer_write_timeline(t);
    run_write_summary(run, summary);
    if (code == EXIT_OK)
        run_write_weights(run, &t->model.layout, trainer_final_weights(t), t->step);
    return code;
}

int session_run(Trainer *t, const Session *session, Summary *summary, Err *err)
{
    int lock = -1, code;
    RunFacts facts = { .train_data = t->loader.train.digest,
                       .test_data = t->loader.test.digest,
                       .initial = t->digest };
    Err problem = { .text = "" };
    *summary = (Summary){ .status = NULL };
    Run *run = open_run(t, session, &lock, &code, &problem);
    bool ok = !run || run_lock(t->comm, t->settings, &lock, &problem); /* the folder is there now */
    if (run && ok)
        code = train(t, session, run, &facts, summary);
    if (run && !comm_all_ok(t->comm, run_close(run, ok ? &problem : NULL) && ok, &problem))
        code = EXIT_CHECKPOINT;
    run_unlock(lock);
    *err = problem;
    return code;
}
