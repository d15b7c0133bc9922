/* The sum over lanes as products of thin matrices (low_rank.c): what the reducer asks for. */
#ifndef LOCKSTEP_COMM_LOW_RANK_H
#define LOCKSTEP_COMM_LOW_RANK_H

#include "lockstep/compress.h"
#include "lockstep/lanes.h"
#include "lockstep/reducer.h"

typedef struct LowRank LowRank;

/* comm's compression is in use; `group` as in the reducer's exchange. Borrows everything.
 * Collective. */
LowRank *low_rank_init(Comm *comm, Comm *group, const Lanes *lanes, const Layout *layout);
void low_rank_free(LowRank *low_rank); /* NULL is fine */

/* reducer_lane, reducer_add_lane, reducer_reduce and reducer_reduce_all, the last after the third.
 * Unless it `learns`, matrices mean nothing and errors and Q stay. */
float *low_rank_lane(LowRank *low_rank);
void low_rank_add_lane(LowRank *low_rank, int lane, bool learns);
Gradient low_rank_reduce(LowRank *low_rank, bool learns);
Gradient low_rank_whole(LowRank *low_rank);

float *low_rank_errors(const LowRank *low_rank, int lane); /* NULL: another rank's */
ReducerState low_rank_state(LowRank *low_rank);            /* Q, for the next step */

size_t low_rank_bytes(const LowRank *low_rank);      /* memory of this rank */
double low_rank_step_bytes(const LowRank *low_rank); /* sent by this rank in a step */

#endif
