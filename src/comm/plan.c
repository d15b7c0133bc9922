/* Plans of collectives: the registry of algorithms, and how a plan is written. */
#include "collectives/builder.h"

#include "lockstep/memory.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define COLLECTIVE(name) extern const CollectiveAlgorithm collective_##name;
#include "collectives.def"
#undef COLLECTIVE
#define COLLECTIVE(name) &collective_##name,
static const CollectiveAlgorithm *const algorithms[] = {
#include "collectives.def"
};
#undef COLLECTIVE

enum { ALGORITHMS = sizeof algorithms / sizeof *algorithms };

const CollectiveAlgorithm *const *collective_all(int *count)
{
    *count = ALGORITHMS;
    return algorithms;
}

const CollectiveAlgorithm *collective_find(const char *name)
{
    for (int i = 0; i < ALGORITHMS; i++)
        if (strcmp(algorithms[i]->name, name) == 0)
            return algorithms[i];
    return NULL;
}

const char *collective_kind_name(CollectiveKind kind)
{
    static const char *const names[] = { "reduce-scatter", "all-gather", "all-reduce" };
    return names[kind];
}

/* ---- shapes ---- */

int *shape_firsts(const CollectiveShape *shape)
{
    int *firsts = mem_array(int, shape->members + 1);
    for (int m = 0; m < shape->members; m++)
        firsts[m + 1] = firsts[m] + shape->counts[m];
    return firsts;
}

static int shape_sums(const CollectiveShape *shape)
{
    int sums = 0;
    for (int m = 0; m < shape->members; m++)
        sums += shape->counts[m];
    return sums;
}

size_t shape_floats(const CollectiveShape *shape, int slice)
{
    return shape->bounds[slice + 1] - shape->bounds[slice];
}

int collective_spread_lanes(int members, int *counts, Subtree *subtrees)
{
    int lanes = 1, total = 0;
    while (lanes < members)
        lanes *= 2;
    for (int m = 0; m < members; m++) {
        Subtree list[64];
        counts[m] = lanes_subtrees(lanes_first(lanes, m, members),
                                   lanes_first(lanes, m + 1, members), list);
        memcpy(subtrees + total, list, (size_t)counts[m] * sizeof *list);
        total += counts[m];
    }
    return lanes;
}

static uint64_t shape_digest(const CollectiveShape *shape, CollectiveKind kind, const char *name)
{
    uint64_t digest = XXH3_64bits_withSeed(name, strlen(name), (XXH64_hash_t)kind);
    size_t members = (size_t)shape->members;
    digest = XXH3_64bits_withSeed(shape->bounds, (members + 1) * sizeof *shape->bounds,
                                  digest + members);
    if (kind == COLLECTIVE_ALL_GATHER)
        return digest;
    digest = XXH3_64bits_withSeed(shape->counts, members * sizeof *shape->counts, digest);
    size_t sums = (size_t)shape_sums(shape);
    return XXH3_64bits_withSeed(shape->subtrees, sums * sizeof *shape->subtrees, digest);
}

/* No siblings in a member's list; of all together, one tree is left that begins at lane 0. */
static void expect_all_lanes(const CollectiveShape *shape)
{
    int count = shape_sums(shape), first = 0;
    Subtree *nodes = mem_array(Subtree, count);
    memcpy(nodes, shape->subtrees, (size_t)count * sizeof *nodes);
    for (int m = 0; m < shape->members; first += shape->counts[m++])
        expect(fold_nodes(nodes + first, shape->counts[m]) == shape->counts[m]);
    expect(fold_nodes(nodes, count) == 1 && nodes[0].first == 0);
    mem_free(nodes);
}

/* ---- the builder ---- */

struct PlanBuilder {
    Plan *plan;
    int copies, sends, receives, adds, folds;
    size_t round_room, copy_room, send_room, receive_room, add_room;
};

Place place_input(int input, size_t offset)
{
    return (Place){ .kind = PLACE_INPUT, .index = input, .offset = offset };
}

Place place_output(size_t offset)
{
    return (Place){ .kind = PLACE_OUTPUT, .offset = offset };
}

static bool same_place(Place a, Place b)
{
    return a.kind == b.kind && a.index == b.index && a.offset == b.offset;
}

