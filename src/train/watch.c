/* The watchdog. A collective that one rank does not enter holds all others for ever; nobody inside
 * it can tell. So each rank notes where it is in memory that all ranks of the host see, and a
 * thread of each rank looks on. A process that is stopped (SIGSTOP, a dead host) is known by its
 * thread, which beats no more; one that is busy or lost by its place, which is behind the
 * others'. */
#include "watch.h"
#include "run_parts.h"

#include "lockstep/clock.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x6c73776174636831) /* "lswatch1" */
#define EVENTS 32
#define BEAT_MILLISECONDS 250
#define SILENT_SECONDS 3.0 /* without a beat: stopped */

static const char *const place_names[WATCH_PLACES] = { "start",      "lanes",   "exchange",
                                                       "update",     "publish", "evaluation",
                                                       "checkpoint", "end" };

typedef struct Event {
    double time; /* seconds since 1970 */
    int64_t step;
    int32_t place, number;
} Event;

/* An event in a ring. A look-out that is late reads while its place is written again: of that event
 * it may get one half and of the next the other, which a warning's text survives. */
typedef struct Slot {
    _Atomic double time;
    _Atomic int64_t step;
    _Atomic int32_t place, number;
} Slot;

/* A rank's page. Each field has one writer, its rank. */
typedef struct Page {
    uint64_t magic;
    int32_t rank, ranks, pid, unused;
    char host[128];
    _Atomic double beat, changed; /* seconds since 1970: thread alive; place changed */
    _Atomic uint64_t events;      /* noted so far; the last is ring[(events - 1) % EVENTS] */
    Slot ring[EVENTS];
} Page;
#define PAGE_BYTES 4096
_Static_assert(sizeof(Page) <= PAGE_BYTES, "a page");

