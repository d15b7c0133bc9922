/* A training step, from samples to weights. Read this file first; training.c is the loop around
 * it. */
#include "lockstep/trainer.h"
#include "compression.h"
#include "growth.h"
#include "local.h"
#include "lockstep/clock.h"
#include "lockstep/memory.h"
#include "probes.h"
#include "recovery.h"
#include "replicas.h"
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

bool trainer_stop_requested(void)
{
    return stop_requested;
}

void trainer_lap_of(Trainer *t, Phase phase, double seconds)
{
    static const char *const names[PHASE_COUNT] = { "load",     "forward", "backward", "fold",
                                                    "exchange", "update",  "digest",   "probe" };
    timeline_span(t->timeline, TRACK_STEP, names[phase], t->step, t->lap, t->lap + seconds);
    t->seconds[phase] += seconds;
    t->lap += seconds;
}

void trainer_lap(Trainer *t, Phase phase)
{
    trainer_lap_of(t, phase, clock_seconds() - t->lap);
}

void trainer_passed(void *trainer, int node)
{
    Trainer *t = trainer;
    trainer_lap(t, PHASE_BACKWARD);
    probes_passed(t, node);
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
    probes_lane(t, lane);
    const Batch *batch = loader_lane(&t->loader, step, lane);
    trainer_lap(t, PHASE_LOAD);
    t->reports[lane] = (LaneReport){ .stop = stop_requested,
                                     .late = clock_seconds() > t->deadline,
                                     .save = t->save_wanted,
                                     .written = t->written,
                                     .digest = t->digest };
    if (batch->count == 0) { /* behind the end of a short batch */
        memset(gradient, 0, t->model.layout.n * sizeof *gradient);
        probes_lane_ends(t, NULL);
        return gradient;
    }
    Pass pass = lane_pass(t, batch, step, lane, alone);
    model_bind(&t->model, w, gradient);
    t->reports[lane].tally = model_forward(&t->model, batch, &pass);
    trainer_lap(t, PHASE_FORWARD);
    model_backward(&t->model, batch, &pass);
    trainer_lap(t, PHASE_BACKWARD);
    probes_lane_ends(t, gradient);
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
    t->late = sum_lanes(t, offsetof(LaneReport, late)) > 0;
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
void trainer_extend_trajectory(Trainer *t)
{
    uint64_t link[3] = { (uint64_t)t->step, 0, t->digest };
    memcpy(&link[1], &t->tally.loss, sizeof link[1]);
    t->trajectory = XXH3_64bits_withSeed(link, sizeof link, t->trajectory);
}

/* Behind it nobody reads the sums of this step any more, either: ranks of other domains do. */
void trainer_share(Trainer *t, const SharedMemory *shared, float *arena)
{
    if (shared || t->group != t->host)
        comm_barrier(t->host);
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

double trainer_accuracy(const Trainer *t, Tally tally)
{
    return t->model.loss.type->wants_labels ? tally.correct / tally.count : -1;
}

void trainer_observe(Trainer *t, ScheduleEvent event, Tally tally)
{
    ScheduleNews news = { .event = event,
                          .done = t->step,
                          .loss = tally.loss,
                          .count = tally.count,
                          .accuracy = trainer_accuracy(t, tally) };
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

static Rates step_rates(const Trainer *t)
{
    return (Rates){ .lr = schedule_lr(&t->schedule, t->step) * t->recovery.lr_factor,
                    .step = t->step,
                    .momentum = schedule_momentum(&t->schedule, t->step),
                    .loss = t->tally.loss / t->tally.count,
                    .seed = (uint64_t)t->settings->seed,
                    .plan = &t->loader.plan };
}

/* Before anything is updated, if a step may be left out; otherwise optimizer_step tells
 * afterwards. */
static bool is_usable(Trainer *t, Gradient *gradient)
{
    return t->settings->train.on_diverged != DIVERGED_SKIP ||
           optimizer_measure(&t->optimizer, gradient, t->exchange);
}

/* A second gradient of the same batch near the weights, for methods that want curvature; false if
 * it is not usable. */
static bool find_curvature(Trainer *t, Gradient *gradient)
{
    optimizer_probe(&t->optimizer, &t->rates, t->w, *gradient);
    comm_barrier(t->comm); /* nobody reads the first sums any more */
    trainer_share(t, t->shared, t->w);
    *gradient = trainer_gradient(t, t->w, t->step);
    comm_barrier(t->comm); /* nobody reads the weights nearby any more */
    bool usable = is_usable(t, gradient);
    *gradient = optimizer_take_curvature(&t->optimizer, &t->rates, t->w, *gradient);
    return usable;
}

/* The gradient that the optimizer takes, in this rank's slice. */
static StepOutcome find_gradient(Trainer *t, Gradient *gradient)
{
    *gradient = trainer_gradient(t, t->w, t->step); /* mean gradient, my slice */
    probes_lanes_end(t);
    gather_reports(t);
    trainer_lap(t, PHASE_EXCHANGE);
    t->rates = step_rates(t);
    if (!replicas_reported(t))
        return STEP_REPLICAS;
    bool usable = isfinite(t->tally.loss) && is_usable(t, gradient);
    if (usable && optimizer_wants_curvature(&t->optimizer, t->step + 1))
        usable = find_curvature(t, gradient);
    return usable ? STEP_OK : STEP_DIVERGED;
}

/* The sum over all lanes and one update. */
static StepOutcome step_together(Trainer *t)
{
    Gradient gradient;
    growth_step(t, t->step); /* more lanes, where the batch grows */
    probes_begin(t);
    StepOutcome outcome = recovery_passes(t) ? STEP_SKIPPED : find_gradient(t, &gradient);
    if (outcome != STEP_OK)
        return recovery_skip(t, outcome);
    watch_note(t->watch, t->step + 1, WATCH_UPDATE, 0);
    probes_watch(t, &gradient);
    if (!optimizer_step(&t->optimizer, &t->rates, t->w, gradient, t->exchange))
        return STEP_DIVERGED; /* norms, clip, trust ratios, update of my slice */
    layout_update_statistics(&t->model.layout, t->slice, t->w, gradient);
    compression_end(t);
    probes_watched(t);
    trainer_lap(t, PHASE_UPDATE);
    return STEP_OK;
}

/* An update of every lane's own weights (train.local). */
static StepOutcome step_apart(Trainer *t)
{
    t->rates = step_rates(t);
    local_run_lanes(t, &t->rates);
    gather_reports(t);
    trainer_lap(t, PHASE_EXCHANGE);
    t->rates.loss = t->tally.loss / t->tally.count;
    if (!replicas_reported(t))
        return STEP_REPLICAS;
    return isfinite(t->tally.loss) ? STEP_OK : STEP_DIVERGED;
}

StepOutcome trainer_step(Trainer *t)
{
    int global_batch = loader_batch_size(&t->loader, t->step);
    bool apart = local_is_on(t);
    StepOutcome outcome = apart ? step_apart(t) : step_together(t);
    if (outcome != STEP_OK)
        return outcome;
    bool new_weights = !apart || local_average(t);
    t->step++;
    t->samples += global_batch;
    t->recovery.in_row = 0;
    trainer_observe(t, SCHEDULE_STEP, t->tally);
    if (new_weights)
        t->digest = complete_digest(t);
    trainer_extend_trajectory(t);
    trainer_lap(t, PHASE_DIGEST);
    watch_note(t->watch, t->step, WATCH_PUBLISH, 0);
    if (!apart)
        trainer_share(t, t->shared, t->w); /* every rank sees the new weights */
    trainer_lap(t, PHASE_EXCHANGE);
    probes_end(t);
    return STEP_OK;
}
