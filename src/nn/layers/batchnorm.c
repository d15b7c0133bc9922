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
#include "../slab.h"
#include "lockstep/cpu.h"
#include "lockstep/memory.h"
#include "lockstep/vmath.h"

#include <math.h>

enum { RUNNING_MEAN, RUNNING_SEQUENTIAL };
enum { AFFINE_BOTH, AFFINE_NONE, AFFINE_BIAS };

typedef struct BatchNormOptions {
    double momentum, eps;
    int ghost, running, affine;
    int lane_size; /* samples; not an option: told by check_lane, 0 before */
} BatchNormOptions;

static const Option batchnorm_options[] = {
    { "momentum", OPTION_FLOAT, OPTION_AT(BatchNormOptions, momentum), 0, 1, NULL, "0.1",
      "weight of a step's statistics in the running ones" },
    { "eps", OPTION_FLOAT, OPTION_AT(BatchNormOptions, eps), 1e-12, 1, NULL, "1e-5",
      "added to the variance" },
    { "affine", OPTION_CHOICE, OPTION_AT(BatchNormOptions, affine), 0, 0, "true|false|bias", "true",
      "learn a gain and a bias per channel; bias: only a bias" },
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

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    const BatchNormOptions *options = layer->options;
    if (layer->in.ndim == 2)
        return err_set(err, "it needs features (F) or an image (C, H, W)");
    int C = channels_of(layer);
    layer->out = layer->in;
    if (options->affine == AFFINE_BOTH)
        layer_add_tensor(layer, layout, "weight", 1, &C, 0, C, C, "ones");
    if (options->affine != AFFINE_NONE)
        layer_add_tensor(layer, layout, "bias", 1, &C, LAYOUT_NORM_BIAS, C, C, "zeros");
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

/* Room for a group of planes, as far apart as in the batch. */
static size_t scratch(const Layer *layer, int max_batch)
{
    (void)max_batch;
    if (!layer->epilogue.pool)
        return 0;
    size_t pixels = plane_floats(layer->in) / CHANNEL_BLOCK;
    size_t together = pixels < PIECE ? PIECE / pixels : 1;
    return together * image_floats(layer->in);
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
    if (global_batch <= 0)
        keep = 1;
    else if (options->running == RUNNING_SEQUENTIAL)
        keep = vmath_power(keep, ghost_count(layer, global_batch));
    layout->tensors[running_mean(layer)->index].keep = (float)keep;
    layout->tensors[running_var(layer)->index].keep = (float)keep;
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
    if (options->affine == AFFINE_BOTH)
        return slab_channels(layer->tensors[0].w, slab);
    Channels ones;
    for (int c = 0; c < CHANNEL_BLOCK; c++)
        ones.value[c] = 1;
    return ones;
}

/* The last tensor before the running statistics, if it is trained. */
static const LayerTensor *bias_of(const Layer *layer)
{
    return layer->tensor_count > 2 ? &layer->tensors[layer->tensor_count - 3] : NULL;
}

static Channels slab_bias(const Layer *layer, int slab)
{
    const LayerTensor *bias = bias_of(layer);
    return bias ? slab_channels(bias->w, slab) : (Channels){ { 0 } };
}

static Affine slab_affine(const Layer *layer, int number, const Channels *mean, const Channels *var)
{
    Affine affine = { *mean, inverse_deviation(layer, var), slab_bias(layer, number) };
    Channels gain = slab_gain(layer, number);
    for (int c = 0; c < CHANNEL_BLOCK; c++)
        affine.scale.value[c] *= gain.value[c];
    return affine;
}

/* A pool takes a plane from the scratch memory, which is in the cache; the planes of the whole
 * batch are never written. */
static void forward_pooled(const Layer *layer, const Arrays *arrays, const Slab *slab,
                           const Affine *affine)
{
    const Layer *pool = arrays->epilogue->pool;
    size_t in = plane_floats(pool->in), out = plane_floats(pool->out);
    for (size_t g = group_count(slab); g-- > 0;) {
        Slab group = slab_group(slab, g);
        size_t start = group_start(slab, g);
        Arrays part = { .x = arrays->x + start,
                        .out = layer->scratch,
                        .epilogue = arrays->epilogue };
        forward_slab(&part, &group, affine);
        for (size_t r = 0; r < group.runs; r++) {
            size_t plane = (start + r * slab->run_stride) / in;
            pool->type->forward_plane(pool, plane, layer->scratch + r * slab->run_stride,
                                      arrays->out + plane * out);
        }
    }
}

static void normalise(const Layer *layer, int number, const Slab *slab, const Channels *mean,
                      const Channels *var, const float *x, float *y)
{
    Affine affine = slab_affine(layer, number, mean, var);
    Arrays arrays = { .x = x, .out = y, .epilogue = &layer->epilogue };
    if (layer->epilogue.pool)
        forward_pooled(layer, &arrays, slab, &affine);
    else
        forward_slab(&arrays, slab, &affine);
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

/* The pool's data gradient of a group of planes, made in the scratch memory. */
static Arrays unpool(const Layer *layer, const Arrays *arrays, const Slab *slab, size_t number)
{
    const Layer *pool = arrays->epilogue->pool;
    size_t in = plane_floats(pool->in), out = plane_floats(pool->out);
    size_t start = group_start(slab, number), runs = slab_group(slab, number).runs;
    for (size_t r = 0; r < runs; r++) {
        size_t plane = (start + r * slab->run_stride) / in;
        pool->type->backward_plane(pool, plane, arrays->dy + plane * out,
                                   layer->scratch + r * slab->run_stride);
    }
    return (Arrays){ .x = arrays->x + start,
                     .dy = layer->scratch,
                     .out = arrays->out ? arrays->out + start : NULL,
                     .epilogue = arrays->epilogue };
}

static void pooled_products(const Layer *layer, const Arrays *arrays, const Slab *slab,
                            const Affine *affine, double *sum, double *product)
{
    for (size_t g = 0; g < group_count(slab); g++) {
        Arrays part = unpool(layer, arrays, slab, g);
        Slab group = slab_group(slab, g);
        slab_products(&part, &group, affine, sum, product);
    }
}

static void pooled_gradient(const Layer *layer, const Arrays *arrays, const Slab *slab,
                            const Affine *affine, const Slope *slope)
{
    for (size_t g = group_count(slab); g-- > 0;) {
        Arrays part = unpool(layer, arrays, slab, g);
        Slab group = slab_group(slab, g);
        slab_gradient(&part, &group, affine, slope);
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
    bool pooled = arrays->epilogue->pool;
    if (pooled)
        pooled_products(layer, arrays, slab, &affine, sum, product);
    else
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
    if (arrays->out && pooled)
        pooled_gradient(layer, arrays, slab, &affine, &slope);
    else if (arrays->out)
        slab_gradient(arrays, slab, &affine, &slope);
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
    const LayerTensor *bias = bias_of(layer);
    for (int c = 0; options->affine == AFFINE_BOTH && c < channels_of(layer); c++)
        layer->tensors[0].dw[c] = (float)state->dgain[c];
    for (int c = 0; bias && c < channels_of(layer); c++)
        bias->dw[c] = (float)state->dbias[c];
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
    .scratch = scratch,
    .check_lane = check_lane,
    .begin_step = begin_step,
    .forward = forward,
    .backward = backward,
    .dx_over_dy = true,
    .keep_x = true,
    .fuses_add = true,
    .fuses_relu = true,
    .fuses_dy2 = true,
    .fuses_pool = true,
    .normalizes = NORMALIZES_CHANNELS,
};
