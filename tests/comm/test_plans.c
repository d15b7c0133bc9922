/* Plans of collectives, for every algorithm in collectives.def: the plans of all members run in
 * this process, without MPI, against lanes_tree_sum bit for bit. */
#include "support.h"

#include "../../src/comm/plan_run.h"
#include "lockstep/memory.h"
#include "lockstep/random.h"

#include <stdio.h>
#include <string.h>

#define MEMBERS 9
#define LANES 64

/* ---- a network in memory: queues of floats between members ---- */

typedef struct Queue {
    float *floats;
    size_t written, read, capacity;
} Queue;

typedef struct Member {
    Plan *plan;
    PlanMemory memory;
    float *inputs[LANES];
    int round;
    bool sent; /* this round's messages */
} Member;

typedef struct World {
    int members;
    CollectiveShape shape; /* me: any */
    size_t bounds[MEMBERS + 1];
    int counts[MEMBERS];
    Subtree subtrees[LANES];
    Member member[MEMBERS];
    Queue queue[MEMBERS][MEMBERS]; /* from, to */
} World;

static void put(Queue *queue, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        mem_grow(&queue->floats, queue->written, &queue->capacity, sizeof *queue->floats);
        queue->floats[queue->written++] = x[i];
    }
}

/* Copies and sends of a member's round, once. */
static void send_round(World *world, int me)
{
    Member *member = &world->member[me];
    const Plan *plan = member->plan;
    plan_copies(plan, member->round, &member->memory);
    for (int i = plan->rounds[member->round].sends; i < plan->rounds[member->round + 1].sends; i++)
        put(&world->queue[me][plan->sends[i].peer],
            plan_place(&member->memory, plan->sends[i].place), plan->sends[i].n);
    member->sent = true;
}

/* True if everything that this round waits for is there. */
static bool can_receive(const World *world, int me)
{
    const Member *member = &world->member[me];
    const Plan *plan = member->plan;
    size_t wanted[MEMBERS] = { 0 };
    for (int i = plan->rounds[member->round].receives; i < plan->rounds[member->round + 1].receives;
         i++)
        wanted[plan->receives[i].peer] += plan->receives[i].n;
    for (int from = 0; from < world->members; from++)
        if (world->queue[from][me].written - world->queue[from][me].read < wanted[from])
            return false;
    return true;
}

static void receive_round(World *world, int me)
{
    Member *member = &world->member[me];
    const Plan *plan = member->plan;
    for (int i = plan->rounds[member->round].receives; i < plan->rounds[member->round + 1].receives;
         i++) {
        const PlanMessage *message = &plan->receives[i];
        Queue *queue = &world->queue[message->peer][me];
        memcpy(plan_place(&member->memory, message->place), queue->floats + queue->read,
               message->n * sizeof(float));
        queue->read += message->n;
    }
    plan_adds(plan, member->round, &member->memory);
    member->round++;
    member->sent = false;
}

/* One member goes as far as it can before the next: the most uneven way there is. False: they wait
 * for one another for ever, or messages are left over. */
static bool run_plans(World *world)
{
    bool progress = true;
    while (progress) {
        progress = false;
        for (int me = 0; me < world->members; me++) {
            Member *member = &world->member[me];
            while (member->round < member->plan->round_count) {
                if (!member->sent)
                    send_round(world, me);
                if (!can_receive(world, me))
                    break;
                receive_round(world, me);
                progress = true;
            }
        }
    }
    bool done = true;
    for (int me = 0; me < world->members; me++) {
        done &= world->member[me].round == world->member[me].plan->round_count;
        for (int to = 0; to < world->members; to++)
            done &= world->queue[me][to].read == world->queue[me][to].written;
    }
    return done;
}

/* ---- shapes ---- */

typedef enum Spread { CONTIGUOUS, ROUND_ROBIN, LAST_HAS_ALL } Spread;

/* Member g's lanes, folded as far as they go. Spread out, a member may have none. */
static void spread_lanes(World *world, int lanes, Spread spread)
{
    int total = 0;
    for (int g = 0; g < world->members; g++) {
        int first = lanes_first(lanes, g, world->members), before = total;
        int last = lanes_first(lanes, g + 1, world->members);
        Subtree list[64];
        if (spread == CONTIGUOUS || world->members == 1) {
            int count = lanes_subtrees(first, last, list);
            memcpy(world->subtrees + total, list, (size_t)count * sizeof *list);
            total += count;
        } else if (spread == LAST_HAS_ALL) {
            if (g + 1 == world->members)
                world->subtrees[total++] = (Subtree){ .first = 0, .width = lanes };
        } else {
            for (int lane = g; lane < lanes; lane += world->members)
                world->subtrees[total++] = (Subtree){ .first = lane, .width = 1 };
        }
        world->counts[g] = total - before;
    }
}

