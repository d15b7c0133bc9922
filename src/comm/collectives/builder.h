/* How an algorithm writes a plan: rounds of copies, messages and folds. A fold adds sums along the
 * lane tree, so an algorithm decides who gets which sums when, and never what is added to what. */
#ifndef LOCKSTEP_COMM_BUILDER_H
#define LOCKSTEP_COMM_BUILDER_H

#include "lockstep/collective.h"

#define PLAN_TILE 1024 /* floats that are added at a time; a handful of tiles fit in 32 KB */

/* A sum on its way: over which lanes, and where its floats are. */
typedef struct Term {
    Subtree node;
    Place place;
} Term;

/* Floats that travel together with others in one message. */
typedef struct Piece {
    Place place;
    size_t n;
} Piece;

Place place_input(int input, size_t offset);
Place place_output(size_t offset);

/* n floats of scratch memory, at a multiple of 16. */
Place builder_scratch(PlanBuilder *builder, size_t n);

/* What follows waits for the receives of the round before and its folds. */
void builder_round(PlanBuilder *builder);

/* One message (none if it would be empty); pieces that are not neighbours in memory are copied
 * together first. Both sides list pieces of the same lengths in the same order. Receiving returns
 * where the message arrives. */
void builder_send(PlanBuilder *builder, int peer, const Piece *pieces, int count);
Place builder_receive(PlanBuilder *builder, int peer, size_t n);
void builder_receive_into(PlanBuilder *builder, int peer, Place place, size_t n);

/* After this round's receives: adds what can be added among `count` terms of n floats, in any order
 * on entry, from left to right on return; returns how many are left. Terms in scratch are written
 * over, inputs are not. With `result` (or NULL) one is left, and its floats are there. */
int builder_fold(PlanBuilder *builder, Term *terms, int count, size_t n, const Place *result);

/* The same without floats: the subtrees that are left of a list, sorted. */
int fold_nodes(Subtree *nodes, int count);

/* (members + 1) where each member's subtrees begin in shape->subtrees; freed by the caller. */
int *shape_firsts(const CollectiveShape *shape);
size_t shape_floats(const CollectiveShape *shape, int slice);

#endif
