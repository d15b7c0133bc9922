/* What the files of src/comm share: the struct behind Comm, and point-to-point messages that are
 * posted one by one and finished together. */
#ifndef LOCKSTEP_COMM_WORLD_H
#define LOCKSTEP_COMM_WORLD_H

#include "lockstep/collective.h"
#include "lockstep/comm.h"
#include "lockstep/compress.h"

#include <mpi.h>

#define HOST_BYTES 256

/* When a message is there, on an injected network. */
typedef struct Stamp {
    double sent;  /* what the sender writes: seconds of the clock */
    double due;   /* what the receiver got; 0: nothing to wait for */
    size_t bytes; /* of the message, until it was first looked at; then 0 */
} Stamp;

/* Messages that are posted and not finished: a long one, and its stamp, are several requests. */
typedef struct Messages {
    MPI_Request *requests;
    Stamp **stamps; /* one each, or NULL without an injected network */
    size_t count, capacity;
} Messages;

/* When a network card is at work, seconds of the clock. */
#define CARD_TIMES 64
typedef struct CardTime {
    double start, end;
} CardTime;

typedef struct Measured Measured; /* choose.c */
typedef struct Board Board;       /* board.c */

struct Comm {
    MPI_Comm world; /* our own duplicate: no message of anybody else can match ours */
    int rank, size, hosts;
    int *host_of;  /* (size) host index of each rank */
    bool pretends; /* the hosts are make-believe */
    bool is_part;  /* made by comm_split: MPI goes on when it is freed */
    Comm *around;  /* the host that this is a domain of (comm_split_domain), borrowed; or NULL */
    bool share;    /* use shared memory where the ranks have any */
    char host[HOST_BYTES], root_host[HOST_BYTES];
    size_t message_bytes; /* longest single message; MPI counts are ints */
    Messages messages;    /* of calls that finish what they post */

    Timeline *timeline; /* borrowed, or NULL */
    double posted;      /* when the first of `messages` was, for the timeline */

    Injection inject; /* inject.c; seconds of the clock: */
    bool inject_on;
    double inject_seconds_per_byte, inject_left;
    double inject_out;              /* when the network card will have sent everything */
    CardTime inject_in[CARD_TIMES]; /* when it receives, by time */
    int inject_in_count;
    uint64_t inject_count; /* messages sent so far */

    const CollectiveAlgorithm *algorithm; /* for everything, or NULL */
    Measured *measured;
    size_t measured_count, measured_room;

    size_t bucket_bytes;            /* see comm_set_bucket */
    Wire wire;                      /* see comm_set_wire */
    double sent_bytes;              /* see comm_sent_bytes */
    const Compression *compression; /* see comm_set_compression */
    bool threads;                   /* another thread may call MPI, one at a time */
    bool crowded; /* there are more ranks than cores: who waits lets others go first */
    Board *board; /* NULL: none was asked for, or there is no shared memory */
};

/* hosts.c: who is on which host; what a part of `whole` takes over from it. */
void hosts_learn(Comm *comm);
void hosts_inherit(Comm *part, const Comm *whole);

/* Tags of messages. Messages of one sender and one tag arrive in the order they were posted in, so
 * neither the parts of a long message nor the next call of a rank ahead of us can be confused. */
enum Tag {
    TAG_ALLGATHER = 1,
    TAG_GATHER = 2,
    TAG_CLOCK = 3,
    TAG_TIMELINE = 4,
    TAG_LANE = 5, /* encoded gradients, in the order of lanes */
    TAG_LINK = 6,
    TAG_SUBTREE = 64 /* + number of the subtree */,
    TAG_COLLECTIVE = 1024 /* + the collective's */
};

/* Posts a message of any length (0: nothing is sent). The memory is the library's until
 * messages_finish returns. */
void messages_send(Comm *comm, const void *data, size_t bytes, int to, int tag);
void messages_receive(Comm *comm, void *data, size_t bytes, int from, int tag);
void messages_finish(Comm *comm);

/* The same for lists of one's own. messages_test looks at requests [first, last) of the list and
 * never waits; messages_parts: how many requests a message takes. */
void messages_post_send(Comm *comm, Messages *messages, const void *data, size_t bytes, int to,
                        int tag);
void messages_post_receive(Comm *comm, Messages *messages, void *data, size_t bytes, int from,
                           int tag);
bool messages_test(Comm *comm, Messages *messages, size_t first, size_t last);
void messages_wait(Comm *comm, Messages *messages, size_t first, size_t last);
size_t messages_parts(const Comm *comm, size_t bytes);
void messages_grow(const Comm *comm, Messages *messages, size_t count);
void messages_release(Messages *messages);

/* inject.c: is a network injected; between this rank and that one; when a message that leaves now
 * is there; is it there now. */
bool inject_is_on(const Comm *comm);
bool inject_between(const Comm *comm, int rank);
double inject_send(Comm *comm, size_t bytes);
bool inject_arrived(Comm *comm, Stamp *stamp);

/* Room for `count` posted messages, so that no step has to allocate. */
void messages_reserve(Comm *comm, size_t count);

/* Barrier and all-gather through shared memory (board.c). Each rank brings bytes [lo, hi) of an
 * array of `bytes`, which board_takes. Collective. */
bool board_takes(const Board *board, size_t bytes); /* is there one, and is it large enough? */
void board_barrier(Board *board);
void board_allgather(Board *board, void *array, size_t lo, size_t hi, size_t bytes);
void board_free(Board *board);
bool board_crowded(int ranks); /* so many on this host */

/* For loops that wait: a pause of the core, or giving it up. */
void comm_relax(const Comm *comm);

/* For tests: cut messages at `bytes` instead of 2^30. All ranks alike. */
void comm_set_message_bytes(Comm *comm, size_t bytes);

#endif
