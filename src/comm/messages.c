/* Point-to-point messages of any length, cut into parts that an int can count. Both sides cut at
 * the same places because they know the length and the limit. */
#include "world.h"

#include "lockstep/memory.h"

#include <limits.h>
#include <string.h>

void messages_reserve(Comm *comm, size_t count)
{
    if (count <= comm->request_capacity)
        return;
    MPI_Request *larger = mem_array(MPI_Request, count);
    if (comm->request_count > 0)
        memcpy(larger, comm->requests, comm->request_count * sizeof *larger);
    mem_free(comm->requests);
    comm->requests = larger;
    comm->request_capacity = count;
}

static MPI_Request *next_request(Comm *comm)
{
    if (comm->request_count == comm->request_capacity)
        messages_reserve(comm, 2 * comm->request_capacity + 64);
    return &comm->requests[comm->request_count++];
}

static int part_bytes(const Comm *comm, size_t left)
{
    return (int)(left < comm->message_bytes ? left : comm->message_bytes);
}

void messages_send(Comm *comm, const void *data, size_t bytes, int to, int tag)
{
    const char *from = data;
    for (size_t done = 0; done < bytes; done += comm->message_bytes)
        MPI_Isend(from + done, part_bytes(comm, bytes - done), MPI_BYTE, to, tag, comm->world,
                  next_request(comm));
}

void messages_receive(Comm *comm, void *data, size_t bytes, int from, int tag)
{
    char *into = data;
    for (size_t done = 0; done < bytes; done += comm->message_bytes)
        MPI_Irecv(into + done, part_bytes(comm, bytes - done), MPI_BYTE, from, tag, comm->world,
                  next_request(comm));
}

void messages_finish(Comm *comm)
{
    expect(comm->request_count <= INT_MAX);
    MPI_Waitall((int)comm->request_count, comm->requests, MPI_STATUSES_IGNORE);
    comm->request_count = 0;
}

void comm_set_message_bytes(Comm *comm, size_t bytes)
{
    expect(bytes > 0 && bytes <= (size_t)1 << 30);
    comm->message_bytes = bytes;
}
