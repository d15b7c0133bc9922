/* The executor of plans, with real messages. All receives are posted at the start, each round's
 * sends when its turn comes; so nothing that arrives is unexpected, and a member that is late keeps
 * nobody from going on with other collectives. */
#include "plan_run.h"
#include "world.h"

#include "lockstep/kernels.h"
#include "lockstep/memory.h"

#include <stdio.h>
#include <string.h>

struct Collective {
    Comm *comm; /* borrowed, as is plan */
    const Plan *plan;
    int *ranks, tag;
    PlanMemory memory;
    Messages receives, sends;
    size_t *received; /* (rounds + 1) requests of `receives` that belong to the rounds before */
    int round;        /* under way; round_count: only sends are */
    bool running;
    double began; /* the round, for the timeline */

    uint16_t *narrow;        /* messages as they travel, or NULL: they travel as they are */
    size_t *narrow_sends;    /* (sends) where each is in `narrow` */
    size_t *narrow_receives; /* (receives) */
};

static size_t count_parts(const Comm *comm, const PlanMessage *messages, int count)
{
    size_t parts = 0;
    for (int i = 0; i < count; i++)
        parts += messages_parts(comm, messages[i].n * sizeof(float));
    return parts;
}

Collective *collective_init(Comm *comm, const Plan *plan, const int *ranks, int tag)
{
    const PlanRound *end = &plan->rounds[plan->round_count];
    Collective *collective = mem_new(Collective);
    expect(ranks[plan->me] == comm->rank);
    collective->comm = comm;
    collective->plan = plan;
    collective->ranks = mem_array(int, plan->members);
    memcpy(collective->ranks, ranks, (size_t)plan->members * sizeof *ranks);
    collective->tag = TAG_COLLECTIVE + tag;
    collective->received = mem_array(size_t, plan->round_count + 1);
    collective->round = plan->round_count;
    plan_memory_init(&collective->memory, plan);
    messages_grow(comm, &collective->receives, count_parts(comm, plan->receives, end->receives));
    messages_grow(comm, &collective->sends, count_parts(comm, plan->sends, end->sends));
    return collective;
}

void collective_free(Collective *collective)
{
    if (!collective)
        return;
    expect(!collective->running);
    messages_release(&collective->receives);
    messages_release(&collective->sends);
    plan_memory_free(&collective->memory);
    mem_free(collective->narrow);
    mem_free(collective->narrow_sends);
    mem_free(collective->narrow_receives);
    mem_free(collective->received);
    mem_free(collective->ranks);
    mem_free(collective);
}

/* ---- narrow messages ---- */

static size_t count_floats(const PlanMessage *messages, int count)
{
    size_t floats = 0;
    for (int i = 0; i < count; i++)
        floats += messages[i].n;
    return floats;
}

size_t collective_round_bytes(const Plan *plan)
{
    const PlanRound *end = &plan->rounds[plan->round_count];
    return (count_floats(plan->sends, end->sends) + count_floats(plan->receives, end->receives)) *
           sizeof(uint16_t);
}

/* Gives each message a place of its own from `used` on. */
static size_t *place_messages(const PlanMessage *messages, int count, size_t *used)
{
    size_t *places = mem_array(size_t, count);
    for (int i = 0; i < count; i++) {
        places[i] = *used;
        *used += messages[i].n;
    }
    return places;
}

void collective_round(Collective *collective)
{
    const Plan *plan = collective->plan;
    const PlanRound *end = &plan->rounds[plan->round_count];
    size_t used = 0;
    expect(!collective->narrow && collective->comm->wire.type != WIRE_FP32);
    collective->memory.wire = &collective->comm->wire;
    collective->narrow_sends = place_messages(plan->sends, end->sends, &used);
    collective->narrow_receives = place_messages(plan->receives, end->receives, &used);
    collective->narrow = mem_array(uint16_t, used);
}

/* ---- rounds ---- */

