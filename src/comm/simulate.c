/* The discrete-event simulator of plans (simulate.h). Events are taken in order of time from a
 * heap; equal times in the order they were made, so a simulation has one result. */
#include "lockstep/simulate.h"
#include "programs.h"

#include "lockstep/memory.h"

#include <math.h>

typedef enum Phase { REDUCE, GATHER, PHASES } Phase;

/* ---- events ---- */

typedef enum EventKind { START, SENDS, HEAD, ARRIVAL, ROUND_END } EventKind;

typedef struct Event {
    double time;
    uint64_t number;
    EventKind kind;
    Phase phase;
    int member, bucket, round;
    float n;
} Event;

typedef struct Simulation {
    const SimulatedStep *step;
    const Network *network;
    double card_byte, memory_byte, core_byte; /* seconds a byte */
    Program *programs[PHASES];                /* (members) each, or NULL */
    int most_rounds[PHASES];
    int *current[PHASES];    /* (member, bucket): the round that is under way */
    int *arrived[PHASES];    /* (member, bucket, round): messages */
    double *out, *in, *core; /* (members): when each is free */
    double *sending, *sent;  /* (members): seconds, floats */
    double *helping;         /* (members): seconds of the core before step->busy */
    Event *heap;
    size_t count, room;
    uint64_t made;
    SimulatedResult result;
} Simulation;

static bool before(const Event *a, const Event *b)
{
    return a->time < b->time || (a->time <= b->time && a->number < b->number);
}

static void push(Simulation *s, Event event)
{
    mem_grow(&s->heap, s->count, &s->room, sizeof *s->heap);
    size_t at = s->count++;
    event.number = s->made++;
    while (at > 0 && before(&event, &s->heap[(at - 1) / 2])) {
        s->heap[at] = s->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    s->heap[at] = event;
}

static Event pop(Simulation *s)
{
    Event first = s->heap[0], last = s->heap[--s->count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= s->count)
            break;
        if (child + 1 < s->count && before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!before(&s->heap[child], &last))
            break;
        s->heap[at] = s->heap[child];
        at = child;
    }
    s->heap[at] = last;
    return first;
}

/* ---- what happens ---- */

static size_t task(const Simulation *s, const Event *event)
{
    return (size_t)event->member * (size_t)s->step->buckets + (size_t)event->bucket;
}

static double share(const Simulation *s, const Event *event)
{
    return s->step->shares ? s->step->shares[event->bucket] : 1;
}

/* A member's core works for some seconds: when it is done. */
static double use_core(Simulation *s, int member, double now, double seconds)
{
    double start = fmax(now, s->core[member]);
    if (seconds <= 0)
        return now;
    s->core[member] = start + seconds;
    s->helping[member] += fmax(fmin(s->core[member], s->step->busy) - start, 0);
    return s->core[member];
}

/* When a member that computes looks at what has happened. */
static double notice(const Simulation *s, double now)
{
    return now < s->step->busy ? fmin(now + s->step->nap / 2, s->step->busy) : now;
}

static double transfer(const Simulation *s, double floats)
{
    return floats * sizeof(float) * s->card_byte;
}

/* The round is over if everything has arrived: then its additions run. */
static void try_to_end(Simulation *s, Event event)
{
    const Round *round = &s->programs[event.phase][event.member].round[event.round];
    size_t at = task(s, &event) * (size_t)s->most_rounds[event.phase] + (size_t)event.round;
    if (s->current[event.phase][task(s, &event)] != event.round ||
        s->arrived[event.phase][at] < round->receives)
        return;
    s->arrived[event.phase][at] = -1; /* once */
    double seconds = 12 * round->added * s->memory_byte + 4 * round->received * s->core_byte;
    if (round->receives > 0)
        event.time = notice(s, event.time);
    event.time = use_core(s, event.member, event.time, seconds * share(s, &event));
    event.kind = ROUND_END;
    push(s, event);
}

static void begin_phase(Simulation *s, Event event);

