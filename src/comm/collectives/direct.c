/* Everything at once: slice s of every sum goes straight to member s, who adds all of them; later
 * slice s goes straight to everybody (S_m: the sums of member m over slice s).
 *
 *   member 0   A_0 A_1 A_2     keeps A_0, sends A_1 to 1, A_2 to 2      has A_0 + B_0 + C_0
 *   member 1   B_0 B_1 B_2     keeps B_1, sends B_0 to 0, B_2 to 2      has A_1 + B_1 + C_1
 *   member 2   C_0 C_1 C_2     keeps C_2, sends C_0 to 0, C_1 to 1      has A_2 + B_2 + C_2
 *
 * One latency, and G - 1 messages a member: for few members, or long messages. */
#include "builder.h"

#include "lockstep/memory.h"

#define TOGETHER 16384 /* floats: several sums of up to so many travel in one message */

/* Do the sums that `member` sends of `slice` travel together? Both sides have to agree. */
static bool travel_together(const CollectiveShape *shape, int member, int slice)
{
    return (size_t)shape->counts[member] * shape_floats(shape, slice) <= TOGETHER;
}

static void send_sums(PlanBuilder *builder, const CollectiveShape *shape, int peer, Piece *pieces)
{
    int count = shape->counts[shape->me];
    for (int i = 0; i < count; i++)
        pieces[i] = (Piece){ place_input(i, shape->bounds[peer]), shape_floats(shape, peer) };
    if (travel_together(shape, shape->me, peer))
        builder_send(builder, peer, pieces, count);
    else
        for (int i = 0; i < count; i++)
            builder_send(builder, peer, &pieces[i], 1);
}

static void receive_sums(PlanBuilder *builder, const CollectiveShape *shape, int peer, Term *terms)
{
    int count = shape->counts[peer];
    size_t n = shape_floats(shape, shape->me);
    Place all = { 0 };
    bool together = travel_together(shape, peer, shape->me);
    if (together)
        all = builder_receive(builder, peer, (size_t)count * n);
    for (int i = 0; i < count; i++) {
        terms[i].place = together ? all : builder_receive(builder, peer, n);
        all.offset += n;
    }
}

static void reduce_scatter(PlanBuilder *builder, const CollectiveShape *shape)
{
    int me = shape->me, members = shape->members;
    int *firsts = shape_firsts(shape), total = firsts[members];
    Term *terms = mem_array(Term, total);
    Piece *pieces = mem_array(Piece, shape->counts[me]);
    for (int i = 0; i < total; i++)
        terms[i].node = shape->subtrees[i];
    builder_round(builder);
    for (int k = 1; k < members; k++) {
        int to = (me + k) % members, from = (me + members - k) % members;
        send_sums(builder, shape, to, pieces);
        receive_sums(builder, shape, from, terms + firsts[from]);
    }
    for (int i = 0; i < shape->counts[me]; i++)
        terms[firsts[me] + i].place = place_input(i, shape->bounds[me]);
    Place result = place_output(shape->bounds[me]);
    builder_fold(builder, terms, total, shape_floats(shape, me), &result);
    mem_free(pieces);
    mem_free(terms);
    mem_free(firsts);
}

static void all_gather(PlanBuilder *builder, const CollectiveShape *shape)
{
    int me = shape->me, members = shape->members;
    Piece mine = { place_output(shape->bounds[me]), shape_floats(shape, me) };
    builder_round(builder);
    for (int k = 1; k < members; k++) {
        int from = (me + members - k) % members;
        builder_send(builder, (me + k) % members, &mine, 1);
        builder_receive_into(builder, from, place_output(shape->bounds[from]),
                             shape_floats(shape, from));
    }
}

extern const CollectiveAlgorithm collective_direct;
const CollectiveAlgorithm collective_direct = {
    .name = "direct",
    .help = "everybody to everybody at once: one latency, G - 1 messages",
    .formula = "reduce-scatter a + (G - 1) o + (S - 1)/G n b, all-gather a + (G - 1)(o + n b / G)",
    .source = "Thakur et al. 2005 (pairwise exchange)",
    .reduce_scatter = reduce_scatter,
    .all_gather = all_gather,
};
