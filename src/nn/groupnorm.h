/* Group normalisation, which is instance normalisation when each channel is a group of its own:
 * every sample by itself, each group of channels by its mean and variance over all its pixels.
 *
 *   m = mean(x), v = mean((x - m)^2), n = (x - m) / sqrt(v + eps), y = g n + b, g and b per channel
 *   dx = (e - mean(e) - n mean(e n)) / sqrt(v + eps), e = g dy, means over a group
 *
 * Sums per channel come first, in double; groups add up their channels, so they need not fit the
 * blocks of 16 channels. Channel coefficients are zero in missing channels, which keeps those
 * channels of y and dx zero. Private to src/nn/layers. */
#ifndef LOCKSTEP_NN_GROUPNORM_H
#define LOCKSTEP_NN_GROUPNORM_H

#include "image.h"
#include "lockstep/memory.h"

#include <math.h>

typedef struct GroupNorm {
    int groups; /* G; channels are a multiple */
    double eps;
    size_t stride;          /* channels rounded up to CHANNEL_BLOCK */
    float *ones;            /* (stride): the gain if none is learned */
    float *mean, *inverse;  /* (B, stride): of the channel's group; zero in missing channels */
    double *first, *second; /* (stride): sums of one sample */
    float *scale, *shift, *slope; /* (stride): coefficients of one sample */
    double *dgain, *dbias;        /* (stride) */
} GroupNorm;

/* One block of at most 16 channels of one sample. Features are an image of one pixel, without
 * missing channels. */
typedef struct GroupBlock {
    size_t start, pixels;
    int width;
} GroupBlock;

static inline size_t groupnorm_pixels(const Layer *layer)
{
    return shape_values(layer->in) / (size_t)layer->in.dim[0];
}

static inline GroupBlock groupnorm_block(const Layer *layer, int sample, int number)
{
    int C = layer->in.dim[0], first = number * CHANNEL_BLOCK;
    size_t pixels = groupnorm_pixels(layer);
    return (GroupBlock){
        .start = (size_t)sample * shape_stored(layer->in) + (size_t)first * pixels,
        .pixels = pixels,
        .width = layer->in.ndim == 3 ? CHANNEL_BLOCK : least(CHANNEL_BLOCK, C - first),
    };
}

static inline bool groupnorm_plan(Layer *layer, Layout *layout, int groups, bool affine, Err *err)
{
    int C = layer->in.dim[0];
    if (layer->in.ndim == 2)
        return err_set(err, "it needs features (F) or an image (C, H, W)");
    if (C % groups != 0)
        return err_set(err, "%d groups do not divide %d channels", groups, C);
    if (shape_values(layer->in) == (size_t)groups)
        return err_set(err, "a group of one value has no variance");
    layer->out = layer->in;
    layer->flops = 8.0 * (double)shape_values(layer->in);
    if (affine) {
        layer_add_tensor(layer, layout, "weight", 1, &C, 0, C, C, "ones");
        layer_add_tensor(layer, layout, "bias", 1, &C, LAYOUT_NORM_BIAS, C, C, "zeros");
    }
    return true;
}

static inline void groupnorm_allocate(Layer *layer, int groups, double eps, int max_batch)
{
    GroupNorm *state = mem_new(GroupNorm);
    size_t blocks = (size_t)shape_blocks(layer->in), B = (size_t)max_batch;
    size_t stride = blocks * CHANNEL_BLOCK;
    state->groups = groups;
    state->eps = eps;
    state->stride = stride;
    state->first = mem_array(double, 4 * stride);
    state->second = state->first + stride;
    state->dgain = state->second + stride;
    state->dbias = state->dgain + stride;
    state->ones = mem_array(float, (4 + 2 * B) * stride);
    state->scale = state->ones + stride;
    state->shift = state->scale + stride;
    state->slope = state->shift + stride;
    state->mean = state->slope + stride;
    state->inverse = state->mean + B * stride;
    for (int c = 0; c < layer->in.dim[0]; c++)
        state->ones[c] = 1;
    layer->state = state;
    layer->state_bytes_total =
        sizeof *state + 4 * stride * sizeof(double) + (4 + 2 * B) * stride * sizeof(float);
}