/* n floats in sub-slices of uneven lengths; n < 0: -n floats, all of them member 0's. */
static void cut(World *world, int n)
{
    int members = world->members, floats = n < 0 ? -n : n;
    size_t start = 48; /* ranges do not begin at 0, and buckets begin at multiples of 16 */
    for (int g = 0; g <= members; g++) {
        int share =
            n < 0 ? (g > 0 ? floats : 0) : (int)((int64_t)floats * g * g / (members * members));
        world->bounds[g] = start + (size_t)share;
    }
}

static float lane_value(int lane, size_t i)
{
    RandomKey key = random_key(7, RANDOM_TEST, (uint64_t)lane, 0);
    double scale = (lane % 5 == 0) ? 1e4 : 1e-3; /* sums in another order round differently */
    return (float)(scale * random_normal(key, i));
}

static float tree_value(int first, int width, size_t i)
{
    if (width == 1)
        return lane_value(first, i);
    return tree_value(first, width / 2, i) + tree_value(first + width / 2, width / 2, i);
}

static World *new_world(int members, int lanes, Spread spread, int n)
{
    World *world = mem_new(World);
    world->members = members;
    spread_lanes(world, lanes, spread);
    cut(world, n);
    world->shape = (CollectiveShape){ .members = members,
                                      .bounds = world->bounds,
                                      .counts = world->counts,
                                      .subtrees = world->subtrees };
    return world;
}

static void prepare(World *world, const CollectiveAlgorithm *algorithm, CollectiveKind kind)
{
    const Subtree *node = world->subtrees;
    size_t end = world->bounds[world->members];
    for (int g = 0; g < world->members; g++) {
        Member *member = &world->member[g];
        world->shape.me = g;
        member->plan = plan_new(algorithm, kind, &world->shape);
        plan_memory_init(&member->memory, member->plan);
        member->memory.inputs = member->inputs;
        member->memory.output = mem_array(float, end + 1);
        for (int k = 0; k < world->counts[g]; k++, node++) {
            member->inputs[k] = mem_array(float, end);
            for (size_t i = world->bounds[0]; i < end; i++)
                member->inputs[k][i] = tree_value(node->first, node->width, i);
        }
        if (kind == COLLECTIVE_ALL_GATHER)
            for (size_t i = world->bounds[g]; i < world->bounds[g + 1]; i++)
                member->memory.output[i] = lane_value(0, i);
    }
}

static void free_world(World *world)
{
    for (int g = 0; g < world->members; g++) {
        Member *member = &world->member[g];
        for (int k = 0; k < world->counts[g]; k++)
            mem_free(member->inputs[k]);
        mem_free(member->memory.output);
        plan_memory_free(&member->memory);
        plan_free(member->plan);
        for (int to = 0; to < world->members; to++)
            mem_free(world->queue[g][to].floats);
    }
    mem_free(world);
}

