/* Statistics against SciPy 1.10 and NumPy 1.24 (the commands stand beside the numbers), and at
 * their edges: one value, no spread, nothing reached. */
#include "support.h"

#include "lockstep/statistics.h"

#include <math.h>

#define NEVER ((double)INFINITY)

static void assert_close(double got, double wanted, double relative)
{
    ck_assert_msg(fabs(got - wanted) <= relative * fabs(wanted), "%.17g, %.17g is wanted", got,
                  wanted);
}

/* numpy.quantile([3, 1, 4, 1.5, 9], [.025, .25, .5, .75, .975]) */
START_TEST(test_quantile)
{
    const double sorted[] = { 1, 1.5, 3, 4, 9 };
    assert_close(quantile(sorted, 5, 0.025), 1.05, 1e-14);
    assert_close(quantile(sorted, 5, 0.25), 1.5, 1e-14);
    assert_close(quantile(sorted, 5, 0.5), 3, 1e-14);
    assert_close(quantile(sorted, 5, 0.75), 4, 1e-14);
    assert_close(quantile(sorted, 5, 0.975), 8.5, 1e-14);
    assert_close(quantile(sorted, 1, 0.3), 1, 0);
    assert_close(quantile(sorted, 5, 1), 9, 0);
}
END_TEST

START_TEST(test_spread_counts_what_is_never_reached)
{
    double values[] = { 30, NEVER, (double)NAN, 10, 20 };
    Spread spread = spread_of(values, 5);
    ck_assert_int_eq(spread.count, 4);
    ck_assert_int_eq(spread.finite, 3);
    assert_close(spread.min, 10, 0);
    assert_close(spread.median, 25, 0);
    ck_assert(isinf(spread.high) && isinf(spread.max));
    double half[] = { NEVER, 10, NEVER, 20 }; /* two of four: never */
    ck_assert(isinf(spread_of(half, 4).median));
    double none[] = { (double)NAN };
    spread = spread_of(none, 1);
    ck_assert_int_eq(spread.count, 0);
    ck_assert(isnan(spread.median) && isnan(spread.min));
}
END_TEST

/* scipy.stats.t.sf(t, freedom), scipy.stats.t.isf(tail, freedom) */
START_TEST(test_student)
{
    assert_close(student_tail(0.5, 1), 0.3524163823495668, 1e-13);
    assert_close(student_tail(2.0, 4.5), 0.05412895359056247, 1e-13);
    assert_close(student_tail(1.7, 12), 0.05743993269760458, 1e-13);
    assert_close(student_tail(5, 2.2), 0.015484482844909478, 1e-13);
    assert_close(student_tail(-1.2, 30), 0.8802348245551688, 1e-13);
    assert_close(student_tail(0.01, 200), 0.4960156275766405, 1e-13);
    assert_close(student_tail(NEVER, 3), 0, 0);
    assert_close(student_tail(-NEVER, 3), 1, 0);
    ck_assert(isnan(student_tail((double)NAN, 3)));
    assert_close(student_quantile(0.025, 3.3), 3.0248744618409336, 1e-12);
    assert_close(student_quantile(0.05, 18), 1.734063606617536, 1e-12);
    assert_close(student_quantile(0.2, 7.7), 0.8908270824965283, 1e-12);
    assert_close(student_quantile(0.8, 7.7), -0.8908270824965283, 1e-12);
}
END_TEST

static const double reference[] = { 812, 790, 845, 801, 822 }, changed[] = { 860, 848, 879, 835 };

/* stats.ttest_ind(changed, reference, equal_var=False, alternative='greater');
 * stats.permutation_test((changed, reference), difference of means, alternative='greater',
 * n_resamples=inf): 2 of 126; the interval with optimize.brentq on stats.t.sf,
 * which is more exact than stats.t.isf */
