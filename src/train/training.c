/* The loop around the training step: records, evaluations, checkpoints, the run's summary. */
#include "compression.h"
#include "ending.h"
#include "lockstep/checkpoint.h"
#include "lockstep/clock.h"
#include "lockstep/log.h"
#include "probes.h"
#include "recovery.h"
#include "replicas.h"
#include "trainer_parts.h"
#include "watch.h"

#include <math.h>
#include <string.h>

static void add_tally(Tally *sum, Tally tally)
{
    sum->loss += tally.loss;
    sum->correct += tally.correct;
    sum->count += tally.count;
}

bool trainer_per_token(const Trainer *t)
{
    return t->loader.test.per_position && t->model.loss.type->wants_labels;
}

/* Tokens in a sample; 0: samples are not sequences of tokens. */
static double sample_tokens(const Trainer *t)
{
    return t->loader.shape.vocabulary > 0 ? t->loader.shape.dim[0] : 0;
}

static double epochs_done(const Trainer *t)
{
    return (double)t->samples / (double)t->loader.epoch_samples;
}

static bool is_due(const Trainer *t, Span every)
{
    return batch_plan_due(&t->loader.plan, t->step, every);
}

const char *trainer_reduction(const Trainer *t)
{
    static const char *const names[] = { "tree", "fast", "adasum" };
    return names[t->settings->train.reduce];
}

static StepRecord step_record(const Trainer *t, bool skipped, double seconds,
                              double training_seconds)
{
    return (StepRecord){
        .step = t->step,
        .epoch = epochs_done(t),
        .samples = t->samples,
        .seconds = seconds,
        .loss = t->tally.loss / t->tally.count,
        .accuracy = trainer_accuracy(t, t->tally),
        .lr = t->rates.lr,
        .grad_norm = t->optimizer.grad_norm,
        .clip_factor = t->optimizer.clip_factor,
        .samples_per_second = (double)t->samples / training_seconds,
        .tokens_per_second = (double)t->samples * sample_tokens(t) / training_seconds,
        .comm = comm_size(t->comm) == 1 ? 0 : t->seconds[PHASE_EXCHANGE] / training_seconds,
        .digest = t->digest,
        .trajectory = t->trajectory,
        .reduction = trainer_reduction(t),
        .skipped = skipped
    };
}

static EvalRecord eval_record(Trainer *t, double start)
{
    Tally tally = t->step == t->steps ? trainer_test(t) : trainer_evaluate(t);
    trainer_observe(t, SCHEDULE_TEST, tally);
    return (EvalRecord){ .step = t->step,
                         .epoch = epochs_done(t),
                         .samples = t->samples,
                         .seconds = clock_seconds() - start,
                         .loss = tally.loss / tally.count,
                         .accuracy = trainer_accuracy(t, tally),
                         .per_token = trainer_per_token(t),
                         .count = (int64_t)tally.count };
}

static Summary summary(const Trainer *t, const char *status)
{
    return (Summary){ .status = status,
                      .test_loss = (double)NAN,
                      .test_accuracy = -1,
                      .best_accuracy = -1,
                      .best_loss = (double)NAN,
                      .per_token = trainer_per_token(t),
                      .train_loss = (double)NAN,
                      .steps = t->step,
                      .samples = t->samples,
                      .epochs = epochs_done(t),
                      .global_batch = t->settings->train.batch,
                      .lanes = t->settings->train.lanes,
                      .ranks = comm_size(t->comm),
                      .digest = t->digest,
                      .trajectory = t->trajectory,
                      .optimizer = t->optimizer.type->name,
                      .reduction = trainer_reduction(t),
                      .seed = t->settings->seed,
                      .diverged_step = -1,
                      .parameters = (int64_t)t->model.layout.trained,
                      .recovers = t->settings->train.on_diverged != DIVERGED_STOP,
                      .skipped_steps = t->recovery.skipped,
                      .rollbacks = t->recovery.rollbacks,
                      .lr_factor = t->recovery.lr_factor };
}

/* True if the evaluation is the best so far by what checkpoint.best asks for. */
static bool note_eval(Trainer *t, const EvalRecord *eval)
{
    History *history = &t->history;
    double loss = history->best_loss, best_accuracy = history->best_accuracy;
    history->test_loss = eval->loss;
    history->test_accuracy = eval->accuracy;
    history->best_accuracy = fmax(best_accuracy, eval->accuracy);
    history->best_loss = fmin(loss, eval->loss);
    switch ((Best)t->settings->checkpoint.best) {
    case BEST_NONE:
        break;
    case BEST_LOSS:
        return isnan(loss) || eval->loss < loss;
    case BEST_ACCURACY:
        return eval->accuracy > best_accuracy;
    }
    return false;
}

/* True: the best so far. */
static bool evaluate_now(Trainer *t, Run *run, Progress *progress, double start)
{
    double now = clock_seconds() - start;
    EvalRecord eval = eval_record(t, start);
    t->history.evaluating += eval.seconds - now;
    t->history.owes_eval = false;
    ending_note(t, &eval);
    run_log_eval(run, &eval);
    progress_eval(progress, &eval);
    return note_eval(t, &eval);
}

