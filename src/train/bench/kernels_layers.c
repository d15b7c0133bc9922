/* Layers by themselves, as a network would run them: convolutions and dense layers forward, data
 * gradient and weight gradient; all others forward and backward. */
#include "bench_parts.h"

#include "lockstep/kernels.h"
#include "lockstep/layer.h"
#include "lockstep/memory.h"

#include <stdio.h>
#include <string.h>

#define IMAGE(C, H)                                                                                \
    {                                                                                              \
        .ndim = 3, .dim = { C, H, H }                                                              \
    }
#define FEATURES(F)                                                                                \
    {                                                                                              \
        .ndim = 1, .dim = { F, 1, 1 }                                                              \
    }

#define SEQUENCE(T, F)                                                                             \
    {                                                                                              \
        .ndim = 2, .dim = { T, F, 1 }                                                              \
    }

/* The convolutions of ResNet-20, ResNet-9, a LeNet and airbench94's first. */
static const struct {
    const char *net;
    int C, OC, H, kernel, stride;
    bool winograd; /* measured with this method too */
} convolutions[] = {
    { "r20", 3, 16, 32, 3, 1, false },      { "r20", 16, 16, 32, 3, 1, true },
    { "r20", 16, 32, 32, 3, 2, false },     { "r20", 32, 32, 16, 3, 1, true },
    { "r20", 32, 64, 16, 3, 2, false },     { "r20", 64, 64, 8, 3, 1, true },
    { "r9", 3, 64, 32, 3, 1, false },       { "r9", 64, 128, 32, 3, 1, true },
    { "r9", 128, 128, 16, 3, 1, true },     { "r9", 128, 256, 16, 3, 1, true },
    { "r9", 256, 512, 8, 3, 1, true },      { "r9", 512, 512, 4, 3, 1, true },
    { "LeNet", 1, 32, 28, 5, 1, false },    { "LeNet", 32, 64, 14, 5, 1, true },
    { "r20", 16, 32, 32, 1, 2, false },     { "r20", 32, 64, 16, 1, 2, false },
    { "airbench", 3, 24, 32, 2, 1, false },
};
enum { CONV_BATCH = 64, FIRST_CHANNELS = 3 /* an input image: no data gradient */ };

/* Layers that come by name, options and input. */
typedef struct LayerCase {
    const char *group, *layer, *options;
    Shape in;
    int batch; /* samples, or rows */
} LayerCase;

static const LayerCase cases[] = {
    { "dense layers", "dense", "units: 1024", FEATURES(1024), 256 },
    { "dense layers", "dense", "units: 10", FEATURES(1024), 256 },
    { "dense layers", "dense", "units: 1536", FEATURES(384), 2048 },
    { "dense layers", "dense", "units: 384", FEATURES(1536), 2048 },
    { "bf16", "dense", "units: 1024", FEATURES(1024), 256 },
    { "bf16", "dense", "units: 1536", FEATURES(384), 2048 },
    { "bf16", "dense", "units: 384", FEATURES(1536), 2048 },
    { "attention", "attention", "heads: 6, causal: true, bias: false", SEQUENCE(256, 384), 16 },
    { "attention", "attention", "heads: 6, bias: false", SEQUENCE(256, 384), 16 },
    { "attention", "attention", "heads: 4, causal: true, bias: false", SEQUENCE(64, 128), 64 },
    { "bf16", "attention", "heads: 6, causal: true, bias: false", SEQUENCE(256, 384), 16 },
    { "recurrent", "rnn", "units: 256", SEQUENCE(64, 256), 32 },
    { "recurrent", "gru", "units: 256", SEQUENCE(64, 256), 32 },
    { "recurrent", "lstm", "units: 256", SEQUENCE(64, 256), 32 },
    { "recurrent", "lstm", "units: 256", SEQUENCE(64, 256), 8 },
    { "bf16", "lstm", "units: 256", SEQUENCE(64, 256), 32 },
    { "activations", "relu", "", IMAGE(64, 32), 64 },
    { "activations", "leaky_relu", "", IMAGE(64, 32), 64 },
    { "activations", "elu", "", IMAGE(64, 32), 64 },
    { "activations", "silu", "", IMAGE(64, 32), 64 },
    { "activations", "softplus", "", IMAGE(64, 32), 64 },
    { "activations", "sigmoid", "", IMAGE(64, 32), 64 },
    { "activations", "tanh", "", IMAGE(64, 32), 64 },
    { "activations", "gelu", "", FEATURES(1536), 2048 },
    { "activations", "gelu", "approximate: tanh", FEATURES(1536), 2048 },
    { "activations", "gelu", "", FEATURES(2048), 1 },
    { "activations", "gelu", "approximate: tanh", FEATURES(2048), 1 },
    { "activations", "dropout", "p: 0.1", FEATURES(1536), 2048 },
    { "norms", "batchnorm", "", IMAGE(64, 32), 64 },
    { "norms", "batchnorm", "", IMAGE(64, 8), 128 },
    { "norms", "groupnorm", "groups: 8", IMAGE(64, 32), 64 },
    { "norms", "instancenorm", "", IMAGE(64, 32), 64 },
    { "norms", "layernorm", "", FEATURES(384), 4096 },
    { "norms", "rmsnorm", "", FEATURES(384), 4096 },
    { "pooling", "maxpool", "kernel: 2, stride: 2", IMAGE(64, 32), 64 },
    { "pooling", "avgpool", "kernel: 2, stride: 2", IMAGE(64, 32), 64 },
    { "pooling", "global_avgpool", "", IMAGE(64, 8), 128 },
    { "softmax", "softmax", "", FEATURES(256), 4096 },
    { "softmax", "log_softmax", "", FEATURES(1000), 1024 },
};