Place builder_scratch(PlanBuilder *builder, size_t n)
{
    Place place = { .kind = PLACE_SCRATCH, .offset = builder->plan->scratch };
    builder->plan->scratch += (n + LAYOUT_ALIGN - 1) / LAYOUT_ALIGN * LAYOUT_ALIGN;
    return place;
}

void builder_round(PlanBuilder *builder)
{
    Plan *plan = builder->plan;
    mem_grow(&plan->rounds, (size_t)plan->round_count, &builder->round_room, sizeof *plan->rounds);
    plan->rounds[plan->round_count++] = (PlanRound){ .copies = builder->copies,
                                                     .sends = builder->sends,
                                                     .receives = builder->receives,
                                                     .adds = builder->adds };
}

static void add_copy(PlanBuilder *builder, Place to, Place from, size_t n)
{
    Plan *plan = builder->plan;
    mem_grow(&plan->copies, (size_t)builder->copies, &builder->copy_room, sizeof *plan->copies);
    plan->copies[builder->copies++] = (PlanCopy){ .to = to, .from = from, .n = n };
}

static void add_send(PlanBuilder *builder, int peer, Place place, size_t n)
{
    Plan *plan = builder->plan;
    mem_grow(&plan->sends, (size_t)builder->sends, &builder->send_room, sizeof *plan->sends);
    plan->sends[builder->sends++] = (PlanMessage){ .peer = peer, .place = place, .n = n };
}

/* Joins neighbours in place; returns how many pieces are left. Empty ones go. */
static int join_pieces(const Piece *pieces, int count, Piece *joined)
{
    int left = 0;
    for (int i = 0; i < count; i++) {
        if (pieces[i].n == 0)
            continue;
        if (left > 0) {
            Place end = joined[left - 1].place;
            end.offset += joined[left - 1].n;
            if (same_place(end, pieces[i].place)) {
                joined[left - 1].n += pieces[i].n;
                continue;
            }
        }
        joined[left++] = pieces[i];
    }
    return left;
}

void builder_send(PlanBuilder *builder, int peer, const Piece *pieces, int count)
{
    Piece *joined = mem_array(Piece, count);
    size_t n = 0;
    int left = join_pieces(pieces, count, joined);
    for (int i = 0; i < left; i++)
        n += joined[i].n;
    if (left == 1) {
        add_send(builder, peer, joined[0].place, n);
    } else if (left > 1) {
        Place to = builder_scratch(builder, n);
        add_send(builder, peer, to, n);
        for (int i = 0; i < left; i++) {
            add_copy(builder, to, joined[i].place, joined[i].n);
            to.offset += joined[i].n;
        }
    }
    mem_free(joined);
}

void builder_receive_into(PlanBuilder *builder, int peer, Place place, size_t n)
{
    Plan *plan = builder->plan;
    if (n == 0)
        return;
    mem_grow(&plan->receives, (size_t)builder->receives, &builder->receive_room,
             sizeof *plan->receives);
    plan->receives[builder->receives++] = (PlanMessage){ .peer = peer, .place = place, .n = n };
}

Place builder_receive(PlanBuilder *builder, int peer, size_t n)
{
    Place place = builder_scratch(builder, n);
    builder_receive_into(builder, peer, place, n);
    return place;
}

/* ---- folds: the carry stack of reducer.c over any subtrees ---- */

static int compare_nodes(const void *a, const void *b)
{
    const Subtree *left = a, *right = b;
    return (left->first > right->first) - (left->first < right->first);
}

static Subtree join_nodes(Subtree left, Subtree right)
{
    return (Subtree){ .first = left.first, .width = left.width + right.width };
}

int fold_nodes(Subtree *nodes, int count)
{
    int depth = 0;
    qsort(nodes, (size_t)count, sizeof *nodes, compare_nodes);
    for (int i = 0; i < count; i++) {
        nodes[depth++] = nodes[i];
        while (depth > 1 && lanes_siblings(nodes[depth - 2], nodes[depth - 1])) {
            nodes[depth - 2] = join_nodes(nodes[depth - 2], nodes[depth - 1]);
            depth--;
        }
    }
    return depth;
}

static void add_add(PlanBuilder *builder, Place out, const Term *left, const Term *right, size_t n)
{
    Plan *plan = builder->plan;
    mem_grow(&plan->adds, (size_t)builder->adds, &builder->add_room, sizeof *plan->adds);
    plan->adds[builder->adds++] = (PlanAdd){
        .out = out, .left = left->place, .right = right->place, .n = n, .fold = builder->folds
    };
}

