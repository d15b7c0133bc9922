/* What happened when: spans of time on tracks, kept in a ring of fixed size and written as a Chrome
 * trace (chrome://tracing, ui.perfetto.dev). Everything takes a NULL timeline and then does
 * nothing. Times are those of clock_seconds. Nothing is collective. */
#ifndef LOCKSTEP_TIMELINE_H
#define LOCKSTEP_TIMELINE_H

#include <stdint.h>
#include <stdio.h>

/* A rank's rows in the picture; the collective number c is on TRACK_COLLECTIVE + c. */
enum { TRACK_STEP, TRACK_LAYERS, TRACK_MESSAGES, TRACK_COLLECTIVE };

typedef struct TimelineSpan {
    double start, end; /* seconds */
    int64_t number;    /* step, lane, bytes: what the track is about */
    int track;
    char name[28];
} TimelineSpan;

typedef struct Timeline {
    TimelineSpan *spans; /* (capacity) */
    uint64_t count;      /* spans ever: the last `capacity` of them are there */
    uint64_t capacity;
} Timeline;

#define TIMELINE_SPANS 65536 /* 3.5 MB */

Timeline *timeline_new(uint64_t capacity);
void timeline_free(Timeline *timeline);
void timeline_span(Timeline *timeline, int track, const char *name, int64_t number, double start,
                   double end);
double timeline_now(const Timeline *timeline); /* 0 without a timeline */

/* The clock of rank 0 when this rank's said `local`: measured at two times, a line between. */
typedef struct ClockOffset {
    double local[2], offset[2]; /* seconds; rank 0's clock = local + offset */
} ClockOffset;
double clock_aligned(const ClockOffset *clock, double local);

/* The file: begin, the spans of one rank after another, end. Timestamps are microseconds since
 * `zero`, seconds of rank 0's clock. */
void timeline_write_begin(FILE *file);
void timeline_write_rank(FILE *file, int rank, const char *host, const TimelineSpan *spans,
                         uint64_t count, const ClockOffset *clock, double zero);
void timeline_write_end(FILE *file);

#endif
