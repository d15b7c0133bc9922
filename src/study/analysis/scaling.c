/* Curves through few points: steps to target against batch, powers. */
#include "lockstep/statistics.h"

#include <math.h>

/* How far the fit looks beyond the batches that were tried. */
#define BEYOND 100.0

typedef struct Projection {
    double log_s_min; /* the best for this b_crit, in closed form */
    double error;     /* weighted sum of squared residuals of log S */
} Projection;

/* Variable projection (Golub and Pereyra 1973): for a given b_crit the model is linear in log
 * s_min, so the fit is a search in one dimension. */
static Projection project(const ScalingPoint *points, int count, double log_b_crit)
{
    Projection p = { 0, 0 };
    double weights = 0;
    for (int i = 0; i < count; i++) {
        double shape = log1p(exp(log_b_crit) / points[i].batch);
        p.log_s_min += points[i].weight * (log(points[i].steps) - shape);
        weights += points[i].weight;
    }
    p.log_s_min /= weights;
    for (int i = 0; i < count; i++) {
        double shape = log1p(exp(log_b_crit) / points[i].batch);
        double residual = log(points[i].steps) - p.log_s_min - shape;
        p.error += points[i].weight * residual * residual;
    }
    return p;
}

/* The smallest error between low and high: a scan, because there may be flat ends, then golden
 * section around its best point. */
static double search(const ScalingPoint *points, int count, double low, double high)
{
    enum { SCAN = 100 };
    const double golden = 0.61803398874989485;
    double step = (high - low) / SCAN, best = low, error = (double)INFINITY;
    for (int i = 0; i <= SCAN; i++) {
        double here = project(points, count, low + i * step).error;
        if (here < error) {
            error = here;
            best = low + i * step;
        }
    }
    double a = fmax(low, best - step), b = fmin(high, best + step);
    for (int i = 0; i < 50; i++) {
        double c = b - golden * (b - a), d = a + golden * (b - a);
        if (project(points, count, c).error <= project(points, count, d).error)
            b = d;
        else
            a = c;
    }
    return 0.5 * (a + b);
}

static int different_batches(const ScalingPoint *points, int count)
{
    int different = 0;
    for (int i = 0; i < count; i++) {
        bool seen = false;
        for (int j = 0; j < i; j++)
            seen = seen || points[j].batch == points[i].batch;
        different += !seen;
    }
    return different;
}

/* log b_crit far above every batch gives s_min * b_crit / B, far below it gives s_min: the data no
 * longer tell how far. */
static void settle(ScalingFit *fit, double log_b_crit, double smallest, double largest)
{
    double b_crit = exp(log_b_crit);
    fit->samples = fit->s_min * b_crit;
    fit->b_crit = b_crit;
    if (b_crit > 0.99 * BEYOND * largest) {
        fit->b_crit = (double)INFINITY;
        fit->s_min = 0;
    } else if (b_crit * 0.99 * BEYOND < smallest) {
        fit->b_crit = 0;
        fit->samples = 0;
    }
}

ScalingFit scaling_fit(const ScalingPoint *points, int count)
{
    ScalingFit fit = { 0, (double)NAN, (double)NAN, (double)NAN, (double)NAN };
    if (different_batches(points, count) < 3)
        return fit;
    double smallest = points[0].batch, largest = smallest, weights = 0;
    for (int i = 0; i < count; i++) {
        smallest = fmin(smallest, points[i].batch);
        largest = fmax(largest, points[i].batch);
        weights += points[i].weight;
    }
    double at = search(points, count, log(smallest / BEYOND), log(largest * BEYOND));
    Projection p = project(points, count, at);
    fit.points = count;
    fit.s_min = exp(p.log_s_min);
    fit.residual = sqrt(p.error / weights);
    settle(&fit, at, smallest, largest);
    return fit;
}

double scaling_steps(const ScalingFit *fit, double batch)
{
    if (isinf(fit->b_crit))
        return fit->samples / batch;
    return fit->s_min * (1 + fit->b_crit / batch);
}

PowerFit power_fit(const double *x, const double *y, int count)
{
    double mean_x = 0, mean_y = 0, xx = 0, xy = 0;
    for (int i = 0; i < count; i++) {
        mean_x += log(x[i]) / count;
        mean_y += log(y[i]) / count;
    }
    for (int i = 0; i < count; i++) {
        xx += (log(x[i]) - mean_x) * (log(x[i]) - mean_x);
        xy += (log(x[i]) - mean_x) * (log(y[i]) - mean_y);
    }
    if (count < 2 || xx < 1e-12)
        return (PowerFit){ (double)NAN, (double)NAN };
    return (PowerFit){ exp(mean_y - xy / xx * mean_x), xy / xx };
}
