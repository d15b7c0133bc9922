/* batchnorm: each channel is normalised over a ghost batch, an explicit number of samples that
 * divides a lane, so the result does not depend on how lanes are spread over ranks.
 *
 *   y = (x - mean) / sqrt(var + eps) * gain + bias          mean, biased var over the ghost batch
 *
 * Running statistics are statistic tensors of the layout, w = keep * w + increment. backward
 * writes a lane's increment in the place of their gradient, and the lane tree adds them up. With
 * G ghost batches in the step and momentum m:
 *   mean        keep = 1 - m       ghost j adds  m / G * (mean_j, unbiased var_j)
 *   sequential  keep = (1 - m)^G   ghost j adds  m (1 - m)^(G-1-j) * (mean_j, unbiased var_j)
 * `sequential` is what one update per ghost batch, in order, would give (PyTorch on one device). */
#include "../image.h"
#include "lockstep/cpu.h"
#include "lockstep/memory.h"
#include "lockstep/vmath.h"

#include <math.h>

enum { RUNNING_MEAN, RUNNING_SEQUENTIAL };

typedef struct BatchNormOptions {
    double momentum, eps;
    int ghost, running;
    bool affine;
    int lane_size; /* samples; not an option: told by check_lane, 0 before */
} BatchNormOptions;

static const Option batchnorm_options[] = {
    { "momentum", OPTION_FLOAT, OPTION_AT(BatchNormOptions, momentum), 0, 1, NULL, "0.1",
      "weight of a step's statistics in the running ones" },
    { "eps", OPTION_FLOAT, OPTION_AT(BatchNormOptions, eps), 1e-12, 1, NULL, "1e-5",
      "added to the variance" },
    { "affine", OPTION_BOOL, OPTION_AT(BatchNormOptions, affine), 0, 0, NULL, "true",
      "learn a gain and a bias per channel" },
    { "ghost", OPTION_INT, OPTION_AT(BatchNormOptions, ghost), 0, 1 << 30, NULL, "0",
      "samples normalised together; must divide the lane; 0: the lane" },
    { "running", OPTION_CHOICE, OPTION_AT(BatchNormOptions, running), 0, 0, "mean|sequential",
      "mean", "running statistics: mean over the step's ghost batches, or one after another" },
    OPTION_END,
};

typedef struct BatchNormState {
    int ghost_size;        /* samples of a full ghost batch */
    int ghosts;            /* room for so many ghost batches */
    size_t stride;         /* channels rounded up to CHANNEL_BLOCK */
    float *mean, *var;     /* (ghosts, stride) of the last training forward */
    double *dgain, *dbias; /* (stride) */
} BatchNormState;

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
    const Epilogue *epilogue;
} Arrays;

static int channels_of(const Layer *layer)
{
    return layer->in.dim[0];
}

static int slab_count(const Layer *layer)
{
    return (channels_of(layer) + CHANNEL_BLOCK - 1) / CHANNEL_BLOCK;
}

static Slab slab_of(const Layer *layer, int number, int first_sample, int samples)
{
    size_t C = (size_t)channels_of(layer);
    if (layer->in.ndim == 1)
        return (Slab){
            .start = (size_t)first_sample * C + (size_t)number * CHANNEL_BLOCK,
            .runs = 1,
            .items = (size_t)samples,
            .stride = C,
            .width = least(CHANNEL_BLOCK, (int)C - number * CHANNEL_BLOCK),
        };
    size_t plane = plane_floats(layer->in), image = image_floats(layer->in);
    return (Slab){
        .start = (size_t)first_sample * image + (size_t)number * plane,
        .runs = (size_t)samples,
        .run_stride = image,
        .items = plane / CHANNEL_BLOCK,
        .stride = CHANNEL_BLOCK,
        .width = CHANNEL_BLOCK,
    };
}

/* Runs in a piece if runs are short, pieces in a run if they are long. */
static size_t runs_together(const Slab *slab)
{
    return slab->items < PIECE ? PIECE / slab->items : 1;
}

static size_t run_pieces(const Slab *slab)
{
    return (slab->items + PIECE - 1) / PIECE;
}

static size_t piece_count(const Slab *slab)
{
    size_t together = runs_together(slab);
    return (slab->runs + together - 1) / together * run_pieces(slab);
}

static Piece slab_piece(const Slab *slab, size_t number)
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

