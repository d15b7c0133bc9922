/* The doctor's traps on machines that are made up: each is found where it is set, with its
 * severity, and nowhere else. */
#include "../../src/probe/doctor_parts.h"
#include "lockstep/memory.h"
#include "support.h"

#include <string.h>

enum { RANKS = 4 };

static Facts facts[RANKS];
static HostReport hosts[2];
static int host_of[RANKS];
static Link links[1];
static Examination e;

/* Two hosts with two ranks each and eight CPUs, where all is well. */
static void setup(void)
{
    for (int rank = 0; rank < RANKS; rank++) {
        host_of[rank] = rank / 2;
        facts[rank] = (Facts){ .launched = 4,
                               .threads = 3,
                               .folder = "/home/user",
                               .folder_free = 1e12,
                               .folder_writable = true,
                               .version = "1",
                               .isa = "x86-64-v4",
                               .mpi = "Open MPI 4.1.4",
                               .blas_core = "SkylakeX",
                               .blas_began = "SkylakeX",
                               .online_cpus = 8,
                               .load = 0.5,
                               .quota = -1,
                               .memory = 64e9,
                               .available = 60e9,
                               .limited = -1,
                               .shm_bytes = 32e9,
                               .shm_free = 32e9,
                               .huge_pages = "madvise",
                               .shm_huge_pages = "advise",
                               .governor = "performance",
                               .clock = "tsc",
                               .reads_peers = true,
                               .memory_limit = -1,
                               .file_limit = -1,
                               .files_limit = 1024,
                               .btl = "^uct,openib,ofi",
                               .single_copy = "cma" };
        strcpy(facts[rank].host, rank < 2 ? "one" : "two");
        strcpy(facts[rank].boot, rank < 2 ? "first" : "second");
        cpu_set_add(&facts[rank].cpus, rank % 2);
        cpu_set_add(&facts[rank].cores, rank % 2);
    }
    for (int h = 0; h < 2; h++) {
        hosts[h] = (HostReport){ .first = 2 * h, .ranks = 2 };
        hosts[h].link = (HostLink){ .shares = true, .right = true };
        for (int i = 0; i < 2; i++) {
            cpu_set_add(&hosts[h].cpus, i);
            cpu_set_add(&hosts[h].cores, i);
        }
    }
    links[0] = (Link){ .from = 0, .to = 2, .latency = 2e-5, .rate = 1e9, .right = true };
    e = (Examination){ .ranks = RANKS,
                       .hosts = 2,
                       .links = 1,
                       .facts = facts,
                       .host_of = host_of,
                       .host = hosts,
                       .link = links };
}

/* Exactly one finding, of this severity, whose text begins so. */
static void check_one(Severity severity, const char *text, int code)
{
    traps_find(&e);
    for (size_t i = 0; i < e.findings; i++)
        ck_assert_msg(i == 0, "found beside \"%s\": %s", text, e.finding[i].text);
    ck_assert_msg(e.findings == 1, "not found: %s", text);
    ck_assert_msg(strncmp(e.finding[0].text, text, strlen(text)) == 0, "%s", e.finding[0].text);
    ck_assert_int_eq(e.finding[0].severity, severity);
    ck_assert(e.finding[0].hint[0]);
    ck_assert_int_eq(traps_code(&e), code);
    mem_free(e.finding);
    setup();
}

START_TEST(test_nothing)
{
    setup();
    traps_find(&e);
    ck_assert_uint_eq(e.findings, 0);
    ck_assert_int_eq(traps_code(&e), EXIT_OK);
}
END_TEST

