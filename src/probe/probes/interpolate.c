/* The loss on the straight line through two points of weights (Goodfellow et al. 2015). Running
 * statistics are interpolated like weights; with mode=train each chunk has its own. */
#include "lockstep/probe.h"

#include "lockstep/memory.h"

#include <math.h>

typedef struct InterpolateOptions {
    char *from, *to;
    int64_t grid;
    double low, high;
} InterpolateOptions;

static const Option options[] = {
    { "from", OPTION_STRING, OPTION_AT(InterpolateOptions, from), 0, 0, NULL, "init",
      "weights at 0: init, final, best, latest, step-N or a weights file" },
    { "to", OPTION_STRING, OPTION_AT(InterpolateOptions, to), 0, 0, NULL, "",
      "weights at 1, likewise; none: those of --checkpoint" },
    { "grid", OPTION_INT, OPTION_AT(InterpolateOptions, grid), 2, 100000, NULL, "25",
      "points of the line" },
    { "low", OPTION_FLOAT, OPTION_AT(InterpolateOptions, low), -1000, 1000, NULL, "-0.25",
      "where it begins" },
    { "high", OPTION_FLOAT, OPTION_AT(InterpolateOptions, high), -1000, 1000, NULL, "1.25",
      "where it ends" },
    OPTION_END,
};

typedef struct Ends {
    const InterpolateOptions *options;
    size_t n;
    float *from, *to; /* whole */
} Ends;

static double place_of(const InterpolateOptions *o, int64_t index)
{
    return o->low + (o->high - o->low) * (double)index / (double)(o->grid - 1);
}

static void place(const void *context, int index, float *w)
{
    const Ends *ends = context;
    double at = place_of(ends->options, index);
    for (size_t i = 0; i < ends->n; i++)
        w[i] = (float)((1 - at) * (double)ends->from[i] + at * (double)ends->to[i]);
}

/* How far the line rises over the higher end between the two: a barrier. */
static void report(Probe *probe, const Tally *tallies)
{
    const InterpolateOptions *o = probe->options;
    double ends = -(double)INFINITY, between = -(double)INFINITY, least = (double)INFINITY,
           where = 0;
    found_columns(probe->findings, "position,loss,accuracy");
    for (int64_t i = 0; i < o->grid; i++) {
        double at = place_of(o, i), loss = tallies[i].loss / tallies[i].count;
        found_row(probe->findings, "%.9g,%.9g,%.9g", at, loss,
                  tallies[i].correct / tallies[i].count);
        if (fabs(at) < 1e-9 || fabs(at - 1) < 1e-9)
            ends = fmax(ends, loss);
        if (at >= 0 && at <= 1)
            between = fmax(between, loss);
        where = loss < least ? at : where;
        least = fmin(least, loss);
    }
    found(probe->findings, "smallest_loss", least, "on the line");
    found(probe->findings, "smallest_at", where, "0: from, 1: to");
    found(probe->findings, "barrier", between - ends, "largest loss between the ends, above both");
}

static bool run(Probe *probe, Err *err)
{
    const InterpolateOptions *o = probe->options;
    const Layout *layout = probe->landscape.space.layout;
    Ends ends = { o, layout->n, space_vector(&probe->landscape.space),
                  space_vector(&probe->landscape.space) };
    Tally *tallies = mem_array(Tally, o->grid);
    bool ok = probe_weights(probe, o->from, ends.from, err) &&
              probe_weights(probe, *o->to ? o->to : probe->checkpoint, ends.to, err);
    if (ok) {
        probe_points(probe, (int)o->grid, place, &ends, tallies);
        report(probe, tallies);
    }
    mem_free(tallies);
    mem_free(ends.from);
    mem_free(ends.to);
    return ok;
}

extern const ProbeType probe_interpolate;
const ProbeType probe_interpolate = {
    .name = "interpolate",
    .help = "loss on the line through two points of weights",
    .formula = "f((1 - a) from + a to)",
    .source = "Goodfellow et al. 2015",
    .options = options,
    .options_bytes = sizeof(InterpolateOptions),
    .samples = 4096,
    .run = run,
};
