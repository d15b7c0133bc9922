/* Local and post-local SGD over lanes (local.h, docs/local.md). The average is the reducer's sum of
 * the lanes' weights, so it has the order of the lane tree and travels as gradients do. */
#include "local.h"
#include "trainer_parts.h"

#include "lockstep/clock.h"
#include "lockstep/kernels.h"
#include "lockstep/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { STATE_KEEP, STATE_AVERAGE };

typedef struct LocalOptions {
    int64_t steps;
    Span after;
    int state;
} LocalOptions;

static const Option local_options[] = {
    { "steps", OPTION_INT, OPTION_AT(LocalOptions, steps), 1, 1e9, NULL, NULL,
      "steps from one average to the next" },
    { "after", OPTION_SPAN, OPTION_AT(LocalOptions, after), 0, 1e15, NULL, "0",
      "when it begins; until then lanes are summed up in every step (post-local SGD)" },
    { "state", OPTION_CHOICE, OPTION_AT(LocalOptions, state), 0, 0, "keep|average", "keep",
      "the optimizer's state, such as momentum: every lane keeps its own, or it is averaged with "
      "the weights" },
    OPTION_END,
};

/* A worker. */
typedef struct LocalLane {
    float *w; /* (layout.n) */
    Optimizer optimizer;
} LocalLane;

struct Local {
    LocalOptions options;
    int64_t first; /* step from which lanes are alone, 0-based */
    Slice all;
    LocalLane *lanes; /* this rank's */
    bool averaged;    /* nothing has changed since the last average */
};

/* ---- options ---- */

static bool check(const Trainer *t, const ConfigNode *node, Err *err)
{
    const Config *config = &t->settings->config;
    const TrainSettings *train = &t->settings->train;
    const char *method = optimizer_not_by_blocks(&t->optimizer);
    if (method)
        return config_error(config, node, err,
                            "lanes of their own want an optimizer whose state is numbers beside "
                            "the parameters, such as sgd, adamw or lamb without wrappers; found %s",
                            method);
    if (train->grow && train->grow->kind != CONFIG_NULL)
        return config_error(config, node, err, "the lanes stay: not together with train.grow");
    if (train->reduce != REDUCE_TREE)
        return config_error(config, node, err, "train.reduce: tree is wanted with it, found %s",
                            trainer_reduction(t));
    return true;
}

bool local_read(Trainer *t, Err *err)
{
    ConfigNode *node = t->settings->train.local;
    LocalOptions options;
    if (!node || node->kind == CONFIG_NULL)
        return true;
    config_as_map(node, "steps");
    if (!options_read(&t->settings->config, node, local_options, NULL, &options, err) ||
        !check(t, node, err))
        return false;
    t->local = mem_new(Local);
    t->local->options = options;
    t->local->first = options.after.value > 0 ? batch_plan_step(&t->loader.plan, options.after) : 0;
    return true;
}

/* ---- life ---- */

static int own_lanes(const Trainer *t)
{
    return t->lanes.last - t->lanes.first;
}

void local_allocate(Trainer *t)
{
    Local *local = t->local;
    const Layout *layout = &t->model.layout;
    Err err;
    if (!local)
        return;
    local->all = layout_blocks(layout, 0, layout->blocks);
    local->lanes = mem_array(LocalLane, own_lanes(t));
    for (int i = 0; i < own_lanes(t); i++) {
        LocalLane *lane = &local->lanes[i];
        lane->w = mem_array(float, layout->n);
        expect(optimizer_init(&lane->optimizer, &t->settings->config, t->settings->optimizer,
                              layout, &err));
        optimizer_own(&lane->optimizer, local->all);
    }
}

void local_free(Trainer *t)
{
    Local *local = t->local;
    if (!local)
        return;
    for (int i = 0; local->lanes && i < own_lanes(t); i++) {
        mem_free(local->lanes[i].w);
        optimizer_free(&local->lanes[i].optimizer);
    }
    mem_free(local->lanes);
    mem_free(local);
    t->local = NULL;
}

