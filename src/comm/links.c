/* Latency and bandwidth between ranks: messages there and back between two of them, and shared
 * memory beside a plain copy on a host. Medians over many short repeats, so that what else the
 * machine does is mostly left out. */
#include "lockstep/links.h"
#include "world.h"

#include "lockstep/clock.h"
#include "lockstep/memory.h"

#include <stdlib.h>
#include <string.h>

#define REPEATS 101 /* at most; three, if there is time for them */

/* Where ranks take turns, each piece of a long message, and each barrier, may cost a turn. */
#define LONG_BYTES ((size_t)4 << 20)
#define CROWDED_LONG_BYTES ((size_t)256 << 10)
#define BARRIERS 16
#define CROWDED_BARRIERS 2

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

/* Enough, after `count` repeats that took so long? */
static bool wants_more(int count, double spent, double seconds)
{
    return count < REPEATS && spent < (count < 3 ? 4 * seconds : seconds);
}

/* ---- two ranks ---- */

/* What rank `number` is sent, or writes. */
static unsigned char pattern(int number, size_t at)
{
    return (unsigned char)((size_t)number * 37 + at % 251);
}

/* There and back; half of that is one way. */
static double round_trip(Comm *comm, bool sends, int other, char *data, size_t bytes)
{
    double start = clock_seconds();
    for (int turn = 0; turn < 2; turn++) {
        if (sends == (turn == 0))
            messages_send(comm, data, bytes, other, TAG_LINK);
        else
            messages_receive(comm, data, bytes, other, TAG_LINK);
        messages_finish(comm);
    }
    return (clock_seconds() - start) / 2;
}

/* The median of one way by the clock of `from`, which decides when it is enough. */
static double time_trips(Comm *comm, const Link *link, char *data, size_t bytes, double seconds)
{
    double times[REPEATS], began = clock_seconds();
    bool sends = comm->rank == link->from, more = true;
    int other = sends ? link->to : link->from, count = 0;
    while (more) {
        times[count++] = round_trip(comm, sends, other, data, bytes);
        more = wants_more(count, clock_seconds() - began, seconds);
        round_trip(comm, sends, other, (char *)&more, sizeof more);
    }
    return median(times, count);
}

/* Connects the two, too. */
static bool arrives(Comm *comm, const Link *link, unsigned char *data, size_t bytes)
{
    bool sends = comm->rank == link->from, right = true;
    for (size_t i = 0; i < bytes; i++)
        data[i] = sends ? pattern(link->to, i) : 0;
    round_trip(comm, sends, sends ? link->to : link->from, (char *)data, bytes);
    for (size_t i = 0; i < bytes && right; i++)
        right = data[i] == pattern(link->to, i);
    return right;
}

Link link_measure(Comm *comm, int from, int to, double seconds)
{
    Link link = { .from = from, .to = to, .right = true };
    size_t bytes = comm->crowded ? CROWDED_LONG_BYTES : LONG_BYTES;
    comm_barrier(comm);
    if (comm->rank == from || comm->rank == to) {
        char *data = mem_alloc(bytes);
        link.right = arrives(comm, &link, (unsigned char *)data, bytes);
        link.latency = time_trips(comm, &link, data, sizeof(double), seconds / 2);
        link.rate = (double)bytes / time_trips(comm, &link, data, bytes, seconds / 2);
        mem_free(data);
    }
    bool wrong = comm_any(comm, !link.right);
    comm_broadcast(comm, &link, sizeof link, from);
    link.right = !wrong;
    return link;
}

/* ---- the ranks of a host ---- */

typedef struct HostWork {
    Comm *host;
    SharedMemory *memory;
    const void *source;
    void *target;
    size_t bytes;
} HostWork;

static void wait_for_all(HostWork *work)
{
    comm_barrier(work->host);
}

static void copy(HostWork *work)
{
    memcpy(work->target, work->source, work->bytes);
}

/* Rank 0's median; each repeat is `calls` calls, and takes as long as its slowest rank. */
static double time_work(HostWork *work, void (*run)(HostWork *), int calls, double seconds)
{
    Comm *host = work->host;
    double times[REPEATS], began = clock_seconds();
    double *all = mem_array(double, host->size);
    bool more = true;
    int count = 0;
    run(work);
    while (more) {
        comm_barrier(host);
        double start = clock_seconds();
        for (int i = 0; i < calls; i++)
            run(work);
        double mine = (clock_seconds() - start) / calls;
        comm_gather(host, &mine, all, sizeof mine);
        times[count] = 0;
        for (int rank = 0; rank < host->size; rank++)
            times[count] = all[rank] > times[count] ? all[rank] : times[count];
        count++;
        more = wants_more(count, clock_seconds() - began, seconds);
        comm_broadcast(host, &more, sizeof more, 0);
    }
    mem_free(all);
    double result = median(times, count);
    comm_broadcast(host, &result, sizeof result, 0);
    return result;
}

/* Reads what the next rank has written. */
static void measure_shared(HostWork *work, HostLink *link, double seconds)
{
    Comm *host = work->host;
    int next = (host->rank + 1) % host->size;
    unsigned char *mine = shared_part(work->memory, host->rank), *read = work->target;
    bool right = true;
    for (size_t i = 0; i < work->bytes; i++)
        mine[i] = pattern(host->rank, i);
    comm_barrier(host);
    work->source = shared_part(work->memory, next);
    link->read = (double)work->bytes / time_work(work, copy, 1, seconds);
    for (size_t i = 0; i < work->bytes && right; i++)
        right = read[i] == pattern(next, i);
    link->right = !comm_any(host, !right);
    int calls = host->crowded ? CROWDED_BARRIERS : BARRIERS;
    comm_reserve_board(host, sizeof(double));
    link->barrier = time_work(work, wait_for_all, calls, seconds);
    comm_reserve_board(host, 0);
}

HostLink link_measure_host(Comm *host, size_t bytes, double seconds)
{
    HostLink link = { .right = true, .bytes = bytes };
    HostWork work = { .host = host, .bytes = bytes };
    void *source = mem_alloc(bytes);
    work.source = source;
    work.target = mem_alloc(bytes);
    memset(source, 1, bytes); /* pages of its own */
    link.copy = (double)bytes / time_work(&work, copy, 1, seconds / 3);
    work.memory = shared_alloc(host, bytes);
    link.shares = work.memory != NULL;
    if (link.shares)
        measure_shared(&work, &link, seconds / 3);
    shared_free(work.memory);
    mem_free(source);
    mem_free(work.target);
    return link;
}
