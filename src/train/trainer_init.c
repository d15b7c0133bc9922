/* Building a trainer: settings -> lanes, data, network, initial weights, optimizer, schedule. */
#include "compression.h"
#include "ending.h"
#include "growth.h"
#include "local.h"
#include "lockstep/bf16.h"
#include "lockstep/checkpoint.h"
#include "lockstep/clock.h"
#include "lockstep/cpu.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/trainer.h"
#include "lockstep/version.h"
#include "lockstep/weights.h"
#include "probes.h"
#include "replicas.h"

#include <gnu/libc-version.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define BLOCK_REPORT (8 * sizeof(double)) /* bytes that ranks tell each other of a block at once */

/* Compares lines of "key: value" across ranks. */
static bool same(Trainer *t, const char *text, int *exit_code, Err *err)
{
    if (comm_same(t->comm, text, err))
        return true;
    *exit_code = EXIT_REPLICAS;
    return false;
}

/* With the same program, machine and config, and later the same data, everything that follows
 * succeeds on every rank or on none, and gives the same bits. */
static bool same_start(Trainer *t, int *exit_code, Err *err)
{
    char *config = NULL, text[1024];
    size_t bytes = 0;
    FILE *memory = open_memstream(&config, &bytes);
    expect(memory);
    config_print(&t->settings->config, memory, false);
    expect(fclose(memory) == 0);
    uint16_t one = 1;
    snprintf(text, sizeof text,
             "version: %s\nrevision: %s\nbyte order: %s\nC library: %s\nISA level: %s\n"
             "OpenBLAS core: %s\nmatrix products: %s\nconfig digest: %016llx\n",
             version_string(), version_git(), *(const char *)&one ? "little" : "big",
             gnu_get_libc_version(), cpu_isa_name(cpu_isa()), cpu_blas_core(),
             t->settings->compute.precision == PRECISION_BF16 ? bf16_kernel() : "fp32",
             (unsigned long long)XXH3_64bits(config, bytes));
    free(config);
    return same(t, text, exit_code, err);
}

/* Reading files is the one part that may fail on some ranks only (a file missing on one host): a
 * rank that had no trouble itself knows that the others' was about files. */
static bool init_data(Trainer *t, int *exit_code, Err *err)
{
    const Settings *s = t->settings;
    if (!lanes_init(&t->lanes, (int)s->train.batch, s->train.lanes, comm_rank(t->comm),
                    comm_size(t->comm), err))
        return false;
    bool ok = loader_init(&t->loader, &s->config, s->data, (uint64_t)s->seed, &t->lanes, err);
    if (!comm_all_ok(t->comm, ok, err)) {
        *exit_code = ok || t->loader.data_error ? EXIT_DATA : EXIT_USAGE;
        return false;
    }
    char text[128];
    snprintf(text, sizeof text, "training data digest: %016llx\ntest data digest: %016llx\n",
             (unsigned long long)t->loader.train.digest, (unsigned long long)t->loader.test.digest);
    return same(t, text, exit_code, err) && growth_read(t, err);
}

/* A row of values for each target. */
static Shape wanted_output(const Dataset *data)
{
    int values = data->classes ? data->classes : data->target_size;
    if (data->per_position)
        return (Shape){ .ndim = 2, .dim = { data->shape.dim[0], values, 1 } };
    return (Shape){ .ndim = 1, .dim = { values, 1, 1 } };
}

static void read_sample(void *loader, int64_t sample, float *x)
{
    loader_train_sample(loader, sample, x);
}

/* Of the initialisers; then, if there is one, those of a file in their place. */
static bool start_values(Trainer *t, Err *err)
{
    const char *file = t->settings->train.weights;
    return model_initialize(&t->model, (uint64_t)t->settings->seed, t->w, err) &&
           (file[0] == '\0' || weights_read(file, &t->model.layout, t->w, NULL, err) ||
            err_prefix(err, "train.weights: "));
}

/* Of all ranks: who is the first in its group. */
static void list_groups(Trainer *t)
{
    int ranks = comm_size(t->comm), rank = comm_rank(t->comm), first = rank;
    size_t *bounds = mem_array(size_t, ranks + 1);
    for (int r = 0; r <= ranks; r++)
        bounds[r] = (size_t)r;
    comm_broadcast(t->group, &first, sizeof first, 0);
    if (!t->first_ranks)
        t->first_ranks = mem_array(int, ranks);
    t->first_ranks[rank] = first;
    comm_allgather(t->comm, t->first_ranks, bounds, sizeof first);
    mem_free(bounds);
}

