/* Collectives on a network that one can only imagine: the plans that a job would run, executed
 * event by event for every member (LogGP: Alexandrov et al. 1995). Nothing is collective, nothing
 * knows MPI.
 *
 * A message of n bytes leaves when its sender's card is free, occupies it for overhead + n b, is
 * under way for a, then occupies the receiver's card for n b; a card sends and receives at
 * once. Additions and copies take the member's core one after another, and so do messages where the
 * core has to carry them (TCP, shared memory). The network in between carries everything: it has
 * full bandwidth across. */
#ifndef LOCKSTEP_SIMULATE_H
#define LOCKSTEP_SIMULATE_H

#include "lockstep/collective.h"

typedef struct Network {
    double latency, overhead;       /* a: seconds one way; o: seconds a message */
    double bytes_per_second;        /* 1/b: of a member's card, each way; 0: no limit */
    double memory_bytes_per_second; /* of additions, 12 bytes a float, and copies, 8; 0: no limit */
    double core_bytes_per_second;   /* of messages through a core, sent or received; 0: the card
                                       reads and writes memory by itself */
} Network;

/* A network by name ("100gbit-infiniband") or by values ("latency_us=5,gbit=100"), or both: then
 * the values count. Speeds of memory stay as they are, where nothing is said. */
bool network_read(const char *text, Network *network, Err *err);

typedef struct NetworkType {
    const char *name, *help;
    double latency_us, overhead_us, gbit, core_gb;
} NetworkType;
extern const NetworkType network_types[]; /* the last has no name */

/* A step of `members` members: a gradient in `buckets` buckets is reduced, and every bucket
 * gathered again as soon as it is reduced and its slices are updated. Until `busy` a member
 * computes: it looks for messages only now and then, so whatever happens is noticed nap / 2 later
 * (on average). */
typedef struct SimulatedStep {
    int members, buckets;
    size_t bucket_floats; /* of the longest */
    const double *shares; /* (buckets) of bucket_floats, or NULL: all of it */
    const double *ready;  /* (buckets) seconds: when a bucket's gradient is computed */
    const int *lanes;     /* (members + 1): member g has the lanes [lanes[g], lanes[g + 1]); NULL:
                             one each (or, if members are no power of two, the next one in all) */
    const CollectiveAlgorithm *reduce, *gather; /* either may be NULL: then that is not done */
    bool all_reduce;     /* reduce makes an all-reduce, and there is no gather */
    double begin_bytes;  /* of memory traffic a float of a bucket, before it can leave */
    double update_bytes; /* the same of the own slice, before a gather */
    double busy, nap;    /* seconds */
} SimulatedStep;

typedef struct SimulatedResult {
    double seconds;  /* until everybody has everything */
    double messages; /* in all */
    double card;     /* seconds that the busiest card sends */
    double bytes;    /* that the busiest member sends */
    double memory;   /* bytes that plans take, beside the gradient, at most */
    double core;     /* seconds that communication took of a member's core before `busy`, at most */
} SimulatedResult;

SimulatedResult simulate(const SimulatedStep *step, const Network *network);

/* The same from a formula, for `halving`:
 *
 *   t = max(ready[K - 1], ready[0] + (K - 1) w) + reduce + update + gather
 *   reduce = R (a + o) + f (b + 3/m), gather = R (a + o) + f b, w = max(2 (R o + f b), f 3/m + u)
 *
 * with K buckets of B bytes, G members, R = ceil(log2 G), f = B (G - 1)/G, m bytes of memory a
 * second and u seconds for an update: either the last bucket is what one waits for, or the card, or
 * the memory. */
double simulate_formula(const SimulatedStep *step, const Network *network);

/* Seconds of an all-gather of some bytes (comm_allgather): latencies and messages of its rounds. */
double simulate_gather(int members, const Network *network);

#endif
