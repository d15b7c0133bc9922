/* What the files of the sum over lanes share: reducer_plan.c decides who brings what and has the
 * memory, reducer.c adds. */
#ifndef LOCKSTEP_COMM_REDUCER_PARTS_H
#define LOCKSTEP_COMM_REDUCER_PARTS_H

#include "adasum.h"
#include "cluster.h"
#include "feedback.h"
#include "low_rank.h"
#include "world.h"

#include "lockstep/reducer.h"

#define REDUCER_TILE 1024 /* floats; a handful of tiles fit in 32 KB */
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
    Comm *comm;
    Comm *host;  /* ranks that read each other's sums where they share memory: of a host, or all */
    Comm *group; /* ranks among which slices are cut: those of the host, or of a domain of it */
    const Lanes *lanes;
    const Layout *layout;
    const SliceExchange *exchange; /* borrowed */
    const size_t *bounds;          /* its floats */
    bool shares;                   /* the host's stacks are in shared memory */
    Cluster *cluster;              /* what is between hosts; NULL: the host is everybody */
    Feedback *feedback;            /* lanes are compressed; then they are between hosts */
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
    double waited;              /* see reducer_waited */
    SharedMemory *domain;       /* the domain's complete gradient, or NULL */
    float *kept;                /* where it is; NULL: it goes to the place of a sum */
    const float *whole;         /* what the other hosts have sent, the host's one copy */
    float *received, *tiles, *block;
    size_t received_floats, tile_floats; /* of tiles and block */
};

/* Does a rank add its lanes one after the other, whatever the tree says? */
static inline bool reducer_runs(ReducerOrder order)
{
    return order == REDUCER_ORDER_ARRIVAL || order == REDUCER_ORDER_FAST;
}

#endif