struct Watch {
    char *pages; /* mapped: ranks of them */
    int rank, ranks;
    double warn, limit; /* seconds; 0: off */
    pthread_t thread;
    atomic_bool ends;
    bool warned;
    double looked, awake; /* the last look; the first one since this process was asleep */
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static Page *page_of(const Watch *watch, int rank)
{
    return (Page *)(void *)(watch->pages + (size_t)rank * PAGE_BYTES);
}

static Event read_event(const Page *page, uint64_t number)
{
    const Slot *slot = &page->ring[number % EVENTS];
    return (Event){ .time = atomic_load_explicit(&slot->time, memory_order_relaxed),
                    .step = atomic_load_explicit(&slot->step, memory_order_relaxed),
                    .place = atomic_load_explicit(&slot->place, memory_order_relaxed),
                    .number = atomic_load_explicit(&slot->number, memory_order_relaxed) };
}

static Event last_event(const Page *page)
{
    uint64_t events = atomic_load(&page->events);
    return events > 0 ? read_event(page, events - 1) : (Event){ 0 };
}

void watch_note(Watch *watch, int64_t step, WatchPlace place, int number)
{
    if (!watch)
        return;
    Page *page = page_of(watch, watch->rank);
    uint64_t events = atomic_load_explicit(&page->events, memory_order_relaxed);
    double time = now();
    Slot *slot = &page->ring[events % EVENTS];
    atomic_store_explicit(&slot->time, time, memory_order_relaxed);
    atomic_store_explicit(&slot->step, step, memory_order_relaxed);
    atomic_store_explicit(&slot->place, (int32_t)place, memory_order_relaxed);
    atomic_store_explicit(&slot->number, number, memory_order_relaxed);
    atomic_store_explicit(&page->events, events + 1, memory_order_release);
    atomic_store_explicit(&page->changed, time, memory_order_relaxed);
}

/* ---- the look-out ---- */

/* Steps first, then places. */
static int64_t position(const Page *page)
{
    Event event = last_event(page);
    return event.step * WATCH_PLACES + event.place;
}

static bool is_silent(const Page *page, double time)
{
    return page->magic != MAGIC || time - atomic_load(&page->beat) > SILENT_SECONDS;
}

/* Silent before its end: stopped or gone. */
static bool is_lost(const Page *page, double time)
{
    return is_silent(page, time) && last_event(page).place != WATCH_END;
}

/* "; rank 2 on node1 (pid 77) does not answer, last seen in step 41 at lanes". */
static void name_rank(const Watch *watch, int rank, double time, char *text, size_t size)
{
    const Page *page = page_of(watch, rank);
    Event event = last_event(page);
    if (page->magic != MAGIC) {
        text_append(text, size, "; nothing is known of rank %d", rank);
        return;
    }
    text_append(text, size, "; rank %d on %s (pid %d) %s, last seen in step %lld at %s", rank,
                page->host, (int)page->pid,
                is_lost(page, time) ? "is stopped or gone" : "has not arrived",
                (long long)event.step, place_names[event.place]);
}

/* Those that are stopped; if there are none, those that are furthest behind the others. */
static void name_culprits(const Watch *watch, double time, char *text, size_t size)
{
    int64_t least = INT64_MAX, most = INT64_MIN;
    int lost = 0, named = 0;
    for (int rank = 0; rank < watch->ranks; rank++) {
        const Page *page = page_of(watch, rank);
        int64_t at = position(page);
        lost += is_lost(page, time);
        least = at < least ? at : least;
        most = at > most ? at : most;
    }
    for (int rank = 0; rank < watch->ranks && named < 8; rank++) {
        const Page *page = page_of(watch, rank);
        bool culprit = lost > 0 ? is_lost(page, time) : position(page) == least && least < most;
        if (!culprit)
            continue;
        name_rank(watch, rank, time, text, size);
        named++;
    }
    if (named == 0)
        text_append(text, size, "; all ranks are in step %lld at %s",
                    (long long)last_event(page_of(watch, watch->rank)).step,
                    place_names[last_event(page_of(watch, watch->rank)).place]);
}

/* The lowest rank that can speaks for all. */
static bool speaks(const Watch *watch, double time)
{
    for (int rank = 0; rank < watch->rank; rank++)
        if (!is_silent(page_of(watch, rank), time))
            return false;
    return true;
}

/* Seconds since any rank has come anywhere. While somebody writes a checkpoint, which takes as long
 * as the disk wants, or is at the end: seconds for which a rank has been lost. */
static double standstill(const Watch *watch, double time)
{
    double latest = 0, lost = 0;
    bool patient = false;
    for (int rank = 0; rank < watch->ranks; rank++) {
        const Page *page = page_of(watch, rank);
        double changed = atomic_load(&page->changed), silence = time - atomic_load(&page->beat);
        int32_t place = last_event(page).place;
        if (page->magic != MAGIC)
            continue;
        latest = changed > latest ? changed : latest;
        if (is_lost(page, time))
            lost = silence > lost ? silence : lost;
        else if (!is_silent(page, time))
            patient = patient || place == WATCH_CHECKPOINT || place == WATCH_END;
    }
    double still = latest > 0 ? time - latest : 0;
    return patient && lost < still ? lost : still;
}

static void look(Watch *watch)
{
    double time = now(), seconds = standstill(watch, time);
    char text[1500] = "";
    if (time - watch->looked > SILENT_SECONDS) /* suspended: nobody could have moved */
        watch->awake = time;
    watch->looked = time;
    seconds = seconds < time - watch->awake ? seconds : time - watch->awake;
    if (seconds < watch->warn || watch->warn <= 0)
        watch->warned = false;
    bool warns = watch->warn > 0 && seconds >= watch->warn && !watch->warned;
    bool ends = watch->limit > 0 && seconds >= watch->limit;
    if ((!warns && !ends) || !speaks(watch, time))
        return;
    watch->warned = true;
    name_culprits(watch, time, text, sizeof text);
    if (ends)
        die_at_once(EXIT_PEER, "the ranks have stood still for %.0f s%s", seconds, text);
    fprintf(stderr, "warning: the ranks have stood still for %.0f s%s\n", seconds, text);
}

static void *look_out(void *context)
{
    Watch *watch = context;
    const struct timespec pause = { .tv_nsec = BEAT_MILLISECONDS * 1000000L };
    while (!atomic_load(&watch->ends)) {
        atomic_store(&page_of(watch, watch->rank)->beat, now());
        look(watch);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

/* ---- life ---- */

/* Rank 0 makes the file at its full length; everybody maps it. */
static char *map_pages(Comm *comm, const char *path, Err *err)
{
    size_t bytes = (size_t)comm_size(comm) * PAGE_BYTES;
    bool first = comm_rank(comm) == 0;
    int fd = -1;
    if (first) {
        fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (fd >= 0 && ftruncate(fd, (off_t)bytes) != 0) {
            close(fd);
            fd = -1;
        }
    }
    comm_barrier(comm);
    if (!first)
        fd = open(path, O_RDWR | O_CLOEXEC);
    void *pages =
        fd < 0 ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (pages == MAP_FAILED)
        err_set(err, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return pages == MAP_FAILED ? NULL : pages;
}

static void start_thread(Watch *watch)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&watch->thread, NULL, look_out, watch);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        die(EXIT_PEER, "the watchdog cannot start a thread: %s", strerror(error));
}

Watch *watch_start(Comm *comm, const char *folder, const CommSettings *settings)
{
    Err err = { .text = "" };
    char *path = path_join(folder, "watch.bin");
    char *pages = map_pages(comm, path, &err);
    mem_free(path);
    if (!comm_all_ok(comm, pages != NULL, &err)) {
        log_warn("%s: nobody will notice a rank that stands still", err.text);
        if (pages)
            munmap(pages, (size_t)comm_size(comm) * PAGE_BYTES);
        return NULL;
    }
    Watch *watch = mem_new(Watch);
    *watch = (Watch){ .pages = pages,
                      .rank = comm_rank(comm),
                      .ranks = comm_size(comm),
                      .warn = settings->warn_after,
                      .limit = settings->abort_after };
    Page *page = page_of(watch, watch->rank);
    page->rank = watch->rank;
    page->ranks = watch->ranks;
    page->pid = (int32_t)getpid();
    snprintf(page->host, sizeof page->host, "%.100s", comm_host(comm));
    page->magic = MAGIC;
    watch_note(watch, 0, WATCH_START, 0);
    atomic_store(&page->beat, now());
    comm_barrier(comm); /* everybody has a page before anybody looks */
    start_thread(watch);
    return watch;
}

void watch_free(Watch *watch)
{
    if (!watch)
        return;
    watch_note(watch, last_event(page_of(watch, watch->rank)).step, WATCH_END, 0);
    atomic_store(&watch->ends, true);
    pthread_join(watch->thread, NULL);
    munmap(watch->pages, (size_t)watch->ranks * PAGE_BYTES);
    mem_free(watch);
}

/* ---- afterwards ---- */

static void print_page(const Page *page, double latest)
{
    uint64_t events = atomic_load(&page->events);
    if (page->magic != MAGIC) {
        log_out("a rank that never came");
        return;
    }
    log_out("rank %d on %.120s (pid %d): last beat %.1f s, last event %.1f s before the end",
            page->rank, page->host, page->pid, latest - atomic_load(&page->beat),
            latest - atomic_load(&page->changed));
    for (uint64_t i = events > 6 ? events - 6 : 0; i < events; i++) {
        Event event = read_event(page, i);
        bool known = event.place >= 0 && event.place < WATCH_PLACES;
        log_out("  %10.4f s  step %lld  %s %d", event.time - latest, (long long)event.step,
                known ? place_names[event.place] : "?", event.number);
    }
}

bool trainer_postmortem(const char *folder, Err *err)
{
    char *text, *path = path_join(folder, "watch.bin");
    size_t bytes;
    bool ok = file_text(path, (size_t)PAGE_BYTES << 16, &text, &bytes, err);
    mem_free(path);
    if (!ok)
        return false;
    double latest = 0;
    for (size_t at = 0; at + PAGE_BYTES <= bytes; at += PAGE_BYTES) {
        const Page *page = (const Page *)(const void *)(text + at);
        double changed = atomic_load(&page->changed), beat = atomic_load(&page->beat);
        latest = changed > latest ? changed : latest;
        latest = beat > latest ? beat : latest;
    }
    for (size_t at = 0; at + PAGE_BYTES <= bytes; at += PAGE_BYTES)
        print_page((const Page *)(const void *)(text + at), latest);
    mem_free(text);
    return true;
}
