/* Timelines: a ring of spans, and the Chrome trace format ("Trace Event Format", Google 2016). */
#include "lockstep/timeline.h"

#include "lockstep/clock.h"
#include "lockstep/memory.h"

Timeline *timeline_new(uint64_t capacity)
{
    Timeline *timeline = mem_new(Timeline);
    timeline->spans = mem_array(TimelineSpan, capacity);
    timeline->capacity = capacity;
    return timeline;
}

void timeline_free(Timeline *timeline)
{
    if (!timeline)
        return;
    mem_free(timeline->spans);
    mem_free(timeline);
}

void timeline_span(Timeline *timeline, int track, const char *name, int64_t number, double start,
                   double end)
{
    if (!timeline)
        return;
    TimelineSpan *span = &timeline->spans[timeline->count++ % timeline->capacity];
    *span = (TimelineSpan){ .start = start, .end = end, .number = number, .track = track };
    for (size_t i = 0; i + 1 < sizeof span->name && name[i]; i++)
        span->name[i] = name[i];
}

double timeline_now(const Timeline *timeline)
{
    return timeline ? clock_seconds() : 0;
}

double clock_aligned(const ClockOffset *clock, double local)
{
    double time = clock->local[1] - clock->local[0];
    double share = time > 0 ? (local - clock->local[0]) / time : 0;
    return local + clock->offset[0] + share * (clock->offset[1] - clock->offset[0]);
}

void timeline_write_begin(FILE *file)
{
    fputs("{\"displayTimeUnit\": \"ms\", \"traceEvents\": [", file);
}

/* Names come from configurations: what JSON does not allow is left out. */
static void write_name(FILE *file, const char *name)
{
    fputs("\"name\": \"", file);
    for (; *name; name++)
        if ((unsigned char)*name >= 0x20 && *name != '"' && *name != '\\')
            fputc(*name, file);
    fputs("\"", file);
}

static void write_track(FILE *file, int rank, int track)
{
    static const char *const names[] = { "step", "layers", "messages" };
    char name[32];
    if (track < TRACK_COLLECTIVE)
        snprintf(name, sizeof name, "%s", names[track]);
    else
        snprintf(name, sizeof name, "collective %d", track - TRACK_COLLECTIVE);
    fprintf(file,
            ",\n{\"ph\": \"M\", \"pid\": %d, \"tid\": %d, \"name\": \"thread_name\", "
            "\"args\": {",
            rank, track);
    write_name(file, name);
    fputs("}}", file);
}

void timeline_write_rank(FILE *file, int rank, const char *host, const TimelineSpan *spans,
                         uint64_t count, const ClockOffset *clock, double zero)
{
    int tracks = 0;
    fprintf(file, "%s\n{\"ph\": \"M\", \"pid\": %d, \"name\": \"process_name\", \"args\": {",
            rank > 0 ? "," : "", rank);
    char name[288];
    snprintf(name, sizeof name, "rank %d on %s", rank, host);
    write_name(file, name);
    fputs("}}", file);
    for (uint64_t i = 0; i < count; i++) {
        const TimelineSpan *span = &spans[i];
        double start = clock_aligned(clock, span->start), end = clock_aligned(clock, span->end);
        for (; tracks <= span->track; tracks++)
            write_track(file, rank, tracks);
        fputs(",\n{\"ph\": \"X\", ", file);
        write_name(file, span->name);
        fprintf(file,
                ", \"pid\": %d, \"tid\": %d, \"ts\": %.3f, \"dur\": %.3f, \"args\": "
                "{\"n\": %lld}}",
                rank, span->track, 1e6 * (start - zero), 1e6 * (end - start),
                (long long)span->number);
    }
}

void timeline_write_end(FILE *file)
{
    fputs("\n]}\n", file);
}
