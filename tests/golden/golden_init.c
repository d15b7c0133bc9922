/* Golden initial weights: the bounds and the standard deviation that a scheme must have for given
 * fans. A row is tested on many numbers, so that what is tested is the distribution and not one
 * draw. */
#include "golden.h"

#include "lockstep/initializer.h"
#include "lockstep/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 8, SIDE = 512 };

static const struct {
    const char *reference, *scheme;
} schemes[] = {
    { "xavier_uniform", "xavier_uniform" },
    { "xavier_normal", "xavier_normal" },
    { "xavier_uniform_gain_tanh", "xavier_uniform*1.6666666666666667" },
    { "xavier_normal_gain_tanh", "xavier_normal*1.6666666666666667" },
    { "kaiming_uniform_fanin_relu", "he_uniform" },
    { "kaiming_normal_fanin_relu", "he_normal" },
    { "kaiming_uniform_fanout_relu", "he_uniform_out" },
    { "kaiming_normal_fanout_relu", "he_normal_out" },
    { "kaiming_uniform_a_sqrt5", "torch" },
    { "lecun_uniform", "lecun_uniform" },
    { "lecun_normal", "lecun_normal" },
};

static const char *find_scheme(const char *reference)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (strcmp(reference, schemes[i].reference) == 0)
            return schemes[i].scheme;
    return NULL;
}

/* Cuts a line at its commas; returns how many pieces there are. */
static int cut(char *line, char *pieces[COLUMNS])
{
    int count = 0;
    for (char *piece = strtok(line, ","); piece && count < COLUMNS; piece = strtok(NULL, ","))
        pieces[count++] = piece;
    return count;
}

/* std to 1 %; mean to 5 standard errors; the fourth moment tells normal (3) from uniform (1.8); a
 * uniform must fill its bounds and stay inside them. */
static void compare(Case *c, const float *w, size_t n, bool uniform, double bound, double std)
{
    double sum = 0, squares = 0, fourth = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        double x = (double)w[i] / std;
        sum += x;
        squares += x * x;
        fourth += x * x * x * x;
        largest = fmax(largest, fabs((double)w[i]));
    }
    double count = (double)n, variance = squares / count;
    case_compare(c, "standard deviation", 0, std * sqrt(variance), std, 0.01 * std);
    case_compare(c, "mean", 0, std * sum / count, 0, 5 * std / sqrt(count));
    case_compare(c, "kurtosis", 0, fourth / count / (variance * variance), uniform ? 1.8 : 3, 0.1);
    if (uniform) {
        case_compare(c, "bound", 0, largest, bound, 1e-3 * bound);
        case_compare(c, "excess over the bound", 0, fmax(largest / bound - 1, 0), 0, 1e-6);
    }
}

Verdict golden_init_row(Case *c, const char *header, const char *row)
{
    static const char columns[] = "scheme,shape,fan_in,fan_out,distribution,a_or_mean,b_or_std,std";
    char line[1024], *pieces[COLUMNS];
    snprintf(line, sizeof line, "%s", row);
    if (strncmp(header, columns, sizeof columns - 1) != 0)
        return case_fails(c, "the columns %s are expected", columns);
    if (cut(line, pieces) != COLUMNS)
        return case_fails(c, "%d columns expected", COLUMNS);
    const char *scheme = find_scheme(pieces[0]);
    bool uniform = strcmp(pieces[4], "uniform") == 0;
    if (!scheme || (!uniform && strcmp(pieces[4], "normal") != 0))
        return case_skips(c, "no scheme for %s, %s", pieces[0], pieces[4]);
    double std = strtod(pieces[7], NULL), bound = strtod(pieces[6], NULL);
    InitializerInput input = { .seed = 1, .tensor = 1, .rows = SIDE, .columns = SIDE };
    input.fan_in = atoi(pieces[2]);
    input.fan_out = atoi(pieces[3]);
    if (input.fan_in < 1 || input.fan_out < 1 || !(std > 0))
        return case_fails(c, "fans and standard deviation must be above 0");
    float *w = mem_array(float, SIDE *SIDE);
    bool ok = initializer_fill(scheme, &input, w, &c->why);
    if (ok)
        compare(c, w, (size_t)SIDE * SIDE, uniform, bound, std);
    mem_free(w);
    return ok ? case_verdict(c) : FAILED;
}
