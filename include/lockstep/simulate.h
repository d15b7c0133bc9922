/* Collectives on a network that one can only imagine: the plans that a job would run, executed
 * event by event for every member (LogGP: Alexandrov et al. 1995). Nothing is collective, nothing
 * knows MPI.
 *
 * A message of n bytes leaves when its sender's card is free, occupies it for overhead + n b, is
 * under way for a, then occupies the receiver's card for n b; a card sends and receives at
 * once. Additions and copies take the member's memory one after another. The network in between
 * carries everything: it has full bandwidth across. */
#ifndef LOCKSTEP_SIMULATE_H
#define LOCKSTEP_SIMULATE_H

#include "lockstep/collective.h"

typedef struct Network {
    double latency, overhead;       /* a: seconds one way; o: seconds a message */
    double bytes_per_second;        /* 1/b: of a member's card, each way; 0: no limit */
    double memory_bytes_per_second; /* of additions, 12 bytes a float, and copies, 8; 0: no limit */
} Network;

/* A step of `members` members, one lane each (or, if they are no power of two, the next one): a
 * gradient in `buckets` equal buckets is reduced, and every bucket gathered again as soon as it is
 * reduced and its slices are updated. */
typedef struct SimulatedStep {
    int members, buckets;
    size_t bucket_floats;
    const double *ready; /* (buckets) seconds: when a bucket's gradient is computed */
    const CollectiveAlgorithm *reduce, *gather; /* either may be NULL: then that is not done */
    double update_bytes;                        /* of memory traffic a float of the own slice */
} SimulatedStep;

typedef struct SimulatedResult {
    double seconds;  /* until everybody has everything */
    double messages; /* in all */
    double card;     /* seconds that the busiest card sends */
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

#endif
