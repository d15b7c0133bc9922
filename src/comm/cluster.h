/* The sum over hosts, for ranks that share memory with the other ranks of their host
 * (cluster.c). */
#ifndef LOCKSTEP_COMM_CLUSTER_H
#define LOCKSTEP_COMM_CLUSTER_H

#include "lockstep/comm.h"
#include "lockstep/lanes.h"

typedef struct Cluster Cluster;

/* A sum of one rank of this host, in memory that this rank sees. */
typedef struct HostSum {
    Subtree node;
    float *x; /* (layout->n) */
} HostSum;

/* `host`: the ranks of this host, in the order of their ranks in comm. `sums`: those of all of them
 * from left to right, as they are when a rank's last lane has not been added to its siblings; every
 * host's ranks have theirs in the same way. Arguments but sums are borrowed. Collective. */
Cluster *cluster_init(Comm *comm, Comm *host, const Lanes *lanes, const Layout *layout,
                      const HostSum *sums, int count);
void cluster_free(Cluster *cluster); /* NULL is fine */

/* stages[t]: see reducer.h. Before the first lane. */
void cluster_set_stages(Cluster *cluster, const int *stages, bool thread);

/* This rank's tensors of `stage` and above are final; moves what can be moved. Not collective. */
void cluster_final(Cluster *cluster, int stage);

/* Everything is final. The sum over all lanes, whole, in memory that the host's ranks share. It is
 * there until all of them have called cluster_final for the next time. Collective. */
float *cluster_finish(Cluster *cluster);

size_t cluster_bytes(const Cluster *cluster); /* memory of this rank, the host's sum in shares */
double cluster_step_bytes(const Cluster *cluster); /* sent by this rank in a step */

#endif
