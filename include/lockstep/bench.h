/* `lockstep bench`: where the time of a training step goes, and what the kernels do by themselves,
 * against the machine's measured limits. */
#ifndef LOCKSTEP_BENCH_H
#define LOCKSTEP_BENCH_H

#include "lockstep/trainer.h"

/* Trains the network for a few steps to warm up and then for about `seconds`; rank 0 prints a
 * table, or one JSON object, of its own times and memory. Collective. False: training diverged
 * meanwhile. */
bool bench_step(Trainer *trainer, double seconds, bool json);

/* Training steps with the sum over the lane tree, in the order of ranks and by MPI_Allreduce in
 * turns, for about `seconds`; rank 0 prints times and ratios. The ranks are on one host.
 * Collective. False: training diverged meanwhile. */
bool bench_reduce(Trainer *trainer, double seconds, bool json);

/* Times every kernel whose name or group contains `filter` (NULL: all of them) for about `seconds`
 * each, on rank 0 alone, at the ISA level in use; prints a table, or one JSON object. False, on
 * every rank: no name contains the filter. */
bool bench_kernels(const char *filter, double seconds, bool json, Err *err);

typedef struct CommBenchRequest {
    const char *const *words; /* KEY=VALUE: sizes, and options of the section comm */
    int count;
    const char *tune;   /* a file for the table, or NULL */
    const char *filter; /* only rows whose kind or algorithm contains it, or NULL */
    double seconds;     /* per row */
    bool json;
} CommBenchRequest;

/* Checks and times the collectives between hosts by size, beside MPI_Allreduce and memcpy; rank 0
 * prints a table, or one JSON object, or writes which algorithms are fastest to a file that
 * comm.table reads. Collective. */
bool bench_comm(Comm *comm, const CommBenchRequest *request, Err *err);

/* Weak scaling of a training step on an imagined network (simulate.h); rank 0 prints a table or one
 * JSON object. words: KEY=VALUE, see docs/bench.md. False on rank 0 if there is no such algorithm,
 * on every rank if a word is wrong. */
bool bench_simulate(const char *const *words, int count, bool json, Err *err);

#endif
