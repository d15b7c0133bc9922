/* Statistics of small samples: spreads, Student's t, tests of two samples, the best of k trials,
 * the scaling curve. Pure functions; INFINITY stands for "never" (a seed that did not reach the
 * target) and is counted, not left out. Nothing here allocates for the caller. */
#ifndef LOCKSTEP_STATISTICS_H
#define LOCKSTEP_STATISTICS_H

#include <stdbool.h>

/* Quantile p (0 to 1) of `count` > 0 ascending values, linear between neighbours (Hyndman and Fan
 * 1996, type 7: what NumPy and R do); INFINITY as soon as an infinite neighbour has a share. */
double quantile(const double *sorted, int count, double p);

typedef struct Spread {
    int count, finite;                  /* values, and those that are not INFINITY */
    double min, low, median, high, max; /* low, high: quartiles; all NAN if there is no value */
} Spread;

/* Of the values that are not NAN; sorts `values`. */
Spread spread_of(double *values, int count);

/* P(T > t) for Student's t with `freedom` > 0 degrees of freedom, and the t with this tail. */
double student_tail(double t, double freedom);
double student_quantile(double tail, double freedom);

/* ---- two samples ---- */

typedef struct Sample {
    int count;
    double mean, deviation; /* of the sample, n - 1; NAN for fewer than two values */
} Sample;
Sample sample_of(const double *values, int count);

/* Is b larger than a in the mean? One-sided tests: p is how often a difference at least as large
 * comes by chance if there is none. */
typedef struct TwoSamples {
    Sample a, b;
    double t, freedom, p_welch; /* Welch 1947; NAN if a sample has fewer than 2 values */
    double p_permutation;       /* of all ways to deal the values to a and b */
    bool exact;                 /* all of them, else 100,000 random ones */
    double change, change_low, change_high; /* mean b / mean a - 1, 95 % by Welch */
    double detectable; /* the change that such samples show four times out of five (5 % level) */
} TwoSamples;
TwoSamples two_samples(const double *a, int a_count, const double *b, int b_count);

/* ---- tuning budgets ---- */

/* The best (smallest) of k trials drawn without repetition from a search of `count` trials, over
 * all draws. `expected` is INFINITY if some draw holds no finite value. */
typedef struct BestOf {
    double expected, low, median, high; /* low, high: quartiles over the draws */
} BestOf;
BestOf best_of(const double *sorted, int count, int k);

/* ---- steps to target against batch ---- */

typedef struct ScalingPoint {
    double batch, steps; /* both > 0 */
    double weight;       /* seeds behind `steps` */
} ScalingPoint;

/* S(B) = s_min (1 + b_crit / B) (McCandlish et al. 2018, equation 2.11 at constant noise scale), by
 * weighted least squares in log S. */
typedef struct ScalingFit {
    int points;
    double s_min, b_crit; /* b_crit INFINITY: perfect scaling throughout, 0: all plateau */
    double samples;       /* s_min * b_crit, the fewest samples to target */
    double residual;      /* weighted rms of log S - log fit */
} ScalingFit;

/* At least three different batches, or points is 0 and the rest NAN: two determine the curve, and
 * then it says nothing. b_crit beyond 100 times the largest batch counts as INFINITY, below a
 * hundredth of the smallest as 0. */
ScalingFit scaling_fit(const ScalingPoint *points, int count);
double scaling_steps(const ScalingFit *fit, double batch);

/* Least squares of log y = log scale + exponent * log x; NAN with fewer than two different x. */
typedef struct PowerFit {
    double scale, exponent;
} PowerFit;
PowerFit power_fit(const double *x, const double *y, int count);

#endif
