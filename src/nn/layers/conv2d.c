/* conv2d: cross-correlation of an image with OC kernels. This file is the layer: options, shapes,
 * bias. How the sums are computed is a method's business (src/nn/kernels, docs/convolution.md). */
#include "../image.h"
#include "../kernels/conv.h"
#include "lockstep/cpu.h"
#include "lockstep/memory.h"

#include <limits.h>

/* In the order of the option, whose choice 0 is auto: the first that pays. The last always does. */
static const ConvMethod *const methods[] = { &ISA_NAME(conv_winograd), &ISA_NAME(conv_direct) };

typedef struct Conv2dOptions {
    int channels, kernel, kernel_h, kernel_w, stride, padding, dilation, groups, method;
    bool bias;
} Conv2dOptions;

static const Option conv2d_options[] = {
    { "channels", OPTION_INT, OPTION_AT(Conv2dOptions, channels), 1, 65536, NULL, NULL,
      "output channels" },
    { "kernel", OPTION_INT, OPTION_AT(Conv2dOptions, kernel), 1, 255, NULL, "3",
      "kernel height and width, pixels" },
    { "kernel_h", OPTION_INT, OPTION_AT(Conv2dOptions, kernel_h), 0, 255, NULL, "0",
      "kernel height, pixels; 0: as kernel" },
    { "kernel_w", OPTION_INT, OPTION_AT(Conv2dOptions, kernel_w), 0, 255, NULL, "0",
      "kernel width, pixels; 0: as kernel" },
    { "stride", OPTION_INT, OPTION_AT(Conv2dOptions, stride), 1, 255, NULL, "1",
      "distance between outputs, pixels" },
    { "padding", OPTION_INT, OPTION_AT(Conv2dOptions, padding), 0, 255, NULL, "0",
      "zeros around the image, pixels" },
    { "dilation", OPTION_INT, OPTION_AT(Conv2dOptions, dilation), 1, 255, NULL, "1",
      "distance between kernel taps, pixels" },
    { "groups", OPTION_INT, OPTION_AT(Conv2dOptions, groups), 1, 65536, NULL, "1",
      "channels are cut into so many groups that do not see one another" },
    { "bias", OPTION_BOOL, OPTION_AT(Conv2dOptions, bias), 0, 0, NULL, "true",
      "add one number per output channel" },
    { "method", OPTION_CHOICE, OPTION_AT(Conv2dOptions, method), 0, 0, "auto|winograd|direct",
      "auto", "winograd: fewer multiplications, for 3 x 3 and 5 x 5 kernels; auto: where it pays" },
    OPTION_END,
};

typedef struct Conv2dState {
    const ConvMethod *method;
    void *kernels; /* the method's state */
    float *bias;   /* (OC / 16 * 16), or NULL */
} Conv2dState;

static Window conv_window(const Conv2dOptions *options)
{
    return (Window){
        .KH = options->kernel_h ? options->kernel_h : options->kernel,
        .KW = options->kernel_w ? options->kernel_w : options->kernel,
        .stride = options->stride,
        .padding = options->padding,
        .dilation = options->dilation,
    };
}

static ConvShape conv_shape(const Layer *layer, int max_batch)
{
    const Conv2dOptions *options = layer->options;
    Window window = conv_window(options);
    return (ConvShape){
        .C = layer->in.dim[0],
        .H = layer->in.dim[1],
        .W = layer->in.dim[2],
        .OC = layer->out.dim[0],
        .OH = layer->out.dim[1],
        .OW = layer->out.dim[2],
        .KH = window.KH,
        .KW = window.KW,
        .stride = window.stride,
        .padding = window.padding,
        .dilation = window.dilation,
        .groups = options->groups,
        .max_batch = max_batch,
        .first = layer->first,
    };
}

