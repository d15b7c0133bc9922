/* The simulator of collectives: what can be worked out by hand, bounds that no network can beat,
 * and the formula beside it. */
#include "support.h"

#include "lockstep/simulate.h"

#include <math.h>
#include <string.h>

static const double at_once = 0;

static double seconds(const char *reduce, const char *gather, int members, size_t floats,
                      const Network *network)
{
    SimulatedStep step = { .members = members,
                           .buckets = 1,
                           .bucket_floats = floats,
                           .ready = &at_once,
                           .reduce = reduce ? collective_find(reduce) : NULL,
                           .gather = gather ? collective_find(gather) : NULL };
    return simulate(&step, network).seconds;
}

static bool near(double got, double wanted)
{
    return fabs(got - wanted) <= 1e-9 * fabs(wanted);
}

/* 1 MB/s, 1 ms, 10 us a message; 4,000 floats, so 8,000 bytes to each of two, 4,000 of four. */
START_TEST(test_by_hand)
{
    Network network = { .latency = 1e-3, .overhead = 1e-5, .bytes_per_second = 1e6 };
    ck_assert(near(seconds(NULL, "direct", 2, 4000, &network), 1e-3 + 1e-5 + 8e-3));
    ck_assert(near(seconds("direct", NULL, 2, 4000, &network), 1e-3 + 1e-5 + 8e-3));
    ck_assert(near(seconds(NULL, "direct", 4, 4000, &network), 1e-3 + 3e-5 + 12e-3));
    ck_assert(near(seconds(NULL, "ring", 4, 4000, &network), 3 * (1e-3 + 1e-5 + 4e-3)));
    ck_assert(near(seconds(NULL, "halving", 4, 4000, &network), 2e-3 + 2e-5 + 12e-3));
    ck_assert(near(seconds("halving", NULL, 4, 4000, &network), 2e-3 + 2e-5 + 12e-3));
    ck_assert(near(seconds("halving", "ring", 4, 4000, &network), 5e-3 + 5e-5 + 24e-3));
    network = (Network){ .memory_bytes_per_second = 1e6 }; /* 2,000 additions of 12 bytes */
    ck_assert(near(seconds("direct", NULL, 2, 4000, &network), 24e-3));
}
END_TEST

START_TEST(test_bounds)
{
    int count;
    const CollectiveAlgorithm *const *all = collective_all(&count);
    Network network = { .latency = 1e-5, .overhead = 1e-6, .bytes_per_second = 1e9 };
    for (int a = 0; a < count; a++)
        for (int members = 2; members <= 9; members++) {
            double least = 1e-5 + 4e-9 * 9000 * (members - 1) / members;
            double reduce = seconds(all[a]->name, NULL, members, 9000, &network);
            double gather = seconds(NULL, all[a]->name, members, 9000, &network);
            double both = seconds(all[a]->name, all[a]->name, members, 9000, &network);
            ck_assert(reduce >= least && gather >= least);
            ck_assert(both >= fmax(reduce, gather) && both <= reduce + gather + 1e-9);
        }
}
END_TEST

/* Buckets that are ready early are hidden; the formula follows, whichever limit holds. */
START_TEST(test_formula)
{
    for (int members = 2; members <= 256; members *= 4)
        for (double gbit = 1; gbit <= 1000; gbit *= 10)
            for (double latency = 1e-6; latency < 1e-3; latency *= 10) {
                double ready[16];
                for (int k = 0; k < 16; k++)
                    ready[k] = 0.01 * (k + 1);
                Network network = { .latency = latency,
                                    .overhead = 1e-6,
                                    .bytes_per_second = gbit / 8e-9,
                                    .memory_bytes_per_second = 50e9 };
                SimulatedStep step = { .members = members,
                                       .buckets = 16,
                                       .bucket_floats = 1 << 18,
                                       .ready = ready,
                                       .reduce = collective_find("halving"),
                                       .gather = collective_find("halving"),
                                       .update_bytes = 28 };
                double simulated = simulate(&step, &network).seconds;
                double formula = simulate_formula(&step, &network);
                ck_assert(simulated >= 0.16);
                ck_assert_msg(fabs(formula / simulated - 1) < 0.15,
                              "%d members, %g Gbit/s, %g s: %g simulated, %g by formula", members,
                              gbit, latency, simulated, formula);
            }
}
END_TEST

