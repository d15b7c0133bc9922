/* `lockstep doctor`: every rank looks at its machine, rank 0 gathers, all measure together, and
 * rank 0 says what it means. Nobody stops before the end, so trouble is told once and by all of
 * them. */
#include "lockstep/doctor.h"
#include "doctor_parts.h"

#include "lockstep/clock.h"
#include "lockstep/memory.h"

#define MAX_LINKS 64                      /* pairs of hosts that are measured */
#define SHARED_BYTES ((double)(16 << 20)) /* of a rank, where there is room */

/* Where ranks are, and what all of them have found. Facts are known to rank 0 only. */
static void gather(Examination *e, Comm *comm)
{
    Facts mine;
    facts_collect(&mine, comm);
    e->ranks = comm_size(comm);
    e->hosts = comm_hosts(comm);
    e->host_of = mem_array(int, e->ranks);
    e->host = mem_array(HostReport, e->hosts);
    e->facts = mem_array(Facts, e->ranks);
    comm_gather(comm, &mine, e->facts, sizeof mine);
    for (int rank = e->ranks - 1; rank >= 0; rank--) {
        HostReport *host = &e->host[e->host_of[rank] = comm_host_index(comm, rank)];
        host->first = rank;
        host->ranks++;
        cpu_set_join(&host->cpus, &e->facts[rank].cpus);
        cpu_set_join(&host->cores, &e->facts[rank].cores);
    }
}

/* So little that /dev/shm cannot be too small for it, unless it is of no use at all. */
static size_t part_bytes(const Examination *e, const HostReport *host)
{
    double room = e->facts[host->first].shm_free / 4 / host->ranks;
    double bytes = room >= 0 && room < SHARED_BYTES ? room : SHARED_BYTES;
    return bytes < 4096 ? 4096 : (size_t)bytes / 4096 * 4096;
}

/* Hosts measure their shared memory at the same time; their first ranks tell rank 0. */
static void measure_hosts(Examination *e, Comm *comm, double seconds)
{
    int mine = e->host_of[comm_rank(comm)];
    size_t *bytes = mem_array(size_t, e->hosts);
    HostLink *all = mem_array(HostLink, e->ranks);
    for (int h = 0; h < e->hosts && comm_rank(comm) == 0; h++)
        bytes[h] = part_bytes(e, &e->host[h]);
    comm_broadcast(comm, bytes, (size_t)e->hosts * sizeof *bytes, 0);
    Comm *host = comm_split(comm, mine);
    HostLink link = link_measure_host(host, bytes[mine], seconds);
    comm_free(host);
    comm_gather(comm, &link, all, sizeof link);
    for (int h = 0; h < e->hosts; h++)
        e->host[h].link = all[e->host[h].first];
    mem_free(all);
    mem_free(bytes);
}

/* Each host and the next one, in a ring; and two ranks of one host. */
static void measure_links(Examination *e, Comm *comm, double seconds)
{
    int between = e->hosts < 3 ? e->hosts - 1 : e->hosts < MAX_LINKS ? e->hosts : MAX_LINKS;
    e->link = mem_array(Link, between + 1);
    for (int h = 0; h < e->hosts && e->links == 0; h++)
        for (int rank = e->host[h].first + 1; rank < e->ranks && e->links == 0; rank++)
            if (e->host_of[rank] == h)
                e->link[e->links++] =
                    link_measure(comm, e->host[h].first, rank, seconds / (between + 1));
    for (int h = 0; h < between; h++)
        e->link[e->links++] = link_measure(
            comm, e->host[h].first, e->host[(h + 1) % e->hosts].first, seconds / (between + 1));
}

static void forget(Examination *e)
{
    mem_free(e->facts);
    mem_free(e->host_of);
    mem_free(e->host);
    mem_free(e->link);
    mem_free(e->finding);
}

int doctor_examine(Comm *comm, double seconds, bool json)
{
    Examination e = { 0 };
    double began = clock_seconds();
    int code = EXIT_OK;
    gather(&e, comm);
    measure_hosts(&e, comm, seconds / 2);
    measure_links(&e, comm, seconds / 2);
    e.seconds = clock_seconds() - began;
    if (comm_rank(comm) == 0) {
        traps_find(&e);
        code = traps_code(&e);
        if (json)
            doctor_print_json(&e);
        else
            doctor_print(&e);
    }
    comm_broadcast(comm, &code, sizeof code, 0);
    forget(&e);
    return code;
}
