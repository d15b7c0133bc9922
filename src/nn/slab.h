/* The passes of batchnorm over sixteen channels of a batch, as often as memory has to be read: once
 * for mean and variance, once for y; once for the sums of backward, once for dx. What a relu, a
 * join and a second gradient beside them need is done on the way (LayerEpilogue). Private to
 * src/nn/layers. */
#ifndef LOCKSTEP_NN_SLAB_H
#define LOCKSTEP_NN_SLAB_H

#include "image.h"

/* Sixteen channels of some samples: `runs` runs, `run_stride` floats apart, of `items` items,
 * `stride` floats apart, of `width` channels. An image has a run per sample, features have one
 * run in all. */
typedef struct Slab {
    size_t start, runs, run_stride, items, stride;
    int width;
} Slab;

/* What is worked on at a time: about PIECE items, part of a run or some short runs. The 4 KB of a
 * piece and of the arrays beside it stay in the L1 cache from one loop to the next. */
enum { PIECE = 64 };
typedef struct Piece {
    size_t start, runs, items; /* run_stride and stride are the slab's */
} Piece;

/* One number per channel of a slab. */
typedef struct Channels {
    float value[CHANNEL_BLOCK];
} Channels;

/* y = (x - mean) * scale + shift */
typedef struct Affine {
    Channels mean, scale, shift;
} Affine;

/* What a pass over a slab reads and writes. */
typedef struct Arrays {
    const float *x, *dy, *y;
    float *out; /* y of forward, dx of backward */
    const LayerEpilogue *epilogue;
} Arrays;

/* Runs in a piece if runs are short, pieces in a run if they are long. */
static inline size_t runs_together(const Slab *slab)
{
    return slab->items < PIECE ? PIECE / slab->items : 1;
}

static inline size_t run_pieces(const Slab *slab)
{
    return (slab->items + PIECE - 1) / PIECE;
}

static inline size_t piece_count(const Slab *slab)
{
    size_t together = runs_together(slab);
    return (slab->runs + together - 1) / together * run_pieces(slab);
}

/* The runs of a piece, or the one run that several pieces share, as a slab of its own that starts
 * at 0: the same pieces in the same order. */
static inline size_t group_count(const Slab *slab)
{
    size_t together = runs_together(slab);
    return (slab->runs + together - 1) / together;
}

static inline Slab slab_group(const Slab *slab, size_t number)
{
    size_t together = runs_together(slab), left = slab->runs - number * together;
    Slab group = *slab;
    group.start = 0;
    group.runs = left < together ? left : together;
    return group;
}

static inline Piece slab_piece(const Slab *slab, size_t number)
{
    size_t together = runs_together(slab), pieces = run_pieces(slab);
    size_t run = number / pieces * together, item = number % pieces * PIECE;
    size_t runs = slab->runs - run, items = slab->items - item;
    return (Piece){
        .start = slab->start + run * slab->run_stride + item * slab->stride,
        .runs = runs < together ? runs : together,
        .items = items < PIECE ? items : PIECE,
    };
}

static inline double slab_values(const Slab *slab)
{
    return (double)slab->runs * (double)slab->items;
}

/* Where a group of a slab begins. */
static inline size_t group_start(const Slab *slab, size_t number)
{
    return slab->start + number * runs_together(slab) * slab->run_stride;
}

/* VECTOR channels of a piece, from channel c of the slab on. */
typedef struct Part {
    size_t start, runs, run_stride, items, stride;
    int width; /* channels there are, at most VECTOR */
} Part;

static inline Part piece_part(const Slab *slab, Piece piece, int c)
{
    return (Part){
        piece.start + (size_t)c,       piece.runs, slab->run_stride, piece.items, slab->stride,
        least(VECTOR, slab->width - c)
    };
}

/* Whole vectors are loaded and stored without a question: `whole` is a constant where the loops
 * below are made, once for images and once for the last features. */
#define SPECIALISED static inline __attribute__((always_inline))

SPECIALISED Vector load(const float *x, bool whole, int part)
{
    return whole ? vector_load(x) : vector_load_part(x, part);
}

SPECIALISED void store(float *x, Vector value, bool whole, int part)
{
    if (whole)
        vector_store(x, value);
    else
        vector_store_part(x, value, part);
}

SPECIALISED Vector part_sum(const float *x, Part part, bool whole)
{
    Vector total = { 0 };
    for (size_t r = 0; r < part.runs; r++) {
        const float *run = x + part.start + r * part.run_stride;
        for (size_t i = 0; i < part.items; i++)
            total += load(run + i * part.stride, whole, part.width);
    }
    return total;
}