typedef struct LayerBench {
    Config config;
    Layout layout;
    Layer *layer;
    Pass pass;
    float *w, *dw, *x, *y, *dy, *dx;
} LayerBench;

static void forward(void *context)
{
    LayerBench *b = context;
    b->layer->type->forward(b->layer, &b->pass, b->x, b->y);
}

static void backward_to(LayerBench *b, float *dx)
{
    const LayerType *type = b->layer->type;
    type->backward(b->layer, &b->pass, type->keep_x ? b->x : NULL, type->keep_y ? b->y : NULL,
                   b->dy, dx);
}

static void backward(void *context)
{
    LayerBench *b = context;
    backward_to(b, b->dx);
}

static void backward_to_weights(void *context)
{
    backward_to(context, NULL);
}

static void begin_step(void *context)
{
    LayerBench *b = context;
    b->layer->type->begin_step(b->layer, &b->layout, b->pass.global_batch);
}

/* Random values in stored order. */
static float *stored_numbers(Shape shape, int batch)
{
    size_t values = shape_values(shape), stored = shape_stored(shape);
    float *plain = kernel_numbers(values), *x = mem_array(float, (size_t)batch *stored);
    for (size_t i = 0; i < (size_t)batch; i++)
        shape_pack(shape, plain, x + i * stored);
    mem_free(plain);
    return x;
}

static void bind(LayerBench *b)
{
    for (int i = 0; i < b->layer->tensor_count; i++) {
        LayerTensor *tensor = &b->layer->tensors[i];
        tensor->w = b->w + b->layout.tensors[tensor->index].offset;
        tensor->dw = b->dw + b->layout.tensors[tensor->index].offset;
    }
}

/* So that gates are not driven to their ends, where gradients would be denormal numbers. */
#define SEQUENCE_WEIGHTS 0.0625f

static void open_layer(LayerBench *b, const LayerCase *c, bool first)
{
    Err err;
    char text[256];
    int length = snprintf(text, sizeof text, "options: {%s}\n", c->options);
    *b = (LayerBench){ .pass = { .train = true,
                                 .batch = c->batch,
                                 .global_batch = c->batch,
                                 .lane_size = c->batch,
                                 .global_targets = c->batch } };
    bool parsed = config_parse(&b->config, "bench", text, (size_t)length, &err);
    expect(parsed);
    LayerPlace place = { .name = "layer", .in = c->in, .first = first };
    if (strcmp(c->group, "bf16") == 0)
        place.precision = PRECISION_BF16;
    b->layer = layer_create(layer_find(c->layer), &b->config, config_get(b->config.root, "options"),
                            &place, &b->layout, &err);
    if (!b->layer)
        die(EXIT_USAGE, "bench kernels: {%s}: %s", c->options, err.text);
    layout_seal(&b->layout);
    b->w = kernel_numbers(b->layout.n);
    if (c->in.ndim == 2)
        kernels()->scale(b->w, SEQUENCE_WEIGHTS, b->layout.n);
    b->dw = mem_array(float, b->layout.n);
    bind(b);
    layer_allocate(b->layer, c->batch, NULL);
    Shape out = b->layer->out;
    b->x = stored_numbers(c->in, c->batch);
    b->y = mem_array(float, (size_t)c->batch *shape_stored(out));
    b->dy = stored_numbers(out, c->batch);
    b->dx = first ? NULL : mem_array(float, (size_t)c->batch *shape_stored(c->in));
    if (b->layer->type->begin_step)
        begin_step(b);
    forward(b);
}

