/* A stopwatch for code that can be repeated. */
#include "bench_parts.h"

#include "lockstep/clock.h"

#include <stdlib.h>

#define MIN_REPEATS 5
#define MAX_REPEATS 999
#define MIN_REPEAT_SECONDS 20e-6 /* the clock's 30 ns are little beside that */
#define MAX_CALLS (1L << 20)

static double time_calls(long calls, void (*run)(void *), void *context)
{
    double start = clock_seconds();
    for (long i = 0; i < calls; i++)
        run(context);
    return clock_seconds() - start;
}

/* Calls in a repeat; warms up on the way. */
static long calls_needed(void (*run)(void *), void *context)
{
    long calls = 1;
    run(context);
    while (calls < MAX_CALLS && time_calls(calls, run, context) < MIN_REPEAT_SECONDS)
        calls *= 2;
    return calls;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *times, int count)
{
    qsort(times, (size_t)count, sizeof *times, compare);
    return times[count / 2];
}

Timing bench_time(double seconds, void (*run)(void *), void (*less)(void *), void *context)
{
    double times[MAX_REPEATS], parts[MAX_REPEATS];
    int repeats = 0;
    double calls = (double)calls_needed(run, context), start = clock_seconds();
    bool more = true;
    while (more && repeats < MAX_REPEATS) {
        parts[repeats] = less ? time_calls((long)calls, less, context) / calls : 0;
        times[repeats++] = time_calls((long)calls, run, context) / calls;
        more = repeats < MIN_REPEATS || clock_seconds() - start < seconds;
    }
    double part = median(parts, repeats), whole = median(times, repeats);
    return (Timing){ .median = whole - part,
                     .min = times[0] - part,
                     .max = times[repeats - 1] - part,
                     .repeats = repeats };
}
