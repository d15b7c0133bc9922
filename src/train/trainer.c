/* A training step, from samples to weights, and the loop around it. Read this file first. */
#include "lockstep/trainer.h"
#include "compression.h"
#include "growth.h"
#include "local.h"
#include "lockstep/checkpoint.h"
#include "lockstep/clock.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "statistics.h"
#include "trainer_parts.h"
#include "watch.h"

#include <math.h>
#include <signal.h>
#include <string.h>
#include <xxhash.h>

static volatile sig_atomic_t stop_requested;

void trainer_request_stop(int signal_number)
{
    stop_requested = 1;
    signal(signal_number, SIG_DFL); /* a second signal ends the process at once */
}

void trainer_lap(Trainer *t, Phase phase)
{
    static const char *const names[PHASE_COUNT] = { "load",     "forward", "backward", "fold",
                                                    "exchange", "update",  "digest" };
    double now = clock_seconds();
    timeline_span(t->timeline, TRACK_STEP, names[phase], t->step, t->lap, now);
    t->seconds[phase] += now - t->lap;
    t->lap = now;
}

void trainer_passed(void *trainer, int node)
{
    Trainer *t = trainer;
    trainer_lap(t, PHASE_BACKWARD);
    if (!local_is_on(t)) /* else a lane's gradient is nobody else's */
        reducer_final(t->reducer, node);
    trainer_lap(t, PHASE_FOLD);
}

/* Random numbers of a lane that is alone, as its samples are the first of its batch. */
static uint64_t lane_seed(const Trainer *t, int lane)
{
    return (uint64_t)t->settings->seed + (uint64_t)lane * 0x9e3779b97f4a7c15u;
}

static Pass lane_pass(const Trainer *t, const Batch *batch, int64_t step, int lane, bool alone)
{
    int global = loader_batch_size(&t->loader, step);
    Pass pass = { .train = true,
                  .batch = batch->count,
                  .seed = (uint64_t)t->settings->seed,
                  .step = step,
                  .first_sample = lanes_offset(&t->lanes, lane),
                  .global_batch = global,
                  .lane_size = t->lanes.size,
                  .global_targets = loader_targets(&t->loader, step),
                  .tokens = batch->tokens };
    if (alone) {
        pass.seed = lane_seed(t, lane);
        pass.first_sample = 0;
        pass.global_batch = batch->count;
        pass.global_targets = pass.global_targets / global * batch->count;
    }
    return pass;
}

float *trainer_run_lane(Trainer *t, float *w, int64_t step, int lane, bool alone)
{
    float *gradient = reducer_lane(t->reducer);
    watch_note(t->watch, step + 1, WATCH_LANES, lane);
    const Batch *batch = loader_lane(&t->loader, step, lane);
    trainer_lap(t, PHASE_LOAD);
    t->reports[lane] =
        (LaneReport){ .stop = stop_requested, .save = t->save_wanted, .written = t->written };
    if (batch->count == 0) { /* behind the end of a short batch */
        memset(gradient, 0, t->model.layout.n * sizeof *gradient);
        return gradient;
    }
    Pass pass = lane_pass(t, batch, step, lane, alone);
    model_bind(&t->model, w, gradient);
    t->reports[lane].tally = model_forward(&t->model, batch, &pass);
    trainer_lap(t, PHASE_FORWARD);
    model_backward(&t->model, batch, &pass);
    trainer_lap(t, PHASE_BACKWARD);
    return gradient;
}

/* Adds one field of the lanes' reports over the lane tree. */
static double sum_lanes(Trainer *t, size_t field)
{
    for (int lane = 0; lane < t->lanes.count; lane++)
        memcpy(&t->lane_values[lane], (const char *)&t->reports[lane] + field, sizeof(double));
    return lanes_tree_sum(t->lane_values, t->lanes.count);
}