START_TEST(test_two_samples)
{
    TwoSamples test = two_samples(reference, 5, changed, 4);
    assert_close(test.t, 3.12714391301572, 1e-13);
    assert_close(test.freedom, 6.87108329066227, 1e-13);
    assert_close(test.p_welch, 0.008540576776845419, 1e-12);
    assert_close(test.p_permutation, 2 / 126.0, 1e-14);
    ck_assert(test.exact);
    assert_close(test.a.deviation, 21.059439688652688, 1e-13);
    assert_close(test.b.deviation, 18.699376103674332, 1e-13);
    assert_close(test.change, 0.05098280098280098, 1e-13);
    assert_close(test.change_low, 0.012284482610106512, 1e-11);
    assert_close(test.change_high, 0.08968111935549544, 1e-11);
    assert_close(test.detectable, 0.045601178397373335, 1e-11);
}
END_TEST

/* Whichever sample is the smaller one: the number of deals with sum of b as large or larger. */
START_TEST(test_permutation_deals_the_smaller_sample)
{
    TwoSamples there = two_samples(reference, 5, changed, 4);
    TwoSamples back = two_samples(changed, 4, reference, 5);
    assert_close(back.p_permutation, 125 / 126.0, 1e-14); /* one deal is as far out */
    assert_close(there.p_permutation + back.p_permutation, 127 / 126.0, 1e-14);
    const double one[] = { 3 }, four[] = { 1, 2, 3, 4 };
    assert_close(two_samples(four, 4, one, 1).p_permutation, 3 / 5.0, 1e-14);
    assert_close(two_samples(one, 1, four, 4).p_permutation, 4 / 5.0, 1e-14);
}
END_TEST

/* 40 values are dealt in 1.4e11 ways: 100,000 of them, the same ones each time. The normal
 * approximation of the p value is that of Student's t with 38 degrees: 0.0273. */
START_TEST(test_many_values_are_dealt_at_random)
{
    double a[20], b[20];
    for (int i = 0; i < 20; i++) {
        a[i] = 100 + (i * 7) % 20;
        b[i] = 103.65 + (i * 7) % 20;
    }
    TwoSamples test = two_samples(a, 20, b, 20);
    ck_assert(!test.exact);
    assert_close(test.p_permutation, test.p_welch, 0.08);
    TwoSamples again = two_samples(a, 20, b, 20);
    ck_assert(again.p_permutation == test.p_permutation);
}
END_TEST

START_TEST(test_samples_that_say_little)
{
    TwoSamples test = two_samples(reference, 1, changed, 1);
    ck_assert(isnan(test.p_welch) && isnan(test.detectable) && isnan(test.change_low));
    assert_close(test.p_permutation, 0.5, 1e-14);
    test = two_samples(reference, 0, changed, 4);
    ck_assert(isnan(test.p_permutation) && isnan(test.change));
    const double same[] = { 5, 5, 5 }, more[] = { 6, 6, 6 };
    test = two_samples(same, 3, same, 3);
    assert_close(test.p_welch, 0.5, 1e-14);
    assert_close(test.p_permutation, 1, 0);
    assert_close(test.detectable, 0, 0);
    test = two_samples(same, 3, more, 3);
    assert_close(test.p_welch, 0, 0);
    assert_close(test.p_permutation, 1 / 20.0, 1e-14);
}
END_TEST

/* min(c) for c in itertools.combinations([10, 12, 15, 20, 40, 80], k): mean and quartiles */
START_TEST(test_best_of_k)
{
    const double sorted[] = { 10, 12, 15, 20, 40, 80 };
    const double wanted[][5] = { { 1, 29.5, 12, 15, 40 },
                                 { 2, 14.866666666666667, 10, 12, 15 },
                                 { 3, 11.85, 10, 10, 12 },
                                 { 6, 10, 10, 10, 10 } };
    for (int i = 0; i < 4; i++) {
        BestOf best = best_of(sorted, 6, (int)wanted[i][0]);
        assert_close(best.expected, wanted[i][1], 1e-14);
        assert_close(best.low, wanted[i][2], 0);
        assert_close(best.median, wanted[i][3], 0);
        assert_close(best.high, wanted[i][4], 0);
    }
    const double some[] = { 10, NEVER, NEVER };
    ck_assert(isinf(best_of(some, 3, 2).expected)); /* one draw of three finds nothing */
    assert_close(best_of(some, 3, 2).median, 10, 0);
    ck_assert(isinf(best_of(some, 3, 1).median));
    assert_close(best_of(some, 3, 3).expected, 10, 0);
}
END_TEST