static void close_layer(LayerBench *b)
{
    layer_free(b->layer);
    layout_free(&b->layout);
    config_free(&b->config);
    mem_free(b->w);
    mem_free(b->dw);
    mem_free(b->x);
    mem_free(b->y);
    mem_free(b->dy);
    mem_free(b->dx);
}

/* A layer that computes products: three of them, equally large. */
static void measure_products(KernelBench *bench, LayerBench *b)
{
    KernelWork work = { .flops = b->layer->flops * b->pass.batch };
    if (b->layer->type->begin_step)
        kernel_measure(bench, "weights packed", &(KernelWork){ 0 }, begin_step, NULL, b);
    kernel_measure(bench, "forward", &work, forward, NULL, b);
    if (b->dx)
        kernel_measure(bench, "data gradient", &work, backward, backward_to_weights, b);
    kernel_measure(bench, "weight gradient", &work, backward_to_weights, NULL, b);
}

/* Attention and recurrent layers: products and what is between them, attention counted without the
 * mask; backward is twice forward. */
static void measure_both_ways(KernelBench *bench, LayerBench *b)
{
    double flops = b->layer->flops * b->pass.batch;
    kernel_measure(bench, "forward", &(KernelWork){ .flops = flops }, forward, NULL, b);
    kernel_measure(bench, "backward", &(KernelWork){ .flops = 2 * flops }, backward, NULL, b);
}

/* A layer that waits for memory: each array is read or written once. */
static void measure_passes(KernelBench *bench, LayerBench *b)
{
    const LayerType *type = b->layer->type;
    double in = (double)b->pass.batch * (double)shape_stored(b->layer->in) * sizeof(float);
    double out = (double)b->pass.batch * (double)shape_stored(b->layer->out) * sizeof(float);
    double values = (double)b->pass.batch * (double)shape_values(b->layer->in);
    double kept = (type->keep_x ? in : 0) + (type->keep_y ? out : 0);
    kernel_measure(bench, "forward", &(KernelWork){ .bytes = in + out, .elements = values },
                   forward, NULL, b);
    kernel_measure(bench, "backward", &(KernelWork){ .bytes = in + out + kept, .elements = values },
                   backward, NULL, b);
}

static void measure_convolution(KernelBench *bench, size_t i, const char *method)
{
    int C = convolutions[i].C, kernel = convolutions[i].kernel, stride = convolutions[i].stride;
    char name[96], options[128];
    snprintf(name, sizeof name, "conv2d %s %s %d-%d @%d%s %dx%d b%d", method, convolutions[i].net,
             C, convolutions[i].OC, convolutions[i].H, stride == 2 ? " s2" : "", kernel, kernel,
             CONV_BATCH);
    if (!kernel_wanted(bench, "convolutions", name))
        return;
    snprintf(options, sizeof options,
             "channels: %d, kernel: %d, stride: %d, padding: %d, bias: false, method: %s",
             convolutions[i].OC, kernel, stride, (kernel - 1) / 2, method);
    LayerBench layer;
    LayerCase c = { "", "conv2d", options, IMAGE(C, convolutions[i].H), CONV_BATCH };
    open_layer(&layer, &c, C <= FIRST_CHANNELS);
    measure_products(bench, &layer);
    close_layer(&layer);
}

static void measure_case(KernelBench *bench, const LayerCase *c)
{
    char name[96], shape[32];
    snprintf(name, sizeof name, "%s%s%s%s %s b%d", c->layer, *c->options ? " {" : "", c->options,
             *c->options ? "}" : "", shape_text(c->in, shape, sizeof shape), c->batch);
    if (!kernel_wanted(bench, c->group, name))
        return;
    LayerBench layer;
    open_layer(&layer, c, false);
    if (strcmp(c->layer, "dense") == 0)
        measure_products(bench, &layer);
    else if (layer.layer->in.ndim == 2)
        measure_both_ways(bench, &layer);
    else
        measure_passes(bench, &layer);
    close_layer(&layer);
}

void kernels_layers(KernelBench *bench)
{
    for (size_t i = 0; i < sizeof convolutions / sizeof *convolutions; i++) {
        if (convolutions[i].winograd)
            measure_convolution(bench, i, "winograd");
        measure_convolution(bench, i, "direct");
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        measure_case(bench, &cases[i]);
}