/* Where a sum that stays may be written: over one of its own terms, which nobody needs after. */
static Place own_place(PlanBuilder *builder, const Term *terms, int count, Subtree node, size_t n)
{
    for (int i = 0; i < count; i++)
        if (terms[i].node.first >= node.first && terms[i].node.first < node.first + node.width &&
            terms[i].place.kind == PLACE_SCRATCH)
            return terms[i].place;
    return builder_scratch(builder, n);
}

static bool stays(const Subtree *kept, int count, Subtree node)
{
    for (int i = 0; i < count; i++)
        if (kept[i].first == node.first)
            return kept[i].width == node.width;
    return false;
}

int builder_fold(PlanBuilder *builder, Term *terms, int count, size_t n, const Place *result)
{
    Subtree *kept = mem_array(Subtree, count);
    Term *stack = mem_array(Term, count);
    int depth = 0;
    for (int i = 0; i < count; i++)
        kept[i] = terms[i].node;
    int kept_count = fold_nodes(kept, count);
    qsort(terms, (size_t)count, sizeof *terms, compare_nodes); /* a term begins with its node */
    builder->folds++;
    for (int i = 0; i < count; i++) {
        stack[depth++] = terms[i];
        while (depth > 1 && lanes_siblings(stack[depth - 2].node, stack[depth - 1].node)) {
            Term *left = &stack[depth - 2];
            Subtree node = join_nodes(left->node, stack[depth - 1].node);
            Place out = { .kind = PLACE_TILE, .index = depth - 2 };
            if (stays(kept, kept_count, node))
                out = result ? *result : own_place(builder, terms, count, node, n);
            else if (builder->plan->tiles < depth - 1)
                builder->plan->tiles = depth - 1;
            if (n > 0)
                add_add(builder, out, left, &stack[depth - 1], n);
            *left = (Term){ .node = node, .place = out };
            depth--;
        }
    }
    expect(depth == kept_count && (!result || depth == 1));
    if (result && n > 0 && !same_place(stack[0].place, *result)) { /* nothing was to be added */
        builder_round(builder);
        add_copy(builder, *result, stack[0].place, n);
    }
    memcpy(terms, stack, (size_t)depth * sizeof *terms);
    mem_free(kept);
    mem_free(stack);
    return depth;
}

/* ---- plans ---- */

static void build(PlanBuilder *builder, const CollectiveAlgorithm *algorithm, CollectiveKind kind,
                  const CollectiveShape *shape)
{
    bool at_once = kind == COLLECTIVE_ALL_REDUCE && algorithm->all_reduce;
    if (at_once)
        algorithm->all_reduce(builder, shape);
    if (!at_once && kind != COLLECTIVE_ALL_GATHER)
        algorithm->reduce_scatter(builder, shape);
    if (!at_once && kind != COLLECTIVE_REDUCE_SCATTER)
        algorithm->all_gather(builder, shape);
}

Plan *plan_new(const CollectiveAlgorithm *algorithm, CollectiveKind kind,
               const CollectiveShape *shape)
{
    expect(shape->me >= 0 && shape->me < shape->members);
    if (kind != COLLECTIVE_ALL_GATHER)
        expect_all_lanes(shape);
    Plan *plan = mem_new(Plan);
    *plan = (Plan){ .algorithm = algorithm->name,
                    .kind = kind,
                    .members = shape->members,
                    .me = shape->me,
                    .digest = shape_digest(shape, kind, algorithm->name) };
    PlanBuilder builder = { .plan = plan };
    build(&builder, algorithm, kind, shape);
    builder_round(&builder); /* where the last round ends */
    plan->round_count--;
    return plan;
}

void plan_free(Plan *plan)
{
    if (!plan)
        return;
    mem_free(plan->rounds);
    mem_free(plan->copies);
    mem_free(plan->sends);
    mem_free(plan->receives);
    mem_free(plan->adds);
    mem_free(plan);
}

size_t plan_bytes(const Plan *plan)
{
    return (plan->scratch + (size_t)plan->tiles * PLAN_TILE) * sizeof(float);
}

double plan_sent_bytes(const Plan *plan)
{
    double floats = 0;
    for (int i = 0; i < plan->rounds[plan->round_count].sends; i++)
        floats += (double)plan->sends[i].n;
    return floats * sizeof(float);
}