static double slab_values(const Slab *slab)
{
    return (double)slab->runs * (double)slab->items;
}

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    const BatchNormOptions *options = layer->options;
    if (layer->in.ndim == 2)
        return err_set(err, "it needs features (F) or an image (C, H, W)");
    int C = channels_of(layer);
    layer->out = layer->in;
    if (options->affine) {
        layer_add_tensor(layer, layout, "weight", 1, &C, 0, C, C, "ones");
        layer_add_tensor(layer, layout, "bias", 1, &C, 0, C, C, "zeros");
    }
    layer_add_tensor(layer, layout, "running_mean", 1, &C, LAYOUT_STATISTIC, C, C, "zeros");
    layer_add_tensor(layer, layout, "running_var", 1, &C, LAYOUT_STATISTIC, C, C, "ones");
    layer->flops = 4 * (double)shape_values(layer->in);
    return true;
}

static bool check_lane(Layer *layer, int lane_size, Err *err)
{
    BatchNormOptions *options = layer->options;
    if (options->ghost && lane_size % options->ghost != 0)
        return err_set(err, "ghost: %d samples do not divide a lane of %d samples", options->ghost,
                       lane_size);
    options->lane_size = lane_size;
    return true;
}

static LayerTensor *running_mean(Layer *layer)
{
    return &layer->tensors[layer->tensor_count - 2];
}

static LayerTensor *running_var(Layer *layer)
{
    return &layer->tensors[layer->tensor_count - 1];
}

static void allocate(Layer *layer, int max_batch)
{
    const BatchNormOptions *options = layer->options;
    BatchNormState *state = mem_new(BatchNormState);
    int lane_size = options->lane_size ? options->lane_size : max_batch;
    state->ghost_size = options->ghost ? options->ghost : lane_size;
    state->ghosts = (max_batch - 1) / state->ghost_size + 1;
    state->stride = (size_t)slab_count(layer) * CHANNEL_BLOCK;
    state->mean = mem_array(float, (size_t)state->ghosts * state->stride);
    state->var = mem_array(float, (size_t)state->ghosts * state->stride);
    state->dgain = mem_array(double, state->stride);
    state->dbias = mem_array(double, state->stride);
    layer->state = state;
    layer->state_bytes_total = sizeof *state +
                               2 * (size_t)state->ghosts * state->stride * sizeof(float) +
                               2 * state->stride * sizeof(double);
}

static void release(Layer *layer)
{
    BatchNormState *state = layer->state;
    if (!state)
        return;
    mem_free(state->mean);
    mem_free(state->var);
    mem_free(state->dgain);
    mem_free(state->dbias);
    mem_free(state);
    layer->state = NULL;
}

/* Ghost batches in so many samples. */
static int ghost_count(const Layer *layer, int samples)
{
    const BatchNormState *state = layer->state;
    return (samples - 1) / state->ghost_size + 1;
}

static void begin_step(Layer *layer, Layout *layout, int global_batch)
{
    const BatchNormOptions *options = layer->options;
    double keep = 1 - options->momentum;
    if (global_batch == 0)
        keep = 1;
    else if (options->running == RUNNING_SEQUENTIAL)
        keep = vmath_power(keep, ghost_count(layer, global_batch));
    layout->tensors[running_mean(layer)->index].keep = (float)keep;
    layout->tensors[running_var(layer)->index].keep = (float)keep;
}

/* VECTOR channels of a piece, from channel c of the slab on. */
typedef struct Part {
    size_t start, runs, run_stride, items, stride;
    int width; /* channels there are, at most VECTOR */
} Part;

static Part piece_part(const Slab *slab, Piece piece, int c)
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
            total += distance * distance;
        }
    }
    return total;
}

static Channels piece_sums(const float *x, const Slab *slab, Piece piece)
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
static Channels piece_squares(const float *x, const Slab *slab, Piece piece, const Channels *center)
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
static void measure(const float *x, const Slab *slab, Channels *mean, Channels *var)
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
    return distance * scale + shift;
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

static void piece_forward(const Arrays *arrays, const Slab *slab, Piece piece, const Affine *affine)
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
static bool masks_by_y(const Epilogue *epilogue)
{
    return epilogue->add && epilogue->relu == RECTIFY_LAST;
}

static bool masks_by_x(const Epilogue *epilogue)
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
    const Epilogue *epilogue = arrays->epilogue;
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
            product += d * distance;
        }
    }
    vector_store(products->sum.value + c, sum);
    vector_store(products->product.value + c, product);
}

static Products piece_products(const Arrays *arrays, const Slab *slab, Piece piece,
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
            store(arrays->out + at, scale * (d - offset - distance * tilt), whole, part.width);
        }
    }
}

