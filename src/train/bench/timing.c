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

static void sort(double *times, int count)
{
    qsort(times, (size_t)count, sizeof *times, compare);
}

double bench_median(double *values, int count)
{
    sort(values, count);
    return values[count / 2];
}

/* What `less` leaves of a call, 0 to 1: by the shortest repeats, which nothing has disturbed. */
static double share_left(double whole, double part)
{
    return whole > part ? 1 - part / whole : 0;
}

Timing bench_time(double seconds, void (*run)(void *), void (*less)(void *), void *context)
{
    double times[MAX_REPEATS], parts[MAX_REPEATS];
    int repeats = 0;
    long calls = calls_needed(run, context);
    double start = clock_seconds();
    bool more = true;
    while (more && repeats < MAX_REPEATS) {
        parts[repeats] = less ? time_calls(calls, less, context) : 0;
        times[repeats++] = time_calls(calls, run, context);
        more = repeats < MIN_REPEATS || clock_seconds() - start < seconds;
    }
    sort(parts, repeats);
    sort(times, repeats);
    double factor = share_left(times[0], parts[0]) / (double)calls;
    return (Timing){ .median = factor * times[repeats / 2],
                     .min = factor * times[0],
                     .max = factor * times[repeats - 1],
                     .repeats = repeats };
}