/* ---- curves ---- */

/* scipy.optimize.least_squares of sqrt(w) (log S - a - log1p(exp(c) / B)) */
START_TEST(test_scaling_fit)
{
    const ScalingPoint points[] = { { 64, 1340, 3 }, { 128, 700, 3 },  { 256, 410, 2 },
                                    { 512, 240, 3 }, { 1024, 160, 1 }, { 4096, 108, 3 } };
    ScalingFit fit = scaling_fit(points, 6);
    ck_assert_int_eq(fit.points, 6);
    assert_close(fit.s_min, 87.67996245923932, 1e-7);
    assert_close(fit.b_crit, 906.6793056860387, 1e-7);
    assert_close(fit.residual, 0.016469325223371394, 1e-9);
    assert_close(fit.samples, 87.67996245923932 * 906.6793056860387, 1e-7);
    assert_close(scaling_steps(&fit, 256), fit.s_min * (1 + fit.b_crit / 256), 1e-14);
}
END_TEST

START_TEST(test_scaling_fit_finds_its_own_curve)
{
    ScalingPoint points[8];
    for (double b_crit = 10; b_crit < 1e5; b_crit *= 10) {
        for (int i = 0; i < 8; i++) {
            double batch = 32 << i;
            points[i] = (ScalingPoint){ batch, 50 * (1 + b_crit / batch), 1 };
        }
        ScalingFit fit = scaling_fit(points, 8);
        assert_close(fit.s_min, 50, 1e-5);
        assert_close(fit.b_crit, b_crit, 1e-5);
        ck_assert(fit.residual < 1e-7);
    }
}
END_TEST

START_TEST(test_scaling_fit_at_its_ends)
{
    ScalingPoint points[3] = { { 32, 1000, 1 }, { 64, 500, 1 }, { 128, 250, 1 } };
    ScalingFit fit = scaling_fit(points, 3); /* perfect */
    ck_assert(isinf(fit.b_crit));
    assert_close(fit.s_min, 0, 0);
    assert_close(scaling_steps(&fit, 32), 1000, 1e-2);
    for (int i = 0; i < 3; i++)
        points[i].steps = 700; /* flat */
    fit = scaling_fit(points, 3);
    assert_close(fit.b_crit, 0, 0);
    assert_close(scaling_steps(&fit, 32), 700, 1e-2);
    points[2].batch = 64; /* two batches */
    fit = scaling_fit(points, 3);
    ck_assert_int_eq(fit.points, 0);
    ck_assert(isnan(fit.b_crit) && isnan(fit.s_min));
    ck_assert_int_eq(scaling_fit(points, 0).points, 0);
}
END_TEST

/* numpy.polyfit(log B, log lr, 1) */
START_TEST(test_power_fit)
{
    const double batch[] = { 64, 128, 256, 512, 1024, 4096 };
    const double lr[] = { 0.1, 0.2, 0.4, 0.4, 0.8, 1.6 };
    PowerFit fit = power_fit(batch, lr, 6);
    assert_close(fit.exponent, 0.642857142857143, 1e-12);
    assert_close(log(fit.scale), -4.778110737850993, 1e-12);
    ck_assert(isnan(power_fit(batch, lr, 1).exponent));
    const double same[] = { 64, 64 };
    ck_assert(isnan(power_fit(same, lr, 2).exponent));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("statistics");
    add_test(suite, test_quantile);
    add_test(suite, test_spread_counts_what_is_never_reached);
    add_test(suite, test_student);
    add_test(suite, test_two_samples);
    add_test(suite, test_permutation_deals_the_smaller_sample);
    add_test(suite, test_many_values_are_dealt_at_random);
    add_test(suite, test_samples_that_say_little);
    add_test(suite, test_best_of_k);
    add_test(suite, test_scaling_fit);
    add_test(suite, test_scaling_fit_finds_its_own_curve);
    add_test(suite, test_scaling_fit_at_its_ends);
    add_test(suite, test_power_fit);
    return run_suite(suite);
}
