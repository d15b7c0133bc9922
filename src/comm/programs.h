/* Plans as the simulator needs them: what they cost, and which message a round waits for. */
#ifndef LOCKSTEP_COMM_PROGRAMS_H
#define LOCKSTEP_COMM_PROGRAMS_H

#include "lockstep/collective.h"

typedef struct Send {
    int peer, round; /* at the receiver, that waits for it */
    float n;         /* floats */
} Send;

typedef struct Round {
    int sends, receives;            /* where its sends begin; how many messages it waits for */
    double copied, added, received; /* floats */
} Round;

/* The plan of one member, without places. */
typedef struct Program {
    int rounds;
    size_t bytes; /* of the plan's own memory */
    Round *round; /* (rounds + 1) */
    Send *sends;
} Program;

/* Of all members. */
Program *programs_new(const CollectiveAlgorithm *algorithm, CollectiveKind kind,
                      CollectiveShape *shape);
void programs_free(Program *programs, int members); /* NULL is fine */

#endif