bool local_is_on(const Trainer *t)
{
    return t->local && t->step >= t->local->first;
}

bool local_has_begun(const Trainer *t, int64_t done)
{
    return t->local && done > t->local->first;
}

static bool has_any(const Trainer *t, int state)
{
    bool any = false;
    for (int block = 0; block < t->model.layout.blocks; block++)
        any = any || optimizer_state_block(&t->local->lanes[0].optimizer, state, block);
    return any;
}

double local_travels(const Trainer *t)
{
    int arenas = 1;
    for (int state = 0; state < OPTIMIZER_MAX_STATES; state++)
        arenas += t->local->options.state == STATE_AVERAGE && has_any(t, state);
    return arenas / (double)t->local->options.steps;
}

size_t local_bytes(const Trainer *t)
{
    size_t bytes = 0;
    for (int i = 0; i < own_lanes(t); i++)
        bytes += t->model.layout.n * sizeof(float) + optimizer_bytes(&t->local->lanes[i].optimizer);
    return bytes;
}

const char *local_text(const Trainer *t, char *text, size_t size)
{
    const LocalOptions *options = &t->local->options;
    snprintf(text, size,
             "%d lanes with weights of their own from step %lld on, averaged every %lld steps, "
             "optimizer state %s",
             t->lanes.count, (long long)t->local->first, (long long)options->steps,
             options->state == STATE_KEEP ? "kept by each" : "averaged");
    return text;
}

static LocalLane *lane_here(const Trainer *t, int lane)
{
    bool here = lane >= t->lanes.first && lane < t->lanes.last;
    return here ? &t->local->lanes[lane - t->lanes.first] : NULL;
}

float *local_lane_weights(const Trainer *t, int lane)
{
    LocalLane *here = lane_here(t, lane);
    return here ? here->w : NULL;
}

Optimizer *local_lane_optimizer(const Trainer *t, int lane)
{
    LocalLane *here = lane_here(t, lane);
    return here ? &here->optimizer : NULL;
}

/* ---- states as arenas ---- */

/* One state of an optimizer to its parameters' places in an arena, or back; the rest of the arena
 * stays. False: no tensor has that state. */
static bool move_state(Optimizer *o, int state, float *arena, bool back)
{
    bool any = false;
    for (int block = o->slice.first_block; block < o->slice.last_block; block++) {
        LayoutBlock b = layout_block(o->layout, block);
        float *at = optimizer_state_block(o, state, block);
        if (at && back)
            memcpy(at, arena + b.offset, b.n * sizeof *at);
        else if (at)
            memcpy(arena + b.offset, at, b.n * sizeof *at);
        any = any || at;
    }
    return any;
}

/* ---- the beginning ---- */

/* Every lane goes on with the weights and the state that all had together. */
static void begin(Trainer *t)
{
    Local *local = t->local;
    size_t bytes = t->model.layout.n * sizeof *t->w;
    for (int i = 0; i < own_lanes(t); i++) {
        memcpy(local->lanes[i].w, t->w, bytes);
        optimizer_copy_scalars(&local->lanes[i].optimizer, &t->optimizer);
    }
    for (int state = 0; t->optimizer.t > 0 && state < OPTIMIZER_MAX_STATES; state++) {
        if (!has_any(t, state))
            continue;
        move_state(&t->optimizer, state, t->average, false);
        trainer_share(t, t->shared_average, t->average);
        for (int i = 0; i < own_lanes(t); i++)
            move_state(&local->lanes[i].optimizer, state, t->average, true);
        comm_barrier(t->group); /* everybody has read it */
    }
}

/* ---- a step ---- */