static inline void groupnorm_release(Layer *layer)
{
    GroupNorm *state = layer->state;
    mem_free(state->first);
    mem_free(state->ones);
    mem_free(state);
    layer->state = NULL;
}

/* (stride): a tensor's padding is zero. */
static inline const float *groupnorm_gain(const Layer *layer)
{
    const GroupNorm *state = layer->state;
    return layer->tensor_count > 0 ? layer->tensors[0].w : state->ones;
}

/* first[c] = sum of a, second[c] = sum of a b over the pixels of a block. */
static inline void groupnorm_sums(const float *a, const float *b, const GroupBlock *block,
                                  double *first, double *second)
{
    double sum[CHANNEL_BLOCK] = { 0 }, product[CHANNEL_BLOCK] = { 0 };
    if (block->width == CHANNEL_BLOCK)
        for (size_t p = 0; p < block->pixels; p++)
            for (size_t c = 0; c < CHANNEL_BLOCK; c++) {
                double value = (double)a[p * CHANNEL_BLOCK + c];
                sum[c] += value;
                product[c] += value * (double)b[p * CHANNEL_BLOCK + c];
            }
    else
        for (int c = 0; c < block->width; c++) {
            sum[c] = (double)a[c];
            product[c] = (double)a[c] * (double)b[c];
        }
    memcpy(first, sum, sizeof sum);
    memcpy(second, product, sizeof product);
}

/* Per channel of sample b: mean and inverse deviation of its group. */
static inline void groupnorm_measure(const Layer *layer, int b, const float *x)
{
    const GroupNorm *state = layer->state;
    int C = layer->in.dim[0], size = C / state->groups;
    double n = (double)groupnorm_pixels(layer) * size;
    float *mean = state->mean + (size_t)b * state->stride;
    float *inverse = state->inverse + (size_t)b * state->stride;
    for (int number = 0; number < shape_blocks(layer->in); number++) {
        GroupBlock block = groupnorm_block(layer, b, number);
        size_t c = (size_t)number * CHANNEL_BLOCK;
        groupnorm_sums(x + block.start, x + block.start, &block, state->first + c,
                       state->second + c);
    }
    for (int first = 0; first < C; first += size) {
        double sum = 0, squares = 0;
        for (int c = first; c < first + size; c++) {
            sum += state->first[c];
            squares += state->second[c];
        }
        double m = sum / n, v = squares / n - m * m;
        float deviation = (float)(1 / sqrt((v < 0 ? 0 : v) + state->eps));
        for (int c = first; c < first + size; c++) {
            mean[c] = (float)m;
            inverse[c] = deviation;
        }
    }
}

/* y = (x - mean) * scale + bias */
static inline void groupnorm_apply(const GroupBlock *block, const float *mean, const float *scale,
                                   const float *bias, const float *x, float *y)
{
    if (block->width < CHANNEL_BLOCK) {
        for (int c = 0; c < block->width; c++)
            y[c] = fused(x[c] - mean[c], scale[c], bias[c]);
        return;
    }
    for (size_t p = 0; p < block->pixels * CHANNEL_BLOCK; p += CHANNEL_BLOCK)
        for (size_t c = 0; c < CHANNEL_BLOCK; c++)
            y[p + c] = fused(x[p + c] - mean[c], scale[c], bias[c]);
}

static inline void groupnorm_forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    const GroupNorm *state = layer->state;
    const float *gain = groupnorm_gain(layer);
    memset(state->shift, 0, state->stride * sizeof *state->shift);
    if (layer->tensor_count > 0)
        memcpy(state->shift, layer->tensors[1].w, (size_t)layer->in.dim[0] * sizeof(float));
    for (int b = 0; b < pass->batch; b++) {
        groupnorm_measure(layer, b, x);
        size_t row = (size_t)b * state->stride;
        for (int c = 0; c < layer->in.dim[0]; c++)
            state->scale[c] = state->inverse[row + (size_t)c] * gain[c];
        for (int number = 0; number < shape_blocks(layer->in); number++) {
            GroupBlock block = groupnorm_block(layer, b, number);
            size_t c = (size_t)number * CHANNEL_BLOCK;
            groupnorm_apply(&block, state->mean + row + c, state->scale + c, state->shift + c,
                            x + block.start, y + block.start);
        }
    }
}

