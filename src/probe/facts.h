/* What a rank finds out about itself and its host. Plain data, so that rank 0 can gather it. */
#ifndef LOCKSTEP_PROBE_FACTS_H
#define LOCKSTEP_PROBE_FACTS_H

#include "lockstep/comm.h"

#include <limits.h>

#define FACT_CPUS 1024
#define FACT_WORDS (FACT_CPUS / 64)

/* A set of logical CPUs, or of cores, each named by the first of its CPUs. */
typedef struct CpuSet {
    uint64_t words[FACT_WORDS];
} CpuSet;
void cpu_set_add(CpuSet *set, int cpu);
void cpu_set_join(CpuSet *set, const CpuSet *other);
int cpu_set_count(const CpuSet *set);
bool cpu_set_equal(const CpuSet *a, const CpuSet *b);
char *cpu_set_text(char *buffer, size_t size, const CpuSet *set); /* "0-3,8" */

/* Texts are "" and numbers -1 where the system does not tell. */
typedef struct Facts {
    /* the rank */
    int pid, nice;
    CpuSet cpus, cores; /* where it may run */
    int threads;        /* of its process */
    int launched;       /* ranks that the launcher says it has started */
    bool yields;        /* Open MPI gives up the core while it waits */
    char folder[256];   /* where it was started */
    double folder_free; /* bytes */
    bool folder_writable;

    /* program and libraries */
    char version[64], c_library[32], isa[24], cpu[128], mpi[64];
    char blas_core[32], blas_began[32], blas_variable[32], blas_trouble[128];

    /* the host */
    char host[128], boot[40]; /* the kernel's id of this boot: one a machine */
    int online_cpus, numa_nodes;
    double load;                       /* runnable processes, mean of the last minute */
    double quota;                      /* CPUs that the cgroup may use */
    double memory, available, limited; /* bytes: there is, is free, the cgroup may use */
    double shm_bytes, shm_free;        /* /dev/shm */
    int leftovers;                     /* files of dead jobs there, as its first rank sees it */
    double leftover_bytes;
    char huge_pages[16], shm_huge_pages[16], governor[24], frequency_driver[32], clock[24];
    char interfaces[128]; /* bridges of containers and virtual machines: "docker0 virbr0" */
    int autogroup, overcommit;
    bool reads_peers; /* process_vm_readv is allowed */

    /* limits of the process, bytes or counts; -1: none */
    double core_limit, memory_limit, file_limit, files_limit;
    bool core_is_file; /* a core dump becomes a file in the folder */

    /* Open MPI */
    char pml[48], btl[96], single_copy[32];
} Facts;

/* This rank's. Chooses OpenBLAS's kernels on the way, as training does. */
void facts_collect(Facts *facts, const Comm *comm);

/* facts_memory.c: its part of that, with what dead jobs left behind for the `first` of a host. */
void facts_memory(Facts *facts, bool first);

/* A file's first line without its end ("" and false if there is none), as a number (-1); and the
 * number behind "key:" in a file of such lines (-1). */
bool facts_line(const char *path, char *text, size_t size);
double facts_number(const char *path);
double facts_field(const char *path, const char *key);

#endif
