/* Known traps of a host: its CPUs, memory, limits and libraries, and how ranks use them. */
#include "doctor_parts.h"

#include "lockstep/text.h"

#include <stdlib.h>
#include <string.h>

#define MB (1024.0 * 1024)

const Facts *host_facts(const Examination *e, const HostReport *host)
{
    return &e->facts[host->first];
}

/* CPUs a host's ranks may use at once: those of their masks, or as many as the group's quota. */
static double host_cpus(const Examination *e, const HostReport *host)
{
    double cpus = cpu_set_count(&host->cpus), quota = e->facts[host->first].quota;
    return quota > 0 && quota < cpus ? quota : cpus;
}

/* ---- CPUs ---- */

static void look_at_binding(Examination *e, const HostReport *host)
{
    const Facts *facts = host_facts(e, host);
    int cpus = cpu_set_count(&host->cpus), cores = cpu_set_count(&host->cores);
    char set[64];
    cpu_set_text(set, sizeof set, &host->cpus);
    if (host->ranks > cpus && facts->online_cpus > cpus)
        finding_add(
            e, host, SEVERITY_WARNING, EXIT_OK,
            "%d ranks are bound to %d of %d CPUs (%s)\nthey take turns: mpirun --bind-to core "
            "--map-by core, or --bind-to none; two jobs of mpirun both bind from CPU 0 on",
            host->ranks, cpus, facts->online_cpus, set);
    else if (host->ranks > cpus)
        finding_add(
            e, host, SEVERITY_WARNING, EXIT_OK,
            "%d ranks on %d CPUs: oversubscribed\nthe bits are right, the time is not: start at "
            "most %d ranks here",
            host->ranks, cpus, cpus);
    else if (host->ranks > cores)
        finding_add(
            e, host, SEVERITY_WARNING, EXIT_OK,
            "%d ranks on %d cores of two threads each\nthreads of a core share its vector units: "
            "start at most %d ranks here",
            host->ranks, cores, cores);
    if (host->ranks > host_cpus(e, host) && !facts->yields)
        finding_add(e, host, SEVERITY_WARNING, EXIT_OK,
                    "ranks that wait keep the core from those they wait for\nset "
                    "OMPI_MCA_mpi_yield_when_idle=1 (launch/local does it), or a message takes a "
                    "scheduler's turn, some milliseconds");
}

/* Ranks that may go anywhere are moved, and lose their caches. Some are bound and others not? */
static void look_at_masks(Examination *e, const HostReport *host)
{
    int bound = 0, cpus = cpu_set_count(&host->cpus);
    for (int rank = 0; rank < e->ranks; rank++)
        if (&e->host[e->host_of[rank]] == host)
            bound += cpu_set_count(&e->facts[rank].cpus) < cpus;
    for (int a = 0; a < e->ranks; a++)
        for (int b = a + 1; b < e->ranks; b++) {
            const CpuSet *x = &e->facts[a].cpus, *y = &e->facts[b].cpus;
            bool here = &e->host[e->host_of[a]] == host && e->host_of[a] == e->host_of[b];
            if (here && bound > 0 && host->ranks <= cpus && cpu_set_count(x) == 1 &&
                cpu_set_equal(x, y)) {
                char set[32];
                finding_add(
                    e, host, SEVERITY_WARNING, EXIT_OK,
                    "ranks %d and %d are bound to the same CPU %s\nall others wait for these two: "
                    "mpirun --bind-to core --map-by core",
                    a, b, cpu_set_text(set, sizeof set, x));
                return;
            }
        }
}

static void look_at_cpus(Examination *e, const HostReport *host)
{
    const Facts *facts = host_facts(e, host);
    look_at_binding(e, host);
    look_at_masks(e, host);
    if (facts->quota > 0 && facts->quota < host->ranks)
        finding_add(
            e, host, SEVERITY_WARNING, EXIT_OK,
            "the control group may use %.3g CPUs, %d ranks are here\nall ranks stand still when "
            "the quota is used up: raise it (docker --cpus) or start fewer ranks",
            facts->quota, host->ranks);
    if (facts->load > 0.5 * facts->online_cpus + 1)
        finding_add(
            e, host, SEVERITY_WARNING, EXIT_OK,
            "other work on the machine: load %.1f on %d CPUs in the last minute\nevery step waits "
            "for the slowest rank, so a busy core slows all of them",
            facts->load, facts->online_cpus);
    if (strcmp(facts->governor, "powersave") == 0 && !strstr(facts->frequency_driver, "pstate"))
        finding_add(e, host, SEVERITY_WARNING, EXIT_OK,
                    "the CPUs' governor is powersave: the lowest frequency, always\ncpupower "
                    "frequency-set -g performance (or schedutil)");
    if (facts->autogroup == 1 && facts->nice > 0)
        finding_add(e, host, SEVERITY_NOTE, EXIT_OK,
                    "nice %d counts only within its session: sched_autogroup is on\necho 0 > "
                    "/proc/sys/kernel/sched_autogroup_enabled, or echo %d > /proc/PID/autogroup",
                    facts->nice, facts->nice);
    if (facts->clock[0] && strstr("hpet acpi_pm jiffies refined-jiffies pit", facts->clock))
        finding_add(
            e, host, SEVERITY_WARNING, EXIT_OK,
            "the clock is %s: reading it takes microseconds\na kernel or hypervisor that does not "
            "trust the time-stamp counter; see /sys/devices/system/clocksource",
            facts->clock);
}