START_TEST(test_cpus)
{
    setup();
    hosts[1].cpus = hosts[1].cores = (CpuSet){ { 2 } };
    facts[2].cpus = facts[3].cpus = hosts[1].cpus;
    facts[2].yields = true;
    check_one(SEVERITY_WARNING, "2 ranks are bound to 1 of 8 CPUs (1)", EXIT_OK);
    hosts[1].cpus = (CpuSet){ { 7 } };
    facts[2].cpus = facts[3].cpus = (CpuSet){ { 4 } };
    check_one(SEVERITY_WARNING, "ranks 2 and 3 are bound to the same CPU 2", EXIT_OK);
    hosts[0].cores = (CpuSet){ { 1 } };
    check_one(SEVERITY_WARNING, "2 ranks on 1 cores of two threads each", EXIT_OK);
    facts[0].online_cpus = 1;
    facts[0].yields = true;
    hosts[0].cpus = hosts[0].cores = facts[0].cpus = facts[1].cpus = (CpuSet){ { 1 } };
    check_one(SEVERITY_WARNING, "2 ranks on 1 CPUs: oversubscribed", EXIT_OK);
    facts[2].quota = 1.5;
    facts[2].yields = true;
    check_one(SEVERITY_WARNING, "the control group may use 1.5 CPUs, 2 ranks are here", EXIT_OK);
    facts[0].load = 7;
    check_one(SEVERITY_WARNING, "other work on the machine: load 7.0 on 8 CPUs", EXIT_OK);
    strcpy(facts[2].governor, "powersave");
    check_one(SEVERITY_WARNING, "the CPUs' governor is powersave", EXIT_OK);
    strcpy(facts[2].governor, "powersave");
    strcpy(facts[2].frequency_driver, "intel_pstate");
    strcpy(facts[0].clock, "hpet");
    check_one(SEVERITY_WARNING, "the clock is hpet", EXIT_OK);
    facts[0].autogroup = 1;
    facts[0].nice = 10;
    check_one(SEVERITY_NOTE, "nice 10 counts only within its session", EXIT_OK);
}
END_TEST

START_TEST(test_memory)
{
    setup();
    facts[2].shm_free = 60e6;
    check_one(SEVERITY_WARNING, "/dev/shm has 60.0 MB free of 32.0 GB", EXIT_OK);
    facts[0].leftovers = 3;
    facts[0].leftover_bytes = 12e6;
    check_one(SEVERITY_WARNING, "/dev/shm holds files of dead jobs: 3, 12.0 MB", EXIT_OK);
    hosts[0].link.shares = false;
    check_one(SEVERITY_WARNING, "the ranks of this host do not share memory", EXIT_OK);
    strcpy(facts[0].shm_huge_pages, "never");
    check_one(SEVERITY_NOTE, "shared weights and gradients are in small pages", EXIT_OK);
    strcpy(facts[2].huge_pages, "never");
    check_one(SEVERITY_NOTE, "large arrays are in small pages", EXIT_OK);
    facts[0].limited = 500e6;
    check_one(SEVERITY_WARNING, "500 MB of memory for 2 ranks", EXIT_OK);
    facts[0].overcommit = 2;
    check_one(SEVERITY_WARNING, "vm.overcommit_memory is 2", EXIT_OK);
    facts[0].memory_limit = 4e9;
    check_one(SEVERITY_WARNING, "address space is limited to 4.00 GB", EXIT_OK);
}
END_TEST

START_TEST(test_limits)
{
    setup();
    facts[2].files_limit = 70;
    check_one(SEVERITY_WARNING, "70 open files a process, 4 ranks may need 80", EXIT_OK);
    facts[0].file_limit = 1e6;
    check_one(SEVERITY_WARNING, "files are limited to 1.00 MB", EXIT_OK);
    facts[0].core_limit = -1;
    facts[0].core_is_file = true;
    check_one(SEVERITY_NOTE, "each rank that crashes leaves a core file", EXIT_OK);
    facts[0].threads = 64;
    check_one(SEVERITY_NOTE, "a rank has 64 threads", EXIT_OK);
    facts[0].folder_writable = false;
    check_one(SEVERITY_WARNING, "/home/user: no run folder can be made here", EXIT_OK);
    facts[0].folder_free = 3e8;
    check_one(SEVERITY_WARNING, "/home/user: 300 MB free", EXIT_OK);
}
END_TEST

START_TEST(test_libraries)
{
    setup();
    for (int rank = 0; rank < RANKS; rank++)
        strcpy(facts[rank].blas_core, "Haswell");
    facts[2].isa[8] = facts[3].isa[8] = facts[1].isa[8] = facts[0].isa[8] = '3';
    strcpy(facts[2].blas_began, "Haswell");
    strcpy(facts[0].blas_began, "Nehalem");
    strcpy(facts[0].blas_variable, "Nehalem");
    check_one(SEVERITY_NOTE, "OPENBLAS_CORETYPE=Nehalem is weaker than the CPU", EXIT_OK);
    strcpy(facts[0].blas_began, "Haswell");
    check_one(SEVERITY_NOTE, "OpenBLAS takes this CPU for a Haswell", EXIT_OK);
    facts[0].reads_peers = false;
    check_one(SEVERITY_WARNING, "messages within the host read the sender's memory", EXIT_OK);
    strcpy(facts[0].btl, "self,tcp");
    check_one(SEVERITY_WARNING, "btl = self,tcp: messages within the host", EXIT_OK);
    strcpy(facts[0].btl, "^tcp");
    check_one(SEVERITY_NOTE, "btl = ^tcp admits openib again", EXIT_OK);
    strcpy(facts[2].interfaces, "docker0 virbr0");
    check_one(SEVERITY_WARNING, "bridges of containers or virtual machines: docker0", EXIT_OK);
}
END_TEST

