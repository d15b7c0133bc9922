/* The mean loss over a list of samples and its gradient. A chunk of samples is one pass; chunks are
 * the lanes of a reducer, so sums over samples have the bits of the lane tree. */
#include "lockstep/landscape.h"

#include "lockstep/kernels.h"
#include "lockstep/memory.h"

#include <string.h>

#define MAX_CHUNKS (1 << 20)

/* Chunks are equal but for the last ones, and a power of two, so that ranks get equal shares.
 * Statistics of a chunk are those of a training lane, so there a chunk is one. */
static bool cut_samples(Landscape *l, Err *err)
{
    const LandscapeWish *wish = &l->wish;
    int64_t chunks = wish->least_lanes, n = wish->list.count;
    while (chunks * wish->lane_size < n && chunks < MAX_CHUNKS)
        chunks *= 2;
    if (n < 1 || chunks * wish->lane_size < n)
        return err_set(err, "samples: %lld found, 1 to %lld wanted", (long long)n,
                       (long long)MAX_CHUNKS * wish->lane_size);
    int64_t size = wish->statistics ? wish->lane_size : (n + chunks - 1) / chunks;
    return lanes_init(&l->lanes, (int)(chunks * size), (int)chunks, comm_rank(wish->comm),
                      comm_size(wish->comm), err);
}

static void find_bounds(Landscape *l)
{
    int ranks = l->lanes.ranks;
    l->lane_bounds = mem_array(size_t, ranks + 1);
    for (int rank = 0; rank <= ranks; rank++)
        l->lane_bounds[rank] = (size_t)lanes_first(l->lanes.count, rank, ranks);
}

static void count_targets(Landscape *l)
{
    l->targets = 1;
    l->targets = (int64_t)landscape_loss(l, l->w).count;
    if (l->targets < 1)
        l->targets = 1;
}

bool landscape_init(Landscape *l, const LandscapeWish *wish, float *w, Err *err)
{
    *l = (Landscape){ .wish = *wish, .w = w };
    if (l->wish.step <= 0)
        l->wish.step = 1;
    expect(wish->points == 2 || wish->points == 4);
    if (!cut_samples(l, err))
        return false;
    space_init(&l->space, wish->comm, &wish->model->layout);
    l->reducer = reducer_init(wish->comm, &l->lanes, l->space.layout, &l->space.exchange);
    l->tallies = mem_array(Tally, l->lanes.count);
    l->values = mem_array(double, l->lanes.count);
    l->point = space_vector(&l->space);
    find_bounds(l);
    count_targets(l);
    return true;
}

void landscape_free(Landscape *l)
{
    reducer_free(l->reducer);
    space_free(&l->space);
    mem_free(l->lane_bounds);
    mem_free(l->tallies);
    mem_free(l->values);
    mem_free(l->point);
    for (int i = 0; i < LANDSCAPE_POINTS; i++)
        mem_free(l->near[i]);
    mem_free(l->near_g[0]);
    mem_free(l->near_g[1]);
    *l = (Landscape){ 0 };
}

/* ---- passes ---- */

static Pass pass_of(const Landscape *l, const Batch *batch, int64_t first, bool backward,
                    Sides sides)
{
    bool statistics = l->wish.statistics;
    return (Pass){ .train = statistics,
                   .backward = backward && !statistics,
                   .steady = true,
                   .sides = sides,
                   .batch = batch->count,
                   .first_sample = (int)first,
                   .global_batch = (int)l->wish.list.count,
                   .lane_size = l->lanes.size,
                   .global_targets = l->targets,
                   .tokens = batch->tokens };
}

/* Forward, and backward into dw if that is not NULL. */
static Tally run_sides(Landscape *l, float *w, int64_t first, const Batch *batch, float *dw,
                       Sides sides)
{
    Model *model = l->wish.model;
    Pass pass = pass_of(l, batch, first, dw != NULL, sides);
    model_bind(model, w, dw);
    Tally tally = model_forward(model, batch, &pass);
    if (dw)
        model_backward(model, batch, &pass);
    return tally;
}

static Tally run(Landscape *l, float *w, const Batch *batch, int64_t first, float *dw)
{
    return run_sides(l, w, first, batch, dw, SIDES_OWN);
}

void landscape_stand(Landscape *l, float *w)
{
    model_bind(l->wish.model, w, NULL);
    model_begin_step(l->wish.model, l->wish.statistics ? (int)l->wish.list.count : -1);
}

/* Samples of a lane, from `*first` on; 0 if it is empty. */
static int lane_samples(const Landscape *l, int lane, int64_t *first)
{
    *first = (int64_t)lanes_offset(&l->lanes, lane);
    return lanes_samples(&l->lanes, lane, (int)l->wish.list.count);
}