/* Two members, direct, 4,000 floats at 1 MB/s and 1 ms: 8 ms each way. */
static SimulatedStep two_members(const double *ready)
{
    return (SimulatedStep){ .members = 2,
                            .buckets = 1,
                            .bucket_floats = 4000,
                            .ready = ready,
                            .reduce = collective_find("direct"),
                            .all_reduce = true };
}

/* Who computes looks only now and then: at the start, and after each of two rounds. */
START_TEST(test_nap)
{
    Network network = { .latency = 1e-3, .bytes_per_second = 1e6 };
    SimulatedStep step = two_members(&at_once);
    ck_assert(near(simulate(&step, &network).seconds, 18e-3));
    step.nap = 1e-3;
    step.busy = 1;
    ck_assert(near(simulate(&step, &network).seconds, 19.5e-3));
    step.busy = 5e-3; /* from then on it only waits */
    ck_assert(near(simulate(&step, &network).seconds, 18.5e-3));
}
END_TEST

/* 8 ms of a core for 8,000 bytes sent, as many received, twice; 5 ms of it while it computes. */
START_TEST(test_core)
{
    Network network = { .core_bytes_per_second = 1e6 };
    SimulatedStep step = two_members(&at_once);
    SimulatedResult result = simulate(&step, &network);
    ck_assert(near(result.seconds, 32e-3) && result.core <= 0);
    ck_assert(near(result.bytes, 16000));
    step.busy = 5e-3;
    ck_assert(near(simulate(&step, &network).core, 5e-3));
}
END_TEST

/* A bucket of half the length takes half the time; lanes that do not fit the tree take longer. */
START_TEST(test_shares)
{
    const double half = 0.5;
    const int fit[] = { 0, 4, 8 }, misfit[] = { 0, 3, 8 };
    Network network = { .bytes_per_second = 1e6 };
    SimulatedStep step = two_members(&at_once);
    step.shares = &half;
    ck_assert(near(simulate(&step, &network).seconds, 8e-3));
    step.lanes = fit;
    ck_assert(near(simulate(&step, &network).seconds, 8e-3));
    step.lanes = misfit; /* {0-1} {2} to the right, {3} {4-7} to the left, and results */
    ck_assert(near(simulate(&step, &network).seconds, 12e-3));
}
END_TEST

START_TEST(test_networks)
{
    Err err;
    Network network = { .memory_bytes_per_second = 7 };
    for (int i = 0; network_types[i].name; i++) {
        ck_assert(network_read(network_types[i].name, &network, &err));
        ck_assert(near(network.bytes_per_second, network_types[i].gbit / 8e-9));
        ck_assert(network.memory_bytes_per_second == 7);
    }
    ck_assert(network_read("latency_us=7,100gbit-roce,core_gb=2", &network, &err));
    ck_assert(near(network.latency, 7e-6) && near(network.overhead, 0.8e-6));
    ck_assert(near(network.core_bytes_per_second, 2e9));
    ck_assert(!network_read("100gbit-rose", &network, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "did you mean \"100gbit-roce\""));
    ck_assert(!network_read("gbit=fast", &network, &err));
    ck_assert_str_eq(err.text, "network: gbit=fast: a number of at least 0 is wanted");
    ck_assert(!network_read("bits=3", &network, &err));
    ck_assert(!network_read("gbit=-1", &network, &err));
    ck_assert(!network_read("latency_us=nan", &network, &err));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("simulate");
    add_test(suite, test_by_hand);
    add_test(suite, test_bounds);
    add_test(suite, test_formula);
    add_test(suite, test_nap);
    add_test(suite, test_core);
    add_test(suite, test_shares);
    add_test(suite, test_networks);
    return run_suite(suite);
}
