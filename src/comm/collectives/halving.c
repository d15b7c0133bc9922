/* Recursive halving of the vector with doubling distance, for any number of members. Members form a
 * binary tree of blocks, halves of halves. From the leaves up, two sibling blocks merge: before,
 * the members of each block hold between them all slices of the block's sum; after, the members of
 * both do, so each has half as much. For four members (mX[s]: sum over the lanes of members X):
 *
 *              blocks of one        pairs merge            halves merge
 *   member 0   m0[0 1 2 3]          m01[0 2]               m0123[0]
 *   member 1   m1[0 1 2 3]          m01[1 3]               m0123[1]
 *   member 2   m2[0 1 2 3]          m23[0 2]               m0123[2]
 *   member 3   m3[0 1 2 3]          m23[1 3]               m0123[3]
 *
 * Who holds slice s in a block is decided from the root down: at the root member s; in the block
 * that its parent's holder is in, that same holder; in the other block, the member opposite (if the
 * blocks differ by one member, slices are dealt out evenly). So whoever is to hold a slice gets it
 * from one member of the other block: ceil(log2 G) rounds, and with G a power of two one message of
 * half the floats a round. The long messages go to the nearest members.
 *
 * Lanes that are contiguous make a block's lanes contiguous, so the merges are merges of the lane
 * tree; where they do not fit it exactly, the subtrees that are left over travel side by side.
 *
 * The all-gather doubles contiguous blocks, so that no message has to be put together. */
#include "builder.h"

#include "lockstep/memory.h"

#include <string.h>

#define LEVELS 32 /* log2 of an int, and one */

typedef struct Block {
    int first, last; /* members */
} Block;

static bool has(Block block, int member)
{
    return member >= block.first && member < block.last;
}

static Block half(Block block, bool right)
{
    int middle = block.first + (block.last - block.first + 1) / 2;
    return right ? (Block){ middle, block.last } : (Block){ block.first, middle };
}

/* The blocks that `member` is in, from the root down to itself; returns how many. */
static int path_to(int member, int members, Block *path)
{
    int levels = 0;
    path[levels++] = (Block){ 0, members };
    while (path[levels - 1].last - path[levels - 1].first > 1) {
        Block block = path[levels - 1];
        path[levels++] = half(block, has(half(block, true), member));
    }
    return levels;
}

/* ---- who holds what ---- */

/* The slices of a block: who holds each, and an order in which slices of one holder are neighbours,
 * and among those, slices of one holder in the parent block, and so on. */
typedef struct Holding {
    int *holder, *order; /* (slices) */
} Holding;

static Holding new_holding(int slices)
{
    return (Holding){ mem_array(int, slices), mem_array(int, slices) };
}

static void free_holding(Holding holding)
{
    mem_free(holding.holder);
    mem_free(holding.order);
}

/* order: that of the parent, sorted by holder, stable (counting sort). */
static void sort_by_holder(Holding holding, const int *parent_order, Block block, int slices)
{
    int *next = mem_array(int, block.last - block.first + 1);
    for (int s = 0; s < slices; s++)
        next[holding.holder[s] - block.first + 1]++;
    for (int m = 1; m <= block.last - block.first; m++)
        next[m] += next[m - 1];
    for (int i = 0; i < slices; i++) {
        int s = parent_order[i];
        holding.order[next[holding.holder[s] - block.first]++] = s;
    }
    mem_free(next);
}

/* The holders in one half of a block. Slices that the other half's members hold in the parent are
 * dealt out in the parent's order, so that neighbours go to neighbours. */
static void hold_half(Holding child, Holding parent, Block block, int slices)
{
    int others = 0, dealt = 0, members = block.last - block.first;
    for (int s = 0; s < slices; s++)
        others += !has(block, parent.holder[s]);
    for (int i = 0; i < slices; i++) {
        int s = parent.order[i];
        child.holder[s] = parent.holder[s];
        if (!has(block, parent.holder[s]))
            child.holder[s] = block.first + (int)((int64_t)dealt++ * members / others);
    }
    sort_by_holder(child, parent.order, block, slices);
}

/* ---- reduce-scatter ---- */

typedef struct Halving {
    PlanBuilder *builder;
    const CollectiveShape *shape;
    const int *firsts;
    Subtree *nodes, *other_nodes; /* the sums of my block, and of its sibling */
    int count, other_count, most; /* `most` in any block */
    Place *places;                /* (slice, node): where I have which */
    Term *terms;
    Piece *pieces;
} Halving;

