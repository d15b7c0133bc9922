/* Hosts: which rank is on which, in truth or in pretence. */
#include "world.h"

#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <string.h>
#include <unistd.h>

/* Numbers hosts in the order of their lowest ranks; ids[r] is equal for ranks of one host. */
static void number_hosts(Comm *comm, const int *ids)
{
    comm->hosts = 0;
    for (int rank = 0; rank < comm->size; rank++) {
        int first = 0;
        while (ids[first] != ids[rank])
            first++;
        comm->host_of[rank] = first < rank ? comm->host_of[first] : comm->hosts++;
    }
}

void hosts_learn(Comm *comm)
{
    gethostname(comm->host, sizeof comm->host - 1);
    char(*all)[HOST_BYTES] = mem_alloc((size_t)comm->size * HOST_BYTES);
    MPI_Allgather(comm->host, HOST_BYTES, MPI_CHAR, all, HOST_BYTES, MPI_CHAR, comm->world);
    memcpy(comm->root_host, all[0], HOST_BYTES);
    mem_free(comm->host_of);
    comm->host_of = mem_array(int, comm->size);
    int *ids = mem_array(int, comm->size);
    for (int rank = 0; rank < comm->size; rank++)
        while (strcmp(all[ids[rank]], all[rank]) != 0)
            ids[rank]++;
    number_hosts(comm, ids);
    comm->pretends = false;
    mem_free(ids);
    mem_free(all);
}

void hosts_inherit(Comm *part, const Comm *whole)
{
    Injection injection = whole->inject;
    if (whole->pretends) {
        int *ids = mem_array(int, part->size);
        MPI_Allgather(&whole->host_of[whole->rank], 1, MPI_INT, ids, 1, MPI_INT, part->world);
        number_hosts(part, ids);
        part->pretends = true;
        mem_free(ids);
    }
    injection.slow_rank = injection.slow_rank == whole->rank ? part->rank : -1;
    expect(comm_inject(part, &injection, NULL));
    part->share = whole->share;
}

int comm_hosts(const Comm *comm)
{
    return comm->hosts;
}

int comm_host_index(const Comm *comm, int rank)
{
    expect(rank >= 0 && rank < comm->size);
    return comm->host_of[rank];
}

static bool spread(Comm *comm, int64_t hosts, Err *err)
{
    if (hosts < 1 || hosts > comm->size)
        return err_set(err, "comm.virtual_hosts: %lld hosts for %d ranks: 1 to %d wanted",
                       (long long)hosts, comm->size, comm->size);
    for (int rank = 0; rank < comm->size; rank++)
        comm->host_of[rank] = (int)((rank * hosts + hosts - 1) / comm->size);
    comm->hosts = (int)hosts;
    return true;
}

/* "2+1+1": the ranks of each host. */
static bool read_list(Comm *comm, const char *text, Err *err)
{
    int rank = 0, host = 0;
    for (const char *at = text; *at; host++) {
        char word[16] = "";
        size_t length = strcspn(at, "+");
        int64_t ranks = 0;
        memcpy(word, at, length < sizeof word ? length : sizeof word - 1);
        if (!text_to_int(word, &ranks) || ranks < 1 || ranks > comm->size - rank)
            return err_set(err,
                           "comm.virtual_hosts: %s: the ranks of each host wanted, such as 2+1+1, "
                           "%d in all",
                           text, comm->size);
        for (int64_t i = 0; i < ranks; i++)
            comm->host_of[rank++] = host;
        at += length + (at[length] == '+');
    }
    if (rank != comm->size)
        return err_set(err, "comm.virtual_hosts: %s: %d ranks on these hosts, but there are %d",
                       text, rank, comm->size);
    comm->hosts = host;
    return true;
}

bool comm_pretend_hosts(Comm *comm, const char *hosts, Err *err)
{
    int64_t count;
    if (!*hosts) {
        hosts_learn(comm);
        return true;
    }
    comm->pretends =
        text_to_int(hosts, &count) ? spread(comm, count, err) : read_list(comm, hosts, err);
    return comm->pretends || (hosts_learn(comm), false);
}
