/* The sum over lanes along the fixed tree (reducer.h has the picture).
 *
 * Both halves of the work, a rank's lanes and the subtrees of all ranks, are one algorithm: a carry
 * stack of sums, leftmost at the bottom. A new sum goes on top; while the two on top are sibling
 * subtrees, they are added. Whatever is split between ranks, the same pairs are added in the same
 * operand order, and one float addition has one result. Everything is added in tiles that stay in
 * the L1 cache, so a run of additions reads each sum once and writes one.
 *
 * The additions across ranks are done block by block when the optimizer asks for a block, so the
 * sum goes from the caches into the update and is never written to memory. What a rank's last lane
 * would carry is left for that moment too, where nothing has to travel.
 *
 * Between ranks, all at once and without a middle stage (slice s of rank r's subtree t is r.t[s]):
 *
 *   rank 0 {01}     has 01[0],        gets 23[0] 4[0] 5[0] 67[0]: (01 + 23) + ((4 + 5) + 67)
 *   rank 1 {23, 4}  has 23[1] 4[1],   gets 01[1] 5[1] 67[1]: the same over slice 1
 *   rank 2 {5, 67}  has 5[2] 67[2],   gets 01[2] 23[2] 4[2]: the same over slice 2
 *
 * Ranks of one host have their stacks in shared memory: r.t[s] is read where it is, between two
 * barriers, and nothing travels.
 *
 * With S subtrees in all and n floats a rank receives at most (S - 1) n / P floats: n (P - 1) / P,
 * the least possible, when P is a power of two. */
#include "lockstep/reducer.h"
#include "adasum.h"
#include "cluster.h"
#include "feedback.h"
#include "low_rank.h"
#include "world.h"

#include "lockstep/kernels.h"
#include "lockstep/memory.h"

#include <stdio.h>
#include <string.h>

#define TILE 1024 /* floats; a handful of tiles fit in 32 KB */
#define MAX_SUBTREES 64
#define MAX_DEPTH 32 /* of a stack that starts at lane 0: log2 of an int, and one */

/* A sum over the lanes of `node`. */
typedef struct Sum {
    Subtree node;
    float *x; /* (layout->n), or (slice) if it was sent to us; NULL: one lane, encoded */
} Sum;

typedef struct Source {
    int rank, number; /* whose, and which of its subtrees */
    bool last;        /* of its rank */
    Sum sum;          /* x is in shared memory, or borrowed from `received`, or NULL for our own */
    size_t origin;    /* x[0] is this float of the arena */
} Source;

struct Reducer {
    Comm *comm, *group; /* group: the ranks among which slices are cut */
    const Lanes *lanes;
    const Layout *layout;
    const SliceExchange *exchange; /* borrowed */
    const size_t *bounds;          /* its floats */
    bool shares;                   /* the group's stacks are in shared memory */
    Cluster *cluster;              /* what is between groups; NULL: the group is everybody */
    Feedback *feedback;            /* lanes are compressed; then they are between groups */
    LowRank *low_rank;             /* or this does everything */
    bool learns;                   /* see reducer_set_learning */
    bool lazy;                     /* the last lane is not added to its siblings before the fold */
    ReducerOrder order;
    Adasum *adasum; /* REDUCER_ORDER_ADASUM */
    double scale;   /* of what it makes of all lanes */
    size_t rounded; /* floats from the start whose sums are of the wire's format; 0: none */

    SharedMemory *shared; /* the buffers of all ranks, or NULL */
    float *memory;        /* this rank's buffers, one after another; owned unless shared */
    float **buffers;      /* each layout->n floats; stack[i].x is buffers[i] */
    int buffer_count;
    Sum stack[MAX_SUBTREES];
    int depth, added; /* sums alive, lanes added */

    Source *sources; /* the subtrees of all ranks, left to right */
    int source_count, source_capacity;
    Source combined[MAX_DEPTH]; /* the stack of Adasum across ranks */
    float *received, *tiles, *block;
    size_t received_floats, tile_floats; /* of tiles and block */
};

static bool is_running_sum(ReducerOrder order)
{
    return order == REDUCER_ORDER_ARRIVAL || order == REDUCER_ORDER_FAST;
}

static bool joins(ReducerOrder order, Subtree left, Subtree right)
{
    return is_running_sum(order) || lanes_siblings(left, right);
}

