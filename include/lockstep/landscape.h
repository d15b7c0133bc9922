/* The loss as a function of the weights, and what can be asked of it: values, gradients, products
 * with the Hessian, spectra. For probes of a checkpoint (docs/landscape.md).
 *
 * The function is the mean loss over a fixed set of samples, without dropout and augmentation, as
 * a function of the trained parameters; frozen tensors and running statistics stay what they are.
 * Samples are cut into chunks, chunks are lanes of the reducer's tree (reducer.h), and products of
 * vectors are sums over blocks in block order: every result has the same bits for any number of
 * ranks.
 *
 * Vectors are arenas of layout->n floats. A `slice` vector is right inside this rank's slice, a
 * `whole` one everywhere. What is frozen or a statistic is never looked at. */
#ifndef LOCKSTEP_LANDSCAPE_H
#define LOCKSTEP_LANDSCAPE_H

#include "lockstep/comm.h"
#include "lockstep/lanes.h"
#include "lockstep/model.h"
#include "lockstep/reducer.h"

/* ---- vectors ---- */

typedef struct Space {
    Comm *comm; /* borrowed, as is layout */
    const Layout *layout;
    SliceExchange exchange;
    Slice slice;  /* of this rank */
    double *sums; /* scratch: `capacity` for each block */
    size_t capacity;
} Space;

void space_init(Space *space, Comm *comm, const Layout *layout);
void space_free(Space *space);

/* Is the tensor part of the vectors? */
bool space_trains(const Space *space, int tensor);

float *space_vector(const Space *space); /* zeros; freed with mem_free */

/* Of slice vectors, collective. space_own_dot: of whole vectors, by this rank alone, the same
 * bits. */
double space_dot(Space *space, const float *a, const float *b);
double space_own_dot(const Space *space, const float *a, const float *b);

/* The part of space_dot that is one tensor's: out (layout->count). Collective. */
void space_tensor_dots(Space *space, const float *a, const float *b, double *out);

/* Within the slice: y = x; y += factor x; y *= factor. */
void space_copy(const Space *space, float *y, const float *x);
void space_add(const Space *space, float *y, double factor, const float *x);
void space_scale(const Space *space, float *y, double factor);

/* Slice -> whole. Collective. */
void space_share(Space *space, float *x);

/* Random numbers of N(0, 1), or of -1 and 1, of the vector `number` of a seed; whole. */
void space_random_normal(const Space *space, uint64_t seed, uint64_t number, float *x);
void space_random_signs(const Space *space, uint64_t seed, uint64_t number, float *x);

/* Vectors of which this rank keeps its slice alone: row i is `rows[i]`, its float 0 is float
 * slice.lo of the arena. */
typedef struct Basis {
    Space *space; /* borrowed */
    int count, capacity;
    float **rows;
} Basis;

void basis_init(Basis *basis, Space *space, int capacity);
void basis_free(Basis *basis);
void basis_add(Basis *basis, const float *x); /* a copy of a slice vector */
/* out[i] = row_i . x (collective); y += sum of factors[i] row_i, within the slice. */
void basis_dots(const Basis *basis, const float *x, double *out);
void basis_combine(const Basis *basis, const double *factors, float *y);

/* Twice x -= Q Q^T x (Gram-Schmidt with full re-orthogonalisation); `first`: NULL, or Q^T x of the
 * first time. Collective. */
void basis_reject(const Basis *basis, float *x, double *first);

/* ---- the function ---- */

/* Some of a fixed list of samples, borrowed until the next call. */
typedef struct SampleList {
    const Batch *(*read)(void *context, int64_t first, int count);
    void *context;
    int64_t count;
} SampleList;

typedef struct LandscapeWish {
    Model *model; /* borrowed, allocated for lane_size samples; one that keeps sides, if it has
                     kinks */
    Comm *comm;   /* borrowed */
    SampleList list;
    int least_lanes; /* at least so many chunks, a power of two; not less than ranks */
    int lane_size;   /* most samples of a chunk */
    bool statistics; /* batch norm by statistics of each chunk of lane_size samples, not by the
                        running ones */
    int points;      /* of a difference: 2 or 4 */
    double step;     /* factor of its step; 0: 1 */
} LandscapeWish;

