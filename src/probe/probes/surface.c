/* The loss on a plane around the weights, along two random directions whose filters have the norms
 * of the weights' filters, so that pictures of different networks can be compared (Li et al. 2018).
 * A filter is a row of a tensor's first dimension; biases and normalisations stand still. */
#include "lockstep/probe.h"

#include "lockstep/memory.h"

#include <math.h>
#include <string.h>

typedef struct SurfaceOptions {
    int64_t grid;
    double range;
} SurfaceOptions;

static const Option options[] = {
    { "grid", OPTION_INT, OPTION_AT(SurfaceOptions, grid), 2, 2001, NULL, "21",
      "points a side; an odd number has the weights themselves in the middle" },
    { "range", OPTION_FLOAT, OPTION_AT(SurfaceOptions, range), 1e-6, 1e6, NULL, "1",
      "the plane goes from -range to range along each direction" },
    OPTION_END,
};

typedef struct Plane {
    const SurfaceOptions *options;
    size_t n;
    const float *w;
    float *x, *y; /* whole: directions */
} Plane;

static double norm(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

static void match_filters(const LayoutTensor *tensor, const float *w, float *d)
{
    size_t rows = (size_t)tensor->shape[0], n = tensor->n / rows;
    for (size_t row = 0; row < rows; row++) {
        const float *filter = w + tensor->offset + row * n;
        float *direction = d + tensor->offset + row * n;
        double size = norm(direction, n), factor = size > 0 ? norm(filter, n) / size : 0;
        for (size_t i = 0; i < n; i++)
            direction[i] = (float)(factor * (double)direction[i]);
    }
}

static float *make_direction(const Space *space, const float *w, uint64_t seed, uint64_t number)
{
    float *d = space_vector(space);
    space_random_normal(space, seed, number, d);
    for (int t = 0; t < space->layout->count; t++) {
        const LayoutTensor *tensor = &space->layout->tensors[t];
        if (tensor->ndim > 1 && space_trains(space, t))
            match_filters(tensor, w, d);
        else
            memset(d + tensor->offset, 0, tensor->n * sizeof *d);
    }
    return d;
}

static double coordinate(const SurfaceOptions *o, int64_t index)
{
    return o->range * (2 * (double)index / (double)(o->grid - 1) - 1);
}

static void place(const void *context, int index, float *w)
{
    const Plane *plane = context;
    int64_t grid = plane->options->grid;
    double x = coordinate(plane->options, index % grid),
           y = coordinate(plane->options, index / grid);
    for (size_t i = 0; i < plane->n; i++)
        w[i] = (float)((double)plane->w[i] + x * (double)plane->x[i] + y * (double)plane->y[i]);
}

static void report(Probe *probe, const Tally *tallies)
{
    const SurfaceOptions *o = probe->options;
    double least = (double)INFINITY, most = -(double)INFINITY, x = 0, y = 0;
    found_columns(probe->findings, "x,y,loss,accuracy");
    for (int64_t i = 0; i < o->grid * o->grid; i++) {
        double loss = tallies[i].loss / tallies[i].count;
        found_row(probe->findings, "%.9g,%.9g,%.9g,%.9g", coordinate(o, i % o->grid),
                  coordinate(o, i / o->grid), loss, tallies[i].correct / tallies[i].count);
        x = loss < least ? coordinate(o, i % o->grid) : x;
        y = loss < least ? coordinate(o, i / o->grid) : y;
        least = fmin(least, loss);
        most = fmax(most, loss);
    }
    found(probe->findings, "smallest_loss", least, "on the plane");
    found(probe->findings, "smallest_x", x, "where");
    found(probe->findings, "smallest_y", y, "");
    found(probe->findings, "largest_loss", most, "on the plane");
}

static bool run(Probe *probe, Err *err)
{
    const SurfaceOptions *o = probe->options;
    Landscape *l = &probe->landscape;
    uint64_t seed = (uint64_t)probe->common.seed;
    (void)err;
    Plane plane = { o, l->space.layout->n, l->w, make_direction(&l->space, l->w, seed, 0),
                    make_direction(&l->space, l->w, seed, 1) };
    Tally *tallies = mem_array(Tally, o->grid * o->grid);
    probe_points(probe, (int)(o->grid * o->grid), place, &plane, tallies);
    report(probe, tallies);
    mem_free(tallies);
    mem_free(plane.x);
    mem_free(plane.y);
    return true;
}

extern const ProbeType probe_surface;
const ProbeType probe_surface = {
    .name = "surface",
    .help = "loss on a plane of two filter-normalised random directions",
    .formula = "f(w + x d + y e), |d_filter| = |w_filter|",
    .source = "Li et al. 2018",
    .options = options,
    .options_bytes = sizeof(SurfaceOptions),
    .samples = 1024,
    .run = run,
};
