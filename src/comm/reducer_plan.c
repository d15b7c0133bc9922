/* The sum over lanes: which subtrees each rank brings, where they are read, and all memory
 * (reducer.c adds them). */
#include "reducer_parts.h"

#include "lockstep/memory.h"

#include <stdio.h>
#include <string.h>

/* What a rank's lanes have become when the last one is in. */
static int rank_subtrees(const Reducer *reducer, int rank, Subtree subtrees[MAX_SUBTREES])
{
    int first = lanes_first(reducer->lanes->count, rank, reducer->lanes->ranks);
    int last = lanes_first(reducer->lanes->count, rank + 1, reducer->lanes->ranks);
    int end = reducer->lazy ? last - 1 : last, count = end > first;
    if (reducer_runs(reducer->order))
        subtrees[0] = (Subtree){ .first = first, .width = end - first };
    else
        count = lanes_subtrees(first, end, subtrees);
    if (reducer->lazy)
        subtrees[count++] = (Subtree){ .first = last - 1, .width = 1 };
    return count;
}

/* Most sums alive at once while this rank adds its lanes, the new lane included. */
static int deepest_stack(const Lanes *lanes)
{
    Subtree subtrees[MAX_SUBTREES];
    int deepest = 0;
    for (int lane = lanes->first; lane < lanes->last; lane++) {
        int depth = 1 + lanes_subtrees(lanes->first, lane, subtrees);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest;
}

/* Ranks of the host have the world's order, but not its numbers. */
static int world_rank(const Reducer *reducer, int host_rank)
{
    int rank = 0, host = comm_host_index(reducer->comm, reducer->comm->rank);
    if (reducer->host == reducer->comm)
        return host_rank;
    while (comm_host_index(reducer->comm, rank) != host || host_rank-- > 0)
        rank++;
    return rank;
}

/* Another rank's sum, in that rank's memory. */
static float *peer_sum(const Reducer *reducer, const Source *source)
{
    float *buffers = shared_part(reducer->shared, source->rank);
    return buffers + (size_t)source->number * reducer->layout->n;
}

static void add_source(Reducer *reducer, Source source)
{
    expect(reducer->source_count < reducer->source_capacity);
    reducer->sources[reducer->source_count++] = source;
}

/* The lanes of a rank of another host, which come one by one. */
static void add_encoded(Reducer *reducer, int rank)
{
    int last = lanes_first(reducer->lanes->count, rank + 1, reducer->lanes->ranks);
    for (int lane = lanes_first(reducer->lanes->count, rank, reducer->lanes->ranks); lane < last;
         lane++)
        add_source(reducer, (Source){ .rank = -1, .sum.node = { .first = lane, .width = 1 } });
}

/* The subtrees of the group's ranks among the encoded lanes of everybody else, left to right. */
static void plan_lanes(Reducer *reducer)
{
    Source *own = mem_array(Source, reducer->source_count);
    int count = reducer->source_count, next = 0;
    memcpy(own, reducer->sources, (size_t)count * sizeof *own);
    reducer->source_count = 0;
    for (int rank = 0, member = 0; rank < reducer->comm->size; rank++) {
        if (comm_host_index(reducer->comm, rank) !=
            comm_host_index(reducer->comm, reducer->comm->rank)) {
            add_encoded(reducer, rank);
            continue;
        }
        for (; next < count && own[next].rank == member; next++)
            add_source(reducer, own[next]);
        member++;
    }
    mem_free(own);
}

/* Lists every rank's subtrees and gives each one of another rank room for our slice of it, unless
 * it can be read where it is. */
static void plan_sources(Reducer *reducer)
{
    Subtree subtrees[MAX_SUBTREES];
    int rank = reducer->group->rank, mine = reducer->host->rank;
    size_t lo = reducer->bounds[rank], slice = reducer->bounds[rank + 1] - lo;
    size_t used = 0;
    bool by_blocks =
        reducer->order == REDUCER_ORDER_TREE || reducer->order == REDUCER_ORDER_ARRIVAL;
    reducer->lazy = by_blocks && (reducer->shared || reducer->host->size == 1);
    reducer->source_count = 0;
    for (int r = 0; r < reducer->host->size; r++) {
        int count = rank_subtrees(reducer, world_rank(reducer, r), subtrees);
        for (int i = 0; i < count; i++) {
            Source source = {
                .rank = r, .number = i, .last = i + 1 == count, .sum.node = subtrees[i]
            };
            if (r != mine && reducer->shared) {
                source.sum.x = peer_sum(reducer, &source);
            } else if (r != mine) {
                source.sum.x = reducer->received + used;
                source.origin = lo;
                used += slice;
            }
            add_source(reducer, source);
        }
    }
    expect(used <= reducer->received_floats);
    if (reducer->feedback && reducer->group != reducer->comm)
        plan_lanes(reducer);
}

static int count_subtrees(const Reducer *reducer, bool others_only)
{
    Subtree subtrees[MAX_SUBTREES];
    int count = 0;
    for (int r = 0; r < reducer->host->size; r++)
        if (!others_only || r != reducer->host->rank)
            count += rank_subtrees(reducer, world_rank(reducer, r), subtrees);
    return count;
}

/* The ranks that share memory with those of a group: all of a host, where it is a domain of one. */
static Comm *host_around(Comm *group)
{
    return group->around ? group->around : group;
}

/* A reducer that knows how much memory it needs and has none. */
static Reducer plan(Comm *comm, const Lanes *lanes, const Layout *layout,
                    const SliceExchange *exchange)
{
    expect(lanes->rank == comm->rank && lanes->ranks == comm->size);
    Reducer reducer = { .comm = comm,
                        .host = host_around(exchange->comm),
                        .group = exchange->comm,
                        .lanes = lanes,
                        .layout = layout,
                        .exchange = exchange,
                        .bounds = exchange->float_bounds,
                        .shares = comm_shares(host_around(exchange->comm)),
                        .buffer_count = deepest_stack(lanes),
                        .learns = true };
    if (comm->wire.type != WIRE_FP32)
        reducer.rounded = layout_statistics(layout);
    for (int64_t width = 1; width < lanes->count; width *= 2) /* a tile for each level */
        reducer.tile_floats += REDUCER_TILE;
    reducer.tile_floats += REDUCER_TILE + LAYOUT_BLOCK; /* and one for a lane that is decoded */
    int rank = exchange->comm->rank;
    size_t slice = reducer.bounds[rank + 1] - reducer.bounds[rank];
    if (!reducer.shares)
        reducer.received_floats = (size_t)count_subtrees(&reducer, true) * slice;
    return reducer;
}

static void allocate_buffers(Reducer *reducer)
{
    size_t n = reducer->layout->n, floats = (size_t)reducer->buffer_count * n;
    reducer->shared = shared_alloc(reducer->host, floats * sizeof(float));
    reducer->memory = reducer->shared ? shared_part(reducer->shared, reducer->host->rank)
                                      : mem_array(float, floats);
    reducer->buffers = mem_array(float *, reducer->buffer_count);
    for (int i = 0; i < reducer->buffer_count; i++)
        reducer->buffers[i] = reducer->memory + (size_t)i * n;
}

/* Ranks of other domains go on reading a sum in slices that are ours too, so the gradient of this
 * domain has a place of its own. */
static void allocate_domain(Reducer *reducer)
{
    size_t n = reducer->layout->n;
    if (reducer->group == reducer->host)
        return;
    reducer->domain = shared_alloc_one(reducer->group, n * sizeof(float));
    reducer->kept = reducer->domain ? shared_part(reducer->domain, 0) : mem_array(float, n);
}

/* All sums of the host in the order of lanes, for the exchange between groups. */
static void join_cluster(Reducer *reducer)
{
    HostSum *sums = mem_array(HostSum, reducer->source_count);
    for (int i = 0; i < reducer->source_count; i++) {
        const Source *source = &reducer->sources[i];
        sums[i] = (HostSum){ source->sum.node, source->rank == reducer->host->rank
                                                   ? reducer->buffers[source->number]
                                                   : source->sum.x };
    }
    reducer->cluster = cluster_init(reducer->comm, reducer->host, reducer->lanes, reducer->layout,
                                    sums, reducer->source_count);
    mem_free(sums);
}

/* Every lane's gradient is wanted before anything can be added. */
static Reducer *init_low_rank(Comm *comm, const Lanes *lanes, const Layout *layout,
                              const SliceExchange *exchange)
{
    Reducer *reducer = mem_new(Reducer);
    *reducer = (Reducer){ .comm = comm,
                          .host = exchange->comm,
                          .group = exchange->comm,
                          .lanes = lanes,
                          .layout = layout,
                          .exchange = exchange,
                          .bounds = exchange->float_bounds,
                          .learns = true };
    reducer->low_rank = low_rank_init(comm, exchange->comm, lanes, layout);
    return reducer;
}

Reducer *reducer_init(Comm *comm, const Lanes *lanes, const Layout *layout,
                      const SliceExchange *exchange)
{
    const Compressor *compressor = comm->compression ? comm->compression->type : NULL;
    if (compressor && !compressor->encode)
        return init_low_rank(comm, lanes, layout, exchange);
    Reducer *reducer = mem_new(Reducer);
    *reducer = plan(comm, lanes, layout, exchange);
    allocate_buffers(reducer);
    allocate_domain(reducer);
    if (compressor)
        reducer->feedback = feedback_init(comm, exchange->comm, lanes, layout);
    if (reducer->shares && !reducer->shared) { /* no room: as if they had never shared */
        if (reducer->host != comm || reducer->kept)
            die(EXIT_USAGE, "no shared memory for the gradients: set comm.memory=private");
        comm_set_share(comm, false);
        reducer->received_floats = plan(comm, lanes, layout, exchange).received_floats;
    }
    reducer->received = mem_array(float, reducer->received_floats);
    reducer->block = mem_array(float, reducer->tile_floats);
    reducer->tiles = reducer->block + LAYOUT_BLOCK;
    reducer->lazy = true; /* which makes most */
    reducer->source_capacity = count_subtrees(reducer, false) + lanes->count;
    reducer->sources = mem_array(Source, reducer->source_capacity);
    plan_sources(reducer);
    messages_reserve(comm, (size_t)reducer->source_count +
                               (size_t)reducer->buffer_count * (size_t)comm->size);
    if (reducer->host != comm && !reducer->feedback)
        join_cluster(reducer);
    return reducer;
}

void reducer_free(Reducer *reducer)
{
    if (!reducer)
        return;
    cluster_free(reducer->cluster);
    feedback_free(reducer->feedback);
    low_rank_free(reducer->low_rank);
    if (!reducer->shared)
        mem_free(reducer->memory);
    if (!reducer->domain)
        mem_free(reducer->kept);
    shared_free(reducer->domain);
    shared_free(reducer->shared);
    mem_free(reducer->buffers);
    mem_free(reducer->received);
    mem_free(reducer->block);
    mem_free(reducer->sources);
    adasum_free(reducer->adasum);
    mem_free(reducer);
}

void reducer_set_order(Reducer *reducer, ReducerOrder order)
{
    expect(!reducer->cluster);
    reducer->order = order;
    reducer->depth = reducer->added = 0;
    if (order == REDUCER_ORDER_ADASUM && !reducer->adasum)
        reducer->adasum = adasum_new(reducer->layout);
    reducer->scale = 1;
    plan_sources(reducer);
}

void reducer_set_scale(Reducer *reducer, double scale)
{
    reducer->scale = scale;
}

size_t reducer_bytes(const Reducer *reducer)
{
    size_t floats = (size_t)reducer->buffer_count * reducer->layout->n;
    size_t between = reducer->cluster    ? cluster_bytes(reducer->cluster)
                     : reducer->feedback ? feedback_bytes(reducer->feedback)
                     : reducer->low_rank ? low_rank_bytes(reducer->low_rank)
                                         : 0;
    if (reducer->group != reducer->host)
        between += reducer->layout->n * sizeof(float) / (size_t)reducer->group->size;
    between += reducer->adasum ? adasum_bytes(reducer->layout) : 0;
    return between + (floats + reducer->received_floats + reducer->tile_floats) * sizeof(float);
}

size_t reducer_plan_bytes(Comm *comm, const Lanes *lanes, const Layout *layout,
                          const SliceExchange *exchange)
{
    Reducer reducer = plan(comm, lanes, layout, exchange);
    return reducer_bytes(&reducer);
}

double reducer_step_bytes(const Reducer *reducer)
{
    if (reducer->cluster)
        return cluster_step_bytes(reducer->cluster);
    if (reducer->low_rank)
        return low_rank_step_bytes(reducer->low_rank);
    if (reducer->feedback && reducer->group != reducer->comm)
        return feedback_step_bytes(reducer->feedback);
    if (reducer->shared)
        return 0;
    Subtree subtrees[MAX_SUBTREES];
    int rank = reducer->comm->rank;
    size_t slice = reducer->bounds[rank + 1] - reducer->bounds[rank];
    if (reducer->order == REDUCER_ORDER_FAST) /* the least that an all-reduce sends */
        return 2.0 * (double)(reducer->layout->n - slice) * sizeof(float);
    int sums = rank_subtrees(reducer, rank, subtrees);
    return (double)sums * (double)(reducer->layout->n - slice) * sizeof(float);
}

void reducer_set_learning(Reducer *reducer, bool learns)
{
    reducer->learns = learns;
}

bool reducer_state(Reducer *reducer, int index, ReducerState *state)
{
    if (reducer->low_rank && index == reducer->lanes->count) {
        *state = low_rank_state(reducer->low_rank);
        return true;
    }
    if ((!reducer->feedback && !reducer->low_rank) || index >= reducer->lanes->count)
        return false;
    *state =
        (ReducerState){ .n = reducer->layout->n,
                        .data = reducer->low_rank ? low_rank_errors(reducer->low_rank, index)
                                                  : feedback_errors(reducer->feedback, index) };
    snprintf(state->name, sizeof state->name, "compress/error.%d", index);
    return true;
}
