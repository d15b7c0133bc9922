/* Memory that the ranks of one host see: a file in /dev/shm mapped by all of them, made by MPI's
 * shared windows. Ranks on several hosts, or too little room, mean: no shared memory, and every
 * rank learns that. */
#include "world.h"

#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LINE 64 /* bytes; where a rank's part starts: MPI promises less */

struct SharedMemory {
    MPI_Win window;
    void **parts; /* (size) */
    size_t bytes; /* of this rank's part */
    void *alone;  /* in a dry run: what stands for every part */
};

bool comm_shares(const Comm *comm)
{
    return comm->share && comm->size > 1 && comm->hosts == 1;
}

void comm_set_share(Comm *comm, bool share)
{
    comm->share = share;
}

/* A file in /dev/shm grows as it is written, so running out of it is a bus error long after the
 * window was made: ask before. Containers often have 64 MB. */
static bool has_room(double bytes)
{
    struct statvfs status;
    if (statvfs("/dev/shm", &status) != 0)
        return true; /* MPI has another place */
    double room = (double)status.f_bavail * (double)status.f_frsize;
    if (bytes <= 0.95 * room)
        return true;
    char wanted[32], found[32];
    log_warn("/dev/shm has %s left, the ranks would share %s: every rank keeps its own copy and "
             "sends messages, which is slower (with Docker: --shm-size)",
             text_bytes(found, sizeof found, room), text_bytes(wanted, sizeof wanted, bytes));
    return false;
}

/* What all ranks want together; known to rank 0 only. */
static double total(Comm *comm, size_t bytes)
{
    double mine = (double)bytes, sum = 0;
    double *all = mem_array(double, comm->size);
    comm_gather(comm, &mine, all, sizeof mine);
    for (int rank = 0; rank < comm->size; rank++)
        sum += all[rank];
    mem_free(all);
    return comm->rank == 0 ? sum : 0;
}

static bool allocate(Comm *comm, size_t bytes, MPI_Win *window)
{
    MPI_Comm node;
    void *start;
    int size, error = MPI_ERR_COMM;
    MPI_Comm_split_type(comm->world, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &node);
    MPI_Comm_size(node, &size);
    MPI_Comm_set_errhandler(node, MPI_ERRORS_RETURN);
    if (size == comm->size) /* else: one host, but the ranks live in different containers */
        error = MPI_Win_allocate_shared((MPI_Aint)bytes, 1, MPI_INFO_NULL, node, &start, window);
    MPI_Comm_free(&node);
    return error == MPI_SUCCESS;
}

static void find_parts(const Comm *comm, SharedMemory *memory)
{
    memory->parts = mem_array(void *, comm->size);
    for (int rank = 0; rank < comm->size; rank++) {
        MPI_Aint bytes;
        int unit;
        void *start;
        MPI_Win_shared_query(memory->window, rank, &bytes, &unit, &start);
        memory->parts[rank] = (void *)(((uintptr_t)start + LINE - 1) / LINE * LINE);
    }
}

/* A dry run has nothing to share; what a rank's part would take is counted. */
static SharedMemory *stand_in(const Comm *comm, size_t bytes)
{
    SharedMemory *memory = mem_new(SharedMemory);
    memory->parts = mem_array(void *, comm->size);
    memory->alone = mem_alloc(bytes);
    for (int rank = 0; rank < comm->size; rank++)
        memory->parts[rank] = memory->alone;
    return memory;
}

/* Where the kernel gives /dev/shm huge pages on request (shmem_enabled: advise). A part begins
 * where MPI has put it, so its ends stay in small pages. */
static void advise_huge_pages(void *part, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *start = (char *)(((uintptr_t)part + page - 1) / page * page);
    size_t skipped = (size_t)(start - (char *)part);
    if (bytes >= skipped + page)
        madvise(start, (bytes - skipped) / page * page, MADV_HUGEPAGE);
}

/* A window of `bytes` of this rank, not yet written. */
static SharedMemory *reserve(Comm *comm, size_t bytes)
{
    if (!comm_shares(comm))
        return NULL;
    if (mem_reserving())
        return stand_in(comm, bytes);
    bool room = has_room(total(comm, bytes + LINE));
    comm_broadcast(comm, &room, sizeof room, 0);
    MPI_Win window;
    if (!room || comm_any(comm, !allocate(comm, bytes + LINE, &window)))
        return NULL; /* a window that only some ranks have could not be freed: that is collective */
    SharedMemory *memory = mem_new(SharedMemory);
    memory->window = window;
    memory->bytes = bytes;
    mem_count(bytes);
    find_parts(comm, memory);
    return memory;
}

/* Pages become memory where the rank runs that writes them first. */
static void touch(Comm *comm, SharedMemory *memory, void *start, size_t bytes)
{
    if (memory->alone)
        return;
    advise_huge_pages(start, bytes);
    memset(start, 0, bytes);
    comm_barrier(comm);
}

SharedMemory *shared_alloc(Comm *comm, size_t bytes)
{
    SharedMemory *memory = reserve(comm, bytes);
    if (memory)
        touch(comm, memory, memory->parts[comm->rank], bytes);
    return memory;
}

SharedMemory *shared_alloc_one(Comm *comm, size_t bytes)
{
    SharedMemory *memory = reserve(comm, comm->rank == 0 ? bytes : 0);
    if (!memory)
        return NULL;
    size_t lines = (bytes + LINE - 1) / LINE, rank = (size_t)comm->rank;
    size_t from = lines * rank / (size_t)comm->size * LINE;
    size_t to = lines * (rank + 1) / (size_t)comm->size * LINE;
    to = to < bytes ? to : bytes;
    touch(comm, memory, (char *)memory->parts[0] + from, to - from);
    return memory;
}

void *shared_part(const SharedMemory *memory, int rank)
{
    return memory->parts[rank];
}

void shared_free(SharedMemory *memory)
{
    if (!memory)
        return;
    if (memory->alone)
        mem_free(memory->alone);
    else
        MPI_Win_free(&memory->window);
    mem_discount(memory->bytes);
    mem_free(memory->parts);
    mem_free(memory);
}
