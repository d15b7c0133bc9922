/* Recursive doubling, an all-reduce in the fewest rounds: blocks of members merge as in halving, but
 * their members exchange whole sums, and both sides add them.
 *
 *              blocks of one   pairs merge   halves merge
 *   member 0   m0              m01           m0123
 *   member 1   m1              m01           m0123
 *   member 2   m2              m23           m0123
 *   member 3   m3              m23           m0123
 *
 * ceil(log2 G) rounds of n floats; a reduce-scatter and an all-gather take twice the rounds, and
 * less than 2 n floats in all. With two members there is nothing to choose between: n floats
 * either way, and one round here. */
#include "blocks.h"

#include "lockstep/memory.h"

extern const CollectiveAlgorithm collective_doubling, collective_halving;

typedef struct Doubling {
    PlanBuilder *builder;
    const CollectiveShape *shape;
    const int *firsts;
    size_t start, n; /* the whole range */
    Term *terms;     /* the sums of my block */
    int count;
    Piece *pieces;
    Subtree *nodes; /* of the sibling block */
} Doubling;

/* Member k of the one block is told by member k of the other, or, if that has fewer members, by its
 * first again. */
static void exchange(Doubling *d, Block mine, Block sibling)
{
    int me = d->shape->me, own = mine.last - mine.first, others = sibling.last - sibling.first;
    int arriving = block_nodes(d->shape, d->firsts, sibling, d->nodes);
    for (int k = 0; k < d->count; k++)
        d->pieces[k] = (Piece){ d->terms[k].place, d->n };
    builder_round(d->builder);
    for (int to = sibling.first; to < sibling.last; to++)
        if ((to - sibling.first) % own == me - mine.first)
            builder_send(d->builder, to, d->pieces, d->count);
    int from = sibling.first + (me - mine.first) % others;
    Place place = builder_receive(d->builder, from, (size_t)arriving * d->n);
    for (int k = 0; k < arriving; k++, place.offset += d->n)
        d->terms[d->count++] = (Term){ d->nodes[k], place };
}

static void start_with_inputs(Doubling *d)
{
    d->count = d->shape->counts[d->shape->me];
    for (int k = 0; k < d->count; k++)
        d->terms[k] = (Term){ .node = d->shape->subtrees[d->firsts[d->shape->me] + k],
                              .place = place_input(k, d->start) };
}

static void all_reduce(PlanBuilder *builder, const CollectiveShape *shape)
{
    Block path[BLOCK_LEVELS];
    int levels = block_path(shape->me, shape->members, path), *firsts = shape_firsts(shape);
    Doubling d = { .builder = builder,
                   .shape = shape,
                   .firsts = firsts,
                   .start = shape->bounds[0],
                   .n = shape->bounds[shape->members] - shape->bounds[0],
                   .terms = mem_array(Term, firsts[shape->members]),
                   .pieces = mem_array(Piece, firsts[shape->members]),
                   .nodes = mem_array(Subtree, firsts[shape->members]) };
    Place result = place_output(d.start);
    start_with_inputs(&d);
    for (int level = levels - 2; level >= 0; level--) {
        bool right = block_has(block_half(path[level], true), shape->me);
        exchange(&d, block_half(path[level], right), block_half(path[level], !right));
        d.count = builder_fold(builder, d.terms, d.count, d.n, level == 0 ? &result : NULL);
    }
    if (levels == 1) { /* alone */
        builder_round(builder);
        builder_fold(builder, d.terms, d.count, d.n, &result);
    }
    mem_free(d.nodes);
    mem_free(d.pieces);
    mem_free(d.terms);
    mem_free(firsts);
}

static void reduce_scatter(PlanBuilder *builder, const CollectiveShape *shape)
{
    collective_halving.reduce_scatter(builder, shape);
}

static void all_gather(PlanBuilder *builder, const CollectiveShape *shape)
{
    collective_halving.all_gather(builder, shape);
}

const CollectiveAlgorithm collective_doubling = {
    .name = "doubling",
    .help = "an all-reduce of whole sums in log2 G rounds, for small messages; else as halving",
    .formula = "all-reduce ceil(log2 G)(a + n b)",
    .source = "Thakur et al. 2005 (recursive doubling); any G along the lane tree: ours",
    .reduce_scatter = reduce_scatter,
    .all_gather = all_gather,
    .all_reduce = all_reduce,
};