START_TEST(test_ranks)
{
    setup();
    strcpy(facts[3].version, "2");
    check_one(SEVERITY_FATAL, "program: rank 0 on one has 1, rank 3 on two has 2", EXIT_REPLICAS);
    strcpy(facts[2].isa, "x86-64-v3");
    check_one(SEVERITY_FATAL, "instruction set: rank 0 on one has x86-64-v4", EXIT_REPLICAS);
    strcpy(facts[2].folder, "/root");
    check_one(SEVERITY_WARNING, "folder: rank 0 on one has /home/user, rank 2", EXIT_OK);
    strcpy(facts[1].boot, "third");
    check_one(SEVERITY_WARNING, "several machines have the host name one", EXIT_OK);
    strcpy(facts[2].boot, "first");
    strcpy(facts[3].boot, "first");
    check_one(SEVERITY_NOTE, "several hosts are one machine", EXIT_OK);
    links[0].right = false;
    check_one(SEVERITY_FATAL, "messages between rank 0 on one and rank 2 on two arrive changed",
              EXIT_PEER);
    links[0].latency = 4e-3;
    check_one(SEVERITY_WARNING, "a message between one and two takes 4 ms", EXIT_OK);
    hosts[1].link.right = false;
    check_one(SEVERITY_FATAL, "ranks read something else from shared memory", EXIT_PEER);
    e.ranks = e.hosts = hosts[0].ranks = 1;
    e.links = 0;
    check_one(SEVERITY_FATAL, "4 ranks were launched, but each believes that it is alone",
              EXIT_PEER);
}
END_TEST

/* The same on both hosts is told once, and names both; the worst comes first. */
START_TEST(test_order)
{
    setup();
    for (int h = 0; h < 2; h++) {
        strcpy(facts[2 * h].clock, "hpet");
        strcpy(facts[2 * h].huge_pages, "never");
        hosts[h].link.shares = h == 0;
    }
    strcpy(facts[3].version, "2");
    traps_find(&e);
    ck_assert_uint_eq(e.findings, 4);
    ck_assert_int_eq(e.finding[0].severity, SEVERITY_FATAL);
    ck_assert_str_eq(e.finding[1].where, "one, two");
    ck_assert_str_eq(e.finding[2].where, "two");
    ck_assert_int_eq(e.finding[3].severity, SEVERITY_NOTE);
    mem_free(e.finding);
    setup();
    facts[0].quota = 1;
    traps_find(&e);
    ck_assert_uint_eq(e.findings, 2);
    ck_assert(strncmp(e.finding[0].text, "ranks that wait keep the core", 29) == 0);
    ck_assert(strncmp(e.finding[1].text, "the control group may use 1", 27) == 0);
    mem_free(e.finding);
}
END_TEST

START_TEST(test_cpu_set)
{
    char text[64];
    CpuSet set = { 0 };
    ck_assert_str_eq(cpu_set_text(text, sizeof text, &set), "");
    for (int cpu = 62; cpu < 66; cpu++)
        cpu_set_add(&set, cpu);
    cpu_set_add(&set, 0);
    cpu_set_add(&set, FACT_CPUS - 1);
    cpu_set_add(&set, FACT_CPUS);
    ck_assert_str_eq(cpu_set_text(text, sizeof text, &set), "0,62-65,1023");
    ck_assert_int_eq(cpu_set_count(&set), 6);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("traps");
    add_test(suite, test_nothing);
    add_test(suite, test_cpus);
    add_test(suite, test_memory);
    add_test(suite, test_limits);
    add_test(suite, test_libraries);
    add_test(suite, test_ranks);
    add_test(suite, test_order);
    add_test(suite, test_cpu_set);
    return run_suite(suite);
}
