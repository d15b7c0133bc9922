/* What methods with unusual states share. Static, for files that are compiled once per ISA
 * level. */
#ifndef LOCKSTEP_OPT_STATES_H
#define LOCKSTEP_OPT_STATES_H

#include "lockstep/optimizer.h"

/* Before a loop over a range: its arrays do not overlap. The compiler finds out by itself, at run
 * time, if they are few. */
#ifdef __clang__
#define NO_OVERLAP _Pragma("clang loop vectorize(assume_safety)")
#else
#define NO_OVERLAP _Pragma("GCC ivdep")
#endif

static inline void fill_state(const OptimizerRange *range, int state, double value)
{
    float *restrict x = __builtin_assume_aligned(range->state[state], 64);
    for (size_t i = 0; i < range->n; i++)
        x[i] = (float)value;
}

#endif
