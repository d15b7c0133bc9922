/* All-gather: rank r owns elements [bounds[r], bounds[r + 1]) of an array, all ranks get all of
 * them. Nothing is added, so the way does not matter for bits.
 *
 *   rank 0  aaa....       aaabbcc
 *   rank 1  ...bb..   ->  aaabbcc
 *   rank 2  .....cc       aaabbcc
 *
 * Small arrays of ranks that share memory go through the board. Other small ones travel in rounds
 * (Bruck et al. 1997, with three ports): what a rank has, it sends to the ranks `have`, 2 `have`
 * and 3 `have` before it, and gets theirs from those behind, so after each round it has four times
 * as much, from itself on around the ring of ranks:
 *
 *   rank 0 of 16   0  |  1  2  3  |  4-7  8-11  12-15
 *   has            1     4 in all    16 in all
 *
 * At most 3 log4 P times two messages (a range that goes around the end is two), log4 P latencies;
 * up to four ranks everybody sends to everybody at once. Long arrays go straight from everybody to
 * everybody, rank r to r + 1 first, so that not all of them write to rank 0 at once. A rank
 * receives what it lacks once, either way. */
#include "world.h"

#include "lockstep/simulate.h"

#define SHORT_BYTES ((size_t)256 << 10) /* of the whole array: more goes straight */
#define PORTS 3                         /* messages of a round */

typedef struct Gathered {
    char *array;
    const size_t *bounds; /* (size + 1) elements */
    size_t bytes;         /* of an element */
} Gathered;

/* What ranks [first, last) own, to or from `peer`. */
static void post(Comm *comm, const Gathered *g, int first, int last, int peer, bool send)
{
    char *at = g->array + g->bounds[first] * g->bytes;
    size_t bytes = (g->bounds[last] - g->bounds[first]) * g->bytes;
    if (send)
        messages_send(comm, at, bytes, peer, TAG_ALLGATHER);
    else
        messages_receive(comm, at, bytes, peer, TAG_ALLGATHER);
}

/* What `count` ranks from `first` on own, around the ring. */
static void post_ring(Comm *comm, const Gathered *g, int first, int count, int peer, bool send)
{
    int last = first + count;
    post(comm, g, first, last < comm->size ? last : comm->size, peer, send);
    if (last > comm->size)
        post(comm, g, 0, last - comm->size, peer, send);
}

static void gather_in_rounds(Comm *comm, const Gathered *g)
{
    int size = comm->size, rank = comm->rank;
    for (int64_t have = 1; have < size; have *= PORTS + 1) {
        for (int64_t away = have; away <= PORTS * have && away < size; away += have) {
            int count = (int)(size - away < have ? size - away : have);
            int behind = (int)((rank + away) % size), before = (int)((rank + size - away) % size);
            post_ring(comm, g, behind, count, behind, false);
            post_ring(comm, g, rank, count, before, true);
        }
        messages_finish(comm);
    }
}

double simulate_gather(int members, const Network *network)
{
    double seconds = 0;
    for (int64_t have = 1; have < members; have *= PORTS + 1) {
        int64_t ports = (members - 1) / have;
        seconds += network->latency + (double)(ports < PORTS ? ports : PORTS) * network->overhead;
    }
    return seconds;
}

static void gather_straight(Comm *comm, const Gathered *g)
{
    int size = comm->size, rank = comm->rank;
    for (int k = 1; k < size; k++) {
        int from = (rank + size - k) % size;
        post(comm, g, from, from + 1, from, false);
    }
    for (int k = 1; k < size; k++)
        post(comm, g, rank, rank + 1, (rank + k) % size, true);
    messages_finish(comm);
}

void comm_allgather(Comm *comm, void *array, const size_t *bounds, size_t bytes)
{
    Gathered gathered = { array, bounds, bytes };
    size_t total = bounds[comm->size] * bytes;
    if (comm_shares(comm) && board_takes(comm->board, total))
        board_allgather(comm->board, array, bounds[comm->rank] * bytes,
                        bounds[comm->rank + 1] * bytes, total);
    else if (total <= SHORT_BYTES)
        gather_in_rounds(comm, &gathered);
    else
        gather_straight(comm, &gathered);
}