/* Every rank learns every lane's report. */
static void gather_reports(Trainer *t)
{
    comm_allgather(t->comm, t->reports, t->lane_bounds, sizeof *t->reports);
    t->tally.loss = sum_lanes(t, offsetof(LaneReport, tally.loss));
    t->tally.correct = sum_lanes(t, offsetof(LaneReport, tally.correct));
    t->tally.count = sum_lanes(t, offsetof(LaneReport, tally.count));
    t->stop = sum_lanes(t, offsetof(LaneReport, stop)) > 0;
    t->save = sum_lanes(t, offsetof(LaneReport, save)) > 0;
    t->all_written = (int)sum_lanes(t, offsetof(LaneReport, written)) == t->lanes.count;
}

/* All block digests from those of this rank's slice. */
static uint64_t complete_digest(Trainer *t)
{
    exchange_complete(t->exchange, t->digests, sizeof *t->digests);
    return layout_digest(&t->model.layout, t->digests);
}

uint64_t trainer_digest(Trainer *t)
{
    layout_block_digests(&t->model.layout, t->slice, t->w, t->digests);
    return complete_digest(t);
}

static void digest_block(void *trainer, LayoutBlock block)
{
    Trainer *t = trainer;
    t->digests[block.index] = layout_block_digest(&t->model.layout, block, t->w);
}

/* Subtree sums -> mean gradient, to be finished block by block; all of it if every rank updates
 * everything, or slices of all ranks make it that the hosts share out otherwise. */
Gradient trainer_reduce(Trainer *t)
{
    bool whole = t->settings->comm.update == UPDATE_REPLICATED || t->world_slices.comm;
    Gradient gradient = whole ? reducer_reduce_all(t->reducer) : reducer_reduce(t->reducer);
    gradient.updated = digest_block; /* while the new weights are in the cache */
    gradient.listener = t;
    return gradient;
}

/* The trajectory is a chain: step number, bits of the loss sum, parameter digest. */
static void extend_trajectory(Trainer *t)
{
    uint64_t link[3] = { (uint64_t)t->step, 0, t->digest };
    memcpy(&link[1], &t->tally.loss, sizeof link[1]);
    t->trajectory = XXH3_64bits_withSeed(link, sizeof link, t->trajectory);
}

void trainer_share(Trainer *t, const SharedMemory *shared, float *arena)
{
    if (shared)
        comm_barrier(t->group);
    else if (t->settings->comm.update == UPDATE_SHARDED)
        comm_publish(&t->slices, arena);
}

void trainer_publish(Trainer *t)
{
    trainer_share(t, t->shared, t->w);
}

float *trainer_final_weights(Trainer *t)
{
    if (!t->average)
        return t->w;
    if (t->local)
        return local_weights(t);
    if (t->average_is_final)
        return t->average;
    comm_barrier(t->group); /* nobody is evaluating the last ones any more */
    optimizer_evaluated(&t->optimizer, t->w, t->average);
    trainer_share(t, t->shared_average, t->average);
    t->average_is_final = t->step == t->steps;
    if (t->average_is_final)
        growth_step(t, t->step - 1); /* for `eval`; training stands there */
    for (int64_t i = t->average_is_final ? statistics_steps(t) : 0; i > 0; i--) {
        statistics_step(t, t->average, t->step - i);
        trainer_share(t, t->shared_average, t->average);
    }
    return t->average;
}

/* To one rank of each copy. */
void trainer_send_weights(Trainer *t)
{
    bool has_copy = !t->shared || comm_rank(t->group) == 0;
    Comm *copies = comm_split(t->comm, has_copy ? 0 : 1);
    if (has_copy)
        comm_broadcast(copies, t->w, t->model.layout.n * sizeof *t->w, 0);
    comm_free(copies);
    comm_barrier(t->comm);
}

static double accuracy(const Trainer *t, Tally tally)
{
    return t->model.loss.type->wants_labels ? tally.correct / tally.count : -1;
}

/* What a schedule may watch; the same on every rank. */
static void observe(Trainer *t, ScheduleEvent event, Tally tally)
{
    ScheduleNews news = { .event = event,
                          .done = t->step,
                          .loss = tally.loss,
                          .count = tally.count,
                          .accuracy = accuracy(t, tally) };
    schedule_observe(&t->schedule, &news);
}

