/* One layer on its own, made from the options a config would give, with random data, for
 * comparison with naive versions. Outputs start as NaN, so that everything a layer must write
 * shows if it does not. */
#ifndef LOCKSTEP_TESTS_IMAGE_CASE_H
#define LOCKSTEP_TESTS_IMAGE_CASE_H

#include "support.h"

#include "lockstep/layer.h"
#include "lockstep/memory.h"
#include "lockstep/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEED 7

typedef struct ImageCase {
    char label[512];
    Config config;
    Layer layer;
    Layout layout;
    Pass pass;
    float *w, *dw;          /* arenas */
    float *x, *y, *dy, *dx; /* stored form */
} ImageCase;

static inline Shape image(int C, int H, int W)
{
    return (Shape){ .ndim = 3, .dim = { C, H, W } };
}

static inline Shape features(int F)
{
    return (Shape){ .ndim = 1, .dim = { F, 1, 1 } };
}

static inline Shape sequence(int T, int F)
{
    return (Shape){ .ndim = 2, .dim = { T, F, 1 } };
}

/* Index of a value in stored form. */
static inline size_t stored_at(Shape shape, int n, int c, int h, int w)
{
    size_t sample = (size_t)n * shape_stored(shape);
    if (shape.ndim < 3)
        return sample + (size_t)(c * shape.dim[1] + h);
    size_t row = (size_t)(c / 16 * shape.dim[1] + h);
    return sample + (row * (size_t)shape.dim[2] + (size_t)w) * 16 + (size_t)(c % 16);
}

static inline void fill_nan(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = NAN;
}

/* Random normal values, missing channels zero. `stream` tells arrays apart. */
static inline void fill_stored(Shape shape, int batch, uint64_t stream, float *x)
{
    size_t n = (size_t)batch * shape_stored(shape);
    random_fill_normal(random_key(SEED, RANDOM_TEST, stream, n), 0, x, n);
    for (int s = 0; shape.ndim == 3 && s < batch; s++)
        for (int c = shape.dim[0]; c < 16 * shape_blocks(shape); c++)
            for (int h = 0; h < shape.dim[1]; h++)
                for (int w = 0; w < shape.dim[2]; w++)
                    x[stored_at(shape, s, c, h, w)] = 0;
}

static inline bool missing_channels_zero(Shape shape, int batch, const float *x)
{
    for (int s = 0; shape.ndim == 3 && s < batch; s++)
        for (int c = shape.dim[0]; c < 16 * shape_blocks(shape); c++)
            for (int h = 0; h < shape.dim[1]; h++)
                for (int w = 0; w < shape.dim[2]; w++)
                    if (x[stored_at(shape, s, c, h, w)] != 0)
                        return false;
    return true;
}

/* Reads options and plans; false and the layer's message if the layer refuses its input. The
 * network's input is `tokens` token ids; 0: it is numbers. */
static inline bool case_plan_tokens(ImageCase *test, const char *type, const char *options,
                                    Shape in, int tokens, Err *err)
{
    *test = (ImageCase){ .layer = { .type = layer_find(type), .in = in, .tokens = tokens } };
    snprintf(test->label, sizeof test->label, "%s {%s} on (%d, %d, %d)", type, options, in.dim[0],
             in.dim[1], in.dim[2]);
    ck_assert_ptr_nonnull(test->layer.type);
    char text[512];
    snprintf(text, sizeof text, "{%s}", options);
    bool parsed = config_parse(&test->config, "test", text, strlen(text), err);
    ck_assert_msg(parsed, "%s", err->text);
    const LayerType *layer_type = test->layer.type;
    test->layer.options = mem_alloc(layer_type->options_bytes);
    snprintf(test->layer.name, sizeof test->layer.name, "it");
    bool read = options_read(&test->config, test->config.root, layer_type->options, NULL,
                             test->layer.options, err);
    ck_assert_msg(read, "%s", err->text);
    return layer_type->plan(&test->layer, &test->layout, err);
}

static inline bool case_plan(ImageCase *test, const char *type, const char *options, Shape in,
                             Err *err)
{
    return case_plan_tokens(test, type, options, in, 0, err);
}

/* Allocates, fills weights and data for `batch` samples, which are the whole step. */
static inline void case_fill(ImageCase *test, int batch)
{
    Layer *layer = &test->layer;
    layout_seal(&test->layout);
    test->w = mem_array(float, test->layout.n);
    test->dw = mem_array(float, test->layout.n);
    for (int t = 0; t < layer->tensor_count; t++) {
        LayoutTensor *tensor = &test->layout.tensors[layer->tensors[t].index];
        layer->tensors[t].w = test->w + tensor->offset;
        layer->tensors[t].dw = test->dw + tensor->offset;
        random_fill_normal(random_key(SEED, RANDOM_TEST, 100, (uint64_t)t), 0, layer->tensors[t].w,
                           tensor->n);
        fill_nan(layer->tensors[t].dw, tensor->n);
    }
    layer_allocate(layer, batch, NULL);
    test->pass = (Pass){
        .train = true, .batch = batch, .seed = SEED, .global_batch = batch, .lane_size = batch
    };
    size_t in = (size_t)batch * shape_stored(layer->in),
           out = (size_t)batch * shape_stored(layer->out);
    test->x = mem_array(float, in);
    test->dx = mem_array(float, in);
    test->y = mem_array(float, out);
    test->dy = mem_array(float, out);
    fill_stored(layer->in, batch, 1, test->x);
    fill_stored(layer->out, batch, 2, test->dy);
}

