/* Ranks: start and end of MPI, who and where we are, and moving data between ranks. */
#include "world.h"

#include "lockstep/log.h"
#include "lockstep/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The leak checker of sanitizer builds; absent, and then NULL, in others. It has to look before MPI
 * unloads its modules: after that it cannot tell their memory from ours. */
void __lsan_do_leak_check(void) __attribute__((weak));

static bool mpi_is_running(void)
{
    int started = 0;
    int finished = 0;
    MPI_Initialized(&started);
    MPI_Finalized(&finished);
    return started && !finished;
}

static void finalize(int code)
{
    (void)code;
    if (!mpi_is_running())
        return;
    if (__lsan_do_leak_check)
        __lsan_do_leak_check();
    MPI_Finalize();
}

static void abort_job(int code)
{
    if (mpi_is_running())
        MPI_Abort(MPI_COMM_WORLD, code);
}

/* A plain process needs neither Open MPI's daemon nor its search for network hardware: 0.35 s of
 * MPI_Init become 0.02 s (measured, 4.1.4). Settings of the user's own stand. */
static void prepare_single_process(void)
{
    static const char *const launchers[] = { "OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK" };
    for (size_t i = 0; i < sizeof launchers / sizeof *launchers; i++)
        if (getenv(launchers[i]))
            return;
    setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
    setenv("OMPI_MCA_pml", "ob1", 0);
    setenv("HWLOC_COMPONENTS", "-gl", 0); /* no search for X servers, up to 5 s */
    setenv("HWLOC_HIDE_ERRORS", "2", 0);  /* no complaints without /sys */
}

/* Over TCP, messages up to 4 MiB leave at once instead of asking first: the kernel's sockets carry
 * them on while a rank computes, and no round trip is lost. An all-reduce of 40 MB between two
 * hosts took 341 ms instead of 491 on 1 Gbit/s, 320 being the wire's limit (docs/reduction.md). */
static void prepare_tcp(void)
{
    static const char *const limits[] = { "OMPI_MCA_btl_tcp_eager_limit",
                                          "OMPI_MCA_btl_tcp_rndv_eager_limit",
                                          "OMPI_MCA_btl_tcp_max_send_size" };
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        setenv(limits[i], "4194304", 0);
}

/* Takes over `world`, a communicator of our own. */
static Comm *comm_of(MPI_Comm world)
{
    Comm *comm = mem_new(Comm);
    comm->world = world;
    MPI_Comm_rank(comm->world, &comm->rank);
    MPI_Comm_size(comm->world, &comm->size);
    comm->share = true;
    comm->inject.slow_rank = -1;
    comm_set_message_bytes(comm, (size_t)1 << 30);
    messages_reserve(comm, 2 * (size_t)comm->size);
    comm_set_bucket(comm, (size_t)4 << 20);
    hosts_learn(comm);
    int neighbours = 0;
    for (int rank = 0; rank < comm->size; rank++)
        neighbours += comm->host_of[rank] == comm->host_of[comm->rank];
    comm->crowded = board_crowded(neighbours);
    return comm;
}

Comm *comm_init(int *argc, char ***argv)
{
    int provided;
    MPI_Comm world;
    prepare_single_process();
    prepare_tcp();
    MPI_Init_thread(argc, argv, MPI_THREAD_SERIALIZED, &provided);
    MPI_Comm_dup(MPI_COMM_WORLD, &world);
    Comm *comm = comm_of(world);
    comm->threads = provided >= MPI_THREAD_SERIALIZED;
    log_set_rank(comm->rank, comm->size);
    error_set_exits(finalize, abort_job);
    return comm;
}

/* The rank that speaks has a moment to do so. */
static void abort_for_part(int code)
{
    const struct timespec moment = { .tv_sec = 1 };
    if (log_get_rank() != 0)
        nanosleep(&moment, NULL);
    abort_job(code);
}

void comm_set_apart(bool apart)
{
    error_set_exits(apart ? abort_for_part : finalize, abort_job);
}

Comm *comm_split(Comm *comm, int group)
{
    MPI_Comm part;
    MPI_Comm_split(comm->world, group, comm->rank, &part);
    Comm *split = comm_of(part);
    split->is_part = true;
    split->crowded = comm->crowded;
    split->threads = comm->threads;
    hosts_inherit(split, comm);
    return split;
}

void comm_free(Comm *comm)
{
    bool is_part = comm->is_part;
    board_free(comm->board);
    messages_release(&comm->messages);
    MPI_Comm_free(&comm->world);
    mem_free(comm->measured);
    mem_free(comm->host_of);
    mem_free(comm);
    if (is_part)
        return;
    error_set_exits(NULL, NULL);
    finalize(EXIT_OK);
}

int comm_rank(const Comm *comm)
{
    return comm->rank;
}

int comm_size(const Comm *comm)
{
    return comm->size;
}

const char *comm_host(const Comm *comm)
{
    return comm->host;
}

/* "Open MPI v4.1.4, package: Debian OpenMPI, ident: ..." becomes "Open MPI 4.1.4". */
const char *comm_library(void)
{
    static char name[64];
    char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length;
    MPI_Get_library_version(text, &length);
    int end = (int)strcspn(text, ",\n");
    const char *version = strstr(text, " v");
    if (version && version < text + end)
        snprintf(name, sizeof name, "%.*s %.*s", (int)(version - text), text,
                 end - (int)(version + 2 - text), version + 2);
    else
        snprintf(name, sizeof name, "%.*s", end, text);
    return name;
}

void comm_set_bucket(Comm *comm, size_t bytes)
{
    comm->bucket_bytes = bytes;
}

void comm_set_wire(Comm *comm, Wire wire)
{
    comm->wire = wire;
}

double comm_sent_bytes(const Comm *comm)
{
    return comm->sent_bytes;
}

void comm_barrier(Comm *comm)
{
    if (comm_shares(comm) && board_takes(comm->board, 0))
        board_barrier(comm->board);
    else
        MPI_Barrier(comm->world);
}

void comm_wait(Comm *comm)
{
    const struct timespec nap = { .tv_nsec = 10000000 };
    MPI_Request request;
    int done = 0;
    MPI_Ibarrier(comm->world, &request);
    while (MPI_Test(&request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && !done)
        nanosleep(&nap, NULL);
}

void comm_broadcast(Comm *comm, void *data, size_t bytes, int root)
{
    for (size_t done = 0; done < bytes; done += comm->message_bytes) {
        size_t left = bytes - done;
        size_t part = left < comm->message_bytes ? left : comm->message_bytes;
        MPI_Bcast((char *)data + done, (int)part, MPI_BYTE, root, comm->world);
    }
}

void comm_broadcast_text(Comm *comm, char **data, size_t *bytes)
{
    uint64_t length = comm->rank == 0 ? *bytes : 0;
    comm_broadcast(comm, &length, sizeof length, 0);
    if (comm->rank != 0) {
        *bytes = (size_t)length;
        *data = mem_alloc(*bytes + 1);
    }
    comm_broadcast(comm, *data, *bytes, 0);
}

void comm_gather(Comm *comm, const void *mine, void *all, size_t bytes)
{
    if (comm->rank != 0) {
        messages_send(comm, mine, bytes, 0, TAG_GATHER);
    } else {
        if (bytes > 0)
            memcpy(all, mine, bytes);
        for (int from = 1; from < comm->size; from++)
            messages_receive(comm, (char *)all + (size_t)from * bytes, bytes, from, TAG_GATHER);
    }
    messages_finish(comm);
}
