/* A slower network than there is: messages between hosts, real or make-believe, arrive when a
 * network of the given latency, bandwidth and jitter would have brought them.
 *
 * A message travels at once, and behind it a stamp: the time on the machine's clock, which all its
 * ranks share, at which the last byte would have reached the receiver's network card. The receiver
 * takes the message for arrived when that time has come, and never before the card has had
 * the time to take it in beside the others: it gets the first gap in the card's time that is long
 * enough, since MPI does not hand over messages in the order of their stamps, and a card would not
 * idle for that. So, as with a real card, messages move while both sides compute. Each rank has its
 * share of its host's card, both ways at once. */
#include "world.h"

#include "lockstep/clock.h"
#include "lockstep/random.h"

#include <math.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>

#define TOUCHING 1e-9 /* seconds: sums of times round */

bool comm_inject(Comm *comm, const Injection *injection, Err *err)
{
    if (injection->slow_rank >= comm->size)
        return err_set(err, "comm.inject.slow_rank: %d found, there are %d ranks",
                       injection->slow_rank, comm->size);
    int sharing = 0;
    for (int rank = 0; rank < comm->size; rank++)
        sharing += comm->host_of[rank] == comm->host_of[comm->rank];
    comm->inject = *injection;
    comm->inject_seconds_per_byte = injection->gbit > 0 ? 8e-9 / injection->gbit * sharing : 0;
    comm->inject_on = injection->delay_us > 0 || injection->gbit > 0 || injection->jitter_us > 0;
    comm->inject_left = clock_seconds();
    comm->inject_out = 0;
    comm->inject_in_count = 0;
    if (comm->inject_on)
        prctl(PR_SET_TIMERSLACK, 1000UL); /* ns: who waits sleeps, and has to wake in time */
    return true;
}

bool inject_is_on(const Comm *comm)
{
    return comm->inject_on;
}

bool inject_between(const Comm *comm, int rank)
{
    return comm->inject_on && comm->host_of[rank] != comm->host_of[comm->rank];
}

double inject_send(Comm *comm, size_t bytes)
{
    RandomKey key = random_key(0, RANDOM_NOISE, (uint64_t)comm->rank, 0);
    double start = fmax(clock_seconds(), comm->inject_out);
    comm->inject_out = start + (double)bytes * comm->inject_seconds_per_byte;
    double jitter = random_uniform(key, comm->inject_count++) * comm->inject.jitter_us;
    return comm->inject_out + 1e-6 * (comm->inject.delay_us + jitter);
}

static void forget(Comm *comm, int i)
{
    memmove(&comm->inject_in[i], &comm->inject_in[i + 1],
            (size_t)(--comm->inject_in_count - i) * sizeof *comm->inject_in);
}

/* Times i - 1 and i become one, if they touch. */
static void join(Comm *comm, int i)
{
    CardTime *taken = comm->inject_in;
    if (i < 1 || i >= comm->inject_in_count || taken[i].start > taken[i - 1].end + TOUCHING)
        return;
    taken[i - 1].end = fmax(taken[i - 1].end, taken[i].end);
    forget(comm, i);
}

/* The receiving card takes `passing` seconds, from `earliest` on, in the first gap that is long
 * enough; returns when they end. If there are too many times to remember, the oldest is
 * forgotten. */
static double take_place(Comm *comm, double earliest, double passing)
{
    CardTime *taken = comm->inject_in;
    double start = earliest;
    int at = 0;
    if (comm->inject_in_count == CARD_TIMES)
        forget(comm, 0);
    for (; at < comm->inject_in_count && start + passing > taken[at].start + TOUCHING; at++)
        start = fmax(start, taken[at].end);
    memmove(&taken[at + 1], &taken[at], (size_t)(comm->inject_in_count++ - at) * sizeof *taken);
    taken[at] = (CardTime){ start, start + passing };
    join(comm, at + 1);
    join(comm, at);
    return start + passing;
}

bool inject_arrived(Comm *comm, Stamp *stamp)
{
    if (stamp->bytes > 0) { /* seen for the first time */
        double passing = (double)stamp->bytes * comm->inject_seconds_per_byte;
        if (passing > 0)
            stamp->due = take_place(comm, stamp->due - passing, passing);
        stamp->bytes = 0;
    }
    return stamp->due <= 0 || clock_seconds() >= stamp->due;
}

void comm_computed(Comm *comm)
{
    if (comm->rank != comm->inject.slow_rank || comm->inject.slow_factor <= 1)
        return;
    double now = clock_seconds();
    double end = now + (now - comm->inject_left) * (comm->inject.slow_factor - 1);
    while (clock_seconds() < end)
        sched_yield();
}

void comm_computes(Comm *comm)
{
    comm->inject_left = clock_seconds();
}