static void run_lane(Trainer *t, int number, const Rates *rates)
{
    LocalLane *own = &t->local->lanes[number - t->lanes.first];
    LaneReport *report = &t->reports[number];
    int samples = lanes_samples(&t->lanes, number, loader_batch_size(&t->loader, t->step));
    model_bind(&t->model, own->w, NULL);
    if (samples > 0)
        model_begin_step(&t->model, samples); /* these weights are new to the model */
    float *gradient = trainer_run_lane(t, own->w, t->step, number, true);
    if (samples == 0)
        return; /* behind the end of a short batch: this worker has nothing to learn */
    Rates mine = *rates;
    mine.loss = report->tally.loss / report->tally.count;
    if (!optimizer_step(&own->optimizer, &mine, own->w, gradient_at(gradient),
                        (Exchange){ NULL, NULL }))
        report->tally.loss = (double)NAN; /* which all ranks will see */
    layout_update_statistics(&t->model.layout, t->local->all, own->w, gradient_at(gradient));
    trainer_lap(t, PHASE_UPDATE);
}

void local_run_lanes(Trainer *t, const Rates *rates)
{
    t->lap = clock_seconds();
    if (t->step == t->local->first)
        begin(t);
    t->local->averaged = false;
    comm_computes(t->comm);
    for (int lane = t->lanes.first; lane < t->lanes.last; lane++)
        run_lane(t, lane, rates);
    comm_computed(t->comm);
    t->optimizer.grad_norm = t->local->lanes[0].optimizer.grad_norm; /* rank 0: of lane 0 */
    t->optimizer.clip_factor = t->local->lanes[0].optimizer.clip_factor;
}

/* ---- averages ---- */

/* Whose arena: the weights, or state number `state`. */
enum { WEIGHTS = -1 };

static void add_lanes(Trainer *t, int state)
{
    size_t bytes = t->model.layout.n * sizeof(float);
    for (int lane = t->lanes.first; lane < t->lanes.last; lane++) {
        LocalLane *own = lane_here(t, lane);
        float *sum = reducer_lane(t->reducer);
        if (state == WEIGHTS) {
            memcpy(sum, own->w, bytes);
        } else {
            memset(sum, 0, bytes);
            move_state(&own->optimizer, state, sum, false);
        }
        reducer_add_lane(t->reducer, lane);
    }
}

/* The mean over all lanes into an arena of all ranks. */
static void average(Trainer *t, int state, const SharedMemory *shared, float *arena)
{
    add_lanes(t, state);
    Gradient sum = trainer_reduce(t);
    for (int block = t->slice.first_block; block < t->slice.last_block; block++) {
        LayoutBlock b = layout_block(&t->model.layout, block);
        memcpy(arena + b.offset, gradient_block(sum, b, false), b.n * sizeof *arena);
        kernels()->scale(arena + b.offset, 1 / (float)t->lanes.count, b.n);
        if (arena == t->w)
            gradient_updated(sum, b);
    }
    trainer_share(t, shared, arena);
}

static void average_states(Trainer *t)
{
    for (int state = 0; state < OPTIMIZER_MAX_STATES; state++) {
        if (!has_any(t, state))
            continue;
        average(t, state, t->shared_average, t->average);
        for (int i = 0; i < own_lanes(t); i++)
            move_state(&t->local->lanes[i].optimizer, state, t->average, true);
    }
}

bool local_average(Trainer *t)
{
    Local *local = t->local;
    int64_t done = t->step + 1;
    if ((done - local->first) % local->options.steps != 0 && done != t->steps)
        return false;
    if (local->options.state == STATE_AVERAGE)
        average_states(t);
    average(t, WEIGHTS, t->shared, t->w);
    for (int i = 0; i < own_lanes(t); i++)
        memcpy(local->lanes[i].w, t->w, t->model.layout.n * sizeof *t->w);
    local->averaged = true;
    trainer_lap(t, PHASE_EXCHANGE);
    return true;
}

float *local_weights(Trainer *t)
{
    if (t->local->averaged || !local_has_begun(t, t->step))
        return t->w;
    comm_barrier(t->group); /* nobody is evaluating the last ones any more */
    average(t, WEIGHTS, t->shared_average, t->average);
    return t->average;
}