SPECIALISED Vector part_squares(const float *x, Part part, Vector center, bool whole)
{
    Vector total = { 0 };
    for (size_t r = 0; r < part.runs; r++) {
        const float *run = x + part.start + r * part.run_stride;
        for (size_t i = 0; i < part.items; i++) {
            Vector distance = load(run + i * part.stride, whole, part.width) - center;
            total = vector_fused(distance, distance, total);
        }
    }
    return total;
}

static inline Channels piece_sums(const float *x, const Slab *slab, Piece piece)
{
    Channels sums = { { 0 } };
    for (int c = 0; c < slab->width; c += VECTOR) {
        Part part = piece_part(slab, piece, c);
        bool whole = part.width == VECTOR;
        vector_store(sums.value + c, whole ? part_sum(x, part, true) : part_sum(x, part, false));
    }
    return sums;
}

/* Sums of (x - center)^2. */
static inline Channels piece_squares(const float *x, const Slab *slab, Piece piece,
                                     const Channels *center)
{
    Channels sums = { { 0 } };
    for (int c = 0; c < slab->width; c += VECTOR) {
        Part part = piece_part(slab, piece, c);
        Vector middle = vector_load(center->value + c);
        bool whole = part.width == VECTOR;
        vector_store(sums.value + c, whole ? part_squares(x, part, middle, true)
                                           : part_squares(x, part, middle, false));
    }
    return sums;
}

/* Mean and biased variance of a slab, which crosses memory once: two passes over each piece, whose
 * means and sums of squares are then merged in double. Chan, Golub and LeVeque 1983, equation
 * 2.1 */
static inline void measure(const float *x, const Slab *slab, Channels *mean, Channels *var)
{
    double center[CHANNEL_BLOCK] = { 0 }, squares[CHANNEL_BLOCK] = { 0 }, before = 0;
    size_t pieces = piece_count(slab);
    for (size_t p = 0; p < pieces; p++) {
        Piece piece = slab_piece(slab, p);
        double n = (double)(piece.runs * piece.items), share = n / (before + n);
        Channels sums = piece_sums(x, slab, piece), middle;
        for (int c = 0; c < CHANNEL_BLOCK; c++)
            middle.value[c] = (float)((double)sums.value[c] / n);
        Channels spread = piece_squares(x, slab, piece, &middle);
        for (int c = 0; c < CHANNEL_BLOCK; c++) {
            double distance = (double)sums.value[c] / n - center[c];
            center[c] += distance * share;
            squares[c] += (double)spread.value[c] + distance * distance * before * share;
        }
        before += n;
    }
    for (int c = 0; c < CHANNEL_BLOCK; c++) {
        mean->value[c] = (float)center[c];
        var->value[c] = (float)(squares[c] / before);
    }
}

/* The layer by itself, in forward and again in backward, where its sign is what a relu asks for. */
static inline Vector normalised(Vector distance, Vector scale, Vector shift)
{
    return vector_fused(distance, scale, shift);
}

SPECIALISED void forward_part(const Arrays *arrays, Part part, const Affine *affine, int c,
                              bool whole)
{
    const float *shortcut = arrays->epilogue->add ? arrays->epilogue->shortcut : NULL;
    bool first = arrays->epilogue->relu == RECTIFY_FIRST,
         last = arrays->epilogue->relu == RECTIFY_LAST;
    Vector mean = vector_load(affine->mean.value + c), scale = vector_load(affine->scale.value + c),
           shift = vector_load(affine->shift.value + c);
    for (size_t r = 0; r < part.runs; r++) {
        size_t at = part.start + r * part.run_stride;
        for (size_t i = 0; i < part.items; i++, at += part.stride) {
            Vector x = load(arrays->x + at, whole, part.width);
            Vector value = normalised(x - mean, scale, shift);
            if (first)
                value = vector_where_positive(value, value);
            if (shortcut)
                value += load(shortcut + at, whole, part.width);
            if (last)
                value = vector_where_positive(value, value);
            store(arrays->out + at, value, whole, part.width);
        }
    }
}

static inline void piece_forward(const Arrays *arrays, const Slab *slab, Piece piece,
                                 const Affine *affine)
{
    for (int c = 0; c < slab->width; c += VECTOR) {
        Part part = piece_part(slab, piece, c);
        if (part.width == VECTOR)
            forward_part(arrays, part, affine, c, true);
        else
            forward_part(arrays, part, affine, c, false);
    }
}

/* Is the sign that a relu asks for y's, or that of the layer by itself? */
static inline bool masks_by_y(const LayerEpilogue *epilogue)
{
    return epilogue->add && epilogue->relu == RECTIFY_LAST;
}

static inline bool masks_by_x(const LayerEpilogue *epilogue)
{
    return epilogue->relu != RECTIFY_NONE && !masks_by_y(epilogue);
}