static Subtree join(Subtree left, Subtree right)
{
    return (Subtree){ .first = left.first, .width = left.width + right.width };
}

/* What a rank's lanes have become when the last one is in. */
static int rank_subtrees(const Reducer *reducer, int rank, Subtree subtrees[MAX_SUBTREES])
{
    int first = lanes_first(reducer->lanes->count, rank, reducer->lanes->ranks);
    int last = lanes_first(reducer->lanes->count, rank + 1, reducer->lanes->ranks);
    int end = reducer->lazy ? last - 1 : last, count = end > first;
    if (is_running_sum(reducer->order))
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

/* Ranks of the group have the world's order, but not its numbers. */
static int world_rank(const Reducer *reducer, int group_rank)
{
    int rank = 0, host = comm_host_index(reducer->comm, reducer->comm->rank);
    if (reducer->group == reducer->comm)
        return group_rank;
    while (comm_host_index(reducer->comm, rank) != host || group_rank-- > 0)
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
    int rank = reducer->group->rank;
    size_t lo = reducer->bounds[rank], slice = reducer->bounds[rank + 1] - lo;
    size_t used = 0;
    bool by_blocks =
        reducer->order == REDUCER_ORDER_TREE || reducer->order == REDUCER_ORDER_ARRIVAL;
    reducer->lazy = by_blocks && (reducer->shared || reducer->group->size == 1);
    reducer->source_count = 0;
    for (int r = 0; r < reducer->group->size; r++) {
        int count = rank_subtrees(reducer, world_rank(reducer, r), subtrees);
        for (int i = 0; i < count; i++) {
            Source source = {
                .rank = r, .number = i, .last = i + 1 == count, .sum.node = subtrees[i]
            };
            if (r != rank && reducer->shared) {
                source.sum.x = peer_sum(reducer, &source);
            } else if (r != rank) {
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
    for (int r = 0; r < reducer->group->size; r++)
        if (!others_only || r != reducer->group->rank)
            count += rank_subtrees(reducer, world_rank(reducer, r), subtrees);
    return count;
}

/* A reducer that knows how much memory it needs and has none. */
static Reducer plan(Comm *comm, const Lanes *lanes, const Layout *layout,
                    const SliceExchange *exchange)
{
    expect(lanes->rank == comm->rank && lanes->ranks == comm->size);
    Reducer reducer = { .comm = comm,
                        .group = exchange->comm,
                        .lanes = lanes,
                        .layout = layout,
                        .exchange = exchange,
                        .bounds = exchange->float_bounds,
                        .shares = comm_shares(exchange->comm),
                        .buffer_count = deepest_stack(lanes),
                        .learns = true };
    if (comm->wire.type != WIRE_FP32)
        reducer.rounded = layout_statistics(layout);
    for (int64_t width = 1; width < lanes->count; width *= 2) /* a tile for each level */
        reducer.tile_floats += TILE;
    reducer.tile_floats += TILE + LAYOUT_BLOCK; /* and one for a lane that is decoded */
    int rank = exchange->comm->rank;
    size_t slice = reducer.bounds[rank + 1] - reducer.bounds[rank];
    if (!reducer.shares)
        reducer.received_floats = (size_t)count_subtrees(&reducer, true) * slice;
    return reducer;
}

static void allocate_buffers(Reducer *reducer)
{
    size_t n = reducer->layout->n, floats = (size_t)reducer->buffer_count * n;
    reducer->shared = shared_alloc(reducer->group, floats * sizeof(float));
    reducer->memory = reducer->shared ? shared_part(reducer->shared, reducer->group->rank)
                                      : mem_array(float, floats);
    reducer->buffers = mem_array(float *, reducer->buffer_count);
    for (int i = 0; i < reducer->buffer_count; i++)
        reducer->buffers[i] = reducer->memory + (size_t)i * n;
}

/* All sums of the group in the order of lanes, for the exchange between groups. */
static void join_cluster(Reducer *reducer)
{
    HostSum *sums = mem_array(HostSum, reducer->source_count);
    for (int i = 0; i < reducer->source_count; i++) {
        const Source *source = &reducer->sources[i];
        sums[i] = (HostSum){ source->sum.node, source->rank == reducer->group->rank
                                                   ? reducer->buffers[source->number]
                                                   : source->sum.x };
    }
    reducer->cluster = cluster_init(reducer->comm, reducer->group, reducer->lanes, reducer->layout,
                                    sums, reducer->source_count);
    mem_free(sums);
}

/* Every lane's gradient is wanted before anything can be added. */
static Reducer *init_low_rank(Comm *comm, const Lanes *lanes, const Layout *layout,
                              const SliceExchange *exchange)
{
    Reducer *reducer = mem_new(Reducer);
    *reducer = (Reducer){ .comm = comm,
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
    if (compressor)
        reducer->feedback = feedback_init(comm, exchange->comm, lanes, layout);
    if (reducer->shares && !reducer->shared) { /* no room: as if they had never shared */
        if (exchange->comm != comm)
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
    if (exchange->comm != comm && !reducer->feedback)
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

/* out = left + right, n floats that begin at float `at` of the arena. */
static void add(const Reducer *reducer, size_t at, float *out, const float *left,
                const float *right, size_t n)
{
    size_t rest = reducer->rounded > at ? reducer->rounded - at : 0;
    size_t rounded = rest < n ? rest : n;
    if (rounded > 0)
        kernels()->wire_add(&reducer->comm->wire, out, left, right, rounded);
    if (rounded < n)
        kernels()->add(out + rounded, left + rounded, right + rounded, n - rounded);
}

/* stack[bottom] += ... + stack[depth - 1], from the right: the additions of one carry. */
static void add_down_to(Reducer *reducer, int bottom)
{
    for (size_t at = 0; at < reducer->layout->n; at += TILE) {
        size_t left = reducer->layout->n - at;
        size_t n = left < TILE ? left : TILE;
        const float *right = reducer->stack[reducer->depth - 1].x + at;
        for (int i = reducer->depth - 2; i >= bottom; i--) {
            float *sum = i == bottom ? reducer->stack[i].x + at : reducer->tiles;
            add(reducer, at, sum, reducer->stack[i].x + at, right, n);
            right = sum;
        }
    }
}

/* The root's factor. */
static double scale_of(const Reducer *reducer, Subtree node)
{
    return node.width == reducer->lanes->count ? reducer->scale : 1;
}

/* The same by Adasum: each pair is combined before the next, which wants its products. */
static void combine_down(Reducer *reducer)
{
    Slice all = layout_blocks(reducer->layout, 0, reducer->layout->blocks);
    while (reducer->depth > 1) {
        Sum *left = &reducer->stack[reducer->depth - 2];
        const Sum *right = left + 1;
        if (!lanes_siblings(left->node, right->node))
            return;
        AdasumSide a = { left->x, 0 }, b = { right->x, 0 };
        left->node = join(left->node, right->node);
        adasum_measure(reducer->adasum, all, a, b);
        adasum_combine(reducer->adasum, all, a, b, a, scale_of(reducer, left->node));
        reducer->depth--;
    }
}

/* Adds the sum on top of the stack to its siblings, as far as they are complete. */
static void carry(Reducer *reducer)
{
    if (reducer->order == REDUCER_ORDER_ADASUM) {
        combine_down(reducer);
        return;
    }
    int bottom = reducer->depth - 1;
    Subtree node = reducer->stack[bottom].node;
    while (bottom > 0 && joins(reducer->order, reducer->stack[bottom - 1].node, node))
        node = join(reducer->stack[--bottom].node, node);
    add_down_to(reducer, bottom);
    reducer->stack[bottom].node = node;
    reducer->depth = bottom + 1;
}

float *reducer_lane(Reducer *reducer)
{
    if (reducer->low_rank)
        return low_rank_lane(reducer->low_rank);
    if (reducer->added == reducer->lanes->last - reducer->lanes->first)
        reducer->depth = reducer->added = 0;
    return reducer->buffers[reducer->depth];
}

void reducer_add_lane(Reducer *reducer, int lane)
{
    if (reducer->low_rank) {
        low_rank_add_lane(reducer->low_rank, lane, reducer->learns);
        return;
    }
    expect(lane == reducer->lanes->first + reducer->added && lane < reducer->lanes->last);
    if (reducer->feedback)
        feedback_lane(reducer->feedback, lane, reducer->buffers[reducer->depth], reducer->learns);
    reducer->stack[reducer->depth] =
        (Sum){ .node = { .first = lane, .width = 1 }, .x = reducer->buffers[reducer->depth] };
    if (reducer->lanes->count == 1 && reducer->rounded > 0) /* no sum will round it */
        kernels()->wire_round(&reducer->comm->wire, reducer->buffers[0], reducer->buffers[0],
                              reducer->rounded);
    reducer->depth++;
    reducer->added++;
    if (!reducer->lazy || lane + 1 < reducer->lanes->last)
        carry(reducer);
}

/* Every rank sends slice s of each of its sums to rank s. */
static void exchange_subtrees(Reducer *reducer)
{
    Comm *comm = reducer->comm;
    const size_t *bounds = reducer->bounds;
    size_t slice = bounds[comm->rank + 1] - bounds[comm->rank];
    for (int i = 0; i < reducer->source_count; i++) {
        const Source *source = &reducer->sources[i];
        if (source->rank != comm->rank)
            messages_receive(comm, source->sum.x, slice * sizeof(float), source->rank,
                             TAG_SUBTREE + source->number);
    }
    for (int k = 1; k < comm->size; k++) {
        int to = (comm->rank + k) % comm->size;
        for (int i = 0; i < reducer->depth; i++)
            messages_send(comm, reducer->stack[i].x + bounds[to],
                          (bounds[to + 1] - bounds[to]) * sizeof(float), to, TAG_SUBTREE + i);
    }
    messages_finish(comm);
}

/* When `source` has come: a rank's running sum is complete before it is added to those before
 * it. */
static bool joins_across(const Reducer *reducer, const Source *source, Subtree left, Subtree right)
{
    return is_running_sum(reducer->order) ? source->last : lanes_siblings(left, right);
}

/* The carry stack over the sources of one tile, `at` floats from the start of the arena. The last
 * sum goes to `result`, which may be one of the sources: all are read by then. */
static void fold_tile(Reducer *reducer, int tensor, size_t at, size_t n, float *result)
{
    Sum stack[MAX_DEPTH];
    int depth = 0;
    for (int i = 0; i < reducer->source_count; i++) {
        const Source *source = &reducer->sources[i];
        stack[depth] = (Sum){ .node = source->sum.node,
                              .x = source->sum.x ? source->sum.x + (at - source->origin)
                                                 : reducer->tiles + (size_t)depth * TILE };
        if (!source->sum.x)
            feedback_decode(reducer->feedback, source->sum.node.first, tensor,
                            at - reducer->layout->tensors[tensor].offset, n, stack[depth].x);
        depth++;
        while (depth > 1 &&
               joins_across(reducer, source, stack[depth - 2].node, stack[depth - 1].node)) {
            Sum *left = &stack[depth - 2];
            bool last = depth == 2 && i + 1 == reducer->source_count;
            float *out = last ? result : reducer->tiles + (size_t)(depth - 2) * TILE;
            add(reducer, at, out, left->x, stack[depth - 1].x, n);
            *left = (Sum){ .node = join(left->node, stack[depth - 1].node), .x = out };
            depth--;
        }
    }
    expect(depth == 1);
}

/* Gradient.finish */
static const float *fold_block(void *context, LayoutBlock block, bool keep)
{
    Reducer *reducer = context;
    float *result = keep ? reducer->stack[0].x + block.offset : reducer->block;
    for (size_t at = 0; at < block.n; at += TILE)
        fold_tile(reducer, block.tensor, block.offset + at,
                  block.n - at < TILE ? block.n - at : TILE, result + at);
    return result;
}

/* Two sources by Adasum, in this rank's slice, in place of the left one or, at the root, in this
 * rank's own memory. */
static void combine_sources(Reducer *reducer, Source *left, const Source *right)
{
    const size_t *blocks = reducer->exchange->block_bounds;
    int rank = reducer->group->rank;
    Slice slice = layout_blocks(reducer->layout, (int)blocks[rank], (int)blocks[rank + 1]);
    AdasumSide a = { left->sum.x, left->origin }, b = { right->sum.x, right->origin };
    Subtree node = join(left->sum.node, right->sum.node);
    bool root = node.width == reducer->lanes->count;
    AdasumSide out = root ? (AdasumSide){ reducer->stack[0].x, 0 } : a;
    double *products = adasum_measure(reducer->adasum, slice, a, b);
    comm_allgather(reducer->group, products, blocks, ADASUM_PRODUCTS * sizeof *products);
    adasum_combine(reducer->adasum, slice, a, b, out, scale_of(reducer, node));
    left->sum.node = node;
}

/* The carry stack over the sources by Adasum: every pair wants the products of all slices before
 * the next. */
static void combine_all_sources(Reducer *reducer)
{
    int depth = 0;
    for (int i = 0; i < reducer->source_count; i++) {
        reducer->combined[depth++] = reducer->sources[i];
        while (depth > 1 && lanes_siblings(reducer->combined[depth - 2].sum.node,
                                           reducer->combined[depth - 1].sum.node)) {
            depth--;
            combine_sources(reducer, &reducer->combined[depth - 1], &reducer->combined[depth]);
        }
    }
    expect(depth == 1);
}

/* This rank's sums have their places in the stack only now. */
static void find_own_sources(Reducer *reducer)
{
    for (int i = 0; i < reducer->source_count; i++) {
        Source *source = &reducer->sources[i];
        if (source->rank != reducer->group->rank)
            continue;
        const Sum *sum = &reducer->stack[source->number];
        expect(source->number < reducer->depth && source->sum.node.width == sum->node.width);
        source->sum.x = sum->x;
    }
}

void reducer_set_stages(Reducer *reducer, const int *stages, bool thread)
{
    if (reducer->cluster)
        cluster_set_stages(reducer->cluster, stages, thread);
}

void reducer_final(Reducer *reducer, int stage)
{
    int lanes = reducer->lanes->last - reducer->lanes->first;
    if (reducer->cluster && reducer->added % lanes == lanes - 1)
        cluster_final(reducer->cluster, stage);
}

Gradient reducer_reduce(Reducer *reducer)
{
    if (reducer->low_rank)
        return low_rank_reduce(reducer->low_rank, reducer->learns);
    expect(reducer->added == reducer->lanes->last - reducer->lanes->first);
    if (reducer->cluster)
        return gradient_at(cluster_finish(reducer->cluster));
    find_own_sources(reducer);
    Gradient gradient = gradient_at(reducer->stack[0].x);
    if (reducer->order == REDUCER_ORDER_FAST) {
        comm_allreduce_fast(reducer->comm, gradient.sums, reducer->layout->n);
        return gradient;
    }
    if (reducer->feedback)
        feedback_exchange(reducer->feedback);
    if (reducer->shared)
        comm_barrier(reducer->group); /* everybody's subtree sums are there */
    else if (reducer->group->size > 1)
        exchange_subtrees(reducer);
    if (reducer->order == REDUCER_ORDER_ADASUM) {
        combine_all_sources(reducer);
    } else if (reducer->source_count > 1) {
        gradient.finish = fold_block;
        gradient.context = reducer;
    }
    return gradient;
}

Gradient reducer_reduce_all(Reducer *reducer)
{
    const size_t *blocks = reducer->exchange->block_bounds;
    const Layout *layout = reducer->layout;
    Gradient gradient = reducer_reduce(reducer);
    if (reducer->order == REDUCER_ORDER_FAST)
        return gradient;
    if (reducer->low_rank)
        return low_rank_whole(reducer->low_rank);
    float *all = reducer->buffers[0];
    if (reducer->cluster) {
        memcpy(all, gradient.sums, layout->n * sizeof *all);
        return gradient_at(all);
    }
    int first = (int)blocks[reducer->group->rank], last = (int)blocks[reducer->group->rank + 1];
    for (int block = first; block < last; block++)
        gradient_block(gradient, layout_block(layout, block), true);
    comm_allgather(reducer->group, all, reducer->bounds, sizeof *all);
    return gradient_at(all);
}

size_t reducer_bytes(const Reducer *reducer)
{
    size_t floats = (size_t)reducer->buffer_count * reducer->layout->n;
    size_t between = reducer->cluster    ? cluster_bytes(reducer->cluster)
                     : reducer->feedback ? feedback_bytes(reducer->feedback)
                     : reducer->low_rank ? low_rank_bytes(reducer->low_rank)
                                         : 0;
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
