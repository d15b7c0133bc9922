/* Plans become programs of the simulator. */
#include "programs.h"

#include "lockstep/memory.h"

#include <stdlib.h>

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
                        .bytes = plan_bytes(plan),
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
        for (int i = round->receives; i < round[1].receives; i++)
            program.round[r].received += (double)plan->receives[i].n;
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

Program *programs_new(const CollectiveAlgorithm *algorithm, CollectiveKind kind,
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

void programs_free(Program *programs, int members)
{
    for (int m = 0; programs && m < members; m++) {
        mem_free(programs[m].round);
        mem_free(programs[m].sends);
    }
    mem_free(programs);
}