#define LANDSCAPE_POINTS 4

typedef struct Landscape {
    LandscapeWish wish;
    Space space;
    Lanes lanes;
    Reducer *reducer;
    size_t *lane_bounds; /* (ranks + 1) */
    Tally *tallies;      /* (lanes) */
    double *values;      /* (lanes) scratch */
    int64_t targets;     /* of all samples (batch.h) */
    float *w;            /* whole: where the probe stands; borrowed */
    float *point;        /* whole scratch: weights nearby */
    float *near[LANDSCAPE_POINTS],
        *near_g[2]; /* whole, of differences: weights, gradients; or NULL */
} Landscape;

/* Looks at all samples once, to count their targets. w (whole) is borrowed and may be another one
 * later. Collective. */
bool landscape_init(Landscape *landscape, const LandscapeWish *wish, float *w, Err *err);
void landscape_free(Landscape *landscape);

/* Loss, accuracy and count at w: of all ranks together; of this rank alone, the same bits. */
Tally landscape_loss(Landscape *landscape, float *w);
Tally landscape_own_loss(Landscape *landscape, float *w);

/* The gradient at w (whole), into the slice of g; returns the tally. Collective. */
Tally landscape_gradient(Landscape *landscape, float *w, float *g);

/* Some samples alone, by this rank alone. landscape_stand tells the network that it is at w now;
 * then landscape_part gives the gradient of the mean over samples first .. first + count - 1 (count
 * <= lane_size) with these labels (NULL: their own) into the whole g, which began as zeros.
 * landscape_output: a sample's outputs, (rows, classes). */
void landscape_stand(Landscape *landscape, float *w);
void landscape_part(Landscape *landscape, float *w, int64_t first, int count, const int32_t *labels,
                    float *g);
const float *landscape_output(Landscape *landscape, int64_t sample);

/* The same samples at weights near one another, as a smooth function: landscape_keep passes them
 * through the network at w and keeps the sides of its kinks (layer.h), landscape_kept gives the
 * gradient at other weights on those sides, of their part of the loss, into the whole g. By this
 * rank alone. */
void landscape_keep(Landscape *landscape, float *w, int64_t first, int count);
void landscape_kept(Landscape *landscape, float *w, int64_t first, int count, float *g);

/* Sums over samples that are not the gradient: `fill` writes the sum of samples first .. first +
 * count - 1 to x (whole, zeros at first), on whichever rank; the sum over all goes over the tree
 * into the slice of out. Collective. */
typedef void SumSamples(void *context, int64_t first, int count, float *x);
void landscape_sum(Landscape *landscape, SumSamples *fill, void *context, float *out);

/* ---- derivatives of the gradient, by central differences (docs/landscape.md) ---- */

/* The step h of a difference along v. */
double landscape_step(const Landscape *landscape, double norm_w, double norm_v);

/* H v for whole v into the slice of out. Collective. */
void landscape_product(Landscape *landscape, const float *v, float *out);

/* The product with one sample's Hessian, by this rank alone: whole v, out. */
void landscape_sample_product(Landscape *landscape, int64_t sample, const float *v, float *out);

/* A symmetric operator: whole v -> slice of out. */
typedef struct Operator {
    void (*apply)(void *context, const float *v, float *out);
    void *context;
} Operator;

Operator landscape_hessian(Landscape *landscape);

/* The covariance of the samples' Hessians, mean of H_i^2 minus H^2 (Wu, Ma and E 2018). */
Operator landscape_spread(Landscape *landscape);

/* ---- spectra ---- */

typedef struct LanczosWish {
    int steps;             /* at most */
    int extremes;          /* stop when so many at either end are found; 0: never */
    double tolerance;      /* found: residual <= tolerance * largest |value| */
    uint64_t seed, number; /* of the vector to begin with */
} LanczosWish;

/* Ritz values, ascending; residual |A x - value x| of each; the squares of their vectors' first
 * components, which are quadrature weights and add up to 1. */
