/* A rank's view of its machine, from /proc, /sys, its environment and its libraries. Whatever
 * cannot be read is left unknown. */
#include "facts.h"

#include "lockstep/cpu.h"
#include "lockstep/links.h"
#include "lockstep/text.h"
#include "lockstep/version.h"

#include <gnu/libc-version.h>
#include <ifaddrs.h>
#include <math.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- CPUs ---- */

/* A core's name: the first of its CPUs. */
static int core_of(int cpu)
{
    char path[96], line[128];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    return facts_line(path, line, sizeof line) ? atoi(line) : cpu;
}

static void collect_cpus(Facts *facts)
{
    cpu_set_t set[FACT_CPUS / CPU_SETSIZE];
    CPU_ZERO_S(sizeof set, set);
    facts->online_cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (sched_getaffinity(0, sizeof set, set) != 0)
        return;
    for (size_t cpu = 0; cpu < FACT_CPUS; cpu++)
        if (CPU_ISSET_S(cpu, sizeof set, set)) {
            cpu_set_add(&facts->cpus, (int)cpu);
            cpu_set_add(&facts->cores, core_of((int)cpu));
        }
}

static int count_numa_nodes(void)
{
    int count = 0;
    char path[64];
    for (int node = 0; node < 64; node++) {
        snprintf(path, sizeof path, "/sys/devices/system/node/node%d", node);
        count += access(path, F_OK) == 0;
    }
    return count > 0 ? count : -1;
}

static void collect_clocks(Facts *facts)
{
    static const char frequency[] = "/sys/devices/system/cpu/cpu0/cpufreq/";
    char path[128];
    snprintf(path, sizeof path, "%sscaling_governor", frequency);
    facts_line(path, facts->governor, sizeof facts->governor);
    snprintf(path, sizeof path, "%sscaling_driver", frequency);
    facts_line(path, facts->frequency_driver, sizeof facts->frequency_driver);
    facts_line("/sys/devices/system/clocksource/clocksource0/current_clocksource", facts->clock,
               sizeof facts->clock);
}

/* ---- the process ---- */

/* Open MPI's messages within a host may read the sender's memory; some containers forbid it. */
static bool can_read_peers(void)
{
    char from = 1, to = 0;
    struct iovec local = { &to, 1 }, remote = { &from, 1 };
    return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == 1;
}

static double limit(__rlimit_resource_t resource)
{
    struct rlimit value;
    return getrlimit(resource, &value) == 0 && value.rlim_cur != RLIM_INFINITY
               ? (double)value.rlim_cur
               : -1;
}

static void collect_limits(Facts *facts)
{
    char pattern[128];
    facts->core_limit = limit(RLIMIT_CORE);
    facts->memory_limit = limit(RLIMIT_AS);
    facts->file_limit = limit(RLIMIT_FSIZE);
    facts->files_limit = limit(RLIMIT_NOFILE);
    facts->core_is_file =
        facts_line("/proc/sys/kernel/core_pattern", pattern, sizeof pattern) && pattern[0] != '|';
}

/* A rank of a job of many that another MPI library has started believes that it is alone. */
static int launched_ranks(void)
{
    static const char *const names[] = { "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS",
                                         "SLURM_STEP_NUM_TASKS" };
    int most = -1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *text = getenv(names[i]);
        int64_t ranks;
        if (text && text_to_int(text, &ranks) && ranks > most && ranks < INT_MAX)
            most = (int)ranks;
    }
    return most;
}

static void collect_process(Facts *facts)
{
    struct statvfs status;
    const char *yields = getenv("OMPI_MCA_mpi_yield_when_idle");
    facts->pid = (int)getpid();
    facts->nice = getpriority(PRIO_PROCESS, 0);
    facts->threads = (int)facts_field("/proc/self/status", "Threads");
    facts->launched = launched_ranks();
    facts->yields = yields && strcmp(yields, "0") != 0;
    char folder[PATH_MAX];
    if (getcwd(folder, sizeof folder))
        snprintf(facts->folder, sizeof facts->folder, "%.250s", folder);
    facts->folder_free =
        statvfs(".", &status) == 0 ? (double)status.f_bavail * (double)status.f_frsize : -1;
    facts->folder_writable =
        access("runs", W_OK) == 0 || (access("runs", F_OK) != 0 && access(".", W_OK) == 0);
}

/* ---- program, libraries, network ---- */

static void collect_program(Facts *facts)
{
    Err err = { .text = "" };
    const char *variable = getenv("OPENBLAS_CORETYPE");
    snprintf(facts->blas_variable, sizeof facts->blas_variable, "%s", variable ? variable : "");
    if (!cpu_blas_setup("auto", &err))
        snprintf(facts->blas_trouble, sizeof facts->blas_trouble, "%.120s", err.text);
    snprintf(facts->blas_core, sizeof facts->blas_core, "%s", cpu_blas_core());
    snprintf(facts->blas_began, sizeof facts->blas_began, "%s", cpu_blas_inherited());
    snprintf(facts->version, sizeof facts->version, "%s (%s)", version_string(), version_git());
    snprintf(facts->c_library, sizeof facts->c_library, "%s", gnu_get_libc_version());
    snprintf(facts->isa, sizeof facts->isa, "%s", cpu_isa_name(cpu_isa()));
    snprintf(facts->cpu, sizeof facts->cpu, "%s", cpu_model());
    snprintf(facts->mpi, sizeof facts->mpi, "%s", comm_library());
    comm_mpi_setting("pml", facts->pml, sizeof facts->pml);
    comm_mpi_setting("btl", facts->btl, sizeof facts->btl);
    comm_mpi_setting("btl_vader_single_copy_mechanism", facts->single_copy,
                     sizeof facts->single_copy);
}

/* Bridges have addresses that other hosts have too, or that do not lead there. */
static void collect_interfaces(Facts *facts)
{
    static const char *const bridges[] = { "docker", "br-", "virbr", "lxcbr", "cni", "podman" };
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) != 0)
        return;
    for (const struct ifaddrs *one = all; one; one = one->ifa_next) {
        bool up = one->ifa_flags & IFF_UP;
        bool ip = one->ifa_addr && one->ifa_addr->sa_family == AF_INET;
        for (size_t i = 0; up && ip && i < sizeof bridges / sizeof *bridges; i++)
            if (strncmp(one->ifa_name, bridges[i], strlen(bridges[i])) == 0)
                text_append(facts->interfaces, sizeof facts->interfaces, "%s%s",
                            facts->interfaces[0] ? " " : "", one->ifa_name);
    }
    freeifaddrs(all);
}

/* Of its host's ranks. */
static bool is_first(const Comm *comm)
{
    int rank = comm_rank(comm), other = 0;
    while (comm_host_index(comm, other) != comm_host_index(comm, rank))
        other++;
    return other == rank;
}

void facts_collect(Facts *facts, const Comm *comm)
{
    double load[1];
    *facts = (Facts){ .numa_nodes = count_numa_nodes(), .reads_peers = can_read_peers() };
    facts->load = getloadavg(load, 1) == 1 ? load[0] : -1;
    facts->autogroup = (int)facts_number("/proc/sys/kernel/sched_autogroup_enabled");
    snprintf(facts->host, sizeof facts->host, "%.120s", comm_host(comm));
    facts_line("/proc/sys/kernel/random/boot_id", facts->boot, sizeof facts->boot);
    collect_process(facts);
    collect_program(facts);
    collect_cpus(facts);
    collect_clocks(facts);
    facts_memory(facts, is_first(comm));
    collect_limits(facts);
    collect_interfaces(facts);
}