/* The first pass of backward: sums of dz and of dz (x - mean); dz is left in its place. */
typedef struct Products {
    Channels sum, product;
} Products;

SPECIALISED void products_part(const Arrays *arrays, Part part, const Affine *affine, int c,
                               bool whole, Products *products)
{
    const LayerEpilogue *epilogue = arrays->epilogue;
    const float *dy2 = epilogue->dy2, *y = masks_by_y(epilogue) ? arrays->y : NULL;
    float *dz = epilogue->dz;
    bool by_x = masks_by_x(epilogue);
    Vector mean = vector_load(affine->mean.value + c), scale = vector_load(affine->scale.value + c),
           shift = vector_load(affine->shift.value + c), sum = { 0 }, product = { 0 };
    for (size_t r = 0; r < part.runs; r++) {
        size_t at = part.start + r * part.run_stride;
        for (size_t i = 0; i < part.items; i++, at += part.stride) {
            Vector distance = load(arrays->x + at, whole, part.width) - mean;
            Vector d = load(arrays->dy + at, whole, part.width);
            if (dy2)
                d += load(dy2 + at, whole, part.width);
            if (y)
                d = vector_where_positive(d, load(y + at, whole, part.width));
            if (dz)
                store(dz + at, d, whole, part.width);
            if (by_x)
                d = vector_where_positive(d, normalised(distance, scale, shift));
            sum += d;
            product = vector_fused(d, distance, product);
        }
    }
    vector_store(products->sum.value + c, sum);
    vector_store(products->product.value + c, product);
}

static inline Products piece_products(const Arrays *arrays, const Slab *slab, Piece piece,
                                      const Affine *affine)
{
    Products products;
    for (int c = 0; c < slab->width; c += VECTOR) {
        Part part = piece_part(slab, piece, c);
        if (part.width == VECTOR)
            products_part(arrays, part, affine, c, true, &products);
        else
            products_part(arrays, part, affine, c, false, &products);
    }
    return products;
}

/* The second: dx = scale * (dz - offset - (x - mean) * slope) */
typedef struct Slope {
    Channels offset, slope;
} Slope;

SPECIALISED void gradient_part(const Arrays *arrays, Part part, const Affine *affine,
                               const Slope *slope, int c, bool whole)
{
    const float *dz = arrays->epilogue->dz ? arrays->epilogue->dz : arrays->dy;
    bool by_x = masks_by_x(arrays->epilogue);
    Vector mean = vector_load(affine->mean.value + c), scale = vector_load(affine->scale.value + c),
           shift = vector_load(affine->shift.value + c),
           offset = vector_load(slope->offset.value + c),
           tilt = vector_load(slope->slope.value + c);
    for (size_t r = 0; r < part.runs; r++) {
        size_t at = part.start + r * part.run_stride;
        for (size_t i = 0; i < part.items; i++, at += part.stride) {
            Vector distance = load(arrays->x + at, whole, part.width) - mean;
            Vector d = load(dz + at, whole, part.width);
            if (by_x)
                d = vector_where_positive(d, normalised(distance, scale, shift));
            store(arrays->out + at, scale * vector_fused(-distance, tilt, d - offset), whole,
                  part.width);
        }
    }
}

static inline void piece_gradient(const Arrays *arrays, const Slab *slab, Piece piece,
                                  const Affine *affine, const Slope *slope)
{
    for (int c = 0; c < slab->width; c += VECTOR) {
        Part part = piece_part(slab, piece, c);
        if (part.width == VECTOR)
            gradient_part(arrays, part, affine, slope, c, true);
        else
            gradient_part(arrays, part, affine, slope, c, false);
    }
}

/* From the last piece to the first, which the cache has forgotten most of. */
static inline void forward_slab(const Arrays *arrays, const Slab *slab, const Affine *affine)
{
    for (size_t p = piece_count(slab); p-- > 0;)
        piece_forward(arrays, slab, slab_piece(slab, p), affine);
}

/* Sums over a slab: float sums of a piece are added in double. */
static inline void slab_products(const Arrays *arrays, const Slab *slab, const Affine *affine,
                                 double *sum, double *product)
{
    size_t pieces = piece_count(slab);
    for (size_t p = 0; p < pieces; p++) {
        Products products = piece_products(arrays, slab, slab_piece(slab, p), affine);
        for (int c = 0; c < slab->width; c++) {
            sum[c] += (double)products.sum.value[c];
            product[c] += (double)products.product.value[c];
        }
    }
}

static inline void slab_gradient(const Arrays *arrays, const Slab *slab, const Affine *affine,
                                 const Slope *slope)
{
    for (size_t p = piece_count(slab); p-- > 0;)
        piece_gradient(arrays, slab, slab_piece(slab, p), affine, slope);
}

#endif
