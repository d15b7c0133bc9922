/* What the files of src/comm share: the struct behind Comm, and point-to-point messages that are
 * posted one by one and finished together. */
#ifndef LOCKSTEP_COMM_WORLD_H
#define LOCKSTEP_COMM_WORLD_H

#include "lockstep/comm.h"

#include <mpi.h>

#define HOST_BYTES 256

struct Comm {
    MPI_Comm world; /* our own duplicate: no message of anybody else can match ours */
    int rank, size, hosts;
    int *host_of;  /* (size) host index of each rank */
    bool pretends; /* the hosts are make-believe */
    bool is_part;  /* made by comm_split: MPI goes on when it is freed */
    bool share;    /* use shared memory where the ranks have any */
    char host[HOST_BYTES], root_host[HOST_BYTES];
    size_t message_bytes;  /* longest single message; MPI counts are ints */
    MPI_Request *requests; /* posted and not finished */
    size_t request_count, request_capacity;
};

/* hosts.c: who is on which host; what a part of `whole` takes over from it. */
void hosts_learn(Comm *comm);
void hosts_inherit(Comm *part, const Comm *whole);

/* Tags of messages. Messages of one sender and one tag arrive in the order they were posted in, so
 * neither the parts of a long message nor the next call of a rank ahead of us can be confused. */
enum Tag { TAG_ALLGATHER = 1, TAG_GATHER = 2, TAG_SUBTREE = 64 /* + number of the subtree */ };

/* Posts a message of any length (0: nothing is sent). The memory is the library's until
 * messages_finish returns. */
void messages_send(Comm *comm, const void *data, size_t bytes, int to, int tag);
void messages_receive(Comm *comm, void *data, size_t bytes, int from, int tag);
void messages_finish(Comm *comm);

/* Room for `count` posted messages, so that no step has to allocate. */
void messages_reserve(Comm *comm, size_t count);

/* For tests: cut messages at `bytes` instead of 2^30. All ranks alike. */
void comm_set_message_bytes(Comm *comm, size_t bytes);

#endif
