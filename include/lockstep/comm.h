/* Ranks: the only module that includes mpi.h. Works without mpirun as one rank. Counts are size_t
 * and cut into messages that MPI's int counts can hold. */
#ifndef LOCKSTEP_COMM_H
#define LOCKSTEP_COMM_H

#include "lockstep/error.h"
#include "lockstep/layout.h"
#include "lockstep/timeline.h"
#include "lockstep/wire.h"

#include <stddef.h>
#include <stdint.h>

typedef struct Comm Comm;

/* Starts MPI (SERIALIZED), duplicates the world, installs the error exits and the log's rank.
 * Collective. Never fails: without mpirun it is one rank. */
Comm *comm_init(int *argc, char ***argv);
void comm_free(Comm *comm); /* collective; finalizes MPI, unless comm was made by comm_split */

/* The ranks of `comm` that gave the same `group` (>= 0), in the same order, as a Comm of their own;
 * to be freed before `comm`. Log lines stay with rank 0 of the job. Collective. */
Comm *comm_split(Comm *comm, int group);

/* The ranks of `host`, a Comm of one host's ranks, that are bound to this rank's NUMA domain, as a
 * Comm of their own that remembers `host`; or, pretended, of so many domains with ranks side by
 * side. All ranks of the host, with a warning, if not every one is bound to a single domain. As
 * comm_split otherwise. */
Comm *comm_split_domain(Comm *host, int pretended);

/* Whether parts made by comm_split go different ways: a part that leaves the program (die_all) then
 * ends the whole job, as the others would wait for it. */
void comm_set_apart(bool apart);

int comm_rank(const Comm *comm);
int comm_size(const Comm *comm);
const char *comm_host(const Comm *comm); /* of this rank */
int comm_hosts(const Comm *comm);        /* how many different hosts */

/* Which host `rank` is on: 0 .. comm_hosts - 1, in the order of the hosts' lowest ranks. */
int comm_host_index(const Comm *comm, int rank);

/* Pretends that the ranks of this job are on several hosts, so that one machine runs the code of a
 * cluster: "3" is three hosts with as many ranks each as fit evenly, "2+1+1" are hosts of 2, 1 and
 * 1 ranks; "" is the truth. All ranks alike, before anything is allocated; collective. */
bool comm_pretend_hosts(Comm *comm, const char *hosts, Err *err);
const char *comm_library(void); /* "Open MPI 4.1.4" */

/* A slower network between hosts than there is, to study a cluster on one machine. Zeros: none. */
typedef struct Injection {
    double delay_us, gbit, jitter_us; /* one way; of a host, each way; 0 to that, at random */
    int slow_rank;                    /* takes slow_factor times as long to compute; -1: none */
    double slow_factor;
} Injection;

/* From now on messages between hosts arrive as on that network; barriers, broadcasts and agreements
 * do not notice. The clocks of all ranks have to be one machine's. All ranks alike, after
 * comm_pretend_hosts. */
bool comm_inject(Comm *comm, const Injection *injection, Err *err);

/* Around a rank's work: comm_computes begins it, comm_computed ends it, and the slow rank takes
 * its time there. Nothing without one. */
void comm_computes(Comm *comm);
void comm_computed(Comm *comm);

void comm_barrier(Comm *comm); /* collective */
void comm_wait(Comm *comm);    /* a barrier where ranks may wait long: they sleep. Collective */
void comm_broadcast(Comm *comm, void *data, size_t bytes, int root); /* collective */

/* Rank 0's buffer of unknown size to all: on return *data (mem_alloc, NUL-terminated, owned by the
 * caller) and *bytes are set everywhere; on rank 0 they are input and stay. Collective. */
void comm_broadcast_text(Comm *comm, char **data, size_t *bytes);

/* True everywhere if `ok` everywhere. Otherwise false everywhere and err holds the message of the
 * lowest rank that failed, prefixed by "rank R on HOST: " if not all failed. Collective. */
bool comm_all_ok(Comm *comm, bool ok, Err *err);

/* True anywhere -> true everywhere. Collective. */
bool comm_any(Comm *comm, bool flag);

/* Each rank r contributes elements [bounds[r], bounds[r+1]) of `array` (`bytes` per element); on
 * return every rank has all of them. Nothing is added. A short array takes O(log size) messages of
 * a rank. bounds: size + 1 entries. Collective. */