static void piece_gradient(const Arrays *arrays, const Slab *slab, Piece piece,
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

static Channels inverse_deviation(const Layer *layer, const Channels *var)
{
    const BatchNormOptions *options = layer->options;
    Channels inverse;
    for (int c = 0; c < CHANNEL_BLOCK; c++)
        inverse.value[c] = (float)(1 / sqrt((double)var->value[c] + options->eps));
    return inverse;
}

/* Numbers 16 * slab .. of a tensor; its padding is zero, and so stay the missing channels. */
static Channels slab_channels(const float *values, int slab)
{
    Channels channels;
    memcpy(channels.value, values + (size_t)slab * CHANNEL_BLOCK, sizeof channels.value);
    return channels;
}

static Channels slab_gain(const Layer *layer, int slab)
{
    const BatchNormOptions *options = layer->options;
    if (options->affine)
        return slab_channels(layer->tensors[0].w, slab);
    Channels ones;
    for (int c = 0; c < CHANNEL_BLOCK; c++)
        ones.value[c] = 1;
    return ones;
}

static Channels slab_bias(const Layer *layer, int slab)
{
    const BatchNormOptions *options = layer->options;
    return options->affine ? slab_channels(layer->tensors[1].w, slab) : (Channels){ { 0 } };
}

static Affine slab_affine(const Layer *layer, int number, const Channels *mean, const Channels *var)
{
    Affine affine = { *mean, inverse_deviation(layer, var), slab_bias(layer, number) };
    Channels gain = slab_gain(layer, number);
    for (int c = 0; c < CHANNEL_BLOCK; c++)
        affine.scale.value[c] *= gain.value[c];
    return affine;
}

/* From the last piece to the first, which the cache has forgotten most of. */
static void normalise(const Layer *layer, int number, const Slab *slab, const Channels *mean,
                      const Channels *var, const float *x, float *y)
{
    Affine affine = slab_affine(layer, number, mean, var);
    Arrays arrays = { .x = x, .out = y, .epilogue = &layer->epilogue };
    for (size_t p = piece_count(slab); p-- > 0;)
        piece_forward(&arrays, slab, slab_piece(slab, p), &affine);
}

static void forward_evaluate(Layer *layer, int batch, const float *x, float *y)
{
    for (int number = 0; number < slab_count(layer); number++) {
        Slab slab = slab_of(layer, number, 0, batch);
        Channels mean = slab_channels(running_mean(layer)->w, number);
        Channels var = slab_channels(running_var(layer)->w, number);
        normalise(layer, number, &slab, &mean, &var, x, y);
    }
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    if (!pass->train) {
        forward_evaluate(layer, pass->batch, x, y);
        return;
    }
    const BatchNormState *state = layer->state;
    int ghosts = ghost_count(layer, pass->batch), size = state->ghost_size;
    expect(ghosts <= state->ghosts);
    for (int ghost = 0; ghost < ghosts; ghost++)
        for (int number = 0; number < slab_count(layer); number++) {
            int first = ghost * size;
            Slab slab = slab_of(layer, number, first, least(size, pass->batch - first));
            size_t place = (size_t)ghost * state->stride + (size_t)number * CHANNEL_BLOCK;
            Channels mean, var;
            measure(x, &slab, &mean, &var);
            memcpy(state->mean + place, mean.value, sizeof mean.value);
            memcpy(state->var + place, var.value, sizeof var.value);
            normalise(layer, number, &slab, &mean, &var, x, y);
        }
}

/* Sums over a slab: float sums of a piece are added in double. */
static void slab_products(const Arrays *arrays, const Slab *slab, const Affine *affine, double *sum,
                          double *product)
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

/* One slab of one ghost batch. With h = (x - mean) / deviation and n values per channel:
 *   dbias = sum dz     dgain = sum dz h     dx = gain / deviation * (dz - dbias / n - h dgain / n)
 * Fixed statistics (evaluation) drop the last two terms of dx. Ioffe and Szegedy 2015, section
 * 3. */
static void backward_slab(const Layer *layer, bool fixed, int number, const Slab *slab,
                          const Channels *mean, const Channels *var, const Arrays *arrays)
{
    const BatchNormState *state = layer->state;
    double sum[CHANNEL_BLOCK] = { 0 }, product[CHANNEL_BLOCK] = { 0 };
    Affine affine = slab_affine(layer, number, mean, var);
    slab_products(arrays, slab, &affine, sum, product);
    Channels inverse = inverse_deviation(layer, var);
    Slope slope;
    double values = slab_values(slab);
    for (int c = 0; c < CHANNEL_BLOCK; c++) {
        double deviation = (double)inverse.value[c];
        state->dbias[number * CHANNEL_BLOCK + c] += sum[c];
        state->dgain[number * CHANNEL_BLOCK + c] += product[c] * deviation;
        slope.offset.value[c] = fixed ? 0 : (float)(sum[c] / values);
        slope.slope.value[c] = fixed ? 0 : (float)(product[c] * deviation * deviation / values);
    }
    for (size_t p = piece_count(slab); arrays->out && p-- > 0;)
        piece_gradient(arrays, slab, slab_piece(slab, p), &affine, &slope);
}

static void backward_evaluate(Layer *layer, int batch, const Arrays *arrays)
{
    for (int number = 0; number < slab_count(layer); number++) {
        Slab slab = slab_of(layer, number, 0, batch);
        Channels mean = slab_channels(running_mean(layer)->w, number);
        Channels var = slab_channels(running_var(layer)->w, number);
        backward_slab(layer, true, number, &slab, &mean, &var, arrays);
    }
}

static void backward_train(Layer *layer, int batch, const Arrays *arrays)
{
    const BatchNormState *state = layer->state;
    int ghosts = ghost_count(layer, batch), size = state->ghost_size;
    for (int ghost = 0; ghost < ghosts; ghost++)
        for (int number = 0; number < slab_count(layer); number++) {
            int first = ghost * size;
            Slab slab = slab_of(layer, number, first, least(size, batch - first));
            const float *mean_row = state->mean + (size_t)ghost * state->stride;
            const float *var_row = state->var + (size_t)ghost * state->stride;
            Channels mean = slab_channels(mean_row, number), var = slab_channels(var_row, number);
            backward_slab(layer, false, number, &slab, &mean, &var, arrays);
        }
}

/* The lane's part of the running statistics. */
static void write_increments(Layer *layer, const Pass *pass)
{
    const BatchNormOptions *options = layer->options;
    const BatchNormState *state = layer->state;
    int size = state->ghost_size, all = ghost_count(layer, pass->global_batch);
    size_t C = (size_t)channels_of(layer);
    float *mean = running_mean(layer)->dw, *var = running_var(layer)->dw;
    double plane = (double)shape_values(layer->in) / (double)C;
    memset(mean, 0, C * sizeof *mean);
    memset(var, 0, C * sizeof *var);
    for (int ghost = 0; pass->train && ghost < ghost_count(layer, pass->batch); ghost++) {
        double n = least(size, pass->batch - ghost * size) * plane;
        double unbiased = n / (n > 1 ? n - 1 : 1);
        double weight = options->momentum / all;
        if (options->running == RUNNING_SEQUENTIAL)
            weight = options->momentum * vmath_power(1 - options->momentum,
                                                     all - 1 - (pass->first_sample / size + ghost));
        const float *ghost_mean = state->mean + (size_t)ghost * state->stride;
        const float *ghost_var = state->var + (size_t)ghost * state->stride;
        for (size_t c = 0; c < C; c++) {
            mean[c] += (float)(weight * (double)ghost_mean[c]);
            var[c] += (float)(weight * unbiased * (double)ghost_var[c]);
        }
    }
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    const BatchNormOptions *options = layer->options;
    const BatchNormState *state = layer->state;
    Arrays arrays = { .x = x, .y = y, .dy = dy, .out = dx, .epilogue = &layer->epilogue };
    memset(state->dgain, 0, state->stride * sizeof *state->dgain);
    memset(state->dbias, 0, state->stride * sizeof *state->dbias);
    if (pass->train)
        backward_train(layer, pass->batch, &arrays);
    else
        backward_evaluate(layer, pass->batch, &arrays);
    write_increments(layer, pass);
    for (int c = 0; options->affine && c < channels_of(layer); c++) {
        layer->tensors[0].dw[c] = (float)state->dgain[c];
        layer->tensors[1].dw[c] = (float)state->dbias[c];
    }
}

extern const LayerType ISA_NAME(layer_batchnorm);
const LayerType ISA_NAME(layer_batchnorm) = {
    .name = "batchnorm",
    .help = "batch normalisation per channel or feature, over ghost batches",
    .formula = "y = (x - mean) / sqrt(var + eps) * weight + bias",
    .source = "Ioffe and Szegedy 2015; ghost batches: Hoffer et al. 2017",
    .options = batchnorm_options,
    .options_bytes = sizeof(BatchNormOptions),
    .plan = plan,
    .allocate = allocate,
    .release = release,
    .check_lane = check_lane,
    .begin_step = begin_step,
    .forward = forward,
    .backward = backward,
    .dx_over_dy = true,
    .keep_x = true,
    .fuses_add = true,
    .fuses_relu = true,
    .fuses_dy2 = true,
};