Gradient trainer_gradient(Trainer *t, float *w, int64_t step)
{
    t->lap = clock_seconds();
    compression_begin(t);
    comm_computes(t->comm);
    model_bind(&t->model, w, NULL);
    model_begin_step(&t->model, loader_batch_size(&t->loader, step)); /* the weights are new */
    trainer_lap(t, PHASE_FORWARD);
    /* Adasum wants means over lanes: the mean over the batch times the lanes that it fills. */
    reducer_set_scale(t->reducer, (double)loader_batch_size(&t->loader, step) / t->lanes.size);
    for (int lane = t->lanes.first; lane < t->lanes.last; lane++) { /* this rank's lanes */
        trainer_run_lane(t, w, step, lane, false); /* samples -> loss, lane gradient */
        reducer_add_lane(t->reducer, lane);        /* lane gradient -> subtree sums of this rank */
        trainer_lap(t, PHASE_FOLD);
    }
    comm_computed(t->comm);
    watch_note(t->watch, step + 1, WATCH_EXCHANGE, 0);
    return trainer_reduce(t);
}

/* A second gradient of the same batch near the weights, for methods that want curvature. */
static Gradient find_curvature(Trainer *t, Gradient gradient)
{
    optimizer_probe(&t->optimizer, &t->rates, t->w, gradient);
    comm_barrier(t->comm); /* nobody reads the first sums any more */
    trainer_share(t, t->shared, t->w);
    gradient = trainer_gradient(t, t->w, t->step);
    comm_barrier(t->comm); /* nobody reads the weights nearby any more */
    return optimizer_take_curvature(&t->optimizer, &t->rates, t->w, gradient);
}

static Rates rates_now(const Trainer *t)
{
    return (Rates){ .lr = schedule_lr(&t->schedule, t->step),
                    .step = t->step,
                    .momentum = schedule_momentum(&t->schedule, t->step),
                    .loss = t->tally.loss / t->tally.count,
                    .seed = (uint64_t)t->settings->seed,
                    .plan = &t->loader.plan };
}

/* The sum over all lanes and one update. */
static StepOutcome step_together(Trainer *t)
{
    growth_step(t, t->step);                                /* more lanes, where the batch grows */
    Gradient gradient = trainer_gradient(t, t->w, t->step); /* mean gradient, my slice */
    gather_reports(t);
    trainer_lap(t, PHASE_EXCHANGE);
    if (!isfinite(t->tally.loss))
        return STEP_DIVERGED;
    watch_note(t->watch, t->step + 1, WATCH_UPDATE, 0);
    t->rates = rates_now(t);
    if (optimizer_wants_curvature(&t->optimizer, t->step + 1))
        gradient = find_curvature(t, gradient);
    if (!optimizer_step(&t->optimizer, &t->rates, t->w, gradient, t->exchange))
        return STEP_DIVERGED; /* norms, clip, trust ratios, update of my slice */
    layout_update_statistics(&t->model.layout, t->slice, t->w, gradient);
    compression_end(t);
    trainer_lap(t, PHASE_UPDATE);
    return STEP_OK;
}

/* An update of every lane's own weights (train.local). */
static StepOutcome step_apart(Trainer *t)
{
    t->rates = rates_now(t);
    local_run_lanes(t, &t->rates);
    gather_reports(t);
    trainer_lap(t, PHASE_EXCHANGE);
    t->rates.loss = t->tally.loss / t->tally.count;
    return isfinite(t->tally.loss) ? STEP_OK : STEP_DIVERGED;
}

StepOutcome trainer_step(Trainer *t)
{
    int global_batch = loader_batch_size(&t->loader, t->step);
    bool apart = local_is_on(t);
    if ((apart ? step_apart(t) : step_together(t)) == STEP_DIVERGED)
        return STEP_DIVERGED;
    bool new_weights = !apart || local_average(t);
    t->step++;
    t->samples += global_batch;
    observe(t, SCHEDULE_STEP, t->tally);
    if (new_weights)
        t->digest = complete_digest(t);
    extend_trajectory(t);
    trainer_lap(t, PHASE_DIGEST);
    watch_note(t->watch, t->step, WATCH_PUBLISH, 0);
    if (!apart)
        trainer_share(t, t->shared, t->w); /* every rank sees the new weights */
    trainer_lap(t, PHASE_EXCHANGE);
    return STEP_OK;
}

