/* What the files of the sum over hosts share: cluster_plan.c decides who does what, cluster.c does
 * it. */
#ifndef LOCKSTEP_COMM_CLUSTER_PARTS_H
#define LOCKSTEP_COMM_CLUSTER_PARTS_H

#include "cluster.h"
#include "world.h"

#include "lockstep/collective.h"
#include "lockstep/reducer.h"

#include <pthread.h>
#include <stdatomic.h>

/* left += right, sums of this host. */
typedef struct HostAdd {
    int left, right;
} HostAdd;

/* One column of one bucket, driven by this rank. */
typedef enum PartState { PART_WAITING, PART_TRAVELLING, PART_THERE } PartState;
typedef struct Part {
    size_t lo, hi;      /* floats */
    int bucket, number; /* number: of the collective, the same on all hosts */
    bool rounded;       /* sums are of the wire's format: not those of statistics */
    PartState state;
    Plan *plan;
    Collective *collective;
} Part;

/* How far a rank's gradients are final, in a cache line of its own. */
typedef struct Progress {
    _Alignas(64) _Atomic uint64_t count;
} Progress;

/* Moves parts while backward goes on. */
typedef struct Helper {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool exists, moves, ends; /* the last two under the lock */
} Helper;

struct Cluster {
    Comm *comm, *host; /* borrowed */
    const Lanes *lanes;
    const Layout *layout;
    int hosts, columns;
    int *ranks; /* (hosts, columns): who drives */

    HostSum *sums; /* of this host's ranks */
    HostAdd *adds; /* makes of them the host's */
    int add_count;
    float **inputs;    /* the host's sums */
    int *counts;       /* (hosts) how many sums each host brings */
    Subtree *subtrees; /* and which */

    SumBucket *buckets; /* from the end of the arena */
    int bucket_count;
    Part *parts;
    int part_count, done;
    int stages;    /* stages are 0 .. stages - 1 */
    uint64_t step; /* number of this reduction */
    Helper helper;
    bool early; /* something was announced in this step */

    SharedMemory *shared; /* result and progress, or NULL */
    float *result;        /* (layout->n) */
    Progress *progress;   /* (ranks of the host) */
};

/* Fills in hosts, columns, drivers, sums, buckets and parts. Collective: plans are compared. */
void cluster_plan(Cluster *cluster, const HostSum *sums, int count);

#endif
