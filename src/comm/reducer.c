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
#include "reducer_parts.h"

#include "lockstep/clock.h"
#include "lockstep/kernels.h"

#include <string.h>

static bool joins(ReducerOrder order, Subtree left, Subtree right)
{
    return reducer_runs(order) || lanes_siblings(left, right);
}

static Subtree join(Subtree left, Subtree right)
{
    return (Subtree){ .first = left.first, .width = left.width + right.width };
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
    for (size_t at = 0; at < reducer->layout->n; at += REDUCER_TILE) {
        size_t left = reducer->layout->n - at;
        size_t n = left < REDUCER_TILE ? left : REDUCER_TILE;
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
    return reducer_runs(reducer->order) ? source->last : lanes_siblings(left, right);
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
                                                 : reducer->tiles + (size_t)depth * REDUCER_TILE };
        if (!source->sum.x)
            feedback_decode(reducer->feedback, source->sum.node.first, tensor,
                            at - reducer->layout->tensors[tensor].offset, n, stack[depth].x);
        depth++;
        while (depth > 1 &&
               joins_across(reducer, source, stack[depth - 2].node, stack[depth - 1].node)) {
            Sum *left = &stack[depth - 2];
            bool last = depth == 2 && i + 1 == reducer->source_count;
            float *out = last ? result : reducer->tiles + (size_t)(depth - 2) * REDUCER_TILE;
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
    float *kept = reducer->kept ? reducer->kept : reducer->stack[0].x;
    float *result = keep ? kept + block.offset : reducer->block;
    for (size_t at = 0; at < block.n; at += REDUCER_TILE)
        fold_tile(reducer, block.tensor, block.offset + at,
                  block.n - at < REDUCER_TILE ? block.n - at : REDUCER_TILE, result + at);
    return result;
}

/* Gradient.finish where the host has one copy of the sum and its domains may change theirs. */
static const float *take_block(void *context, LayoutBlock block, bool keep)
{
    Reducer *reducer = context;
    const float *whole = reducer->whole + block.offset;
    if (!keep)
        return whole;
    float *kept = reducer->kept + block.offset;
    memcpy(kept, whole, block.n * sizeof *kept);
    return kept;
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
        if (source->rank != reducer->host->rank)
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

/* Until everybody's subtree sums are there. */
static void await_host(Reducer *reducer)
{
    double start = clock_seconds();
    comm_barrier(reducer->host);
    reducer->waited += clock_seconds() - start;
}

double reducer_waited(const Reducer *reducer)
{
    return reducer->waited;
}

static Gradient cluster_gradient(Reducer *reducer)
{
    float *whole = cluster_finish(reducer->cluster);
    if (!reducer->kept)
        return gradient_at(whole);
    reducer->whole = whole;
    return (Gradient){ .sums = reducer->kept, .finish = take_block, .context = reducer };
}

Gradient reducer_reduce(Reducer *reducer)
{
    if (reducer->low_rank)
        return low_rank_reduce(reducer->low_rank, reducer->learns);
    expect(reducer->added == reducer->lanes->last - reducer->lanes->first);
    if (reducer->cluster)
        return cluster_gradient(reducer);
    find_own_sources(reducer);
    Gradient gradient = gradient_at(reducer->kept ? reducer->kept : reducer->stack[0].x);
    if (reducer->order == REDUCER_ORDER_FAST) {
        comm_allreduce_fast(reducer->comm, gradient.sums, reducer->layout->n);
        return gradient;
    }
    if (reducer->feedback)
        feedback_exchange(reducer->feedback);
    if (reducer->shared)
        await_host(reducer);
    else if (reducer->host->size > 1)
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
    expect(!reducer->kept);
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
