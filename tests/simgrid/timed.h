/* What a plan does to memory, as simulated time: once timed_begin was called, copies and additions
 * of src/comm/plan_run.c touch nothing, and take as long as their bytes at the given rate; and
 * every message is in one block of memory, which SMPI does not copy. */
#ifndef LOCKSTEP_TESTS_TIMED_H
#define LOCKSTEP_TESTS_TIMED_H

#include <stddef.h>

/* For all ranks, which share the program's memory; `bytes` of the longest message. */
void timed_begin(double bytes_per_second, size_t bytes);

#endif
