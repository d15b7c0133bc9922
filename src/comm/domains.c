/* NUMA domains of a host, in truth or in pretence: cores that are next to the same memory. The
 * kernel tells which one a core belongs to (/sys/devices/system/cpu/cpuN/nodeM). */
#include "world.h"

#include "lockstep/log.h"

#include <dirent.h>
#include <sched.h>
#include <stdio.h>

/* 0 where the kernel knows of no domains. */
static int domain_of(int cpu)
{
    char path[64];
    int domain = 0;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d", cpu);
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (sscanf(entry->d_name, "node%d", &domain) == 1)
            break;
    if (folder)
        closedir(folder);
    return domain;
}

/* The domain of all cores that this rank may run on; -1: they are in several. */
static int bound_domain(void)
{
    cpu_set_t cpus;
    int domain = -1;
    if (sched_getaffinity(0, sizeof cpus, &cpus) != 0)
        return -1;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET((size_t)cpu, &cpus))
            continue;
        int here = domain_of(cpu);
        if (domain >= 0 && here != domain)
            return -1;
        domain = here;
    }
    return domain;
}

Comm *comm_split_domain(Comm *host, int pretended)
{
    int domain =
        pretended > 0 ? (int)((int64_t)host->rank * pretended / host->size) : bound_domain();
    if (comm_any(host, domain < 0)) {
        log_warn("comm.domain: ranks may run on cores of several NUMA domains (mpirun: --bind-to "
                 "numa): one copy for all of the host");
        domain = 0;
    }
    Comm *part = comm_split(host, domain);
    part->around = host;
    return part;
}