/* On several hosts the ranks of each are a group, if they may share memory; or those of each NUMA
 * domain. */
static void find_group(Trainer *t)
{
    const CommSettings *comm = &t->settings->comm;
    t->host = t->comm;
    if (comm->memory == MEMORY_AUTO && comm_hosts(t->comm) > 1)
        t->host = comm_split(t->comm, comm_host_index(t->comm, comm_rank(t->comm)));
    t->group = t->host;
    if (comm->domain == DOMAIN_NUMA)
        t->group = comm_split_domain(t->host, (int)comm->virtual_domains);
    if (t->group != t->host && comm_size(t->group) == comm_size(t->host)) {
        comm_free(t->group);
        t->group = t->host;
    }
    list_groups(t);
}

static void leave_group(Trainer *t)
{
    if (t->group && t->group != t->host)
        comm_free(t->group);
    if (t->host && t->host != t->comm)
        comm_free(t->host);
    t->host = t->group = t->comm;
}

/* The group's one copy; or everybody's own, if there is too little room on some host, and then the
 * group is everybody. */
static void allocate_weights(Trainer *t)
{
    size_t n = t->model.layout.n;
    if (t->settings->comm.update == UPDATE_SHARDED) {
        t->shared = shared_alloc_one(t->group, n * sizeof *t->w);
        if (comm_any(t->comm, !t->shared && comm_size(t->group) > 1)) {
            shared_free(t->shared);
            t->shared = NULL;
            leave_group(t);
            list_groups(t);
            comm_set_share(t->comm, false); /* the gradients need not ask again */
        }
    }
    t->w = t->shared ? shared_part(t->shared, 0) : mem_array(float, n);
}

/* Ranks that share memory have one copy of the weights, which the first of them fills. */
static bool init_weights(Trainer *t, Err *err)
{
    struct {
        bool ok;
        Err err;
    } answer = { .ok = true };
    allocate_weights(t);
    t->model.samples = (SampleSource){ read_sample, &t->loader, t->loader.train.count };
    if (!t->settings->dry_run && (!t->shared || comm_rank(t->group) == 0))
        answer.ok = start_values(t, &answer.err);
    answer.ok = comm_all_ok(t->comm, answer.ok, &answer.err);
    comm_barrier(t->comm); /* nobody reads them before they are there */
    return answer.ok || err_set(err, "%s", answer.err.text);
}

static bool init_model(Trainer *t, Err *err)
{
    const Settings *s = t->settings;
    const Dataset *data = &t->loader.train;
    ModelWish wish = { .input = t->loader.shape,
                       .output = wanted_output(data),
                       .precision = (Precision)s->compute.precision };
    if (!model_build(&t->model, &s->config, s->model, s->loss, &wish, err))
        return false;
    if (t->model.loss.type->wants_labels != (data->classes > 0))
        return config_error(&s->config, s->loss, err, "%s wants %s, the data set has %s",
                            t->model.loss.type->name,
                            t->model.loss.type->wants_labels ? "class labels" : "target values",
                            data->classes > 0 ? "class labels" : "target values");
    if (!model_check_lanes(&t->model, t->lanes.size, err) || !trainer_check_tta(t, err))
        return false;
    model_allocate(&t->model, t->lanes.size);
    return init_weights(t, err);
}

static int64_t training_steps(const Trainer *t)
{
    const TrainSettings *train = &t->settings->train;
    if (train->steps > 0)
        return train->steps;
    if (train->samples > 0)
        return batch_plan_step(&t->loader.plan, (Span){ train->samples, SPAN_SAMPLES });
    return batch_plan_step(&t->loader.plan, (Span){ train->epochs, SPAN_EPOCHS });
}

/* Weights to evaluate that differ from the trained ones: one copy a host, as those are. */
static void allocate_average(Trainer *t)
{
    size_t n = t->model.layout.n;
    if (!optimizer_averages(&t->optimizer) && !t->local)
        return;
    if (t->shared)
        t->shared_average = shared_alloc_one(t->group, n * sizeof *t->average);
    t->average = t->shared_average ? shared_part(t->shared_average, 0) : mem_array(float, n);
}

