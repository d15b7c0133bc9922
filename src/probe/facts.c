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

/* ---- small files ---- */

/* The first line without its end; "" and false if there is none. */
static bool read_line(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "r");
    text[0] = '\0';
    bool ok = file && fgets(text, (int)size, file);
    if (file)
        fclose(file);
    text[strcspn(text, "\n")] = '\0';
    return ok;
}

static double read_number(const char *path)
{
    char text[64];
    double value;
    return read_line(path, text, sizeof text) && text_to_double(text, &value) ? value : -1;
}

/* "key:   123 kB" of a file of such lines, in units of the file. */
static double read_field(const char *path, const char *key)
{
    FILE *file = fopen(path, "r");
    char line[256];
    double value = -1;
    size_t length = strlen(key);
    while (file && value < 0 && fgets(line, sizeof line, file))
        if (strncmp(line, key, length) == 0 && line[length] == ':')
            value = strtod(line + length + 1, NULL);
    if (file)
        fclose(file);
    return value;
}

/* The choice in force: of "always [madvise] never" madvise. */
static void read_choice(const char *path, char *text, size_t size)
{
    char line[128];
    text[0] = '\0';
    char *open = read_line(path, line, sizeof line) ? strchr(line, '[') : NULL;
    if (open)
        snprintf(text, size, "%.*s", (int)strcspn(open + 1, "]"), open + 1);
}

/* ---- CPUs ---- */

/* A core's name: the first of its CPUs. */
static int core_of(int cpu)
{
    char path[96], line[128];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    return read_line(path, line, sizeof line) ? atoi(line) : cpu;
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
    read_line(path, facts->governor, sizeof facts->governor);
    snprintf(path, sizeof path, "%sscaling_driver", frequency);
    read_line(path, facts->frequency_driver, sizeof facts->frequency_driver);
    read_line("/sys/devices/system/clocksource/clocksource0/current_clocksource", facts->clock,
              sizeof facts->clock);
}

/* ---- what the cgroup allows ---- */

/* This process's group below `controller` ("" for version 2), from "4:memory:/a/b". */
static bool find_group(const char *controller, char *path, size_t size)
{
    FILE *file = fopen("/proc/self/cgroup", "r");
    char line[512];
    bool found = false;
    while (file && !found && fgets(line, sizeof line, file)) {
        char *name = strchr(line, ':'), *group = name ? strchr(name + 1, ':') : NULL;
        if (!group)
            continue;
        *group = '\0';
        group[1 + strcspn(group + 1, "\n")] = '\0';
        char list[512], wanted[64];
        snprintf(list, sizeof list, ",%s,", name + 1);
        snprintf(wanted, sizeof wanted, ",%s,", controller);
        found = strstr(list, wanted) != NULL;
        if (found)
            snprintf(path, size, "%s", group + 1);
    }
    if (file)
        fclose(file);
    return found;
}

/* The smallest value that `read` finds in `file` of the group and of those above it. In a container
 * the group's path may be the host's, and then only the top is there. */
static double smallest(const char *root, const char *controller, double (*read)(const char *folder))
{
    char group[512] = "", folder[640];
    double least = -1;
    if (!find_group(controller, group, sizeof group))
        return -1;
    for (char *end = group + strlen(group); end; end = strrchr(group, '/')) {
        *end = '\0';
        snprintf(folder, sizeof folder, "%s%s", root, group);
        double value = read(folder);
        if (value >= 0 && (least < 0 || value < least))
            least = value;
    }
    return least;
}

static double in_folder(const char *folder, const char *name)
{
    char path[768];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return read_number(path);
}

/* "200000 100000": two CPUs; "max 100000": all. */
static double quota_v2(const char *folder)
{
    char path[768], line[64];
    double quota, period;
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    return read_line(path, line, sizeof line) && sscanf(line, "%lf %lf", &quota, &period) == 2
               ? quota / period
               : -1;
}

static double quota_v1(const char *folder)
{
    double quota = in_folder(folder, "cpu.cfs_quota_us");
    double period = in_folder(folder, "cpu.cfs_period_us");
    return quota > 0 && period > 0 ? quota / period : -1;
}

static double memory_v2(const char *folder)
{
    return in_folder(folder, "memory.max");
}

static double memory_v1(const char *folder)
{
    double bytes = in_folder(folder, "memory.limit_in_bytes");
    return bytes < 1e18 ? bytes : -1; /* that is how version 1 says "none" */
}

static void collect_cgroup(Facts *facts)
{
    facts->quota = smallest("/sys/fs/cgroup", "", quota_v2);
    if (facts->quota < 0)
        facts->quota = smallest("/sys/fs/cgroup/cpu", "cpu", quota_v1);
    facts->limited = smallest("/sys/fs/cgroup", "", memory_v2);
    if (facts->limited < 0)
        facts->limited = smallest("/sys/fs/cgroup/memory", "memory", memory_v1);
}

/* ---- memory ---- */

static void collect_memory(Facts *facts)
{
    struct statvfs status;
    double total = read_field("/proc/meminfo", "MemTotal");
    double available = read_field("/proc/meminfo", "MemAvailable");
    facts->memory = total < 0 ? -1 : 1024 * total;
    facts->available = available < 0 ? -1 : 1024 * available;
    facts->shm_bytes = facts->shm_free = -1;
    if (statvfs("/dev/shm", &status) == 0) {
        facts->shm_bytes = (double)status.f_blocks * (double)status.f_frsize;
        facts->shm_free = (double)status.f_bavail * (double)status.f_frsize;
    }
    read_choice("/sys/kernel/mm/transparent_hugepage/enabled", facts->huge_pages,
                sizeof facts->huge_pages);
    read_choice("/sys/kernel/mm/transparent_hugepage/shmem_enabled", facts->shm_huge_pages,
                sizeof facts->shm_huge_pages);
    facts->overcommit = (int)read_number("/proc/sys/vm/overcommit_memory");
}

/* Open MPI's messages within a host may read the sender's memory; some containers forbid it. */
static bool can_read_peers(void)
{
    char from = 1, to = 0;
    struct iovec local = { &to, 1 }, remote = { &from, 1 };
    return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == 1;
}

/* ---- the process ---- */

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
        read_line("/proc/sys/kernel/core_pattern", pattern, sizeof pattern) && pattern[0] != '|';
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
    facts->threads = (int)read_field("/proc/self/status", "Threads");
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

void facts_collect(Facts *facts, const Comm *comm)
{
    double load[1];
    *facts = (Facts){ .numa_nodes = count_numa_nodes(), .reads_peers = can_read_peers() };
    facts->load = getloadavg(load, 1) == 1 ? load[0] : -1;
    facts->autogroup = (int)read_number("/proc/sys/kernel/sched_autogroup_enabled");
    snprintf(facts->host, sizeof facts->host, "%.120s", comm_host(comm));
    read_line("/proc/sys/kernel/random/boot_id", facts->boot, sizeof facts->boot);
    collect_process(facts);
    collect_program(facts);
    collect_cpus(facts);
    collect_clocks(facts);
    collect_cgroup(facts);
    collect_memory(facts);
    collect_limits(facts);
    collect_interfaces(facts);
}
