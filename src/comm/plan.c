/* Plans of collectives: the registry of algorithms, shapes, and plans as a whole. */
#include "collectives/builder.h"

#include "lockstep/memory.h"

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
