/* Gradients of single samples: their noise, and rows whose outer products add up to Fisher matrices
 * (Kunstner et al. 2019 on why the empirical one is another). */
#include "lockstep/landscape.h"

#include "lockstep/memory.h"
#include "lockstep/random.h"

#include <math.h>
#include <string.h>

/* ---- noise ---- */

/* Squared norms of all groups' gradients, each to its place; the sum over a tree. */
static double all_squares(Landscape *l, int groups, int group)
{
    Comm *comm = l->wish.comm;
    int rank = comm_rank(comm), ranks = comm_size(comm);
    size_t *bounds = mem_array(size_t, ranks + 1);
    double *squares = mem_array(double, groups);
    float *g = space_vector(&l->space);
    for (int r = 0; r <= ranks; r++)
        bounds[r] = (size_t)((int64_t)groups * r / ranks);
    landscape_stand(l, l->w);
    for (size_t i = bounds[rank]; i < bounds[rank + 1]; i++) {
        landscape_part(l, l->w, (int64_t)i * group, group, NULL, g);
        squares[i] = space_own_dot(&l->space, g, g);
    }
    comm_allgather(comm, squares, bounds, sizeof *squares);
    double total = lanes_tree_sum(squares, groups);
    mem_free(bounds);
    mem_free(squares);
    mem_free(g);
    return total;
}

SampleNoise landscape_noise(Landscape *l, int group)
{
    int groups = (int)(l->wish.list.count / group);
    double m = groups, n = (double)l->wish.list.count;
    float *g = space_vector(&l->space);
    landscape_gradient(l, l->w, g);
    SampleNoise noise = { .gradient_squares = space_dot(&l->space, g, g) };
    mem_free(g);
    noise.trace = group * (all_squares(l, groups, group) - m * noise.gradient_squares) / (m - 1);
    noise.simple = noise.trace / noise.gradient_squares;
    noise.unbiased = noise.trace / (noise.gradient_squares - noise.trace / n);
    return noise;
}

/* ---- rows ---- */

static void scale_row(const Rows *rows, int index, double factor)
{
    float *row = rows_row(rows, index);
    for (size_t i = 0; i < rows->space->layout->n; i++)
        row[i] *= (float)factor;
}

/* Of one position: p (classes) from its outputs. */
static void probabilities(const float *y, int classes, double *p)
{
    double top = (double)y[0], sum = 0;
    for (int k = 1; k < classes; k++)
        top = fmax(top, (double)y[k]);
    for (int k = 0; k < classes; k++)
        sum += p[k] = exp((double)y[k] - top);
    for (int k = 0; k < classes; k++)
        p[k] /= sum;
}

void landscape_sample_rows(Landscape *l, Rows *rows)
{
    int rank = comm_rank(l->wish.comm), group = (int)(l->wish.list.count / rows->count);
    landscape_stand(l, l->w);
    for (int i = rows_first(rows, rank); i < rows_first(rows, rank + 1); i++) {
        landscape_part(l, l->w, (int64_t)i * group, group, NULL, rows_row(rows, i));
        scale_row(rows, i, sqrt(1 / (double)rows->count));
    }
    rows_complete(rows);
}

void landscape_class_rows(Landscape *l, Rows *rows, int classes)
{
    int rank = comm_rank(l->wish.comm), samples = rows->count / classes;
    double *p = mem_array(double, classes);
    landscape_stand(l, l->w);
    for (int i = rows_first(rows, rank); i < rows_first(rows, rank + 1); i++) {
        int32_t label = i % classes;
        probabilities(landscape_output(l, i / classes), classes, p);
        landscape_part(l, l->w, i / classes, 1, &label, rows_row(rows, i));
        scale_row(rows, i, sqrt(p[label] / samples));
    }
    rows_complete(rows);
    mem_free(p);
}

/* The class whose share of (0, 1) the random number is in. */
static int32_t draw(const double *p, int classes, double random)
{
    int32_t label = 0;
    for (double below = p[0]; label + 1 < classes && random >= below; below += p[label])
        label++;
    return label;
}

static void draw_labels(Landscape *l, int64_t sample, uint64_t seed, double *p, int32_t *labels)
{
    const Loss *loss = &l->wish.model->loss;
    Batch batch = *l->wish.list.read(l->wish.list.context, sample, 1);
    memcpy(labels, batch.labels, (size_t)loss->rows * sizeof *labels);
    const float *y = landscape_output(l, sample);
    RandomKey key = random_key(seed, RANDOM_LANDSCAPE, UINT64_MAX, (uint64_t)sample);
    for (int row = 0; row < loss->rows; row++) {
        probabilities(y + (size_t)row * (size_t)loss->outputs, loss->outputs, p);
        if (labels[row] != LABEL_IGNORED)
            labels[row] = draw(p, loss->outputs, random_uniform(key, (uint64_t)row));
    }
}

void landscape_drawn_rows(Landscape *l, Rows *rows, uint64_t seed)
{
    const Loss *loss = &l->wish.model->loss;
    int rank = comm_rank(l->wish.comm);
    double *p = mem_array(double, loss->outputs);
    int32_t *labels = mem_array(int32_t, loss->rows);
    landscape_stand(l, l->w);
    for (int i = rows_first(rows, rank); i < rows_first(rows, rank + 1); i++) {
        draw_labels(l, i, seed, p, labels);
        landscape_part(l, l->w, i, 1, labels, rows_row(rows, i));
        scale_row(rows, i, sqrt(1 / (double)rows->count));
    }
    rows_complete(rows);
    mem_free(p);
    mem_free(labels);
}