/* ---- the loop ---- */

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

static StepRecord step_record(const Trainer *t, double seconds, double training_seconds)
{
    return (StepRecord){
        .step = t->step,
        .epoch = epochs_done(t),
        .samples = t->samples,
        .seconds = seconds,
        .loss = t->tally.loss / t->tally.count,
        .accuracy = accuracy(t, t->tally),
        .lr = t->rates.lr,
        .grad_norm = t->optimizer.grad_norm,
        .clip_factor = t->optimizer.clip_factor,
        .samples_per_second = (double)t->samples / training_seconds,
        .tokens_per_second = (double)t->samples * sample_tokens(t) / training_seconds,
        .comm = comm_size(t->comm) == 1 ? 0 : t->seconds[PHASE_EXCHANGE] / training_seconds,
        .digest = t->digest,
        .trajectory = t->trajectory,
        .reduction = trainer_reduction(t)
    };
}

static EvalRecord eval_record(Trainer *t, double start)
{
    Tally tally = t->step == t->steps ? trainer_test(t) : trainer_evaluate(t);
    observe(t, SCHEDULE_TEST, tally);
    return (EvalRecord){ .step = t->step,
                         .epoch = epochs_done(t),
                         .samples = t->samples,
                         .seconds = clock_seconds() - start,
                         .loss = tally.loss / tally.count,
                         .accuracy = accuracy(t, tally),
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
                      .parameters = (int64_t)t->model.layout.trained };
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
    run_log_eval(run, &eval);
    progress_eval(progress, &eval);
    return note_eval(t, &eval);
}

static const char *train_to_the_end(Trainer *t, Run *run, Progress *progress, Summary *result)
{
    Span eval_every = t->settings->eval.every, log_every = t->settings->log.metrics;
    double start = clock_seconds() - t->history.seconds;
    bool diverged = false;
    if (t->history.owes_eval) /* the last session had no time for it */
        checkpointer_step(t, run, evaluate_now(t, run, progress, start));
    while (t->step < t->steps && !t->stop) {
        if (batch_plan_at(&t->loader.plan, t->step).position == 0)
            t->epoch_tally = (Tally){ 0 };
        diverged = trainer_step(t) == STEP_DIVERGED;
        if (diverged)
            break;
        bool best = false;
        add_tally(&t->epoch_tally, t->tally);
        double now = clock_seconds() - start;
        StepRecord record = step_record(t, now, now - t->history.evaluating);
        progress_step(progress, &record);
        if (is_due(t, log_every) || t->step == t->steps || t->stop)
            run_log_step(run, &record);
        if (t->step == t->steps || (is_due(t, eval_every) && !t->stop))
            best = evaluate_now(t, run, progress, start);
        else
            t->history.owes_eval = is_due(t, eval_every);
        t->history.seconds = clock_seconds() - start;
        checkpointer_step(t, run, best);
    }
    result->seconds = t->history.seconds = clock_seconds() - start;
    result->samples_per_second = (double)t->samples / (result->seconds - t->history.evaluating);
    if (t->step == t->steps) /* no later step tells what the last one has done */
        diverged = !isfinite(t->history.test_loss);
    checkpointer_end(t, run, diverged);
    return diverged ? "diverged" : t->step < t->steps ? "interrupted" : "completed";
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
    final.seconds = result->seconds;
    final.samples_per_second = result->samples_per_second;
    final.tokens_per_second = result->samples_per_second * sample_tokens(t);
    final.train_loss = t->epoch_tally.loss / t->epoch_tally.count;
    if (strcmp(status, "diverged") == 0)
        final.diverged_step = t->step + 1;
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
    return strcmp(status, "diverged") == 0 ? EXIT_DIVERGED : EXIT_OK;
}
