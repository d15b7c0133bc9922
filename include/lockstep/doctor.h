/* `lockstep doctor`: what training will find on these hosts, how fast the ranks reach each other,
 * and which known traps are set, with a hint for each. */
#ifndef LOCKSTEP_DOCTOR_H
#define LOCKSTEP_DOCTOR_H

#include "lockstep/comm.h"

/* Examines every host; rank 0 prints a page, or one JSON object. Returns EXIT_OK, with warnings
 * too; EXIT_PEER if training cannot work with these ranks, EXIT_REPLICAS if they differ in what has
 * to be equal. Takes about `seconds` for measurements. Collective. */
int doctor_examine(Comm *comm, double seconds, bool json);

#endif