/* What a round's copies have put together leaves. */
static void send_messages(Simulation *s, Event event)
{
    const Program *program = &s->programs[event.phase][event.member];
    const Round *round = &program->round[event.round];
    for (int i = round->sends; i < round[1].sends; i++) {
        const Send *send = &program->sends[i];
        double floats = (double)send->n * share(s, &event);
        event.time = use_core(s, event.member, event.time, 4 * floats * s->core_byte);
        double start = fmax(event.time, s->out[event.member]);
        double busy = s->network->overhead + transfer(s, floats);
        s->out[event.member] = start + busy;
        s->sending[event.member] += busy;
        s->sent[event.member] += floats;
        s->result.messages++;
        push(s, (Event){ .time = start + s->network->overhead + s->network->latency,
                         .kind = HEAD,
                         .phase = event.phase,
                         .member = send->peer,
                         .bucket = event.bucket,
                         .round = send->round,
                         .n = (float)floats });
    }
    s->current[event.phase][task(s, &event)] = event.round;
    try_to_end(s, event);
}

static void begin_round(Simulation *s, Event event)
{
    const Program *program = &s->programs[event.phase][event.member];
    if (event.round == program->rounds) {
        event.phase++;
        begin_phase(s, event);
        return;
    }
    event.kind = SENDS;
    double bytes = 8 * program->round[event.round].copied * share(s, &event);
    event.time = use_core(s, event.member, event.time, bytes * s->memory_byte);
    push(s, event);
}

/* A bucket's reduction, then its update and gathering, as far as they are wanted. */
static void begin_phase(Simulation *s, Event event)
{
    while (event.phase < PHASES && !s->programs[event.phase])
        event.phase++;
    if (event.phase == PHASES) {
        s->result.seconds = fmax(s->result.seconds, event.time);
        return;
    }
    if (event.phase == GATHER) {
        double floats = (double)s->step->bucket_floats * share(s, &event) / s->step->members;
        double bytes = s->step->update_bytes * floats;
        event.time = use_core(s, event.member, event.time, bytes * s->memory_byte);
    }
    event.round = 0;
    begin_round(s, event);
}

static void begin_bucket(Simulation *s, Event event)
{
    double bytes = s->step->begin_bytes * (double)s->step->bucket_floats * share(s, &event);
    event.time = use_core(s, event.member, notice(s, event.time), bytes * s->memory_byte);
    begin_phase(s, event);
}

static void happen(Simulation *s, Event event)
{
    switch (event.kind) {
    case START:
        begin_bucket(s, event);
        break;
    case SENDS:
        send_messages(s, event);
        break;
    case HEAD: /* the first byte is here */
        s->in[event.member] = fmax(event.time, s->in[event.member]) + transfer(s, (double)event.n);
        event.time = s->in[event.member];
        event.kind = ARRIVAL;
        push(s, event);
        break;
    case ARRIVAL:
        s->arrived[event.phase]
                  [task(s, &event) * (size_t)s->most_rounds[event.phase] + (size_t)event.round]++;
        try_to_end(s, event);
        break;
    case ROUND_END:
        event.round++;
        begin_round(s, event);
        break;
    }
}

/* ---- before and after ---- */

static void prepare_phase(Simulation *s, Phase phase, const CollectiveAlgorithm *algorithm,
                          CollectiveShape *shape)
{
    size_t members = (size_t)s->step->members, tasks = members * (size_t)s->step->buckets;
    CollectiveKind kind = phase == GATHER       ? COLLECTIVE_ALL_GATHER
                          : s->step->all_reduce ? COLLECTIVE_ALL_REDUCE
                                                : COLLECTIVE_REDUCE_SCATTER;
    if (!algorithm)
        return;
    s->programs[phase] = programs_new(algorithm, kind, shape);
    for (size_t m = 0; m < members; m++)
        if (s->programs[phase][m].rounds > s->most_rounds[phase])
            s->most_rounds[phase] = s->programs[phase][m].rounds;
    s->current[phase] = mem_array(int, tasks);
    s->arrived[phase] = mem_array(int, tasks *(size_t)(s->most_rounds[phase] + 1));
    for (size_t i = 0; i < tasks; i++)
        s->current[phase][i] = -1; /* not begun */
}

/* What each member brings: its lanes' sums. Returns how many in all. */
static int list_sums(const SimulatedStep *step, int *counts, Subtree *subtrees)
{
    int total = 0;
    for (int m = 0; m < step->members; m++) {
        Subtree list[64];
        counts[m] = lanes_subtrees(step->lanes[m], step->lanes[m + 1], list);
        for (int i = 0; subtrees && i < counts[m]; i++)
            subtrees[total + i] = list[i];
        total += counts[m];
    }
    return total;
}