/* ---- memory ---- */

static void look_at_shared_memory(Examination *e, const HostReport *host)
{
    const Facts *facts = host_facts(e, host);
    char size[32], free_size[32];
    if (host->ranks > 1 && facts->shm_bytes >= 0 && facts->shm_free < 256 * MB)
        finding_add(
            e, host, SEVERITY_WARNING, EXIT_OK,
            "/dev/shm has %s free of %s\nranks of a host share weights and gradients there; "
            "without room each has its own and sends messages: docker --shm-size=8g, or mount -o "
            "remount,size=8g /dev/shm",
            text_bytes(free_size, sizeof free_size, facts->shm_free),
            text_bytes(size, sizeof size, facts->shm_bytes));
    else if (host->ranks > 1 && !host->link.shares)
        finding_add(
            e, host, SEVERITY_WARNING, EXIT_OK,
            "the ranks of this host do not share memory\nthey are in containers of their own, or "
            "/dev/shm cannot be written: each has its own weights and sends messages");
    if (facts->leftovers > 0)
        finding_add(
            e, host, SEVERITY_WARNING, EXIT_OK,
            "/dev/shm holds files of dead jobs: %d, %s\nranks that are killed leave them: rm "
            "/dev/shm/vader_segment.* /dev/shm/osc_* while no job runs",
            facts->leftovers, text_bytes(size, sizeof size, facts->leftover_bytes));
    if (host->ranks > 1 && strcmp(facts->shm_huge_pages, "never") == 0)
        finding_add(e, host, SEVERITY_NOTE, EXIT_OK,
                    "shared weights and gradients are in small pages\necho advise > "
                    "/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    if (strcmp(facts->huge_pages, "never") == 0)
        finding_add(e, host, SEVERITY_NOTE, EXIT_OK,
                    "large arrays are in small pages\necho madvise > "
                    "/sys/kernel/mm/transparent_hugepage/enabled");
}

static void look_at_memory(Examination *e, const HostReport *host)
{
    const Facts *facts = host_facts(e, host);
    double most =
        facts->limited > 0 && facts->limited < facts->available ? facts->limited : facts->available;
    char size[32];
    look_at_shared_memory(e, host);
    if (most >= 0 && most < 512 * MB * host->ranks)
        finding_add(
            e, host, SEVERITY_WARNING, EXIT_OK,
            "%s of memory for %d rank%s\nlockstep train CONFIG --dry-run tells what a run takes",
            text_bytes(size, sizeof size, most), host->ranks, host->ranks == 1 ? "" : "s");
    if (facts->overcommit == 2)
        finding_add(
            e, host, SEVERITY_WARNING, EXIT_OK,
            "vm.overcommit_memory is 2: address space counts as memory\n--dry-run and programs "
            "that share memory may be refused: sysctl vm.overcommit_memory=0");
    if (facts->memory_limit > 0)
        finding_add(
            e, host, SEVERITY_WARNING, EXIT_OK,
            "address space is limited to %s (ulimit -v)\nshared memory and --dry-run take much "
            "more address space than memory: ulimit -v unlimited",
            text_bytes(size, sizeof size, facts->memory_limit));
}

/* ---- limits ---- */

static void look_at_limits(Examination *e, const HostReport *host)
{
    const Facts *facts = host_facts(e, host);
    double wanted = 64 + 4.0 * e->ranks;
    char size[32];
    if (facts->files_limit >= 0 && facts->files_limit < wanted)
        finding_add(
            e, host, SEVERITY_WARNING, EXIT_OK,
            "%.0f open files a process, %d ranks may need %.0f\nulimit -n %.0f, on every host",
            facts->files_limit, e->ranks, wanted, 4 * wanted);
    if (facts->file_limit >= 0)
        finding_add(
            e, host, SEVERITY_WARNING, EXIT_OK,
            "files are limited to %s (ulimit -f)\nshared memory is a file too, and a checkpoint "
            "that is longer ends the run: ulimit -f unlimited",
            text_bytes(size, sizeof size, facts->file_limit));
    if (facts->core_limit != 0 && facts->core_is_file && host->ranks > 1)
        finding_add(
            e, host, SEVERITY_NOTE, EXIT_OK,
            "each rank that crashes leaves a core file, as large as its memory\nulimit -c 0, "
            "unless somebody will read them");
    if (facts->threads > 16 && facts->threads > 2 * facts->online_cpus / (host->ranks + 1))
        finding_add(
            e, host, SEVERITY_NOTE, EXIT_OK,
            "a rank has %d threads\nOpenBLAS has started a pool that lockstep does not use: "
            "OPENBLAS_NUM_THREADS=1 (mpirun -x hands it to other hosts)",
            facts->threads);
}

/* ---- libraries ---- */

static void look_at_blas(Examination *e, const HostReport *host)
{
    const Facts *facts = host_facts(e, host);
    bool changed = strcmp(facts->blas_core, facts->blas_began) != 0;
    if (facts->blas_trouble[0])
        finding_add(e, host, SEVERITY_WARNING, EXIT_OK,
                    "%s\ncompute.blas_core=keep takes what is there", facts->blas_trouble);
    if (changed && facts->blas_variable[0])
        finding_add(
            e, host, SEVERITY_NOTE, EXIT_OK,
            "OPENBLAS_CORETYPE=%s is weaker than the CPU; training takes %s\nunset it, or keep it "
            "with compute.blas_core=keep; other programs run at its speed",
            facts->blas_variable, facts->blas_core);
    else if (changed)
        finding_add(
            e, host, SEVERITY_NOTE, EXIT_OK,
            "OpenBLAS takes this CPU for a %s; training takes its %s kernels\nother programs: "
            "OPENBLAS_CORETYPE=%s",
            facts->blas_began, facts->blas_core, facts->blas_core);
    else if (strstr(facts->isa, "v4") && strcasecmp(facts->blas_core, "Haswell") == 0)
        finding_add(
            e, host, SEVERITY_WARNING, EXIT_OK,
            "OpenBLAS runs Haswell kernels on a CPU with AVX-512, about half its speed\nthis "
            "OpenBLAS cannot be told to change: set OPENBLAS_CORETYPE=SkylakeX");
}

/* Open MPI's `btl`: what carries messages. The variable replaces the list in Debian's file, it does
 * not add to it. */
static void look_at_mpi(Examination *e, const HostReport *host)
{
    const Facts *facts = host_facts(e, host);
    const char *btl = facts->btl;
    if (strcmp(facts->single_copy, "cma") == 0 && host->ranks > 1 && !facts->reads_peers)
        finding_add(
            e, host, SEVERITY_WARNING, EXIT_OK,
            "messages within the host read the sender's memory, which is forbidden here\nset "
            "OMPI_MCA_btl_vader_single_copy_mechanism=none, or give the container SYS_PTRACE");
    if (btl[0] && btl[0] != '^' && host->ranks > 1 && !strstr(btl, "vader") && !strstr(btl, "sm"))
        finding_add(
            e, host, SEVERITY_WARNING, EXIT_OK,
            "btl = %s: messages within the host do not go through memory\nadd vader (Open MPI 4) "
            "or sm (5): OMPI_MCA_btl=self,vader,tcp",
            btl);
    if (btl[0] == '^' && strstr(facts->mpi, " 4.") && !strstr(btl, "openib"))
        finding_add(e, host, SEVERITY_NOTE, EXIT_OK,
                    "btl = %s admits openib again, which Debian's file excludes\nOMPI_MCA_btl "
                    "replaces that "
                    "list: name all of it, such as ^tcp,uct,openib,ofi",
                    btl);
    if (e->hosts > 1 && facts->interfaces[0] && !getenv("OMPI_MCA_btl_tcp_if_include") &&
        !getenv("OMPI_MCA_btl_tcp_if_exclude"))
        finding_add(
            e, host, SEVERITY_WARNING, EXIT_OK,
            "bridges of containers or virtual machines: %s\nOpen MPI may try to reach other hosts "
            "there and hang: OMPI_MCA_btl_tcp_if_exclude=lo,%s",
            facts->interfaces, facts->interfaces);
}

void traps_find_on(Examination *e, const HostReport *host)
{
    look_at_cpus(e, host);
    look_at_memory(e, host);
    look_at_limits(e, host);
    look_at_blas(e, host);
    look_at_mpi(e, host);
}