void comm_allgather(Comm *comm, void *array, const size_t *bounds, size_t bytes);

/* Rank 0 receives `bytes` from every rank into `all` (size * bytes; rank 0 only). Collective. */
void comm_gather(Comm *comm, const void *mine, void *all, size_t bytes);

/* For `reduce: fast` and `bench comm` only: x += the other ranks' x, by MPI_Allreduce, in whatever
 * order the library likes: the sum depends on ranks, library and size. n floats. Collective. */
void comm_allreduce_fast(Comm *comm, float *x, size_t n);

/* Compares `text` (kernel family, versions, config digest: one "key: value" per line) across ranks:
 * if a rank differs from rank 0, err names line, rank, both hosts and both values. Collective. */
bool comm_same(Comm *comm, const char *text, Err *err);

/* Compares digests of plans (collective.h) before anybody waits for messages that will not come:
 * digests[i] belongs to collective number i, 0 on ranks that have no part in it. err names the
 * first that differs and this rank's digest. Collective. */
bool comm_same_plans(Comm *comm, const uint64_t *digests, int count, Err *err);

/* One piece of memory for each rank, which all ranks of the host read and write. Whoever writes a
 * piece that others read has to order that by barriers. */
typedef struct SharedMemory SharedMemory;

/* `bytes` of this rank, zeroed, 64-byte aligned. NULL on every rank if the ranks do not share
 * memory: a single rank, more than one host, too little room in /dev/shm (rank 0 warns), or
 * switched off. shared_alloc_one: one piece for all, part 0; rank r puts the r-th share of it into
 * the memory next to its core. These functions are collective; NULL is fine to free. */
SharedMemory *shared_alloc(Comm *comm, size_t bytes);
SharedMemory *shared_alloc_one(Comm *comm, size_t bytes);
void shared_free(SharedMemory *memory);
void *shared_part(const SharedMemory *memory, int rank);

/* Makes room for barriers and for all-gathers of up to `bytes` in shared memory, where the ranks
 * have any: from then on comm_barrier and comm_allgather take that way, which orders what ranks
 * write to and read from each other's shared parts. 0: no longer. Collective. */
void comm_reserve_board(Comm *comm, size_t bytes);

/* May the ranks share memory, room permitting? comm_set_share(false): they shall not. All ranks
 * alike, before anything is allocated. */
bool comm_shares(const Comm *comm);
void comm_set_share(Comm *comm, bool share);

/* Between hosts a sum travels in buckets of so many bytes; 4 MiB unless somebody says otherwise.
 * Bits do not depend on it. All ranks alike, before a reducer is made. */
void comm_set_bucket(Comm *comm, size_t bytes);

/* The number format of gradient sums (wire.h), fp32 unless somebody says otherwise: the type before
 * a reducer is made, the scale also between two reductions. All ranks alike. */
void comm_set_wire(Comm *comm, Wire wire);

/* Bytes that this rank has sent to other hosts so far, in messages of any kind but MPI's own
 * collectives. */
double comm_sent_bytes(const Comm *comm);

/* An Exchange over slices: rank r owns the blocks [bounds[r], bounds[r + 1]), or with bounds NULL
 * layout_slice(layout, r, size). Borrows comm and layout. */
typedef struct SliceExchange {
    Comm *comm;
    size_t *block_bounds, *float_bounds; /* size + 1 each, owned */
} SliceExchange;
void slice_exchange_init(SliceExchange *exchange, Comm *comm, const Layout *layout,
                         const size_t *bounds);
void slice_exchange_free(SliceExchange *exchange);
Exchange slice_exchange(SliceExchange *exchange); /* per-block arrays */

/* Every rank publishes its slice of a float arena to all. Collective. */
void comm_publish(SliceExchange *exchange, float *arena);

/* From now on messages and the rounds of collectives are on this timeline; NULL: on none. */
void comm_set_timeline(Comm *comm, Timeline *timeline);

/* Seconds to be added to this rank's clock to get rank 0's, by ping-pong. Collective. */
double comm_clock_offset(Comm *comm);

/* The timelines of all ranks as one Chrome trace, written by rank 0. Collective. */
bool comm_write_timeline(Comm *comm, const char *path, const ClockOffset *clock, Err *err);

#endif