static void free_phase(Simulation *s, Phase phase)
{
    programs_free(s->programs[phase], s->step->members);
    mem_free(s->current[phase]);
    mem_free(s->arrived[phase]);
}

static void prepare(Simulation *s)
{
    int members = s->step->members;
    size_t *bounds = mem_array(size_t, members + 1);
    int *counts = mem_array(int, members);
    int sums = s->step->lanes ? list_sums(s->step, counts, NULL) : 2 * members;
    Subtree *subtrees = mem_array(Subtree, sums);
    for (int m = 0; m <= members; m++)
        bounds[m] = s->step->bucket_floats * (size_t)m / (size_t)members;
    if (s->step->lanes)
        list_sums(s->step, counts, subtrees);
    else
        collective_spread_lanes(members, counts, subtrees);
    CollectiveShape shape = { members, 0, bounds, counts, subtrees };
    prepare_phase(s, REDUCE, s->step->reduce, &shape);
    prepare_phase(s, GATHER, s->step->gather, &shape);
    s->out = mem_array(double, members);
    s->in = mem_array(double, members);
    s->core = mem_array(double, members);
    s->sending = mem_array(double, members);
    s->sent = mem_array(double, members);
    s->helping = mem_array(double, members);
    mem_free(bounds);
    mem_free(counts);
    mem_free(subtrees);
}

/* Plans of all buckets of a member, each with memory of its own. */
static double plan_memory(const Simulation *s, int member)
{
    double bytes = 0;
    for (int bucket = 0; bucket < s->step->buckets; bucket++)
        for (Phase phase = REDUCE; phase < PHASES; phase++)
            if (s->programs[phase])
                bytes += (double)s->programs[phase][member].bytes *
                         (s->step->shares ? s->step->shares[bucket] : 1);
    return bytes;
}

static double inverse(double rate)
{
    return rate > 0 ? 1 / rate : 0;
}

SimulatedResult simulate(const SimulatedStep *step, const Network *network)
{
    Simulation s = { .step = step,
                     .network = network,
                     .card_byte = inverse(network->bytes_per_second),
                     .memory_byte = inverse(network->memory_bytes_per_second),
                     .core_byte = inverse(network->core_bytes_per_second) };
    prepare(&s);
    for (int bucket = 0; bucket < step->buckets; bucket++)
        for (int m = 0; m < step->members; m++)
            push(&s, (Event){ .time = step->ready[bucket], .member = m, .bucket = bucket });
    while (s.count > 0)
        happen(&s, pop(&s));
    for (int m = 0; m < step->members; m++) {
        s.result.memory = fmax(s.result.memory, plan_memory(&s, m));
        s.result.card = fmax(s.result.card, s.sending[m]);
        s.result.bytes = fmax(s.result.bytes, s.sent[m] * sizeof(float));
        s.result.core = fmax(s.result.core, s.helping[m]);
    }
    free_phase(&s, REDUCE);
    free_phase(&s, GATHER);
    mem_free(s.out);
    mem_free(s.in);
    mem_free(s.core);
    mem_free(s.sending);
    mem_free(s.sent);
    mem_free(s.helping);
    mem_free(s.heap);
    return s.result;
}

double simulate_formula(const SimulatedStep *step, const Network *network)
{
    double members = step->members, rounds = ceil(log2(members)), buckets = step->buckets;
    double bytes = (double)step->bucket_floats * sizeof(float), share = (members - 1) / members;
    double b = inverse(network->bytes_per_second);
    double memory = inverse(network->memory_bytes_per_second);
    double phase = rounds * (network->latency + network->overhead) + bytes * share * b;
    double additions = 3 * bytes * share * memory;
    double update = step->update_bytes * (double)step->bucket_floats / members * memory;
    double card = 2 * (rounds * network->overhead + bytes * share * b);
    double each = fmax(card, additions + update);
    double waiting = fmax(step->ready[step->buckets - 1], step->ready[0] + (buckets - 1) * each);
    return waiting + 2 * phase + additions + update;
}
