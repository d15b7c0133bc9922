/* Stand-ins that the linker puts before functions of src/comm (--wrap). */
#include "timed.h"

#include "../../src/comm/plan_run.h"
#include "../../src/comm/world.h"
#include "lockstep/memory.h"

#include <simgrid/actor.h>
#include <smpi/smpi.h>

#define LOOK 2e-5 /* simulated seconds between looks of a rank that only waits */

static double byte_seconds; /* 0: everything is real */
static float *block;

void timed_begin(double bytes_per_second, size_t bytes)
{
    byte_seconds = 1 / bytes_per_second;
    if (!block)
        block = SMPI_SHARED_MALLOC(bytes);
}

static void pass(double floats, double bytes)
{
    if (floats > 0)
        sg_actor_sleep_for(floats * bytes * byte_seconds);
}

void __real_plan_memory_init(PlanMemory *memory, const Plan *plan);
void __wrap_plan_memory_init(PlanMemory *memory, const Plan *plan);
void __wrap_plan_memory_init(PlanMemory *memory, const Plan *plan)
{
    if (byte_seconds > 0)
        *memory = (PlanMemory){ 0 };
    else
        __real_plan_memory_init(memory, plan);
}

float *__real_plan_place(const PlanMemory *memory, Place place);
float *__wrap_plan_place(const PlanMemory *memory, Place place);
float *__wrap_plan_place(const PlanMemory *memory, Place place)
{
    return byte_seconds > 0 ? block : __real_plan_place(memory, place);
}

void __real_plan_copies(const Plan *plan, int round, const PlanMemory *memory);
void __wrap_plan_copies(const Plan *plan, int round, const PlanMemory *memory);
void __wrap_plan_copies(const Plan *plan, int round, const PlanMemory *memory)
{
    double floats = 0;
    if (byte_seconds <= 0) {
        __real_plan_copies(plan, round, memory);
        return;
    }
    for (int i = plan->rounds[round].copies; i < plan->rounds[round + 1].copies; i++)
        floats += (double)plan->copies[i].n;
    pass(floats, 8);
}

void __real_plan_adds(const Plan *plan, int round, const PlanMemory *memory);
void __wrap_plan_adds(const Plan *plan, int round, const PlanMemory *memory);
void __wrap_plan_adds(const Plan *plan, int round, const PlanMemory *memory)
{
    double floats = 0;
    if (byte_seconds <= 0) {
        __real_plan_adds(plan, round, memory);
        return;
    }
    for (int i = plan->rounds[round].adds; i < plan->rounds[round + 1].adds; i++)
        floats += (double)plan->adds[i].n;
    pass(floats, 12);
}

/* Communicators, that SMPI makes with as many messages as there are pairs of ranks: the world
 * itself, and the rank alone, which is what a host is here. */
int __wrap_MPI_Comm_dup(MPI_Comm world, MPI_Comm *copy);
int __wrap_MPI_Comm_dup(MPI_Comm world, MPI_Comm *copy)
{
    *copy = world;
    return MPI_SUCCESS;
}

int __wrap_MPI_Comm_split(MPI_Comm world, int color, int key, MPI_Comm *part);
int __wrap_MPI_Comm_split(MPI_Comm world, int color, int key, MPI_Comm *part)
{
    (void)world, (void)color, (void)key;
    *part = MPI_COMM_SELF;
    return MPI_SUCCESS;
}

int __wrap_MPI_Comm_free(MPI_Comm *comm);
int __wrap_MPI_Comm_free(MPI_Comm *comm)
{
    *comm = MPI_COMM_NULL;
    return MPI_SUCCESS;
}

/* Every rank is a host of its own, and need not ask all others for their names, which takes a
 * quarter of a million messages where everything else takes ten thousand. */
void __wrap_hosts_learn(Comm *comm);
void __wrap_hosts_learn(Comm *comm)
{
    comm->hosts = comm->size;
    comm->host_of = mem_array(int, comm->size);
    for (int rank = 0; rank < comm->size; rank++)
        comm->host_of[rank] = rank;
}

/* Whoever polls has to let simulated time pass. */
void __wrap_comm_relax(const Comm *comm);
void __wrap_comm_relax(const Comm *comm)
{
    (void)comm;
    sg_actor_sleep_for(LOOK);
}