static void post_receive(Collective *collective, int i)
{
    const PlanMessage *message = &collective->plan->receives[i];
    void *place = plan_place(&collective->memory, message->place);
    size_t bytes = message->n * sizeof(float);
    if (collective->narrow) {
        place = collective->narrow + collective->narrow_receives[i];
        bytes = message->n * sizeof(uint16_t);
    }
    messages_post_receive(collective->comm, &collective->receives, place, bytes,
                          collective->ranks[message->peer], collective->tag);
}

static void post_send(Collective *collective, int i)
{
    const PlanMessage *message = &collective->plan->sends[i];
    const float *from = plan_place(&collective->memory, message->place);
    const void *data = from;
    size_t bytes = message->n * sizeof(float);
    if (collective->narrow) {
        uint16_t *place = collective->narrow + collective->narrow_sends[i];
        kernels()->wire_pack(&collective->comm->wire, place, from, message->n);
        data = place;
        bytes = message->n * sizeof(uint16_t);
    }
    messages_post_send(collective->comm, &collective->sends, data, bytes,
                       collective->ranks[message->peer], collective->tag);
}

static void widen(Collective *collective, int i)
{
    const PlanMessage *message = &collective->plan->receives[i];
    kernels()->wire_unpack(&collective->comm->wire, plan_place(&collective->memory, message->place),
                           collective->narrow + collective->narrow_receives[i], message->n);
}

static void post_receives(Collective *collective)
{
    const Plan *plan = collective->plan;
    for (int round = 0; round < plan->round_count; round++) {
        for (int i = plan->rounds[round].receives; i < plan->rounds[round + 1].receives; i++)
            post_receive(collective, i);
        collective->received[round + 1] = collective->receives.count;
    }
}

/* The beginning of a round: what waits for nobody. */
static void begin_round(Collective *collective)
{
    const Plan *plan = collective->plan;
    int round = collective->round;
    collective->began = timeline_now(collective->comm->timeline);
    if (round == plan->round_count)
        return;
    plan_copies(plan, round, &collective->memory);
    for (int i = plan->rounds[round].sends; i < plan->rounds[round + 1].sends; i++)
        post_send(collective, i);
}

static void note_round(const Collective *collective)
{
    Timeline *timeline = collective->comm->timeline;
    const Plan *plan = collective->plan;
    char name[28];
    if (!timeline)
        return;
    snprintf(name, sizeof name, "%s %s", plan->algorithm, collective_kind_name(plan->kind));
    timeline_span(timeline, TRACK_COLLECTIVE + collective->tag - TAG_COLLECTIVE, name,
                  collective->round, collective->began, timeline_now(timeline));
}

/* Its end: everything has arrived. */
static void end_round(Collective *collective)
{
    const PlanRound *round = &collective->plan->rounds[collective->round];
    for (int i = round->receives; collective->narrow && i < round[1].receives; i++)
        widen(collective, i);
    plan_adds(collective->plan, collective->round, &collective->memory);
    note_round(collective);
    collective->round++;
    begin_round(collective);
}

void collective_start(Collective *collective, float *const *inputs, float *output)
{
    expect(!collective->running);
    collective->running = true;
    collective->round = 0;
    collective->memory.inputs = inputs;
    collective->memory.output = output;
    post_receives(collective);
    begin_round(collective);
}

static void end(Collective *collective)
{
    collective->receives.count = collective->sends.count = 0;
    collective->running = false;
}

bool collective_poll(Collective *collective)
{
    while (collective->round < collective->plan->round_count) {
        const size_t *bounds = &collective->received[collective->round];
        if (!messages_test(collective->comm, &collective->receives, bounds[0], bounds[1]))
            return false;
        end_round(collective);
    }
    if (collective->running &&
        messages_test(collective->comm, &collective->sends, 0, collective->sends.count))
        end(collective);
    return !collective->running;
}

void collective_finish(Collective *collective)
{
    while (collective->round < collective->plan->round_count) {
        const size_t *bounds = &collective->received[collective->round];
        messages_wait(collective->comm, &collective->receives, bounds[0], bounds[1]);
        end_round(collective);
    }
    if (!collective->running)
        return;
    messages_wait(collective->comm, &collective->sends, 0, collective->sends.count);
    end(collective);
}