/* From the sums of dy (first) and dy x (second) of sample b: its part of dgain and dbias, and what
 * dx = scale dy - shift - (x - mean) slope needs. */
static inline void groupnorm_coefficients(const Layer *layer, int b)
{
    const GroupNorm *state = layer->state;
    const float *gain = groupnorm_gain(layer);
    const float *mean = state->mean + (size_t)b * state->stride;
    const float *inverse = state->inverse + (size_t)b * state->stride;
    int C = layer->in.dim[0], size = C / state->groups;
    double n = (double)groupnorm_pixels(layer) * size;
    for (int start = 0; start < C; start += size) {
        double e = 0, en = 0; /* sums of e and e n over the group */
        double deviation = (double)inverse[start];
        for (int c = start; c < start + size; c++) {
            double normal = (state->second[c] - state->first[c] * (double)mean[c]) * deviation;
            state->dbias[c] += state->first[c];
            state->dgain[c] += normal;
            e += (double)gain[c] * state->first[c];
            en += (double)gain[c] * normal;
        }
        for (int c = start; c < start + size; c++) {
            state->scale[c] = gain[c] * inverse[c];
            state->shift[c] = (float)(e / n * deviation);
            state->slope[c] = (float)(en / n * deviation * deviation);
        }
    }
}

/* dx = scale dy - shift - (x - mean) slope */
static inline void groupnorm_gradient(const GroupNorm *state, const GroupBlock *block, size_t first,
                                      const float *mean, const float *x, const float *dy, float *dx)
{
    const float *scale = state->scale + first, *shift = state->shift + first,
                *slope = state->slope + first;
    if (block->width < CHANNEL_BLOCK) {
        for (int c = 0; c < block->width; c++)
            dx[c] = fused(mean[c] - x[c], slope[c], fused(scale[c], dy[c], -shift[c]));
        return;
    }
    for (size_t p = 0; p < block->pixels * CHANNEL_BLOCK; p += CHANNEL_BLOCK)
        for (size_t c = 0; c < CHANNEL_BLOCK; c++)
            dx[p + c] = fused(mean[c] - x[p + c], slope[c], fused(scale[c], dy[p + c], -shift[c]));
}

static inline void groupnorm_backward(Layer *layer, const Pass *pass, const float *x,
                                      const float *y, const float *dy, float *dx)
{
    (void)y;
    const GroupNorm *state = layer->state;
    int blocks = shape_blocks(layer->in);
    memset(state->dgain, 0, state->stride * sizeof *state->dgain);
    memset(state->dbias, 0, state->stride * sizeof *state->dbias);
    memset(state->scale, 0, 3 * state->stride * sizeof *state->scale); /* shift and slope, too */
    for (int b = 0; b < pass->batch; b++) {
        for (int number = 0; number < blocks; number++) {
            GroupBlock block = groupnorm_block(layer, b, number);
            size_t c = (size_t)number * CHANNEL_BLOCK;
            groupnorm_sums(dy + block.start, x + block.start, &block, state->first + c,
                           state->second + c);
        }
        groupnorm_coefficients(layer, b);
        for (int number = 0; dx && number < blocks; number++) {
            GroupBlock block = groupnorm_block(layer, b, number);
            size_t c = (size_t)number * CHANNEL_BLOCK;
            groupnorm_gradient(state, &block, c, state->mean + (size_t)b * state->stride + c,
                               x + block.start, dy + block.start, dx + block.start);
        }
    }
    for (int c = 0; layer->tensor_count > 0 && c < layer->in.dim[0]; c++) {
        layer->tensors[0].dw[c] = (float)state->dgain[c];
        layer->tensors[1].dw[c] = (float)state->dbias[c];
    }
}

#endif
