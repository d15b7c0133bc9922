/* The simulator of collectives: what can be worked out by hand, bounds that no network can beat,
 * and the formula beside it. */
#include "support.h"

#include "lockstep/simulate.h"

#include <math.h>

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
                Network network = { latency, 1e-6, gbit / 8e-9, 50e9 };
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

int main(void)
{
    Suite *suite = suite_create("simulate");
    add_test(suite, test_by_hand);
    add_test(suite, test_bounds);
    add_test(suite, test_formula);
    return run_suite(suite);
}
