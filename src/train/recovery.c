/* Steps that are left out, and ways back. A step that is left out is a step all the same: the step
 * number, the data and the schedule go on, weights, statistics and the optimizer's state stay. A
 * way back is a resume inside the run; what a resume does not bring along, the smaller learning
 * rate and the batches to pass over, is kept from one to the next and in the checkpoints that
 * follow. */
#include "recovery.h"

#include "lockstep/checkpoint.h"
#include "lockstep/log.h"

#include <math.h>

bool recovery_passes(const Trainer *t)
{
    const Recovery *r = &t->recovery;
    for (int64_t i = 0; i < r->rollbacks; i++)
        if (t->step >= r->passed[i].first && t->step - r->passed[i].first < r->passed[i].count)
            return true;
    return false;
}

/* A nan has many bits, and which of them come out of a sum is the compiler's choice. */
static double plain(double value)
{
    return isnan(value) ? (double)NAN : value;
}

/* Nobody has looked at the batch. */
static void pass_over(Trainer *t)
{
    t->tally = (Tally){ .loss = (double)NAN, .correct = (double)NAN, .count = 1 };
    t->rates.lr = 0;
    t->save = t->all_written = false; /* as no lane has reported */
}

static bool leaves_out(Trainer *t)
{
    if (t->settings->train.on_diverged != DIVERGED_SKIP)
        return false;
    if (t->recovery.in_row >= t->settings->train.diverged_limit) {
        log_warn("%lld steps in a row were not finite: no more are left out",
                 (long long)t->recovery.in_row);
        return false;
    }
    t->recovery.in_row++;
    log_warn("step %lld is left out: its %s is not finite", (long long)t->step + 1,
             isfinite(t->tally.loss) ? "gradient" : "loss");
    return true;
}

StepOutcome recovery_skip(Trainer *t, StepOutcome outcome)
{
    if (outcome == STEP_SKIPPED)
        pass_over(t);
    else if (outcome != STEP_DIVERGED || !leaves_out(t))
        return outcome;
    if (!isfinite(t->tally.loss))
        t->optimizer.grad_norm = (double)NAN; /* nobody has asked for it */
    t->optimizer.grad_norm = plain(t->optimizer.grad_norm);
    t->optimizer.clip_factor = 1;
    t->tally.loss = plain(t->tally.loss);
    t->recovery.skipped++;
    t->samples += loader_batch_size(&t->loader, t->step);
    t->step++;
    trainer_extend_trajectory(t);
    trainer_publish(t); /* nobody reads sums or weights of this step any more */
    return STEP_SKIPPED;
}

/* ---- going back ---- */

/* What the checkpoint does not know. */
static void keep(Trainer *t, const Recovery *recovery, const History *history)
{
    int64_t skipped = t->recovery.skipped, in_row = t->recovery.in_row;
    t->recovery = *recovery;
    t->recovery.skipped = skipped;
    t->recovery.in_row = in_row;
    t->history.seconds = history->seconds;
    t->history.evaluating = history->evaluating;
    t->history.resumes = history->resumes;
}

/* Notes one more way back from step `from` (0-based) to where the trainer stands now. */
static void count(Trainer *t, int64_t from)
{
    Recovery *r = &t->recovery;
    int64_t most = from + 1 - t->step, wanted = t->settings->train.rollback_skip;
    int64_t passed = wanted < most ? wanted : most;
    r->passed[r->rollbacks].first = from + 1 - passed;
    r->passed[r->rollbacks].count = passed;
    r->rollbacks++;
    r->from = from;
    r->to = t->step;
    r->lr_factor *= t->settings->train.rollback_lr;
}

/* To the newest checkpoint; if that has led no further than the last time, to one before. */
static bool go_back(Trainer *t, const char *folder, Err *err)
{
    const Recovery *r = &t->recovery;
    int64_t newest = t->step + 1, before = r->rollbacks > 0 && t->step <= r->from ? r->to : newest;
    return checkpoint_back(t, folder, before, err) ||
           (before < newest && checkpoint_back(t, folder, newest, err));
}

bool recovery_rollback(Trainer *t, Run *run)
{
    Err err = { .text = "" };
    Recovery recovery = t->recovery;
    History history = t->history;
    int64_t from = t->step;
    RollbackRecord record = { .from = from + 1,
                              .loss = t->tally.loss / t->tally.count,
                              .grad_norm =
                                  isfinite(t->tally.loss) ? t->optimizer.grad_norm : (double)NAN };
    if (t->settings->train.on_diverged != DIVERGED_ROLLBACK)
        return false;
    if (recovery.rollbacks >= t->settings->train.diverged_limit) {
        log_warn("step %lld is not finite after %lld rollbacks: no more", (long long)record.from,
                 (long long)recovery.rollbacks);
        return false;
    }
    comm_barrier(t->comm); /* nobody reads sums or weights of this step any more */
    checkpointer_wait(t, run);
    if (!go_back(t, run_folder(run), &err)) {
        log_warn("step %lld is not finite: %s", (long long)record.from, err.text);
        return false;
    }
    keep(t, &recovery, &history);
    count(t, from);
    record.to = t->step;
    record.rollbacks = t->recovery.rollbacks;
    record.lr_factor = t->recovery.lr_factor;
    record.passed = t->recovery.passed[recovery.rollbacks].count;
    run_rollback(run, &record);
    log_warn("step %lld is not finite: back to step %lld, learning rate times %g, batches to pass "
             "over: %lld",
             (long long)record.from, (long long)record.to, record.lr_factor,
             (long long)record.passed);
    return true;
}
