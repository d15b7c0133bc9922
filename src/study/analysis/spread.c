/* Spreads of samples, Student's t, and what a search of k trials finds. */
#include "lockstep/error.h"
#include "lockstep/statistics.h"

#include <math.h>
#include <stdlib.h>

static int ascending(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

double quantile(const double *sorted, int count, double p)
{
    expect(count > 0 && p >= 0 && p <= 1);
    double place = p * (count - 1);
    int below = (int)place;
    double share = place - below;
    if (share <= 0 || below + 1 >= count)
        return sorted[below];
    if (isinf(sorted[below + 1]))
        return sorted[below + 1];
    return sorted[below] + share * (sorted[below + 1] - sorted[below]);
}

Spread spread_of(double *values, int count)
{
    Spread spread = { 0, 0, (double)NAN, (double)NAN, (double)NAN, (double)NAN, (double)NAN };
    for (int i = 0; i < count; i++)
        if (!isnan(values[i]))
            values[spread.count++] = values[i];
    if (spread.count == 0)
        return spread;
    qsort(values, (size_t)spread.count, sizeof *values, ascending);
    for (int i = 0; i < spread.count; i++)
        spread.finite += isfinite(values[i]) != 0;
    spread.min = values[0];
    spread.low = quantile(values, spread.count, 0.25);
    spread.median = quantile(values, spread.count, 0.5);
    spread.high = quantile(values, spread.count, 0.75);
    spread.max = values[spread.count - 1];
    return spread;
}

/* ---- Student's t ---- */

/* Continued fraction of the incomplete beta function, modified Lentz (Press et al. 2007, 6.4). */
static double beta_fraction(double a, double b, double x)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double fraction = d;
    for (int m = 1; m <= 1000; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        double before = fraction;
        for (int half = 0; half < 2; half++) {
            double term = half ? odd : even;
            d = 1 + term * d;
            c = 1 + term / c;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = fabs(c) < tiny ? tiny : c;
            fraction *= c * d;
        }
        if (fabs(fraction - before) < 1e-15 * fabs(fraction))
            break;
    }
    return fraction;
}

/* Regularised incomplete beta function I_x(a, b); y = 1 - x with all its digits. */
static double beta_share(double a, double b, double x, double y)
{
    if (x <= 0 || y <= 0)
        return x <= 0 ? 0 : 1;
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(y));
    if (x < (a + 1) / (a + b + 2))
        return front * beta_fraction(a, b, x) / a;
    return 1 - front * beta_fraction(b, a, y) / b;
}

double student_tail(double t, double freedom)
{
    if (isnan(t) || isnan(freedom))
        return (double)NAN;
    if (isinf(t))
        return t > 0 ? 0 : 1;
    double all = freedom + t * t;
    double half = 0.5 * beta_share(0.5 * freedom, 0.5, freedom / all, t * t / all);
    return t >= 0 ? half : 1 - half;
}

double student_quantile(double tail, double freedom)
{
    double low = -1, high = 1;
    while (student_tail(low, freedom) < tail && low > -1e150)
        low *= 2;
    while (student_tail(high, freedom) > tail && high < 1e150)
        high *= 2;
    for (int i = 0; i < 200; i++) {
        double middle = 0.5 * (low + high);
        *(student_tail(middle, freedom) > tail ? &low : &high) = middle;
    }
    return 0.5 * (low + high);
}

/* ---- the best of k ---- */

/* Of all draws of k out of `count`, the share whose best is number i (0-based, ascending):
 * C(count - i - 1, k - 1) / C(count, k). */
static double share_of(int i, int count, int k)
{
    double share = (double)k / count;
    for (int j = 0; j < i; j++) /* the better ones are not drawn */
        share *= (double)(count - k - j) / (count - 1 - j);
    return share > 0 ? share : 0;
}

BestOf best_of(const double *sorted, int count, int k)
{
    expect(count > 0 && k > 0 && k <= count);
    BestOf best = { 0, (double)NAN, (double)NAN, (double)NAN };
    double below = 0; /* share of the draws whose best is a smaller one */
    for (int i = 0; i + k <= count; i++) {
        double share = share_of(i, count, k), upto = below + share;
        if (share > 0)
            best.expected += share * sorted[i];
        if (isnan(best.low) && upto >= 0.25)
            best.low = sorted[i];
        if (isnan(best.median) && upto >= 0.5)
            best.median = sorted[i];
        if (isnan(best.high) && upto >= 0.75)
            best.high = sorted[i];
        below = upto;
    }
    return best;
}
