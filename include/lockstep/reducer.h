/* The sum over lanes, along one fixed binary tree on the lane index, for any rank count.
 *
 *   0   1   2   3   4   5   6   7     rank 0 owns lanes 0-1, rank 1 owns 2-4, rank 2 owns 5-7
 *    \ /     \ /     \ /     \ /
 *    01      23      45      67       a rank folds its lanes into maximal complete subtrees:
 *      \    /          \    /         rank 0 {01}, rank 1 {23, 4}, rank 2 {5, 67}
 *       0123            4567
 *           \          /
 *             01234567                across ranks the tree is finished in that order
 *
 * Inside a rank a carry stack works like a binary counter: after lane i, as many pairs of
 * neighbouring subtrees are merged as i + 1 has trailing zero bits, so at most log2 L + 1 buffers
 * are alive. Across ranks, slice s of every subtree sum goes to the owner of slice s, who adds them
 * in tree order, block by block when the optimizer wants the block; where ranks share memory, the
 * owner reads them where they are. */
#ifndef LOCKSTEP_REDUCER_H
#define LOCKSTEP_REDUCER_H

#include "lockstep/comm.h"
#include "lockstep/lanes.h"

typedef struct Reducer Reducer;

/* The slice exchange decides who owns which slice: over all ranks of comm, or over those of a host
 * (a comm_split by comm_host_index); then every host gets the whole sum, and shares it out among
 * its ranks. All arguments are borrowed. Collective. */
Reducer *reducer_init(Comm *comm, const Lanes *lanes, const Layout *layout,
                      const SliceExchange *exchange);
void reducer_free(Reducer *reducer);

/* What is made of the lanes. Two give other bits for other rank counts: ARRIVAL adds lanes to a
 * running sum, each rank for itself, and then the ranks' sums in rank order, as programs without a
 * tree do (for tests, which show by it that their digests can tell, and for `bench reduce`); FAST
 * does so inside a rank and has MPI_Allreduce add the ranks' sums. ADASUM combines the two halves
 * of every subtree by Adaptive Summation and multiplies what comes out at the root by a factor. Not
 * where sums travel between groups; between steps, all ranks alike. */
typedef enum ReducerOrder {
    REDUCER_ORDER_TREE,
    REDUCER_ORDER_FAST,
    REDUCER_ORDER_ADASUM,
    REDUCER_ORDER_ARRIVAL
} ReducerOrder;
void reducer_set_order(Reducer *reducer, ReducerOrder order);
void reducer_set_scale(Reducer *reducer, double scale); /* that factor, 1 at first */

/* Where the next lane's gradient is to be written (layout->n floats, padding zero). Lanes are added
 * in order, lanes->first .. lanes->last - 1. The caller clears an empty lane's buffer. */
float *reducer_lane(Reducer *reducer);
void reducer_add_lane(Reducer *reducer, int lane);

/* After this rank's last lane: the sum over all lanes, inside this rank's slice, to be asked for
 * block by block, each block once. Valid until the next reducer_lane. Other ranks may still be
 * reading this rank's sums: a barrier, such as publishing the weights is, has to come before the
 * next reducer_lane. Collective; asking for blocks is not. */
Gradient reducer_reduce(Reducer *reducer);

/* The same, whole and complete, in memory of this rank alone. */
Gradient reducer_reduce_all(Reducer *reducer);

/* To let sums travel to other hosts while the last lane's backward is under way: stages[t] says of
 * each tensor of the layout when it is final, 0 is last; reducer_final tells that those of `stage`
 * and above are (outside the last lane, and where nothing travels, it does nothing), and moves
 * messages, unless a `thread` is to do that. Without either everything is final in reducer_reduce.
 * Not collective. */
void reducer_set_stages(Reducer *reducer, const int *stages, bool thread);
void reducer_final(Reducer *reducer, int stage);

/* Where gradients are compressed (compress.h): what has to be kept to go on with the same bits, the
 * same list on every rank; false: there are no more. `data` NULL: on another rank. Outside a
 * step. */
typedef struct ReducerState {
    char name[64]; /* "compress/error.3": of lane 3 */
    size_t n;      /* floats */
    bool everywhere;
    float *data; /* borrowed */
} ReducerState;
bool reducer_state(Reducer *reducer, int index, ReducerState *state);

/* Shall error memories take part? If not, until it is said again, only sums of running statistics
 * mean anything, and memories stay as they are. All ranks alike. */
void reducer_set_learning(Reducer *reducer, bool learns);

/* Seconds so far in which this rank had nothing to do but wait for the host's ranks to have their
 * sums, where they share memory and there is one host: how much later the last one was. */
double reducer_waited(const Reducer *reducer);

#define REDUCER_NAP 5e-4 /* seconds between two looks of the thread */

/* What travels between hosts at once: from the end of the arena, statistics apart. */
typedef struct SumBucket {
    size_t lo, hi; /* floats */
    int stage;     /* final when this stage is: the lowest of its tensors' */
} SumBucket;

/* Cuts a layout into buckets of up to `bytes`: returns how many; buckets (NULL: only counted) get
 * bounds, and stages if stages[t] of each tensor are given (else NULL). Not collective. */
int reducer_cut(const Layout *layout, size_t bytes, const int *stages, SumBucket *buckets);

/* What reducer_init would allocate; not collective. */
size_t reducer_plan_bytes(Comm *comm, const Lanes *lanes, const Layout *layout,
                          const SliceExchange *exchange);
size_t reducer_bytes(const Reducer *reducer);      /* memory of this rank's buffers */
double reducer_step_bytes(const Reducer *reducer); /* bytes this rank sends in a step; 0: shared */

#endif