typedef struct Spectrum {
    int count;
    double *values, *residuals, *weights;
} Spectrum;

/* Lanczos with full re-orthogonalisation. Collective. False if numbers were not finite. */
bool lanczos(Space *space, Operator op, const LanczosWish *wish, Spectrum *spectrum, Err *err);
void spectrum_free(Spectrum *spectrum);

/* ---- many vectors ---- */

/* `count` whole vectors, one copy a host where memory can be shared; rank r writes those from
 * rows_first(r) to rows_first(r + 1), then rows_complete. */
typedef struct Rows {
    Space *space;
    int count;
    SharedMemory *shared;
    float *data;
} Rows;

#define ROWS_MAX_BYTES ((double)((size_t)2 << 30))

bool rows_init(Rows *rows, Space *space, int count, Err *err); /* collective, as the next two */
void rows_free(Rows *rows);
void rows_complete(Rows *rows);
int rows_first(const Rows *rows, int rank);
float *rows_row(const Rows *rows, int index);

/* gram (a->count, b->count): gram[i][j] = a_i . b_j; on every rank. Collective. */
void rows_gram(const Rows *a, const Rows *b, double *gram);

/* The Gram matrix (n, n) of the same rows without their mean. Not collective. */
void gram_center(double *gram, int n);

/* ---- gradients of single samples ---- */

/* Of the gradients g_i of groups of `group` samples (1: of samples): |g|^2 of their mean g, the
 * trace of the covariance C of one sample's gradient, and noise scales (McCandlish et al. 2018):
 * simple = tr C / |g|^2; unbiased: with |g|^2 - tr C / n instead, which estimates the gradient of
 * many more samples. `group` divides the samples. Collective. */
typedef struct SampleNoise {
    double gradient_squares, trace, simple, unbiased;
} SampleNoise;
SampleNoise landscape_noise(Landscape *landscape, int group);

/* Fills rows from the samples. Collective.
 *   sample_rows   g_i / sqrt(n): sum of outer products: the empirical Fisher matrix; of groups of
 *                 samples, if there are fewer rows than samples
 *   class_rows    sqrt(p_ik / n) g_ik for every class k in place of the label: the Fisher matrix;
 *                 rows->count = n classes
 *   drawn_rows    g_ik / sqrt(n), k drawn from p_i, for every position by itself: an estimate */
void landscape_sample_rows(Landscape *landscape, Rows *rows);
void landscape_class_rows(Landscape *landscape, Rows *rows, int classes);
void landscape_drawn_rows(Landscape *landscape, Rows *rows, uint64_t seed);

/* ---- loss change allocation (Lan et al. 2019) ---- */

/* Along a path of weights, what every parameter has done to the loss: for each straight piece,
 * change * (g(start) + 4 g(middle) + g(end)) / 6 (Simpson's rule, as the reference). */
typedef struct Allocation {
    Landscape *landscape; /* borrowed */
    double *sums;         /* (layout->n): by parameter, in the slice */
    double *piece;        /* (blocks): of the last piece, complete */
    float *at, *middle;   /* whole: the piece's start; scratch */
    float *g[3];          /* slices */
    double start, loss;   /* at the first and the last point: mean loss */
    double total;         /* of all sums */
} Allocation;
void allocation_init(Allocation *allocation, Landscape *landscape, float *w); /* collective */
void allocation_free(Allocation *allocation);

/* From the last point to w (whole). Collective. */
void allocation_extend(Allocation *allocation, float *w);

/* ---- the largest value in a box ---- */

/* z within [-radius, radius], both of `space`, element by element. value: f and its gradient into
 * the slice of g, for a slice vector z; collective. */
typedef struct Objective {
    Space *space;
    double (*value)(void *context, float *z, float *g);
    void *context;
} Objective;

typedef struct Ascent {
    double start, best; /* f(0), largest f found */
    int iterations, values;
} Ascent;

/* From z = 0, so many iterations of projected L-BFGS; z ends at the best. Collective. */
Ascent ascend(const Objective *objective, const float *radius, int iterations, float *z);

#endif
