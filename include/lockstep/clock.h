/* The wall clock. */
#ifndef LOCKSTEP_CLOCK_H
#define LOCKSTEP_CLOCK_H

double clock_seconds(void); /* monotonic; about 30 ns a call */

#endif