static inline void case_open(ImageCase *test, const char *type, const char *options, Shape in,
                             int batch)
{
    Err err;
    bool planned = case_plan(test, type, options, in, &err);
    ck_assert_msg(planned, "%s: %s", test->label, err.text);
    case_fill(test, batch);
}

/* One step's forward and backward. */
static inline void case_run(ImageCase *test)
{
    Layer *layer = &test->layer;
    fill_nan(test->y, (size_t)test->pass.batch * shape_stored(layer->out));
    fill_nan(test->dx, (size_t)test->pass.batch * shape_stored(layer->in));
    if (layer->type->begin_step)
        layer->type->begin_step(layer, &test->layout, test->pass.global_batch);
    layer->type->forward(layer, &test->pass, test->x, test->y);
    layer->type->backward(layer, &test->pass, test->x, test->y, test->dy,
                          layer->first ? NULL : test->dx);
}

static inline void case_close(ImageCase *test)
{
    Layer *layer = &test->layer;
    if (layer->type->release)
        layer->type->release(layer);
    mem_free(layer->own_scratch);
    options_free(layer->type->options, layer->options);
    mem_free(layer->options);
    mem_free(test->w);
    mem_free(test->dw);
    mem_free(test->x);
    mem_free(test->y);
    mem_free(test->dy);
    mem_free(test->dx);
    layout_free(&test->layout);
    config_free(&test->config);
}

/* Every value of a stored array against a (B, C, H, W) array of doubles, to `relative` of the
 * largest wanted value; missing channels must be zero. */
static inline void assert_stored(const ImageCase *test, const char *what, Shape shape, int batch,
                                 const float *got, const double *wanted, double relative)
{
    double largest = 0;
    size_t values = (size_t)batch * shape_values(shape);
    for (size_t i = 0; i < values; i++)
        largest = fmax(largest, fabs(wanted[i]));
    for (int n = 0; n < batch; n++)
        for (int c = 0; c < shape.dim[0]; c++)
            for (int h = 0; h < shape.dim[1]; h++)
                for (int w = 0; w < shape.dim[2]; w++, wanted++) {
                    double value = (double)got[stored_at(shape, n, c, h, w)];
                    ck_assert_msg(fabs(value - *wanted) <= relative * largest + 1e-30,
                                  "%s: %s[%d][%d][%d][%d] is %.9g, wanted %.9g", test->label, what,
                                  n, c, h, w, value, *wanted);
                }
    ck_assert_msg(missing_channels_zero(shape, batch, got), "%s: missing channels of %s",
                  test->label, what);
}

/* Gradient (or increment) number t against doubles; the padding behind it must still be zero. */
static inline void assert_tensor(const ImageCase *test, int t, const double *wanted,
                                 double relative)
{
    const LayoutTensor *tensor = &test->layout.tensors[test->layer.tensors[t].index];
    const float *got = test->layer.tensors[t].dw;
    double largest = 0;
    for (size_t i = 0; i < tensor->n; i++)
        largest = fmax(largest, fabs(wanted[i]));
    for (size_t i = 0; i < tensor->n; i++)
        ck_assert_msg(fabs((double)got[i] - wanted[i]) <= relative * largest + 1e-30,
                      "%s: gradient of %s[%zu] is %.9g, wanted %.9g", test->label, tensor->name, i,
                      (double)got[i], wanted[i]);
    for (size_t i = tensor->n; i < tensor->padded; i++)
        ck_assert_msg(got[i] == 0, "%s: padding of %s was written", test->label, tensor->name);
}

/* A copy of a stored array as (B, C, H, W) doubles; freed with mem_free. */
static inline double *plain_copy(Shape shape, int batch, const float *x)
{
    double *plain = mem_array(double, (size_t)batch *shape_values(shape)), *to = plain;
    for (int n = 0; n < batch; n++)
        for (int c = 0; c < shape.dim[0]; c++)
            for (int h = 0; h < shape.dim[1]; h++)
                for (int w = 0; w < shape.dim[2]; w++)
                    *to++ = (double)x[stored_at(shape, n, c, h, w)];
    return plain;
}

/* Index of a value in a (B, C, H, W) array. */
static inline size_t plain_at(Shape shape, int n, int c, int h, int w)
{
    return (((size_t)n * (size_t)shape.dim[0] + (size_t)c) * (size_t)shape.dim[1] + (size_t)h) *
               (size_t)shape.dim[2] +
           (size_t)w;
}

#endif