static void run_lane(Landscape *l, float *w, int lane, float *dw)
{
    int64_t first;
    int count = lane_samples(l, lane, &first);
    l->tallies[lane] = (Tally){ 0 };
    if (count > 0)
        l->tallies[lane] =
            run(l, w, l->wish.list.read(l->wish.list.context, first, count), first, dw);
}

static double add_field(Landscape *l, size_t field)
{
    for (int lane = 0; lane < l->lanes.count; lane++)
        memcpy(&l->values[lane], (const char *)&l->tallies[lane] + field, sizeof(double));
    return lanes_tree_sum(l->values, l->lanes.count);
}

static Tally add_tallies(Landscape *l)
{
    return (Tally){ .loss = add_field(l, offsetof(Tally, loss)),
                    .correct = add_field(l, offsetof(Tally, correct)),
                    .count = add_field(l, offsetof(Tally, count)) };
}

static Tally gather_tallies(Landscape *l)
{
    comm_allgather(l->wish.comm, l->tallies, l->lane_bounds, sizeof *l->tallies);
    return add_tallies(l);
}

Tally landscape_loss(Landscape *l, float *w)
{
    landscape_stand(l, w);
    for (int lane = l->lanes.first; lane < l->lanes.last; lane++)
        run_lane(l, w, lane, NULL);
    return gather_tallies(l);
}

Tally landscape_own_loss(Landscape *l, float *w)
{
    landscape_stand(l, w);
    for (int lane = 0; lane < l->lanes.count; lane++)
        run_lane(l, w, lane, NULL);
    return add_tallies(l);
}

/* ---- sums over the tree ---- */

static void clear(const Landscape *l, float *x)
{
    memset(x, 0, l->space.layout->n * sizeof *x);
}

/* What the reducer has for this rank's slice, without what is not trained. */
static void take_sums(Landscape *l, float *out)
{
    Gradient sums = reducer_reduce(l->reducer);
    for (int i = l->space.slice.first_block; i < l->space.slice.last_block; i++) {
        LayoutBlock block = layout_block(l->space.layout, i);
        if (space_trains(&l->space, block.tensor))
            memcpy(out + block.offset, gradient_block(sums, block, false), block.n * sizeof *out);
        else
            memset(out + block.offset, 0, block.n * sizeof *out);
    }
    comm_barrier(l->wish.comm); /* nobody reads the sums any more */
}

Tally landscape_gradient(Landscape *l, float *w, float *g)
{
    landscape_stand(l, w);
    for (int lane = l->lanes.first; lane < l->lanes.last; lane++) {
        float *dw = reducer_lane(l->reducer);
        clear(l, dw);
        run_lane(l, w, lane, dw);
        reducer_add_lane(l->reducer, lane);
    }
    take_sums(l, g);
    return gather_tallies(l);
}

void landscape_sum(Landscape *l, SumSamples *fill, void *context, float *out)
{
    for (int lane = l->lanes.first; lane < l->lanes.last; lane++) {
        int64_t first;
        int count = lane_samples(l, lane, &first);
        float *x = reducer_lane(l->reducer);
        clear(l, x);
        if (count > 0)
            fill(context, first, count, x);
        reducer_add_lane(l->reducer, lane);
    }
    take_sums(l, out);
}

/* ---- some samples ---- */

void landscape_part(Landscape *l, float *w, int64_t first, int count, const int32_t *labels,
                    float *g)
{
    Batch batch = *l->wish.list.read(l->wish.list.context, first, count);
    if (labels)
        batch.labels = labels;
    run(l, w, &batch, first, g);
    kernels()->scale(g, (float)((double)l->wish.list.count / count), l->space.layout->n);
}

static void run_near(Landscape *l, float *w, int64_t first, int count, float *g, Sides sides)
{
    landscape_stand(l, w);
    run_sides(l, w, first, l->wish.list.read(l->wish.list.context, first, count), g, sides);
}

void landscape_keep(Landscape *l, float *w, int64_t first, int count)
{
    run_near(l, w, first, count, NULL, SIDES_KEEP);
}

void landscape_kept(Landscape *l, float *w, int64_t first, int count, float *g)
{
    run_near(l, w, first, count, g, SIDES_KEPT);
}

const float *landscape_output(Landscape *l, int64_t sample)
{
    Batch batch = *l->wish.list.read(l->wish.list.context, sample, 1);
    batch.labels = NULL;
    batch.targets = NULL;
    run(l, l->wish.model->w, &batch, sample, NULL);
    return model_output(l->wish.model);
}