static bool same_float(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

/* What a member has to have at the end; elsewhere its output is untouched (zero). */
static bool results_are_right(const World *world, CollectiveKind kind, int lanes)
{
    for (size_t i = 0; i <= world->bounds[world->members]; i++) {
        bool inside = i >= world->bounds[0] && i < world->bounds[world->members];
        float wanted = !inside                         ? 0
                       : kind == COLLECTIVE_ALL_GATHER ? lane_value(0, i)
                                                       : tree_value(0, lanes, i);
        for (int g = 0; g < world->members; g++) {
            bool own = i >= world->bounds[g] && i < world->bounds[g + 1];
            bool has = inside && (own || kind != COLLECTIVE_REDUCE_SCATTER);
            if (!same_float(world->member[g].memory.output[i], has ? wanted : 0)) {
                fprintf(stderr, "%s %s: %d members, %d lanes: member %d float %zu\n",
                        world->member[0].plan->algorithm, collective_kind_name(kind),
                        world->members, lanes, g, i);
                return false;
            }
        }
    }
    return true;
}

static void check(const CollectiveAlgorithm *algorithm, int members, int lanes, Spread spread,
                  int n)
{
    for (CollectiveKind kind = 0; kind < COLLECTIVE_KINDS; kind++) {
        World *world = new_world(members, lanes, spread, n);
        prepare(world, algorithm, kind);
        bool done = run_plans(world);
        ck_assert_msg(done, "%s %s: %d members, %d lanes, spread %d, %d floats: plans do not fit",
                      algorithm->name, collective_kind_name(kind), members, lanes, (int)spread, n);
        ck_assert(results_are_right(world, kind, lanes));
        for (int g = 1; g < members; g++)
            ck_assert(world->member[g].plan->digest == world->member[0].plan->digest);
        free_world(world);
    }
}

START_TEST(test_laws)
{
    int count;
    const CollectiveAlgorithm *const *all = collective_all(&count);
    for (int a = 0; a < count; a++)
        for (int members = 1; members <= MEMBERS; members++) {
            int lengths[] = { 0, 1, members - 1, 97, 16 * members * members, -5 };
            for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
                for (Spread spread = CONTIGUOUS; spread <= LAST_HAS_ALL; spread++) {
                    check(all[a], members, 16, spread, lengths[i]);
                    check(all[a], members, members <= 4 ? 4 : 64, spread, lengths[i]);
                }
        }
}
END_TEST

/* More floats than a tile, and bounds that let the additions be vectors. */
START_TEST(test_long)
{
    int count;
    const CollectiveAlgorithm *const *all = collective_all(&count);
    for (int a = 0; a < count; a++)
        for (int members = 1; members <= 4; members++)
            check(all[a], members, 8, CONTIGUOUS, 16 * 9 * members * members * 40);
}
END_TEST

/* The test itself can tell: a sum from left to right has other bits. */
START_TEST(test_order_shows)
{
    int different = 0;
    for (size_t i = 0; i < 100; i++) {
        float sum = lane_value(0, i);
        for (int lane = 1; lane < 16; lane++)
            sum = sum + lane_value(lane, i);
        different += !same_float(sum, tree_value(0, 16, i));
    }
    ck_assert(different > 30);
}
END_TEST

static double tree_of_doubles(const double *values, int width)
{
    if (width == 1)
        return values[0];
    return tree_of_doubles(values, width / 2) + tree_of_doubles(values + width / 2, width / 2);
}

/* tree_value's order is that of lanes_tree_sum. */
START_TEST(test_tree_is_the_lane_tree)
{
    for (size_t i = 0; i < 100; i++) {
        double values[16];
        for (int lane = 0; lane < 16; lane++)
            values[lane] = (double)lane_value(lane, i) / 3;
        double wanted = tree_of_doubles(values, 16), sum = lanes_tree_sum(values, 16);
        ck_assert(memcmp(&sum, &wanted, sizeof sum) == 0);
    }
}
END_TEST

/* What a member sends and receives at least and at most, where lanes fit the members. */
START_TEST(test_traffic)
{
    for (int members = 2; members <= 8; members *= 2) {
        int count, n = 64 * members * members;
        const CollectiveAlgorithm *const *all = collective_all(&count);
        for (int a = 0; a < count; a++) {
            World *world = new_world(members, 8, CONTIGUOUS, n);
            for (int g = 0; g <= members; g++)
                world->bounds[g] = 48 + (size_t)(g * n / members);
            double least = 4.0 * n * (members - 1) / members;
            prepare(world, all[a], COLLECTIVE_REDUCE_SCATTER);
            for (int g = 0; g < members; g++) {
                double sent = plan_sent_bytes(world->member[g].plan);
                bool ring = strcmp(all[a]->name, "ring") == 0;
                ck_assert(sent > least - 1 && sent < (ring ? 3 : 1) * least + 1);
                if (strcmp(all[a]->name, "halving") == 0)
                    ck_assert(
                        world->member[g].plan->rounds[world->member[g].plan->round_count].sends ==
                        (members == 2   ? 1
                         : members == 4 ? 2
                                        : 3));
            }
            free_world(world);
        }
    }
}
END_TEST

START_TEST(test_digest)
{
    World *world = new_world(4, 16, CONTIGUOUS, 64);
    const CollectiveAlgorithm *algorithm = collective_find("direct");
    Plan *plan = plan_new(algorithm, COLLECTIVE_REDUCE_SCATTER, &world->shape);
    Plan *kind = plan_new(algorithm, COLLECTIVE_ALL_REDUCE, &world->shape);
    Plan *other = plan_new(collective_find("ring"), COLLECTIVE_REDUCE_SCATTER, &world->shape);
    ck_assert(plan->digest != kind->digest && plan->digest != other->digest);
    world->bounds[2]++;
    Plan *bounds = plan_new(algorithm, COLLECTIVE_REDUCE_SCATTER, &world->shape);
    ck_assert(plan->digest != bounds->digest);
    ck_assert(collective_find("rings") == NULL);
    plan_free(plan);
    plan_free(kind);
    plan_free(other);
    plan_free(bounds);
    mem_free(world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("plans");
    add_test(suite, test_order_shows);
    add_test(suite, test_tree_is_the_lane_tree);
    add_test(suite, test_laws);
    add_test(suite, test_long);
    add_test(suite, test_traffic);
    add_test(suite, test_digest);
    return run_suite(suite);
}
