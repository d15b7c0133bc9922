/* The discrete-event simulator of plans (simulate.h). Events are taken in order of time from a
 * heap; equal times in the order they were made, so a simulation has one result. */
#include "lockstep/simulate.h"
#include "collectives/builder.h"

#include "lockstep/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a plan costs ---- */

typedef struct Send {
    int peer, round; /* at the receiver, that waits for it */
    float n;         /* floats */
} Send;

typedef struct Round {
    int sends, receives;  /* where its sends begin; how many messages it waits for */
    double copied, added; /* floats */
} Round;

/* The plan of one member, without places. */
typedef struct Program {
    int rounds;
    Round *round; /* (rounds + 1) */
    Send *sends;
} Program;

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
    double card_byte, memory_byte; /* seconds a byte */
    Program *programs[PHASES];     /* (members) each, or NULL */
    int most_rounds[PHASES];
    int *current[PHASES];      /* (member, bucket): the round that is under way */
    int *arrived[PHASES];      /* (member, bucket, round): messages */
    double *out, *in, *memory; /* (members): when each is free */
    double *sending;           /* (members): seconds */
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

/* Memory traffic of a member: when it is done. */
static double use_memory(Simulation *s, int member, double now, double bytes)
{
    double start = fmax(now, s->memory[member]);
    if (bytes <= 0)
        return now;
    s->memory[member] = start + bytes * s->memory_byte;
    return s->memory[member];
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
    event.time = use_memory(s, event.member, event.time, 12 * round->added);
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
        double start = fmax(event.time, s->out[event.member]);
        double busy = s->network->overhead + transfer(s, (double)send->n);
        s->out[event.member] = start + busy;
        s->sending[event.member] += busy;
        s->result.messages++;
        push(s, (Event){ .time = start + s->network->overhead + s->network->latency,
                         .kind = HEAD,
                         .phase = event.phase,
                         .member = send->peer,
                         .bucket = event.bucket,
                         .round = send->round,
                         .n = send->n });
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
    event.time = use_memory(s, event.member, event.time, 8 * program->round[event.round].copied);
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
        double floats = (double)s->step->bucket_floats / s->step->members;
        event.time = use_memory(s, event.member, event.time, s->step->update_bytes * floats);
    }
    event.round = 0;
    begin_round(s, event);
}

