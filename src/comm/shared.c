/* Memory that the ranks of one host see: a file in /dev/shm that all of them map and that has no
 * name any more by then, so nothing is left behind by a job that is killed. Ranks on several hosts,
 * in containers with another /dev/shm, or too little room, mean: no shared memory, and every rank
 * learns that.
 *
 * Not MPI's windows, because of large pages, without which passes over long arrays are a fifth
 * slower: they want the mapping to begin where a large page may, and somebody who asks for them
 * (MADV_COLLAPSE, Linux 6.1: also where /dev/shm has small pages by default). */
#include "world.h"

#include "lockstep/clock.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LINE ((size_t)64) /* bytes; where a rank's part starts, and how shares are cut */
#define HUGE_PAGE ((size_t)2 << 20)
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

struct SharedMemory {
    void *start; /* of the mapping */
    size_t mapped;
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

static size_t round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

/* Where each rank's part begins in the file, and where the last one ends: long ones begin where a
 * large page may. */
static size_t *find_offsets(Comm *comm, size_t bytes)
{
    uint64_t mine = bytes, *all = mem_array(uint64_t, comm->size);
    size_t *offsets = mem_array(size_t, comm->size + 1), end = 0;
    MPI_Allgather(&mine, 1, MPI_UINT64_T, all, 1, MPI_UINT64_T, comm->world);
    for (int rank = 0; rank < comm->size; rank++) {
        offsets[rank] = round_up(end, all[rank] >= HUGE_PAGE ? HUGE_PAGE : LINE);
        end = offsets[rank] + all[rank];
    }
    offsets[comm->size] = round_up(end + (end == 0), end >= HUGE_PAGE ? HUGE_PAGE : LINE);
    mem_free(all);
    return offsets;
}

/* A new file of `bytes` zeros, or -1. The name is taken by nobody else who is alive. */
static int create(char *name, size_t size, size_t bytes)
{
    snprintf(name, size, "/lockstep.%d.%.9f", (int)getpid(), clock_seconds());
    int file = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (file >= 0 && ftruncate(file, (off_t)bytes) == 0)
        return file;
    if (file >= 0)
        close(file);
    return -1;
}

static bool is_that_long(int file, size_t bytes)
{
    struct stat status;
    return fstat(file, &status) == 0 && status.st_size == (off_t)bytes;
}

/* At an address where a large page may begin: a larger range is taken and cut. */
static void *map(int file, size_t bytes)
{
    size_t room = bytes + HUGE_PAGE;
    char *range = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED)
        return NULL;
    char *start = (char *)round_up((uintptr_t)range, HUGE_PAGE);
    size_t before = (size_t)(start - range), used = round_up(bytes, (size_t)sysconf(_SC_PAGESIZE));
    void *mapped = mmap(start, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0);
    if (before > 0)
        munmap(range, before);
    munmap(start + used, room - before - used);
    return mapped == MAP_FAILED ? NULL : mapped;
}

/* One mapping of `bytes` for all, or NULL on those that could not have it. */
static void *map_together(Comm *comm, size_t bytes)
{
    char name[64] = "";
    int file = comm->rank == 0 ? create(name, sizeof name, bytes) : -1;
    comm_broadcast(comm, name, sizeof name, 0);
    if (comm->rank != 0)
        file = shm_open(name, O_RDWR, 0);
    void *start = file >= 0 && is_that_long(file, bytes) ? map(file, bytes) : NULL;
    if (file >= 0)
        close(file);
    MPI_Barrier(comm->world); /* everybody has opened it */
    if (comm->rank == 0)
        shm_unlink(name);
    return start;
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

/* The large pages that lie inside a part. A page is written to first: there has to be something to
 * collapse. Where the kernel has none to give, small ones stay. */
static void ask_huge_pages(char *part, size_t bytes)
{
    char *start = (char *)round_up((uintptr_t)part, HUGE_PAGE);
    size_t skipped = (size_t)(start - part);
    size_t whole = bytes > skipped ? (bytes - skipped) / HUGE_PAGE * HUGE_PAGE : 0;
    if (whole == 0)
        return;
    madvise(start, whole, MADV_HUGEPAGE);
    for (size_t at = 0; at < whole; at += HUGE_PAGE)
        start[at] = 0;
    madvise(start, whole, MADV_COLLAPSE);
}

/* Memory of `bytes` of this rank, not yet written. */
static SharedMemory *reserve(Comm *comm, size_t bytes)
{
    if (!comm_shares(comm))
        return NULL;
    if (mem_reserving())
        return stand_in(comm, bytes);
    size_t *offsets = find_offsets(comm, bytes), total = offsets[comm->size];
    bool room = comm->rank != 0 || has_room((double)total);
    comm_broadcast(comm, &room, sizeof room, 0);
    void *start = room ? map_together(comm, total) : NULL;
    if (comm_any(comm, !start)) {
        if (start)
            munmap(start, total);
        mem_free(offsets);
        return NULL;
    }
    SharedMemory *memory = mem_new(SharedMemory);
    *memory = (SharedMemory){
        .start = start, .mapped = total, .parts = mem_array(void *, comm->size), .bytes = bytes
    };
    for (int rank = 0; rank < comm->size; rank++)
        memory->parts[rank] = (char *)start + offsets[rank];
    mem_count(bytes);
    mem_free(offsets);
    return memory;
}

/* Pages become memory where the rank runs that writes them first. */
static void touch(Comm *comm, SharedMemory *memory, void *start, size_t bytes)
{
    if (memory->alone)
        return;
    ask_huge_pages(start, bytes);
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
    size_t ranks = (size_t)comm->size, rank = (size_t)comm->rank;
    size_t unit = bytes >= ranks * HUGE_PAGE ? HUGE_PAGE : LINE;
    size_t units = round_up(bytes, unit) / unit;
    size_t from = units * rank / ranks * unit, to = units * (rank + 1) / ranks * unit;
    from = from < bytes ? from : bytes;
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
        munmap(memory->start, memory->mapped);
    mem_discount(memory->bytes);
    mem_free(memory->parts);
    mem_free(memory);
}
