/* Has something become larger? Welch's t test and the permutation test of the means. */
#include "lockstep/memory.h"
#include "lockstep/random.h"
#include "lockstep/statistics.h"

#include <math.h>
#include <string.h>

#define EXACT_MAX 2e6 /* ways to deal the values that are all counted */
#define DEALS 100000  /* random ones beyond that */
#define LEVEL 0.05
#define POWER 0.8

Sample sample_of(const double *values, int count)
{
    Sample sample = { count, 0, (double)NAN };
    double squares = 0;
    for (int i = 0; i < count; i++)
        sample.mean += values[i] / count;
    for (int i = 0; i < count; i++)
        squares += (values[i] - sample.mean) * (values[i] - sample.mean);
    if (count > 1)
        sample.deviation = sqrt(squares / (count - 1));
    if (count == 0)
        sample.mean = (double)NAN;
    return sample;
}

static double variance_of_mean(const Sample *sample)
{
    return sample->deviation * sample->deviation / sample->count;
}

/* Welch 1947, with Satterthwaite's degrees of freedom. Two samples without any spread: the means
 * are equal or they are not. */
static void welch(TwoSamples *test)
{
    double va = variance_of_mean(&test->a), vb = variance_of_mean(&test->b), both = va + vb;
    double difference = test->b.mean - test->a.mean;
    test->freedom = both * both / (va * va / (test->a.count - 1) + vb * vb / (test->b.count - 1));
    if (both == 0)
        test->freedom = test->a.count + test->b.count - 2;
    test->t = both > 0 ? difference / sqrt(both) : copysign((double)INFINITY, difference);
    if (both == 0 && difference == 0)
        test->t = 0;
    test->p_welch = student_tail(test->t, test->freedom);
    double half = sqrt(both) * student_quantile(LEVEL / 2, test->freedom);
    double mean = fabs(test->a.mean);
    test->change_low = (difference - half) / mean;
    test->change_high = (difference + half) / mean;
    test->detectable =
        sqrt(both) / mean *
        (student_quantile(LEVEL, test->freedom) + student_quantile(1 - POWER, test->freedom));
}

/* ---- permutations ---- */

typedef struct Deal {
    const double *values; /* of both samples */
    int count, chosen;
    double wanted;        /* sum of the chosen, less what rounding may take */
    double deals, larger; /* so far */
} Deal;

/* Every way to choose `left` more values from number `first` on. */
static void deal_all(Deal *deal, int first, int left, double sum)
{
    if (left == 0) {
        deal->deals++;
        deal->larger += sum >= deal->wanted;
        return;
    }
    for (int i = first; i + left <= deal->count; i++)
        deal_all(deal, i + 1, left - 1, sum + deal->values[i]);
}

/* Fixed keys: the same answer every time. */
static void deal_some(Deal *deal)
{
    double *hand = mem_array(double, deal->count);
    for (int n = 0; n < DEALS; n++) {
        RandomKey key = random_key(0, RANDOM_RESAMPLE, (uint64_t)n, 0);
        double sum = 0;
        memcpy(hand, deal->values, sizeof *hand * (size_t)deal->count);
        for (int i = 0; i < deal->chosen; i++) {
            int other = i + (int)random_below(key, (uint64_t)i, (uint32_t)(deal->count - i));
            double chosen = hand[other];
            hand[other] = hand[i];
            sum += chosen;
        }
        deal->deals++;
        deal->larger += sum >= deal->wanted;
    }
    deal->deals++; /* the deal that took place belongs to them */
    deal->larger++;
    mem_free(hand);
}

static double ways(int count, int chosen)
{
    double result = 1;
    for (int i = 1; i <= chosen && result <= EXACT_MAX; i++)
        result *= (double)(count - chosen + i) / i;
    return result;
}

/* The smaller sample is dealt. If that is a, signs change: the sum of b is at least so large if
 * that of a is at most so large. */
static void permute(TwoSamples *test, const double *a, const double *b)
{
    int count = test->a.count + test->b.count;
    bool deal_a = test->a.count < test->b.count;
    double *values = mem_array(double, count), scale = 0, sign = deal_a ? -1 : 1;
    Deal deal = { values, count, deal_a ? test->a.count : test->b.count, 0, 0, 0 };
    for (int i = 0; i < count; i++) {
        bool of_a = i < test->a.count;
        values[i] = sign * (of_a ? a[i] : b[i - test->a.count]);
        scale += fabs(values[i]);
        deal.wanted += of_a == deal_a ? values[i] : 0;
    }
    deal.wanted -= 1e-12 * scale;
    test->exact = ways(count, deal.chosen) <= EXACT_MAX;
    if (test->exact)
        deal_all(&deal, 0, deal.chosen, 0);
    else
        deal_some(&deal);
    test->p_permutation = deal.larger / deal.deals;
    mem_free(values);
}

TwoSamples two_samples(const double *a, int a_count, const double *b, int b_count)
{
    const double none = (double)NAN;
    TwoSamples test = { .a = sample_of(a, a_count),
                        .b = sample_of(b, b_count),
                        .t = none,
                        .freedom = none,
                        .p_welch = none,
                        .p_permutation = none,
                        .change = none,
                        .change_low = none,
                        .change_high = none,
                        .detectable = none };
    if (a_count == 0 || b_count == 0)
        return test;
    test.change = (test.b.mean - test.a.mean) / fabs(test.a.mean);
    if (a_count > 1 && b_count > 1)
        welch(&test);
    permute(&test, a, b);
    return test;
}
