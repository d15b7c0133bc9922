/* How fast ranks reach each other, measured in a fraction of a second, and what the MPI library is
 * set to: what `lockstep doctor` wants to know of comm. */
#ifndef LOCKSTEP_LINKS_H
#define LOCKSTEP_LINKS_H

#include "lockstep/comm.h"

/* Two ranks by messages. */
typedef struct Link {
    int from, to;
    double latency; /* seconds that 8 bytes take, one way */
    double rate;    /* bytes a second of long messages, one way */
    bool right;     /* what arrived is what was sent */
} Link;

/* Measures for about `seconds`, while the ranks that are neither wait. Everybody gets the result.
 * Collective. */
Link link_measure(Comm *comm, int from, int to, double seconds);

/* The ranks of one host through the memory they share, all at once. */
typedef struct HostLink {
    bool shares;       /* false: they have none, and only `copy` means anything */
    bool right;        /* everybody read what its neighbour had written */
    size_t bytes;      /* of a rank's part */
    double barrier;    /* seconds */
    double read, copy; /* bytes a second of a rank: its neighbour's part, its own memory */
} HostLink;

/* `host`: ranks of one host (comm_split). Every rank takes 3 * bytes. Everybody gets the result of
 * the slowest rank. Collective over `host`. */
HostLink link_measure_host(Comm *host, size_t bytes, double seconds);

/* The value of a setting of the MPI library ("btl", "pml") in this process; false: it has none of
 * that name, or of no type that is text or a number. */
bool comm_mpi_setting(const char *name, char *text, size_t size);

#endif