/* Who sums up and who updates which part of the arena. */
static void share_out(Trainer *t)
{
    int rank = comm_rank(t->group), ranks = comm_size(t->group);
    bool replicated = t->settings->comm.update == UPDATE_REPLICATED;
    const Layout *layout = &t->model.layout;
    size_t *bounds = mem_array(size_t, ranks + 1);
    optimizer_cut(&t->optimizer, ranks, bounds);
    slice_exchange_init(&t->slices, t->group, layout, bounds);
    if (!replicated)
        t->exchange = slice_exchange(&t->slices);
    t->slice = replicated ? layout_blocks(layout, 0, layout->blocks)
                          : layout_blocks(layout, (int)bounds[rank], (int)bounds[rank + 1]);
    mem_free(bounds);
    optimizer_own(&t->optimizer, t->slice);
    allocate_average(t);
}

static bool init_optimizer(Trainer *t, Err *err)
{
    const Settings *s = t->settings;
    if (!optimizer_init(&t->optimizer, &s->config, s->optimizer, &t->model.layout, err) ||
        !local_read(t, err))
        return false;
    share_out(t);
    t->steps = training_steps(t);
    ScheduleRun run = { .steps = t->steps,
                        .steps_per_epoch = t->loader.steps_per_epoch,
                        .batch = t->lanes.batch,
                        .plan = &t->loader.plan,
                        .base_lr = t->optimizer.lr };
    return schedule_init(&t->schedule, &s->config, s->schedule, &run, err);
}

/* Not the plain sum over the tree: of all ranks at once, by messages if they are on several hosts,
 * as what travels between hosts are sums. */
static Reducer *other_reducer(Trainer *t, const Lanes *lanes)
{
    bool fast = t->settings->train.reduce == REDUCE_FAST;
    if (t->group != t->comm && !t->world_slices.comm)
        slice_exchange_init(&t->world_slices, t->comm, &t->model.layout, NULL);
    Reducer *reducer = reducer_init(t->comm, lanes, &t->model.layout,
                                    t->world_slices.comm ? &t->world_slices : &t->slices);
    reducer_set_order(reducer, fast ? REDUCER_ORDER_FAST : REDUCER_ORDER_ADASUM);
    return reducer;
}

/* Between hosts a bucket may leave when backward has passed the layers that write to it. */
Reducer *trainer_reducer(Trainer *t, const Lanes *lanes)
{
    const Settings *s = t->settings;
    if (s->train.reduce != REDUCE_TREE)
        return other_reducer(t, lanes);
    comm_set_bucket(t->comm, (size_t)(s->comm.bucket * 1024 * 1024));
    Reducer *reducer = reducer_init(t->comm, lanes, &t->model.layout, &t->slices);
    if (s->comm.overlap == OVERLAP_OFF || t->host == t->comm)
        return reducer;
    int *nodes = mem_array(int, t->model.layout.count);
    model_last_nodes(&t->model, nodes);
    reducer_set_stages(reducer, nodes, s->comm.overlap == OVERLAP_THREAD);
    mem_free(nodes);
    t->model.watcher = (ModelWatcher){ trainer_passed, t };
    return reducer;
}

static void allocate_scratch(Trainer *t)
{
    int ranks = comm_size(t->comm);
    int64_t chunks = loader_chunks(&t->loader);
    Lanes last = growth_last_lanes(t);
    if (last.count > t->lanes.count) /* so that its memory is part of the plan */
        reducer_free(trainer_reducer(t, &last));
    t->reducer = trainer_reducer(t, &t->lanes);
    t->reports = mem_array(LaneReport, last.count);
    t->lane_values = mem_array(double, last.count);
    t->chunk_tallies = mem_array(Tally, chunks);
    if (t->settings->eval.tta != TTA_NONE)
        t->mean_output = mem_array(float, (size_t)t->lanes.size *shape_stored(t->model.output));
    t->digests = mem_array(uint64_t, t->model.layout.blocks);
    t->lane_bounds = mem_array(size_t, ranks + 1);
    t->chunk_bounds = mem_array(size_t, ranks + 1);
    growth_set_bounds(t);
    for (int rank = 0; rank <= ranks; rank++)
        t->chunk_bounds[rank] = (size_t)(chunks * rank / ranks);
    size_t longest[] = { (size_t)last.count * sizeof *t->reports,
                         (size_t)chunks * sizeof *t->chunk_tallies,
                         (size_t)t->model.layout.blocks * BLOCK_REPORT,
                         probes_board_bytes(t, last.count) };
    size_t most = 0;
    for (int i = 0; i < 4; i++)
        most = longest[i] > most ? longest[i] : most;
    comm_reserve_board(t->host, most);
    if (t->group != t->host)
        comm_reserve_board(t->group, most);
    local_allocate(t);
    probes_allocate(t, last.count);
    t->checkpointer = checkpointer_new(t);
}

