/* What the files of the doctor share: everything rank 0 knows after the examination. */
#ifndef LOCKSTEP_PROBE_DOCTOR_PARTS_H
#define LOCKSTEP_PROBE_DOCTOR_PARTS_H

#include "facts.h"

#include "lockstep/links.h"

#include <jansson.h>

/* FATAL: training cannot work. WARNING: it is slow, or ends badly some day. NOTE: worth knowing. */
typedef enum Severity { SEVERITY_FATAL, SEVERITY_WARNING, SEVERITY_NOTE, SEVERITIES } Severity;

/* Something found; the same on many hosts is one finding. */
typedef struct Finding {
    Severity severity;
    int code; /* exit code of a fatal one */
    char text[256], hint[256];
    char where[128]; /* hosts, "" where that is no question */
    int hosts;       /* how many */
    size_t order;    /* in which they were found */
} Finding;

typedef struct HostReport {
    int first, ranks;   /* the first of its ranks; how many */
    CpuSet cpus, cores; /* where its ranks may run */
    HostLink link;
} HostReport;

typedef struct Examination {
    int ranks, hosts, links;
    Facts *facts;     /* of each rank */
    int *host_of;     /* of each rank */
    HostReport *host; /* of each host */
    Link *link;       /* by messages */
    Finding *finding; /* worst first, after traps_find */
    size_t findings, capacity;
    double seconds; /* that it took */
} Examination;

/* traps.c: adds what is wrong, worst first; the exit code that it deserves. */
void traps_find(Examination *e);
int traps_code(const Examination *e);

/* Adds a finding of a host (NULL: of all of them). What the format makes is its text and, on a line
 * of its own, its hint; what is there already only gets another host. */
void finding_add(Examination *e, const HostReport *host, Severity severity, int code,
                 const char *format, ...) __attribute__((format(printf, 5, 6)));

/* traps_host.c: those of one host; what its first rank has told. */
void traps_find_on(Examination *e, const HostReport *host);
const Facts *host_facts(const Examination *e, const HostReport *host);

/* doctor_report.c, on the standard output. */
void doctor_print(const Examination *e);
void doctor_print_json(const Examination *e);

#endif
