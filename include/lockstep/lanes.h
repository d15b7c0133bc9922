/* Lanes: the global batch cut into L micro-batches, L a power of two. A lane is the unit of
 * computation whose shapes never depend on the rank count; ranks own contiguous runs of lanes.
 *
 * A short batch (the end of an epoch) fills lanes in order: full, one partial, empty. */
#ifndef LOCKSTEP_LANES_H
#define LOCKSTEP_LANES_H

#include "lockstep/error.h"

#include <stdbool.h>

typedef struct Lanes {
    int count; /* L */
    int batch; /* global batch B, samples */
    int size;  /* B / L: samples in a full lane */
    int rank, ranks;
    int first, last; /* this rank's lanes [first, last) */
} Lanes;

/* Errors: L not a power of two, L does not divide B, more ranks than lanes. */
bool lanes_init(Lanes *lanes, int batch, int count, int rank, int ranks, Err *err);

/* First lane of rank r among P ranks and L lanes: r*L/P. */
int lanes_first(int count, int rank, int ranks);

/* Samples of `lane` when the step's batch holds `batch` samples (<= lanes->batch), and the position
 * of its first sample in the batch. */
int lanes_samples(const Lanes *lanes, int lane, int batch);
int lanes_offset(const Lanes *lanes, int lane);

/* A complete subtree of the binary tree over lanes: lanes [first, first + width), width a power of
 * two that divides first. */
typedef struct Subtree {
    int first, width;
} Subtree;

/* Are these the two halves of a larger subtree, in order? */
bool lanes_siblings(Subtree left, Subtree right);

/* Cuts [first, last) into its maximal complete subtrees, left to right; returns how many (at most
 * 2 log2 L). `subtrees` has room for 64. */
int lanes_subtrees(int first, int last, Subtree subtrees[64]);

/* Adds `count` doubles over the lane tree: values[i] belongs to lane i, count is a power of two or
 * the rest counts as absent. Overwrites values; returns the sum. */
double lanes_tree_sum(double *values, int count);

#endif
