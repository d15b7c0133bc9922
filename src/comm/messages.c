/* Point-to-point messages of any length, cut into parts that an int can count. Both sides cut at
 * the same places because they know the length and the limit. With an injected network (inject.c) a
 * message between hosts is followed by a stamp that says when it is there. */
#include "world.h"

#include "lockstep/memory.h"

#include <limits.h>
#include <string.h>
#include <time.h>

void messages_grow(const Comm *comm, Messages *messages, size_t count)
{
    if (count <= messages->capacity)
        return;
    MPI_Request *requests = mem_array(MPI_Request, count);
    Stamp **stamps = mem_array(Stamp *, count); /* each in memory of its own: MPI writes to it */
    if (messages->capacity > 0) {
        memcpy(requests, messages->requests, messages->capacity * sizeof *requests);
        memcpy(stamps, messages->stamps, messages->capacity * sizeof *stamps);
    }
    for (size_t i = messages->capacity; i < count && inject_is_on(comm); i++)
        stamps[i] = mem_new(Stamp);
    mem_free(messages->requests);
    mem_free(messages->stamps);
    messages->requests = requests;
    messages->stamps = stamps;
    messages->capacity = count;
}

void messages_release(Messages *messages)
{
    expect(messages->count == 0);
    for (size_t i = 0; i < messages->capacity; i++)
        mem_free(messages->stamps[i]);
    mem_free(messages->requests);
    mem_free(messages->stamps);
    *messages = (Messages){ 0 };
}

/* The request that is posted next; its stamp says "nothing to wait for". */
static MPI_Request *next_request(const Comm *comm, Messages *messages)
{
    if (messages->count == messages->capacity)
        messages_grow(comm, messages, 2 * messages->capacity + 64);
    if (inject_is_on(comm) && !messages->stamps[messages->count])
        messages->stamps[messages->count] = mem_new(Stamp); /* from before it was on */
    if (messages->stamps[messages->count])
        *messages->stamps[messages->count] = (Stamp){ 0 };
    return &messages->requests[messages->count++];
}

static int part_bytes(const Comm *comm, size_t left)
{
    return (int)(left < comm->message_bytes ? left : comm->message_bytes);
}

size_t messages_parts(const Comm *comm, size_t bytes)
{
    size_t parts = (bytes + comm->message_bytes - 1) / comm->message_bytes;
    return parts + (parts > 0 && inject_is_on(comm));
}

void messages_post_send(Comm *comm, Messages *messages, const void *data, size_t bytes, int to,
                        int tag)
{
    const char *from = data;
    if (comm->host_of[to] != comm->host_of[comm->rank])
        comm->sent_bytes += (double)bytes;
    for (size_t done = 0; done < bytes; done += comm->message_bytes)
        MPI_Isend(from + done, part_bytes(comm, bytes - done), MPI_BYTE, to, tag, comm->world,
                  next_request(comm, messages));
    if (bytes == 0 || !inject_between(comm, to))
        return;
    MPI_Request *request = next_request(comm, messages);
    Stamp *stamp = messages->stamps[messages->count - 1];
    stamp->sent = inject_send(comm, bytes);
    MPI_Isend(&stamp->sent, sizeof stamp->sent, MPI_BYTE, to, tag, comm->world, request);
}

void messages_post_receive(Comm *comm, Messages *messages, void *data, size_t bytes, int from,
                           int tag)
{
    char *into = data;
    for (size_t done = 0; done < bytes; done += comm->message_bytes)
        MPI_Irecv(into + done, part_bytes(comm, bytes - done), MPI_BYTE, from, tag, comm->world,
                  next_request(comm, messages));
    if (bytes == 0 || !inject_between(comm, from))
        return;
    MPI_Request *request = next_request(comm, messages);
    Stamp *stamp = messages->stamps[messages->count - 1];
    stamp->bytes = bytes;
    MPI_Irecv(&stamp->due, sizeof stamp->due, MPI_BYTE, from, tag, comm->world, request);
}

/* The stamps of requests [first, last), which are all complete: is their time come? */
static bool are_due(Comm *comm, Messages *messages, size_t first, size_t last)
{
    bool due = true;
    for (size_t i = first; i < last && inject_is_on(comm); i++)
        due &= inject_arrived(comm, messages->stamps[i]);
    return due;
}

bool messages_test(Comm *comm, Messages *messages, size_t first, size_t last)
{
    int done = 1;
    expect(last - first <= INT_MAX);
    if (last > first)
        MPI_Testall((int)(last - first), messages->requests + first, &done, MPI_STATUSES_IGNORE);
    return done && are_due(comm, messages, first, last);
}

/* On an injected network there is time to sleep, and ranks that share a core to run meanwhile. */
void messages_wait(Comm *comm, Messages *messages, size_t first, size_t last)
{
    expect(last - first <= INT_MAX);
    if (!inject_is_on(comm) && last > first)
        MPI_Waitall((int)(last - first), messages->requests + first, MPI_STATUSES_IGNORE);
    while (!messages_test(comm, messages, first, last))
        nanosleep(&(struct timespec){ .tv_nsec = 10000 }, NULL);
}

/* ---- the list of the calls that finish what they post ---- */

void messages_reserve(Comm *comm, size_t count)
{
    messages_grow(comm, &comm->messages, count);
}

/* For the timeline: when the first of the messages that finish together was posted. */
static void note_start(Comm *comm)
{
    if (comm->messages.count == 0)
        comm->posted = timeline_now(comm->timeline);
}

void messages_send(Comm *comm, const void *data, size_t bytes, int to, int tag)
{
    note_start(comm);
    messages_post_send(comm, &comm->messages, data, bytes, to, tag);
}

void messages_receive(Comm *comm, void *data, size_t bytes, int from, int tag)
{
    note_start(comm);
    messages_post_receive(comm, &comm->messages, data, bytes, from, tag);
}

void messages_finish(Comm *comm)
{
    size_t count = comm->messages.count;
    messages_wait(comm, &comm->messages, 0, count);
    if (count > 0)
        timeline_span(comm->timeline, TRACK_MESSAGES, "messages", (int64_t)count, comm->posted,
                      timeline_now(comm->timeline));
    comm->messages.count = 0;
}

void comm_set_message_bytes(Comm *comm, size_t bytes)
{
    expect(bytes > 0 && bytes <= (size_t)1 << 30);
    comm->message_bytes = bytes;
}
