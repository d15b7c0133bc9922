/* Collectives between hosts: plans, which are data, and one executor that runs them.
 *
 * A group of G members adds and shares a range of floats that is cut into G sub-slices:
 *
 *   reduce-scatter   every member brings sums over lane subtrees; member g ends with the sum of all
 *                    lanes over sub-slice g, added along the lane tree (lanes.h)
 *   all-gather       every member brings its sub-slice; everybody ends with all of them
 *   all-reduce       both
 *
 * Whatever the algorithm, the same pairs are added in the same operand order, so algorithms differ
 * in speed and never in bits. An algorithm is one file in src/comm/collectives and one line in
 * src/comm/collectives.def; it turns a shape into the plan of one member: rounds of messages and
 * additions. A plan allocates nothing when it runs, can be run in memory, simulated and compared.
 * docs/collectives.md explains the algorithms.
 *
 * Nothing in the first two parts of this header is collective or knows MPI. */
#ifndef LOCKSTEP_COLLECTIVE_H
#define LOCKSTEP_COLLECTIVE_H

#include "lockstep/comm.h"
#include "lockstep/lanes.h"

/* ---- what is asked for ---- */

typedef enum CollectiveKind {
    COLLECTIVE_REDUCE_SCATTER,
    COLLECTIVE_ALL_GATHER,
    COLLECTIVE_ALL_REDUCE,
    COLLECTIVE_KINDS
} CollectiveKind;
const char *collective_kind_name(CollectiveKind kind); /* "reduce-scatter" */

/* The same for all members but `me`. Borrowed arrays. */
typedef struct CollectiveShape {
    int members, me;
    const size_t *bounds;    /* (members + 1) floats: member g owns [bounds[g], bounds[g + 1]) */
    const int *counts;       /* (members) how many sums each member brings; not for all-gather */
    const Subtree *subtrees; /* which: member 0's from left to right, member 1's, ...; no two of a
                                member are siblings; together they are all lanes, each once */
} CollectiveShape;

/* One lane a member, or as many lanes as the next power of two, contiguous: counts (members) and
 * subtrees (room for 2 * members) of such a shape; returns the number of lanes. */
int collective_spread_lanes(int members, int *counts, Subtree *subtrees);

/* ---- plans ---- */

/* Floats of this member: an input is one of its sums, output the array of results, both indexed as
 * bounds are; scratch belongs to the plan; a tile holds as many floats as are added at a time. */
typedef enum PlaceKind { PLACE_INPUT, PLACE_OUTPUT, PLACE_SCRATCH, PLACE_TILE } PlaceKind;
typedef struct Place {
    PlaceKind kind;
    int index;     /* which input, which tile */
    size_t offset; /* floats */
} Place;

typedef struct PlanMessage {
    int peer; /* member */
    Place place;
    size_t n; /* floats, never 0 */
} PlanMessage;

typedef struct PlanCopy {
    Place to, from;
    size_t n;
} PlanCopy;

/* out = left + right, n floats. */
typedef struct PlanAdd {
    Place out, left, right;
    size_t n;
    int fold; /* neighbours of the same fold have the same n, and run together, tile by tile */
} PlanAdd;

/* A round: copies, then sends, which wait for nobody; then, when the receives have arrived, the
 * additions. Receives of all rounds are posted when the plan starts. Each number says where the
 * next round's begin. */
typedef struct PlanRound {
    int copies, sends, receives, adds;
} PlanRound;

typedef struct Plan {
    const char *algorithm;
    CollectiveKind kind;
    int members, me, round_count;
    PlanRound *rounds;
    PlanCopy *copies;
    PlanMessage *sends, *receives;
    PlanAdd *adds;
    size_t scratch; /* floats */
    int tiles;
    uint64_t digest; /* of kind, algorithm and shape without `me`: equal on members that fit */
} Plan;

typedef struct PlanBuilder PlanBuilder; /* src/comm/collectives/builder.h */

typedef struct CollectiveAlgorithm {
    const char *name, *help, *formula, *source; /* formula: time, see docs/collectives.md */
    void (*reduce_scatter)(PlanBuilder *builder, const CollectiveShape *shape);
    void (*all_gather)(PlanBuilder *builder, const CollectiveShape *shape);
    void (*all_reduce)(PlanBuilder *builder, const CollectiveShape *shape); /* NULL: those two */
} CollectiveAlgorithm;

const CollectiveAlgorithm *collective_find(const char *name); /* NULL: there is none */
const CollectiveAlgorithm *const *collective_all(int *count);

/* The plan of member shape->me. Any number of members, any bounds, lanes spread in any way. Keeps
 * nothing of the shape. */
Plan *plan_new(const CollectiveAlgorithm *algorithm, CollectiveKind kind,
               const CollectiveShape *shape);
void plan_free(Plan *plan); /* NULL is fine */

size_t plan_bytes(const Plan *plan);      /* memory that running it takes beside its arrays */
double plan_sent_bytes(const Plan *plan); /* by this member, in one run */

/* ---- running a plan with real messages ---- */

/* Member g is rank ranks[g] of comm. Collectives that are under way between the same two ranks at
 * the same time need different tags, any numbers from 0. Borrows plan and comm, copies ranks.
 * Allocates all that running will need. Not collective. */
typedef struct Collective Collective;
Collective *collective_init(Comm *comm, const Plan *plan, const int *ranks, int tag);
void collective_free(Collective *collective); /* NULL is fine */

/* Sums are rounded to comm's wire format (comm_set_wire), and messages are as narrow as that. For
 * inputs that are sums over lanes; before the first start. */
void collective_round(Collective *collective);
size_t collective_round_bytes(const Plan *plan); /* memory that this takes */

/* Starts: receives are posted, the first messages leave. inputs[i][x] is float x of this member's
 * sum i, for x in the group's whole range; inputs are read until the end, never written. output[x]
 * has this member's results: after a reduce-scatter those of its sub-slice, the rest of output is
 * not touched; before an all-gather its own sub-slice is filled, after it everything is. output may
 * be an input in a reduce-scatter, not in an all-reduce; an all-gather has no inputs (NULL). Where
 * pointers and bounds are multiples of 16 floats, additions are vectors. */
void collective_start(Collective *collective, float *const *inputs, float *output);

/* Does what can be done without waiting; true when everything is done, which a later call of any of
 * the two may rely on. Messages move while somebody polls: call it between layers. */
bool collective_poll(Collective *collective);

/* Waits to the end of this one, while others do not move: of several that are under way, all
 * members finish the same one first. */
void collective_finish(Collective *collective);

/* ---- which algorithm ---- */

/* By measured table, or a rule of thumb where nothing was measured; `bytes` of the group's whole
 * range. Speed only. collective_set_algorithm: a name, or "auto". collective_set_table: text of a
 * table that `lockstep bench comm --tune` has written (docs/collectives.md). All ranks alike. */
const CollectiveAlgorithm *collective_choose(const Comm *comm, CollectiveKind kind, int members,
                                             size_t bytes);
bool collective_set_algorithm(Comm *comm, const char *name, Err *err);
bool collective_set_table(Comm *comm, const char *text, Err *err);

#endif
