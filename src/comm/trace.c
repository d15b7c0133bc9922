/* Timelines of all ranks in one file: clocks that agree, and one rank after another to rank 0. */
#include "world.h"

#include "lockstep/clock.h"
#include "lockstep/memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define EXCHANGES 20

void comm_set_timeline(Comm *comm, Timeline *timeline)
{
    comm->timeline = timeline;
}

/* Rank 0 asks, `rank` answers with its clock. Of several exchanges the fastest counts: its answer
 * came at most half a round trip from the middle (Cristian 1989). Returns, on rank 0, what is to
 * be added to the other's clock. */
static double ask_clock(Comm *comm, int rank)
{
    double fastest = 0, offset = 0, theirs = 0;
    for (int i = 0; i < EXCHANGES; i++) {
        double start = clock_seconds();
        if (comm->rank == 0) {
            MPI_Sendrecv(&start, 1, MPI_DOUBLE, rank, TAG_CLOCK, &theirs, 1, MPI_DOUBLE, rank,
                         TAG_CLOCK, comm->world, MPI_STATUS_IGNORE);
            double end = clock_seconds();
            if (i == 0 || end - start < fastest) {
                fastest = end - start;
                offset = (start + end) / 2 - theirs;
            }
        } else {
            MPI_Recv(&theirs, 1, MPI_DOUBLE, 0, TAG_CLOCK, comm->world, MPI_STATUS_IGNORE);
            start = clock_seconds();
            MPI_Send(&start, 1, MPI_DOUBLE, 0, TAG_CLOCK, comm->world);
        }
    }
    return offset;
}

double comm_clock_offset(Comm *comm)
{
    double mine = 0;
    for (int rank = 1; rank < comm->size; rank++) {
        if (comm->rank != 0 && comm->rank != rank)
            continue;
        double offset = ask_clock(comm, rank);
        if (comm->rank == 0)
            MPI_Send(&offset, 1, MPI_DOUBLE, rank, TAG_CLOCK, comm->world);
        else
            MPI_Recv(&mine, 1, MPI_DOUBLE, 0, TAG_CLOCK, comm->world, MPI_STATUS_IGNORE);
    }
    return mine;
}

/* What travels before a rank's spans. */
typedef struct Header {
    uint64_t count;
    ClockOffset clock;
    char host[HOST_BYTES];
} Header;

/* The ring's spans, oldest first; freed by the caller. */
static TimelineSpan *in_order(const Timeline *timeline, uint64_t *count)
{
    uint64_t kept = timeline->count < timeline->capacity ? timeline->count : timeline->capacity;
    TimelineSpan *spans = mem_array(TimelineSpan, kept);
    for (uint64_t i = 0; i < kept; i++)
        spans[i] = timeline->spans[(timeline->count - kept + i) % timeline->capacity];
    *count = kept;
    return spans;
}

/* Rank 0 writes the spans of `rank`. */
static void pass_rank(Comm *comm, int rank, FILE *file, const ClockOffset *clock, double *zero)
{
    Header header = { .clock = *clock };
    TimelineSpan *spans = NULL;
    if (comm->rank == rank) {
        spans = in_order(comm->timeline, &header.count);
        memcpy(header.host, comm->host, sizeof header.host);
    }
    if (rank > 0 && comm->rank == rank) {
        messages_send(comm, &header, sizeof header, 0, TAG_TIMELINE);
        messages_send(comm, spans, header.count * sizeof *spans, 0, TAG_TIMELINE);
        messages_finish(comm);
    } else if (rank > 0) {
        messages_receive(comm, &header, sizeof header, rank, TAG_TIMELINE);
        messages_finish(comm);
        spans = mem_array(TimelineSpan, header.count);
        messages_receive(comm, spans, header.count * sizeof *spans, rank, TAG_TIMELINE);
        messages_finish(comm);
    }
    if (comm->rank == 0) {
        if (rank == 0)
            *zero = header.count > 0 ? spans[0].start : clock_seconds();
        timeline_write_rank(file, rank, header.host, spans, header.count, &header.clock, *zero);
    }
    mem_free(spans);
}

bool comm_write_timeline(Comm *comm, const char *path, const ClockOffset *clock, Err *err)
{
    FILE *file = comm->rank == 0 ? fopen(path, "w") : NULL;
    bool ok = comm->rank != 0 || file || err_set(err, "%s: %s", path, strerror(errno));
    double zero = 0;
    if (!comm_all_ok(comm, ok, err))
        return false;
    if (file)
        timeline_write_begin(file);
    for (int rank = 0; rank < comm->size; rank++)
        if (comm->rank == 0 || comm->rank == rank)
            pass_rank(comm, rank, file, clock, &zero);
    if (file) {
        timeline_write_end(file);
        bool failed = ferror(file);
        if (fclose(file) != 0 || failed)
            ok = err_set(err, "%s: cannot be written", path);
    }
    return comm_all_ok(comm, ok, err);
}