/* Everything that a step needs. A dry run comes here too, and reserves what a run allocates. */
static bool init_training(Trainer *t, Err *err)
{
    mem_reserve(t->settings->dry_run);
    find_group(t);
    bool ok = init_model(t, err) && init_optimizer(t, err) && ending_read(t, err) &&
              replicas_init(t, err) && compression_start(t, err) && probes_read(t, err);
    if (ok)
        allocate_scratch(t);
    mem_reserve(false);
    t->planned_bytes = mem_use().peak_bytes;
    return ok;
}

static void start_timeline(Trainer *t)
{
    if (!*t->settings->log.timeline)
        return;
    t->timeline = t->model.timeline = timeline_new(TIMELINE_SPANS);
    comm_set_timeline(t->comm, t->timeline);
    t->clock.offset[0] = comm_clock_offset(t->comm);
    t->clock.local[0] = clock_seconds();
}

void trainer_write_timeline(Trainer *t)
{
    Err err;
    if (!t->timeline)
        return;
    t->clock.offset[1] = comm_clock_offset(t->comm);
    t->clock.local[1] = clock_seconds();
    if (!comm_write_timeline(t->comm, t->settings->log.timeline, &t->clock, &err))
        log_warn("log.timeline: %s", err.text);
}

bool trainer_init(Trainer *t, Settings *settings, Comm *comm, int *exit_code, Err *err)
{
    *t = (Trainer){ .settings = settings,
                    .recovery = { .lr_factor = 1 },
                    .deadline = (double)INFINITY,
                    .comm = comm,
                    .host = comm,
                    .group = comm,
                    .history = { .test_loss = (double)NAN,
                                 .test_accuracy = -1,
                                 .best_loss = (double)NAN,
                                 .best_accuracy = -1 } };
    *exit_code = EXIT_USAGE;
    comm_set_share(comm, settings->comm.memory == MEMORY_AUTO);
    if (!settings_apply_comm(&settings->comm, comm, err))
        return false;
    if (!same_start(t, exit_code, err) || !init_data(t, exit_code, err) || !init_training(t, err))
        return false;
    if (settings->dry_run)
        return true;
    start_timeline(t);
    t->digest = trainer_digest(t);
    t->trajectory = t->digest;
    probes_start(t);
    return true;
}

void trainer_free(Trainer *t)
{
    comm_reserve_board(t->comm, 0);
    checkpointer_free(t->checkpointer);
    replicas_free(t->replicas);
    comm_reserve_board(t->host, 0);
    comm_reserve_board(t->group, 0);
    reducer_free(t->reducer);
    compression_stop(t);
    local_free(t);
    probes_free(t);
    optimizer_free(&t->optimizer);
    schedule_free(&t->schedule);
    slice_exchange_free(&t->slices);
    slice_exchange_free(&t->world_slices);
    model_free(&t->model);
    loader_free(&t->loader);
    if (!t->shared)
        mem_free(t->w);
    if (!t->shared_average)
        mem_free(t->average);
    shared_free(t->shared_average);
    shared_free(t->shared);
    leave_group(t);
    comm_set_timeline(t->comm, NULL);
    timeline_free(t->timeline);
    mem_free(t->first_ranks);
    mem_free(t->reports);
    mem_free(t->lane_values);
    mem_free(t->chunk_tallies);
    mem_free(t->mean_output);
    mem_free(t->digests);
    mem_free(t->lane_bounds);
    mem_free(t->chunk_bounds);
    *t = (Trainer){ 0 };
}