static const ConvMethod *choose_method(const Layer *layer)
{
    const Conv2dOptions *options = layer->options;
    if (options->method > 0)
        return methods[options->method - 1];
    ConvShape shape = conv_shape(layer, 1);
    int i = 0;
    while (!methods[i]->pays(&shape))
        i++;
    return methods[i];
}

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    const Conv2dOptions *options = layer->options;
    Window window = conv_window(options);
    if (!window_slide(&window, layer->in, options->channels, &layer->out, err))
        return false;
    int C = layer->in.dim[0], OC = options->channels;
    if (C % options->groups != 0 || OC % options->groups != 0)
        return err_set(err, "groups: %d must divide the %d input and %d output channels",
                       options->groups, C, OC);
    int shape[4] = { OC, C / options->groups, window.KH, window.KW };
    double taps = (double)window.KH * window.KW;
    double fan_in = taps * shape[1], fan_out = taps * OC;
    if (fan_in * OC > INT_MAX || fan_out > INT_MAX)
        return err_set(err, "%.3g weights are too many", fan_in * OC);
    ConvShape conv = conv_shape(layer, 1);
    const ConvMethod *method = choose_method(layer);
    if (!method->fits(&conv, err))
        return err_prefix(err, "method %s ", method->name);
    layer_add_tensor(layer, layout, "weight", 4, shape, LAYOUT_DECAY | LAYOUT_ADAPT, (int)fan_in,
                     (int)fan_out, NULL);
    layer->tensors[0].groups = options->groups;
    if (options->bias)
        layer_add_tensor(layer, layout, "bias", 1, &OC, 0, (int)fan_in, (int)fan_out, "zeros");
    layer->flops = 2 * fan_in * OC * layer->out.dim[1] * layer->out.dim[2];
    return true;
}

static size_t scratch(const Layer *layer, int max_batch)
{
    ConvShape shape = conv_shape(layer, max_batch);
    return choose_method(layer)->scratch(&shape);
}

static void allocate(Layer *layer, int max_batch)
{
    const Conv2dOptions *options = layer->options;
    Conv2dState *state = mem_new(Conv2dState);
    ConvShape shape = conv_shape(layer, max_batch);
    size_t bias = options->bias ? (size_t)shape_blocks(layer->out) * CHANNEL_BLOCK : 0;
    layer->state_bytes_total = sizeof *state + bias * sizeof(float);
    state->method = choose_method(layer);
    state->kernels = state->method->create(&shape, &layer->state_bytes_total);
    if (options->bias)
        state->bias = mem_array(float, bias);
    layer->state = state;
}

static void release(Layer *layer)
{
    Conv2dState *state = layer->state;
    if (!state)
        return;
    state->method->release(state->kernels);
    mem_free(state->bias);
    mem_free(state);
    layer->state = NULL;
}

static void begin_step(Layer *layer, Layout *layout, int global_batch)
{
    (void)layout;
    const Conv2dState *state = layer->state;
    state->method->pack(state->kernels, layer->tensors[0].w, global_batch != 0 && !layer->first);
    if (state->bias)
        memcpy(state->bias, layer->tensors[1].w, (size_t)layer->out.dim[0] * sizeof(float));
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    const Conv2dState *state = layer->state;
    state->method->forward(state->kernels, pass->batch, x, state->bias, y, layer->scratch);
}

/* db[c] = the sum of dy over images and pixels. */
static void bias_gradient(const Layer *layer, int batch, const float *dy, float *db)
{
    size_t plane = plane_floats(layer->out), image = image_floats(layer->out);
    for (int block = 0; block < shape_blocks(layer->out); block++) {
        double sum[CHANNEL_BLOCK] = { 0 };
        for (int n = 0; n < batch; n++)
            run_sum(dy + (size_t)n * image + (size_t)block * plane, plane / CHANNEL_BLOCK,
                    CHANNEL_BLOCK, CHANNEL_BLOCK, sum);
        int first = block * CHANNEL_BLOCK;
        for (int c = 0; c < least(CHANNEL_BLOCK, layer->out.dim[0] - first); c++)
            db[first + c] = (float)sum[c];
    }
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)y;
    const Conv2dState *state = layer->state;
    expect(!dx || !layer->first);
    if (!layer->tensors[0].frozen)
        state->method->weight_gradient(state->kernels, pass->batch, x, dy, layer->tensors[0].dw,
                                       layer->scratch);
    if (state->bias && !layer->tensors[1].frozen)
        bias_gradient(layer, pass->batch, dy, layer->tensors[1].dw);
    if (dx)
        state->method->data_gradient(state->kernels, pass->batch, dy, dx, layer->scratch);
}

extern const LayerType ISA_NAME(layer_conv2d);
const LayerType ISA_NAME(layer_conv2d) = {
    .name = "conv2d",
    .help = "two-dimensional convolution (cross-correlation)",
    .formula =
        "y[o, h, w] = b[o] + sum over c, i, j of W[o, c, i, j] x[c, h s - p + i d, w s - p + j d]",
    .source = "LeCun et al. 1989",
    .options = conv2d_options,
    .options_bytes = sizeof(Conv2dOptions),
    .plan = plan,
    .scratch = scratch,
    .allocate = allocate,
    .release = release,
    .begin_step = begin_step,
    .forward = forward,
    .backward = backward,
    .keep_x = true,
    .linear = true,
};
