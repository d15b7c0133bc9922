/* Forecasts of a step: what can be worked out by hand, and laws of scaling. */
#include "support.h"

#include "lockstep/forecast.h"

#include <math.h>

static double floats[] = { 1000, 1000, 500 }, ready[] = { 0.4, 0.8, 1 };

/* One lane of eight samples: 10 ms forward, 20 ms backward, 4 ms update of 2,500 parameters. */
static StepProfile profile_of_one(void)
{
    return (StepProfile){ .samples = 8,
                          .forward = 10e-3,
                          .backward = 20e-3,
                          .update = 4e-3,
                          .update_share = 1,
                          .sums = 1,
                          .floats = 2500,
                          .buckets = 3,
                          .nodes = 10,
                          .bucket_floats = floats,
                          .ready = ready,
                          .state_bytes = 20000,
                          .rank_bytes = 1000,
                          .memory_rate = 1e9 };
}

static ForecastJob job_of(int ranks, int ranks_per_host)
{
    return (ForecastJob){ .ranks = ranks,
                          .ranks_per_host = ranks_per_host,
                          .lanes = ranks,
                          .samples = 8.0 * ranks,
                          .network = { .latency = 1e-3, .bytes_per_second = 1e6 },
                          .overlap = OVERLAP_OFF,
                          .algorithm = collective_find("direct") };
}

static bool near(double got, double wanted)
{
    return fabs(got - wanted) <= 1e-6 * fabs(wanted);
}

START_TEST(test_one)
{
    StepProfile profile = profile_of_one();
    ForecastJob job = job_of(1, 1);
    Forecast one = forecast_step(&profile, &job);
    ck_assert(one.possible && one.hosts == 1);
    ck_assert(near(one.step, 34e-3) && near(one.formula, 34e-3));
    ck_assert(near(one.rate, 8 / 34e-3));
    ck_assert(near(one.memory, 2500 * 4 * 2 + 20000 + 1000));
    ck_assert(one.sent <= 0 && one.exposed <= 0 && one.reports <= 0);
}
END_TEST

/* Two hosts, nothing overlaps: 10,000 bytes each way at 1 MB/s; the last of three buckets has
 * waited for the card long enough for its first round to be there. */
START_TEST(test_two_hosts)
{
    StepProfile profile = profile_of_one();
    ForecastJob job = job_of(2, 1);
    Forecast two = forecast_step(&profile, &job);
    ck_assert(two.hosts == 2 && near(two.sent, 10000));
    ck_assert(two.exposed >= 10e-3 + 1e-3 && two.exposed < 10e-3 + 3e-3);
    ck_assert(near(two.reports, 1e-3) && two.helping <= 0);
    ck_assert(near(two.step, 34e-3 + two.exposed + two.reports));
    ck_assert(fabs(two.formula / two.step - 1) < 0.05);
    ck_assert(two.memory >= 2500 * 4 * 3 + 20000 + 1000);

    job.overlap = OVERLAP_THREAD; /* the first bucket after 8 of 20 ms */
    Forecast overlapped = forecast_step(&profile, &job);
    ck_assert(overlapped.exposed < two.exposed - 5e-3 && overlapped.exposed >= 2e-3 + 1e-3);

    job.wire_bytes = 2;
    Forecast narrow = forecast_step(&profile, &job);
    ck_assert(near(narrow.sent, 5000) && narrow.exposed < overlapped.exposed);
    job.wire_bytes = 0;

    job.network.core_bytes_per_second = 10e6; /* 20,000 bytes through a core: 2 ms at most */
    Forecast through_core = forecast_step(&profile, &job);
    ck_assert(through_core.helping > 0 && through_core.helping <= 2e-3);
    ck_assert(through_core.step > overlapped.step);
}
END_TEST

/* Ranks of one host share its update, and read each other's sums; and its card. */
START_TEST(test_ranks_of_a_host)
{
    StepProfile profile = profile_of_one();
    ForecastJob job = job_of(4, 4);
    Forecast four = forecast_step(&profile, &job);
    ck_assert(four.hosts == 1 && four.sent <= 0);
    /* 28 bytes a parameter: 2 of w, 4 of two states, 1 of g; with three more sums 40 */
    ck_assert(near(four.update, 1e-3 * 40 / 28));
    ck_assert(near(four.memory, 2500 * 4 * (1 + 4) + 20000 + 4 * 1000));

    ForecastJob single = job_of(2, 1), many = job_of(8, 4);
    Forecast a = forecast_step(&profile, &single), b = forecast_step(&profile, &many);
    ck_assert(a.hosts == 2 && b.hosts == 2);
    ck_assert(near(a.sent, b.sent));
    ck_assert(near(b.update, 1e-3)); /* the sum is complete when it comes */
    ck_assert(b.exposed > a.exposed && b.exposed < a.exposed + 2e-3); /* adds three sums first */
}
END_TEST

/* The batch stays: half the lanes, half the time; no more ranks than lanes. */
START_TEST(test_strong)
{
    StepProfile profile = profile_of_one();
    profile.folds = 0;
    ForecastJob job = job_of(4, 4);
    job.samples = 8; /* of one rank's step, now in four lanes */
    Forecast four = forecast_step(&profile, &job);
    ck_assert(near(four.forward, 2.5e-3) && near(four.backward, 5e-3));
    job.ranks = 3; /* one of them has two lanes */
    ck_assert(near(forecast_step(&profile, &job).forward, 5e-3));
    job.ranks = 2;
    ck_assert(near(forecast_step(&profile, &job).forward, 5e-3));
    job.ranks = 5;
    ck_assert(!forecast_step(&profile, &job).possible);
}
END_TEST

/* Slower networks never help, more hosts never make a step of the same work shorter. */
START_TEST(test_laws)
{
    StepProfile profile = profile_of_one();
    double before = 0;
    for (int hosts = 2; hosts <= 64; hosts *= 2) {
        double slower = 0;
        for (double rate = 1e8; rate >= 1e6; rate /= 10) {
            ForecastJob job = job_of(hosts, 1);
            job.network.bytes_per_second = rate;
            job.algorithm = collective_find("halving");
            double step = forecast_step(&profile, &job).step;
            ck_assert(step > slower);
            slower = step;
        }
        ck_assert(slower > before);
        before = slower;
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("forecast");
    add_test(suite, test_one);
    add_test(suite, test_two_hosts);
    add_test(suite, test_ranks_of_a_host);
    add_test(suite, test_strong);
    add_test(suite, test_laws);
    return run_suite(suite);
}
