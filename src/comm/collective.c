/* The executor of plans, with real messages. All receives are posted at the start, each round's
 * sends when its turn comes; so nothing that arrives is unexpected, and a member that is late keeps
 * nobody from going on with other collectives. */
#include "plan_run.h"
#include "world.h"

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
    mem_free(collective->received);
    mem_free(collective->ranks);
    mem_free(collective);
}

static void post_receives(Collective *collective)
{
    const Plan *plan = collective->plan;
    for (int round = 0; round < plan->round_count; round++) {
        for (int i = plan->rounds[round].receives; i < plan->rounds[round + 1].receives; i++) {
            const PlanMessage *message = &plan->receives[i];
            messages_post_receive(collective->comm, &collective->receives,
                                  plan_place(&collective->memory, message->place),
                                  message->n * sizeof(float), collective->ranks[message->peer],
                                  collective->tag);
        }
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
    for (int i = plan->rounds[round].sends; i < plan->rounds[round + 1].sends; i++) {
        const PlanMessage *message = &plan->sends[i];
        messages_post_send(
            collective->comm, &collective->sends, plan_place(&collective->memory, message->place),
            message->n * sizeof(float), collective->ranks[message->peer], collective->tag);
    }
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
