/* `bench comm`: what is measured and how it is reported. Private to src/train/bench. */
#ifndef LOCKSTEP_TRAIN_BENCH_COMM_PARTS_H
#define LOCKSTEP_TRAIN_BENCH_COMM_PARTS_H

#include "lockstep/simulate.h"

#include <jansson.h>

/* Something that a group of members does with `bytes` bytes again and again. */
typedef struct CommRow {
    const char *what, *algorithm; /* "reduce-scatter", "ring" */
    int members, repeats;
    size_t bytes;
    double min, median, max; /* seconds; of a repeat, the slowest rank's */
    double simulated;        /* seconds, on the network that is assumed; 0: none is */
    double bus_factor;       /* bytes that cross each member's link / bytes, as NCCL-tests count */
} CommRow;

typedef struct CommBench {
    Comm *comm; /* of the members */
    double seconds;
    json_t *rows; /* or NULL */
    bool silent;  /* for tables */
    bool simulates;
    Network network; /* that is assumed */
} CommBench;

/* One collective, checked and timed; and what it is compared with. Collective. */
bool comm_measure(CommBench *bench, const CollectiveAlgorithm *algorithm, CollectiveKind kind,
                  size_t bytes, CommRow *row, Err *err);
void comm_measure_fast(CommBench *bench, size_t bytes, CommRow *row); /* MPI_Allreduce */
void comm_measure_copy(CommBench *bench, size_t bytes, CommRow *row); /* memcpy */

#endif