/* Writing it down is part of what it costs. */
static void note_probe(Trainer *t, Run *run, bool skipped)
{
    const ProbeRecord *found = skipped ? NULL : probes_record(t);
    if (!found)
        return;
    ProbeRecord record = *found;
    record.epoch = epochs_done(t);
    record.samples = t->samples;
    t->lap = clock_seconds();
    run_log_probe(run, &record);
    trainer_lap(t, PHASE_PROBE);
}

/* Records and evaluation of the step that is done. True: the evaluation was the best so far. */
static bool note_step(Trainer *t, Run *run, Progress *progress, bool skipped, double start)
{
    bool best = false;
    if (!skipped)
        add_tally(&t->epoch_tally, t->tally);
    double now = clock_seconds() - start;
    StepRecord record = step_record(t, skipped, now, now - t->history.evaluating);
    progress_step(progress, &record);
    if (skipped || is_due(t, t->settings->log.metrics) || ending_reached(t))
        run_log_step(run, &record);
    note_probe(t, run, skipped);
    if (t->step == t->steps || t->late || (is_due(t, t->settings->eval.every) && !t->stop))
        best = evaluate_now(t, run, progress, start);
    else
        t->history.owes_eval = is_due(t, t->settings->eval.every);
    t->history.seconds = clock_seconds() - start;
    return best;
}

/* A checkpoint, if one is due: of weights that are the same everywhere. */
static void save(Trainer *t, Run *run, bool best)
{
    if (replicas_due(t) || checkpointer_due(t, best))
        replicas_check(t, run);
    checkpointer_step(t, run, best);
}

static const char *train_to_the_end(Trainer *t, Run *run, Progress *progress, Summary *result)
{
    double start = clock_seconds() - t->history.seconds;
    bool diverged = false;
    ending_begin(t, start);
    if (t->history.owes_eval) /* the last session had no time for it */
        save(t, run, evaluate_now(t, run, progress, start));
    while (!ending_reached(t)) {
        if (batch_plan_at(&t->loader.plan, t->step).position == 0)
            t->epoch_tally = (Tally){ 0 };
        StepOutcome outcome = trainer_step(t);
        if (outcome == STEP_REPLICAS)
            replicas_check(t, run); /* does not come back */
        if (outcome == STEP_DIVERGED && recovery_rollback(t, run))
            continue;
        diverged = outcome == STEP_DIVERGED;
        if (diverged)
            break;
        replicas_inject(t);
        bool best = note_step(t, run, progress, outcome == STEP_SKIPPED, start);
        save(t, run, best);
    }
    result->seconds = t->history.seconds = clock_seconds() - start;
    result->samples_per_second = (double)t->samples / (result->seconds - t->history.evaluating);
    if (t->step == t->steps) /* no later step tells what the last one has done */
        diverged = !isfinite(t->history.test_loss);
    if (!diverged)
        replicas_check(t, run);
    checkpointer_end(t, run, diverged);
    return diverged ? "diverged" : ending_status(t);
}

static void add_probes(const Trainer *t, Summary *summary)
{
    double steps = 0;
    for (int phase = 0; phase < PHASE_COUNT; phase++)
        steps += t->seconds[phase];
    summary->probed_steps = probes_count(t);
    summary->probe_seconds = t->seconds[PHASE_PROBE];
    summary->probe_share = t->seconds[PHASE_PROBE] / steps;
    if (summary->probed_steps > 0)
        log_info("probes     of %lld steps: %.3g s, %.2f %% of the steps' time",
                 (long long)summary->probed_steps, summary->probe_seconds,
                 100 * summary->probe_share);
}

/* The values of an interrupted or diverged run's last evaluation stay; the rest is filled in
 * here. */
static void finish_summary(const Trainer *t, Summary *result, const char *status)
{
    Summary final = summary(t, status);
    final.test_loss = t->history.test_loss;
    final.test_accuracy = t->history.test_accuracy;
    final.best_accuracy = t->history.best_accuracy;
    final.best_loss = t->history.best_loss;
    final.at_stop = ending_is_stop(t);
    final.target_accuracy = t->history.target_accuracy;
    final.target_loss = t->history.target_loss;
    final.target_step = t->history.target_step;
    final.target_samples = t->history.target_samples;
    final.target_seconds = t->history.target_seconds;
    final.seconds = result->seconds;
    final.samples_per_second = result->samples_per_second;
    final.tokens_per_second = result->samples_per_second * sample_tokens(t);
    final.train_loss = t->epoch_tally.loss / t->epoch_tally.count;
    if (strcmp(status, "diverged") == 0)
        final.diverged_step = t->step + 1;
    add_probes(t, &final);
    *result = final;
}

int trainer_run(Trainer *t, Run *run, Summary *result)
{
    Progress *progress = progress_new(t->steps, &t->loader.plan, t->settings->log.every);
    if (comm_size(t->comm) > 1)
        t->watch = watch_start(t->comm, run_folder(run), &t->settings->comm);
    *result = summary(t, "running");
    double sent = compression_sent(t), first = (double)t->step;
    const char *status = train_to_the_end(t, run, progress, result);
    sent = (compression_sent(t) - sent) / comm_hosts(t->comm) / fmax((double)t->step - first, 1);
    watch_free(t->watch);
    t->watch = NULL;
    progress_free(progress);
    finish_summary(t, result, status);
    result->sent_bytes = sent;
    trainer_say_memory(t);
    replicas_say_cost(t);
    return strcmp(status, "diverged") == 0 ? EXIT_DIVERGED : EXIT_OK;
}