static int block_nodes(const Halving *halving, Block block, Subtree *nodes)
{
    int first = halving->firsts[block.first], count = halving->firsts[block.last] - first;
    memcpy(nodes, halving->shape->subtrees + first, (size_t)count * sizeof *nodes);
    return fold_nodes(nodes, count);
}

static Place *places_of(Halving *halving, int slice)
{
    return halving->places + (size_t)slice * (size_t)halving->most;
}

/* Slices that `to` shall hold in the parent block go there, in the parent's order. */
static void send_slices(Halving *halving, Holding mine, Holding parent, Block sibling)
{
    const CollectiveShape *shape = halving->shape;
    int count = 0, to = -1;
    for (int i = 0; i <= shape->members; i++) {
        int s = i < shape->members ? parent.order[i] : -1;
        if (s < 0 || parent.holder[s] != to) { /* the last holder's slices are complete */
            if (count > 0)
                builder_send(halving->builder, to, halving->pieces, count);
            count = 0;
            to = s < 0 ? -1 : parent.holder[s];
        }
        if (s < 0 || mine.holder[s] != shape->me || !has(sibling, to))
            continue;
        for (int k = 0; k < halving->count; k++)
            halving->pieces[count++] = (Piece){ places_of(halving, s)[k], shape_floats(shape, s) };
    }
}

/* Slices that are to be mine, neighbours in the parent's order, come from the sibling block; those
 * of one sender are neighbours too, because hold_half dealt them out in that order. */
static void receive_slices(Halving *halving, Holding theirs, Holding parent, Place *arrived)
{
    const CollectiveShape *shape = halving->shape;
    size_t sums = (size_t)halving->other_count;
    int i = 0;
    while (i < shape->members && parent.holder[parent.order[i]] != shape->me)
        i++;
    while (i < shape->members && parent.holder[parent.order[i]] == shape->me) {
        int from = theirs.holder[parent.order[i]], end = i;
        size_t n = 0;
        for (; end < shape->members; end++) {
            int s = parent.order[end];
            if (parent.holder[s] != shape->me || theirs.holder[s] != from)
                break;
            n += sums * shape_floats(shape, s);
        }
        Place place = builder_receive(halving->builder, from, n);
        for (; i < end; i++) {
            arrived[parent.order[i]] = place;
            place.offset += sums * shape_floats(shape, parent.order[i]);
        }
    }
}

/* Adds the sibling's sums of one slice to mine. */
static int fold_slice(Halving *halving, int slice, Place arrived, bool root)
{
    size_t n = shape_floats(halving->shape, slice);
    Place *places = places_of(halving, slice);
    int count = 0;
    for (int k = 0; k < halving->count; k++)
        halving->terms[count++] = (Term){ halving->nodes[k], places[k] };
    for (int k = 0; k < halving->other_count; k++, arrived.offset += n)
        halving->terms[count++] = (Term){ halving->other_nodes[k], arrived };
    Place result = place_output(halving->shape->bounds[slice]);
    count = builder_fold(halving->builder, halving->terms, count, n, root ? &result : NULL);
    for (int k = 0; k < count; k++)
        places[k] = halving->terms[k].place;
    return count;
}

/* My block merges with its sibling: parent and mine are the holdings before and after. */
static void merge(Halving *halving, Block sibling, Holding mine, Holding parent, bool root)
{
    int slices = halving->shape->members, me = halving->shape->me, left = 0;
    Holding theirs = new_holding(slices);
    Place *arrived = mem_array(Place, slices);
    hold_half(theirs, parent, sibling, slices);
    halving->other_count = block_nodes(halving, sibling, halving->other_nodes);
    builder_round(halving->builder);
    send_slices(halving, mine, parent, sibling);
    receive_slices(halving, theirs, parent, arrived);
    for (int s = 0; s < slices; s++)
        if (parent.holder[s] == me)
            left = fold_slice(halving, s, arrived[s], root);
    for (int k = 0; k < left; k++)
        halving->nodes[k] = halving->terms[k].node;
    halving->count = left;
    mem_free(arrived);
    free_holding(theirs);
}

