/* The board: shared memory through which the ranks of a host wait for each other and pass small
 * arrays, in a microsecond where a message takes ten.
 *
 * The barrier is the central one with a counter and an epoch (Mellor-Crummey and Scott 1991): who
 * arrives last starts the next epoch. Ordering: every arrival is an acquire-release increment of
 * one counter, so the last one has seen what all others wrote before they came; it publishes the
 * epoch with release, and whoever reads the new epoch with acquire sees the same. Nobody can arrive
 * for the next time before the epoch has changed, so the counter may be cleared without ordering.
 *
 * Waiting: a spin, short if there are more ranks than cores, then giving up the core again and
 * again, then sleeping in the kernel (futex), so that many ranks on few cores do not starve the one
 * they wait for. A sleeper first counts itself, then the kernel compares the epoch; the last to
 * arrive first changes the epoch, then looks for sleepers; both in sequentially consistent order,
 * so one of them notices the other. A rank that dies leaves the others asleep until mpirun, which
 * notices, ends the job.
 *
 * Arrays: two areas take turns. What is written into one in exchange k is read after the barrier of
 * k and written again in k + 2, that is behind the barrier of k + 1, which nobody reaches before it
 * has read; so one barrier an exchange is enough. */
#include "world.h"

#include "lockstep/memory.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPINS 40000       /* about 2 ms: longer than ranks that compute the same are apart */
#define CROWDED_SPINS 100 /* 5 us: somebody else needs the core */
#define YIELDS 2000       /* about a millisecond where nobody does */

typedef struct BoardHead { /* a cache line each */
    _Alignas(64) atomic_uint arrived;
    _Alignas(64) atomic_uint epoch;
    _Alignas(64) atomic_uint sleepers;
} BoardHead;

struct Board {
    SharedMemory *memory;
    BoardHead *head;
    char *areas;     /* 2 x bytes */
    size_t bytes;    /* longest array */
    size_t exchange; /* number of the next one: the same on all ranks */
    unsigned size;
    int spins;
    bool dry; /* a dry run's, that only counts memory */
};

/* Tells the core that this is a spin. */
static inline void relax(void)
{
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
}

static void sleep_until_changed(BoardHead *head, unsigned epoch)
{
    atomic_fetch_add(&head->sleepers, 1);
    while (atomic_load(&head->epoch) == epoch)
        syscall(SYS_futex, &head->epoch, FUTEX_WAIT, epoch, NULL, NULL, 0);
    atomic_fetch_sub(&head->sleepers, 1);
}

static void wait_for_change(BoardHead *head, unsigned epoch, int spins)
{
    for (int i = 0; i < spins + YIELDS; i++) {
        if (atomic_load_explicit(&head->epoch, memory_order_acquire) != epoch)
            return;
        if (i < spins)
            relax();
        else
            sched_yield();
    }
    sleep_until_changed(head, epoch);
}

void board_barrier(Board *board)
{
    BoardHead *head = board->head;
    /* It cannot change before we have arrived. */
    unsigned epoch = atomic_load_explicit(&head->epoch, memory_order_relaxed);
    if (atomic_fetch_add(&head->arrived, 1) + 1 < board->size) {
        wait_for_change(head, epoch, board->spins);
        return;
    }
    atomic_store_explicit(&head->arrived, 0, memory_order_relaxed);
    atomic_store(&head->epoch, epoch + 1);
    if (atomic_load(&head->sleepers) > 0)
        syscall(SYS_futex, &head->epoch, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void board_allgather(Board *board, void *array, size_t lo, size_t hi, size_t bytes)
{
    expect(bytes <= board->bytes && lo <= hi && hi <= bytes);
    char *area = board->areas + board->exchange++ % 2 * board->bytes, *mine = array;
    if (hi > lo)
        memcpy(area + lo, mine + lo, hi - lo);
    board_barrier(board);
    memcpy(mine, area, lo);
    if (hi < bytes)
        memcpy(mine + hi, area + hi, bytes - hi);
}

bool board_takes(const Board *board, size_t bytes)
{
    return board && !board->dry && bytes <= board->bytes;
}

void board_free(Board *board)
{
    if (!board)
        return;
    shared_free(board->memory);
    mem_free(board);
}

/* launch/local tells Open MPI to yield if it starts more ranks than there are cores; so may users,
 * who know about the machine's other work. */
bool board_crowded(int ranks)
{
    const char *yields = getenv("OMPI_MCA_mpi_yield_when_idle");
    return (yields && strcmp(yields, "0") != 0) || ranks > sysconf(_SC_NPROCESSORS_ONLN);
}

void comm_relax(const Comm *comm)
{
    if (comm->crowded)
        sched_yield();
    else
        relax();
}

void comm_reserve_board(Comm *comm, size_t bytes)
{
    board_free(comm->board);
    comm->board = NULL;
    if (bytes == 0)
        return;
    size_t room = (bytes + 63) / 64 * 64;
    size_t total = sizeof(BoardHead) + 2 * room;
    SharedMemory *memory = shared_alloc_one(comm, total);
    if (!memory)
        return;
    Board *board = mem_new(Board);
    *board = (Board){ .memory = memory,
                      .head = shared_part(memory, 0),
                      .bytes = room,
                      .size = (unsigned)comm->size,
                      .spins = comm->crowded ? CROWDED_SPINS : SPINS,
                      .dry = mem_reserving() };
    board->areas = (char *)(board->head + 1);
    comm->board = board;
}