static void happen(Simulation *s, Event event)
{
    switch (event.kind) {
    case START:
        begin_phase(s, event);
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

/* ---- plans become programs ---- */

typedef struct Expected {
    int peer, round, number; /* of the sender; number: in the order of the plan */
} Expected;

static int compare_expected(const void *a, const void *b)
{
    const Expected *x = a, *y = b;
    if (x->peer != y->peer)
        return (x->peer > y->peer) - (x->peer < y->peer);
    return (x->number > y->number) - (x->number < y->number);
}

/* Messages of a plan sorted by peer, in the order of the plan for each. */
static Expected *sort_messages(const Plan *plan, bool receives, int count)
{
    Expected *list = mem_array(Expected, count);
    for (int round = 0, i = 0; round < plan->round_count; round++)
        for (; i < (receives ? plan->rounds[round + 1].receives : plan->rounds[round + 1].sends);
             i++)
            list[i] = (Expected){ (receives ? plan->receives : plan->sends)[i].peer, round, i };
    qsort(list, (size_t)count, sizeof *list, compare_expected);
    return list;
}

static Program program_of(const Plan *plan)
{
    int sends = plan->rounds[plan->round_count].sends;
    Program program = { .rounds = plan->round_count,
                        .round = mem_array(Round, plan->round_count + 1),
                        .sends = mem_array(Send, sends) };
    for (int i = 0; i < sends; i++)
        program.sends[i] = (Send){ .peer = plan->sends[i].peer, .n = (float)plan->sends[i].n };
    for (int r = 0; r < plan->round_count; r++) {
        const PlanRound *round = &plan->rounds[r];
        program.round[r].sends = round->sends;
        program.round[r].receives = round[1].receives - round->receives;
        for (int i = round->copies; i < round[1].copies; i++)
            program.round[r].copied += (double)plan->copies[i].n;
        for (int i = round->adds; i < round[1].adds; i++)
            program.round[r].added += (double)plan->adds[i].n;
    }
    program.round[plan->round_count].sends = sends;
    return program;
}

typedef struct Senders { /* what each member expects, and sends */
    Expected **receives, **sends;
    int *receive_count, *send_count;
} Senders;

/* The k-th message from a to b is the k-th that b expects from a. */
static void match(Program *programs, const Senders *all, int members)
{
    for (int from = 0; from < members; from++)
        for (int i = 0, k = 0; i < all->send_count[from]; i++) {
            const Expected *sent = &all->sends[from][i];
            k = i > 0 && sent[-1].peer == sent->peer ? k + 1 : 0;
            const Expected *list = all->receives[sent->peer];
            int low = 0, high = all->receive_count[sent->peer];
            while (low < high) { /* the first from `from` */
                int middle = (low + high) / 2;
                if (list[middle].peer < from)
                    low = middle + 1;
                else
                    high = middle;
            }
            expect(low + k < all->receive_count[sent->peer] && list[low + k].peer == from);
            programs[from].sends[sent->number].round = list[low + k].round;
        }
}

static Program *new_programs(const CollectiveAlgorithm *algorithm, CollectiveKind kind,
                             CollectiveShape *shape)
{
    int members = shape->members;
    Program *programs = mem_array(Program, members);
    Senders all = { mem_array(Expected *, members), mem_array(Expected *, members),
                    mem_array(int, members), mem_array(int, members) };
    for (int m = 0; m < members; m++) {
        shape->me = m;
        Plan *plan = plan_new(algorithm, kind, shape);
        programs[m] = program_of(plan);
        all.receive_count[m] = plan->rounds[plan->round_count].receives;
        all.send_count[m] = plan->rounds[plan->round_count].sends;
        all.receives[m] = sort_messages(plan, true, all.receive_count[m]);
        all.sends[m] = sort_messages(plan, false, all.send_count[m]);
        plan_free(plan);
    }
    match(programs, &all, members);
    for (int m = 0; m < members; m++) {
        mem_free(all.receives[m]);
        mem_free(all.sends[m]);
    }
    mem_free(all.receives);
    mem_free(all.sends);
    mem_free(all.receive_count);
    mem_free(all.send_count);
    return programs;
}

static void prepare_phase(Simulation *s, Phase phase, const CollectiveAlgorithm *algorithm,
                          CollectiveShape *shape)
{
    size_t members = (size_t)s->step->members, tasks = members * (size_t)s->step->buckets;
    if (!algorithm)
        return;
    s->programs[phase] = new_programs(
        algorithm, phase == REDUCE ? COLLECTIVE_REDUCE_SCATTER : COLLECTIVE_ALL_GATHER, shape);
    for (size_t m = 0; m < members; m++)
        if (s->programs[phase][m].rounds > s->most_rounds[phase])
            s->most_rounds[phase] = s->programs[phase][m].rounds;
    s->current[phase] = mem_array(int, tasks);
    s->arrived[phase] = mem_array(int, tasks *(size_t)(s->most_rounds[phase] + 1));
    for (size_t i = 0; i < tasks; i++)
        s->current[phase][i] = -1; /* not begun */
}

static void free_phase(Simulation *s, Phase phase)
{
    for (int m = 0; s->programs[phase] && m < s->step->members; m++) {
        mem_free(s->programs[phase][m].round);
        mem_free(s->programs[phase][m].sends);
    }
    mem_free(s->programs[phase]);
    mem_free(s->current[phase]);
    mem_free(s->arrived[phase]);
}

static void prepare(Simulation *s)
{
    int members = s->step->members;
    size_t *bounds = mem_array(size_t, members + 1);
    int *counts = mem_array(int, members);
    Subtree *subtrees = mem_array(Subtree, 2 * members);
    for (int m = 0; m <= members; m++)
        bounds[m] = s->step->bucket_floats * (size_t)m / (size_t)members;
    collective_spread_lanes(members, counts, subtrees);
    CollectiveShape shape = { members, 0, bounds, counts, subtrees };
    prepare_phase(s, REDUCE, s->step->reduce, &shape);
    prepare_phase(s, GATHER, s->step->gather, &shape);
    s->out = mem_array(double, members);
    s->in = mem_array(double, members);
    s->memory = mem_array(double, members);
    s->sending = mem_array(double, members);
    mem_free(bounds);
    mem_free(counts);
    mem_free(subtrees);
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
                     .memory_byte = inverse(network->memory_bytes_per_second) };
    prepare(&s);
    for (int bucket = 0; bucket < step->buckets; bucket++)
        for (int m = 0; m < step->members; m++)
            push(&s, (Event){ .time = step->ready[bucket], .member = m, .bucket = bucket });
    while (s.count > 0)
        happen(&s, pop(&s));
    for (int m = 0; m < step->members; m++)
        s.result.card = fmax(s.result.card, s.sending[m]);
    free_phase(&s, REDUCE);
    free_phase(&s, GATHER);
    mem_free(s.out);
    mem_free(s.in);
    mem_free(s.memory);
    mem_free(s.sending);
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