static void start_with_inputs(Halving *halving)
{
    const CollectiveShape *shape = halving->shape;
    halving->count = shape->counts[shape->me];
    memcpy(halving->nodes, shape->subtrees + halving->firsts[shape->me],
           (size_t)halving->count * sizeof *halving->nodes);
    for (int s = 0; s < shape->members; s++)
        for (int k = 0; k < halving->count; k++)
            places_of(halving, s)[k] = place_input(k, shape->bounds[s]);
}

/* Most sums that a block on my way, or its sibling, has. */
static int most_sums(Halving *halving, const Block *path, int levels)
{
    int most = 1;
    for (int level = 0; level < levels; level++)
        for (int right = 0; right < 2; right++) {
            Block block = level + 1 < levels ? half(path[level], right) : path[level];
            int count = block_nodes(halving, block, halving->nodes);
            most = count > most ? count : most;
        }
    return most;
}

static void reduce_scatter(PlanBuilder *builder, const CollectiveShape *shape)
{
    Block path[LEVELS];
    Holding holdings[LEVELS];
    int slices = shape->members, levels = path_to(shape->me, slices, path);
    int *firsts = shape_firsts(shape), sums = firsts[slices];
    Halving halving = { .builder = builder,
                        .shape = shape,
                        .firsts = firsts,
                        .nodes = mem_array(Subtree, sums),
                        .other_nodes = mem_array(Subtree, sums),
                        .terms = mem_array(Term, sums) };
    halving.most = most_sums(&halving, path, levels);
    halving.places = mem_array(Place, (size_t)slices * (size_t)halving.most);
    halving.pieces = mem_array(Piece, (size_t)slices * (size_t)halving.most);
    for (int level = 0; level < levels; level++) {
        holdings[level] = new_holding(slices);
        for (int s = 0; s < slices && level == 0; s++)
            holdings[0].holder[s] = holdings[0].order[s] = s;
        if (level > 0)
            hold_half(holdings[level], holdings[level - 1], path[level], slices);
    }
    start_with_inputs(&halving);
    for (int level = levels - 2; level >= 0; level--) {
        Block sibling = half(path[level], !has(half(path[level], true), shape->me));
        merge(&halving, sibling, holdings[level + 1], holdings[level], level == 0);
    }
    if (levels == 1) { /* alone */
        builder_round(builder);
        fold_slice(&halving, 0, (Place){ 0 }, true);
    }
    for (int level = 0; level < levels; level++)
        free_holding(holdings[level]);
    mem_free(halving.pieces);
    mem_free(halving.places);
    mem_free(halving.terms);
    mem_free(halving.other_nodes);
    mem_free(halving.nodes);
    mem_free(firsts);
}

/* ---- all-gather ---- */

/* Two sibling blocks, whose members have the slices of their block, tell each other: member k of
 * the one is told by member k of the other, or, if that has fewer members, by its first again. */
static void all_gather(PlanBuilder *builder, const CollectiveShape *shape)
{
    Block path[LEVELS];
    int me = shape->me, levels = path_to(me, shape->members, path);
    const size_t *bounds = shape->bounds;
    for (int level = levels - 2; level >= 0; level--) {
        bool right = has(half(path[level], true), me);
        Block mine = half(path[level], right), sibling = half(path[level], !right);
        int own = mine.last - mine.first, others = sibling.last - sibling.first;
        Piece piece = { place_output(bounds[mine.first]), bounds[mine.last] - bounds[mine.first] };
        builder_round(builder);
        for (int to = sibling.first; to < sibling.last; to++)
            if ((to - sibling.first) % own == me - mine.first)
                builder_send(builder, to, &piece, 1);
        builder_receive_into(builder, sibling.first + (me - mine.first) % others,
                             place_output(bounds[sibling.first]),
                             bounds[sibling.last] - bounds[sibling.first]);
    }
}

extern const CollectiveAlgorithm collective_halving;
const CollectiveAlgorithm collective_halving = {
    .name = "halving",
    .help = "recursive halving with doubling distance, and recursive doubling: log2 G rounds",
    .formula = "each ceil(log2 G) a + (G - 1)/G n b; reduce-scatter more where lanes do not fit",
    .source = "Rabenseifner 2004, Thakur et al. 2005; any G along the lane tree: ours",
    .reduce_scatter = reduce_scatter,
    .all_gather = all_gather,
};
