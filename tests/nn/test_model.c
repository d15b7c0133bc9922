/* Whole networks: gradients through residuals and repeats, the memory plan against a run with a
 * buffer for everything, losses against double arithmetic, dropout's independence of placement,
 * initial weights. */
#include "lockstep/cpu.h"
#include "lockstep/memory.h"
#include "lockstep/model.h"
#include "lockstep/random.h"

#include "support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct Net {
    Config config;
    Model model;
    Pass pass;
    Batch batch;
    float *w, *dw, *x, *targets;
    int32_t *labels, *tokens;
} Net;

static RandomKey test_key(uint64_t a, uint64_t b)
{
    return random_key(21, RANDOM_TEST, a, b);
}

static float *normal_numbers(uint64_t stream, size_t n)
{
    float *x = mem_array(float, n);
    random_fill_normal(test_key(1, stream), 0, x, n);
    return x;
}

static void net_free(Net *net)
{
    model_free(&net->model);
    config_free(&net->config);
    mem_free(net->w);
    mem_free(net->dw);
    mem_free(net->x);
    mem_free(net->targets);
    mem_free(net->labels);
    mem_free(net->tokens);
}

/* Labels of the batch: classes in turn; of a sequence every third position has none. */
static void set_labels(Net *net, int batch)
{
    Shape output = net->model.output;
    bool sequence = output.ndim == 2;
    size_t classes = (size_t)(sequence ? output.dim[1] : (int)shape_values(output));
    int count = batch * shape_rows(output), targets = 0;
    net->labels = mem_array(int32_t, count);
    for (int i = 0; i < count; i++) {
        bool ignored = sequence && i % 3 == 1;
        net->labels[i] = ignored ? LABEL_IGNORED : (int32_t)((size_t)(3 * i + 1) % classes);
        targets += !ignored;
    }
    net->pass.global_targets = 2 * targets;
}

static void set_input(Net *net, Shape input, int batch)
{
    size_t n = shape_values(input) * (size_t)batch;
    if (input.vocabulary == 0) {
        net->x = normal_numbers(0, n);
        return;
    }
    net->tokens = mem_array(int32_t, n);
    for (size_t i = 0; i < n; i++)
        net->tokens[i] = (int32_t)random_below(test_key(3, 0), i, (uint32_t)input.vocabulary);
    net->pass.tokens = net->tokens;
}

/* `text`: a map with `model` and perhaps `loss`. Random batch, labels and targets. apart: nothing
 * is fused. */
static void net_init_with(Net *net, const char *text, Shape input, int batch, bool apart)
{
    Err err;
    *net = (Net){ .pass = { .train = true,
                            .batch = batch,
                            .seed = 5,
                            .step = 3,
                            .first_sample = batch,
                            .global_batch = 2 * batch,
                            .lane_size = batch } };
    ck_assert_msg(config_parse(&net->config, "test", text, strlen(text), &err), "%s", err.text);
    ConfigNode *root = net->config.root;
    ck_assert_msg(model_build(&net->model, &net->config, config_get(root, "model"),
                              config_get(root, "loss"),
                              &(ModelWish){ .input = input, .apart = apart }, &err),
                  "%s", err.text);
    Model *model = &net->model;
    ck_assert(model_check_lanes(model, batch, &err));
    model_allocate(model, batch);
    ck_assert_uint_eq(model->activation_bytes, model_plan_bytes(model, batch));
    net->w = mem_array(float, model->layout.n);
    net->dw = mem_array(float, model->layout.n);
    ck_assert(model_initialize(model, 9, net->w, &err));
    size_t outputs = shape_values(model->output);
    set_input(net, input, batch);
    set_labels(net, batch);
    net->targets = normal_numbers(1, outputs * (size_t)batch);
    net->batch = (Batch){ .count = batch,
                          .x = net->x,
                          .tokens = net->tokens,
                          .labels = net->labels,
                          .targets = net->targets };
    model_bind(model, net->w, net->dw);
}

static void net_init(Net *net, const char *text, Shape input, int batch)
{
    net_init_with(net, text, input, batch, false);
}

static double net_loss(Net *net)
{
    model_begin_step(&net->model, net->pass.global_batch);
    return model_forward(&net->model, &net->batch, &net->pass).loss /
           (double)net->pass.global_targets;
}

/* ---- gradients ---- */

/* No bias before the batch norm: its gradient is exactly zero, and differences would only measure
 * how the loss is rounded. */
static const char residual_net[] =
    "model:\n"
    "  init: xavier_normal\n"
    "  layers:\n"
    "    - conv2d: {channels: 6, kernel: 3, padding: 1, name: stem}\n"
    "    - tanh\n"
    "    - repeat:\n"
    "        times: 2\n"
    "        body:\n"
    "          - residual:\n"
    "              body: [conv2d: {channels: 6, kernel: 3, padding: 1, bias: false},\n"
    "                     batchnorm: {eps: 0.1}, gelu]\n"
    "    - residual:\n"
    "        body: [conv2d: {channels: 19, kernel: 3, stride: 2, padding: 1}, sigmoid]\n"
    "        shortcut: [conv2d: {channels: 19, kernel: 1, stride: 2}]\n"
    "    - avgpool: 2\n"
    "    - flatten\n"
    "    - residual: {body: [dense: 9, tanh, dense: 38]}\n"
    "    - layernorm\n"
    "    - dropout: 0.25\n"
    "    - dense: 5\n";

static const char mse_net[] = "loss: mse\n"
                              "model:\n"
                              "  init: lecun_normal\n"
                              "  layers:\n"
                              "    - residual: {body: [dense: 11, gelu], shortcut: []}\n"
                              "    - residual:\n"
                              "        body: [residual: {body: [dense: 11, tanh]}, dense: 7]\n"
                              "        shortcut: [dense: 7]\n"
                              "    - dense: 3\n";

/* A language model: every position but the ignored ones is a target, and the head's weights are
 * those of the embedding, so their gradient has two parts. */
static const char gpt_net[] =
    "model:\n"
    "  init: normal(0.4)\n"
    "  layers:\n"
    "    - embedding: {features: 6, name: tokens}\n"
    "    - positional: {init: normal(0.4)}\n"
    "    - repeat:\n"
    "        times: 2\n"
    "        body:\n"
    "          - residual: {body: [layernorm: {eps: 0.1}, ATTENTIONdropout: 0.2]}\n"
    "          - residual:\n"
    "              body: [layernorm: {eps: 0.1}, dense: 12, gelu: tanh, dense: 6]\n"
    "    - layernorm: {eps: 0.1}\n"
    "    - dense: {tie: tokens}\n";

/* A masked language model: normalised behind the shortcut, a layer before the tied head, which has
 * a bias. */
static const char bert_net[] = "model:\n"
                               "  init: normal(0.4)\n"
                               "  layers:\n"
                               "    - embedding: {features: 6, scale: true, name: tokens}\n"
                               "    - positional: {type: sinusoidal}\n"
                               "    - rmsnorm: {eps: 0.1}\n"
                               "    - residual: {body: [ATTENTIONdense: 6, tanh]}\n"
                               "    - layernorm: {eps: 0.1}\n"
                               "    - residual: {body: [dense: 11, gelu, dense: 6]}\n"
                               "    - adanorm: {k: 0, eps: 0.1}\n"
                               "    - dense: 6\n"
                               "    - gelu\n"
                               "    - dense: {tie: tokens, bias: true}\n";

/* A classifier of sequences. */
static const char classifier_net[] =
    "model: {init: normal(0.4), layers: [embedding: 5, positional, dense: 7, tanh, "
    "pool_positions, dense: 3]}\n";

/* (4 D(h) - D(2h)) / 3 along +-1 on one tensor. */
static double numeric(Net *net, const LayoutTensor *tensor, const float *sign)
{
    double sides[2], h = 0x1p-8;
    float *w = net->w + tensor->offset;
    float *kept = mem_array(float, tensor->n);
    memcpy(kept, w, tensor->n * sizeof *kept);
    for (int k = 0; k < 2; k++, h *= 2) {
        double difference = 0;
        for (int side = -1; side <= 1; side += 2) {
            for (size_t i = 0; i < tensor->n; i++)
                w[i] = kept[i] + (float)(side * h) * sign[i];
            difference += side * net_loss(net);
        }
        sides[k] = difference / (2 * h);
    }
    memcpy(w, kept, tensor->n * sizeof *kept);
    mem_free(kept);
    return (4 * sides[0] - sides[1]) / 3;
}

static void check_tensor(Net *net, int index, const float *gradient)
{
    const LayoutTensor *tensor = &net->model.layout.tensors[index];
    float *sign = mem_array(float, tensor->n);
    for (uint64_t k = 0; k < 3; k++) {
        double analytic = 0, squares = 0;
        for (size_t i = 0; i < tensor->n; i++) {
            double g = (double)gradient[tensor->offset + i];
            sign[i] = random_word(test_key(2, k), i) & 1 ? 1.0f : -1.0f;
            analytic += g * (double)sign[i];
            squares += g * g;
        }
        double found = numeric(net, tensor, sign);
        ck_assert_msg(fabs(found - analytic) <= 2e-3 * sqrt(squares) + 1e-5,
                      "%s: %.7g by differences, %.7g by backward, size %.3g", tensor->name, found,
                      analytic, sqrt(squares));
    }
    mem_free(sign);
}

static void check_gradients(const char *text, Shape input, int batch)
{
    Net net;
    net_init(&net, text, input, batch);
    ck_assert(isfinite(net_loss(&net)));
    model_backward(&net.model, &net.batch, &net.pass);
    for (int i = 0; i < net.model.layout.count; i++)
        if (!(net.model.layout.tensors[i].flags & LAYOUT_STATISTIC))
            check_tensor(&net, i, net.dw);
    net_free(&net);
}

/* `attention` takes the place of the word ATTENTION; without such a layer, nothing does. */
static void check_transformer(const char *text, const char *attention)
{
    char whole[1024];
    const char *word = "ATTENTION", *place = strstr(text, word);
    const char *layer = layer_find("attention") ? attention : "";
    snprintf(whole, sizeof whole, "%.*s%s%s", (int)(place - text), text, layer,
             place + strlen(word));
    check_gradients(whole, (Shape){ .ndim = 1, .dim = { 5, 1, 1 }, .vocabulary = 7 }, 3);
}

START_TEST(test_gradients_of_sequences)
{
    check_transformer(gpt_net, "attention: {heads: 2, causal: true}, ");
    check_transformer(bert_net, "attention: {heads: 3}, ");
    check_gradients(classifier_net, (Shape){ .ndim = 1, .dim = { 5, 1, 1 }, .vocabulary = 7 }, 4);
}
END_TEST

START_TEST(test_gradients)
{
    check_gradients(residual_net, (Shape){ .ndim = 3, .dim = { 3, 7, 6 } }, 4);
    check_gradients(mse_net, (Shape){ .ndim = 1, .dim = { 11, 1, 1 } }, 5);
}
END_TEST

/* ---- the plan ---- */

/* Runs the same layers, none of them fused, with a buffer for each value and each gradient, sums in
 * node order. */
typedef struct Naive {
    float *x[64], *dx[64];
    bool arrived[64];
} Naive;

static size_t naive_floats(const Model *model, int buffer, int batch)
{
    Shape shape = buffer ? model->nodes[buffer - 1].shape : model->input;
    return (shape_stored(shape) * (size_t)batch + 15) / 16 * 16;
}

static void naive_forward(Net *net, Naive *naive)
{
    Model *model = &net->model;
    size_t stored = shape_stored(model->input), plain = shape_values(model->input);
    for (int i = 0; i < net->batch.count; i++)
        shape_pack(model->input, net->x + (size_t)i * plain, naive->x[0] + (size_t)i * stored);
    for (int i = 0; i < model->count; i++) {
        const ModelNode *node = &model->nodes[i];
        float *y = naive->x[node->out];
        if (node->layer) {
            node->layer->type->forward(node->layer, &net->pass, naive->x[node->in], y);
            continue;
        }
        for (size_t k = 0; k < naive_floats(model, node->out, net->batch.count); k++)
            y[k] = naive->x[node->in][k] + naive->x[node->in2][k];
    }
}

static void arrive(const Net *net, Naive *naive, int buffer, const float *gradient)
{
    for (size_t k = 0; k < naive_floats(&net->model, buffer, net->batch.count); k++)
        naive->dx[buffer][k] =
            naive->arrived[buffer] ? naive->dx[buffer][k] + gradient[k] : gradient[k];
    naive->arrived[buffer] = true;
}

static void naive_backward(Net *net, Naive *naive)
{
    Model *model = &net->model;
    float *scratch = mem_array(float, 1 << 20);
    for (int i = model->count - 1; i >= 0; i--) {
        const ModelNode *node = &model->nodes[i];
        const float *dy = naive->dx[node->out];
        if (node->layer) {
            node->layer->type->backward(node->layer, &net->pass, naive->x[node->in],
                                        naive->x[node->out], dy,
                                        node->layer->first ? NULL : scratch);
            if (!node->layer->first)
                arrive(net, naive, node->in, scratch);
        } else {
            arrive(net, naive, node->in, dy);
            arrive(net, naive, node->in2, dy);
        }
    }
    mem_free(scratch);
}

static void naive_run(Net *net)
{
    Model *model = &net->model;
    Naive naive = { 0 };
    ck_assert_int_lt(model->buffers, 64);
    for (int i = 0; i < model->buffers; i++) {
        naive.x[i] = mem_array(float, naive_floats(model, i, net->batch.count));
        naive.dx[i] = mem_array(float, naive_floats(model, i, net->batch.count));
    }
    int last = model->count;
    model_begin_step(model, net->pass.global_batch);
    naive_forward(net, &naive);
    model->loss.type->evaluate(&model->loss, &net->pass, &net->batch, naive.x[last],
                               naive.dx[last]);
    naive_backward(net, &naive);
    for (int i = 0; i < model->buffers; i++) {
        mem_free(naive.x[i]);
        mem_free(naive.dx[i]);
    }
}

static void check_plan(const char *text, Shape input, int batch)
{
    Net net;
    net_init(&net, text, input, batch);
    size_t n = net.model.layout.n;
    float *planned = mem_array(float, n);
    MemUse before = mem_use();
    for (int repeat = 0; repeat < 2; repeat++) { /* the second pass finds dirty slots */
        model_begin_step(&net.model, net.pass.global_batch);
        model_forward(&net.model, &net.batch, &net.pass);
        model_backward(&net.model, &net.batch, &net.pass);
    }
    ck_assert_uint_eq(mem_use().blocks, before.blocks);
    ck_assert_uint_eq(mem_use().peak_bytes, before.peak_bytes);
    memcpy(planned, net.dw, n * sizeof *planned);
    net_free(&net);
    net_init_with(&net, text, input, batch, true);
    naive_run(&net);
    ck_assert_uint_eq(first_difference(planned, net.dw, n), n);
    mem_free(planned);
    net_free(&net);
}

START_TEST(test_plan)
{
    static const char relu_net[] =
        "model:\n"
        "  layers:\n"
        "    - conv2d: {channels: 5, kernel: 3, padding: 1}\n"
        "    - batchnorm\n"
        "    - relu\n"
        "    - residual:\n"
        "        body: [relu, conv2d: {channels: 5, kernel: 1}, sigmoid, relu, dropout]\n"
        "    - relu\n"
        "    - residual:\n"
        "        body: [relu, residual: {body: [dropout, relu]}]\n"
        "        shortcut: [tanh, dropout: 0.1]\n"
        "    - residual: {body: [tanh], shortcut: [relu]}\n"
        "    - residual: {body: [residual: {body: [residual: {body: [tanh]}]}]}\n"
        "    - maxpool: 2\n"
        "    - global_avgpool\n"
        "    - residual: {body: [residual: {body: [relu]}, dense: 5]}\n"
        "    - tanh\n"
        "    - dense: 4\n";
    static const char input_net[] =
        "model: {layers: [residual: {body: [relu, dropout]}, flatten, residual: {body: [tanh]}, "
        "dense: 4]}\n";
    check_plan(relu_net, (Shape){ .ndim = 3, .dim = { 3, 6, 5 } }, 3);
    check_plan(residual_net, (Shape){ .ndim = 3, .dim = { 3, 7, 6 } }, 2);
    check_plan(mse_net, (Shape){ .ndim = 1, .dim = { 11, 1, 1 } }, 5);
    check_plan(input_net, (Shape){ .ndim = 3, .dim = { 3, 5, 5 } }, 3);
    check_plan(input_net, (Shape){ .ndim = 1, .dim = { 7, 1, 1 } }, 3);
}
END_TEST

/* Every pattern that fuses, and what stands in its way: fused nodes are counted, and the bits are
 * those of separate nodes with a buffer each. */
static void check_fusion(const char *layers, int fused)
{
    char text[2048];
    Shape image = { .ndim = 3, .dim = { 3, 7, 6 } };
    snprintf(text, sizeof text,
             "model:\n"
             "  layers:\n"
             "    - conv2d: {channels: 19, kernel: 3, padding: 1}\n"
             "%s"
             "    - conv2d: {channels: 5, kernel: 3, padding: 1}\n"
             "    - flatten\n"
             "    - dense: 4\n",
             layers);
    Net net;
    net_init(&net, text, image, 3);
    int count = 0;
    for (int i = 0; i < net.model.count; i++)
        count += net.model.nodes[i].fused;
    ck_assert_msg(count == fused, "%d nodes are fused, %d should be, in\n%s", count, fused, layers);
    net_free(&net);
    check_plan(text, image, 3);
}

#define CONV "conv2d: {channels: 19, kernel: 3, padding: 1, bias: false}"

START_TEST(test_fusion)
{
    check_fusion("    - batchnorm\n    - relu\n", 1);
    check_fusion("    - batchnorm\n    - relu\n    - relu\n", 1);
    check_fusion("    - batchnorm\n    - relu\n    - maxpool: 2\n", 2);
    check_fusion("    - maxpool: 2\n    - batchnorm: {ghost: 1}\n    - relu\n"
                 "    - maxpool: {kernel: 3, stride: 1, padding: 1}\n",
                 2);
    check_fusion(
        "    - batchnorm\n    - maxpool: 2\n    - relu\n"
        "    - residual: {body: [batchnorm, maxpool: {kernel: 3, stride: 1, padding: 1}]}\n"
        "    - relu\n",
        1 + 1);
    check_fusion("    - relu\n    - maxpool: {kernel: 3, stride: 2, padding: 1}\n", 1);
    check_fusion("    - maxpool: 3\n    - relu\n", 1);
    check_fusion("    - relu\n    - maxpool: 2\n    - relu\n", 1);
    check_fusion("    - relu\n    - residual: {body: [maxpool: 1]}\n", 0);
    check_fusion("    - batchnorm\n    - residual: {body: [relu, " CONV "]}\n", 0);
    /* ResNet: the join's relu, identity and convolution as shortcut, two gradients for a relu */
    check_fusion("    - batchnorm\n    - relu\n"
                 "    - residual: {body: [" CONV ", batchnorm, relu, " CONV ", batchnorm]}\n"
                 "    - relu\n"
                 "    - residual: {body: [" CONV ", batchnorm], shortcut: [" CONV ", batchnorm]}\n"
                 "    - relu\n"
                 "    - residual: {body: [" CONV ", batchnorm: {ghost: 1}]}\n",
                 1 + 1 + 2 + 2 + 1);
    /* relu before the join; its gradient goes to the shortcut unmasked */
    check_fusion("    - residual: {body: [" CONV ", batchnorm, relu]}\n"
                 "    - residual: {body: [" CONV ", batchnorm, relu]}\n    - relu\n",
                 2 + 2);
    /* joins in joins: a gradient that several hold must not be written over */
    check_fusion("    - residual: {body: [residual: {body: [residual: {body: [" CONV
                 ", batchnorm]}, relu, batchnorm]}, batchnorm, relu]}\n    - relu\n"
                 "    - residual: {body: [residual: {body: [tanh, batchnorm]}]}\n",
                 2 + 1 + 2 + 1);
    check_fusion("    - residual: {body: [residual: {body: [" CONV ", batchnorm]}, relu]}\n", 2);
    /* three readers; a shortcut that is the network's input; no gradient before it */
    check_fusion("    - residual: {body: [residual: {body: [" CONV ", batchnorm]}, relu, " CONV
                 "], shortcut: [batchnorm, relu]}\n",
                 2 + 2);
}
END_TEST

START_TEST(test_fusion_on_the_input)
{
    static const char text[] =
        "model: {layers: [relu, maxpool: 2, residual: {body: [batchnorm]}, relu, residual: {body: "
        "[batchnorm: {affine: false}, relu]}, flatten, dense: 4, batchnorm, relu, residual: "
        "{body: [dense: 4, batchnorm]}, relu]}\n";
    check_plan(text, (Shape){ .ndim = 3, .dim = { 3, 6, 5 } }, 3);
}
END_TEST

/* A straight chain of L tanh layers keeps L activations, but needs only a slot or two for
 * gradients. */
START_TEST(test_plan_reuses_memory)
{
    Net net;
    net_init(&net, "model: {layers: [dense: 64, repeat: {times: 20, body: [tanh, dense: 64]}]}",
             (Shape){ .ndim = 1, .dim = { 64, 1, 1 } }, 16);
    size_t layer_bytes = 64 * 16 * sizeof(float);
    ck_assert_uint_le(net.model.activation_bytes, 25 * layer_bytes);
    net_free(&net);
}
END_TEST

START_TEST(test_data_gradient_is_skipped)
{
    Net net;
    net_init(&net, "model: {layers: [relu, avgpool: 2, flatten, dense: 7, relu, dense: 3]}",
             (Shape){ .ndim = 3, .dim = { 2, 4, 4 } }, 2);
    static const bool first[] = { true, true, true, true, false, false };
    for (int i = 0; i < net.model.count; i++) {
        ck_assert_int_eq(net.model.nodes[i].layer->first, first[i]);
        ck_assert_int_eq(net.model.nodes[i].backward, i >= 3);
    }
    net_free(&net);
}
END_TEST

/* `flatten` on the plain input costs nothing, and is the same as flatten of a packed image. */
START_TEST(test_plain_input)
{
    Net plain, packed;
    Shape input = { .ndim = 3, .dim = { 3, 5, 4 } };
    net_init(&plain, "model: {layers: [flatten: {name: f}, dense: {units: 6, name: d}]}", input, 4);
    net_init(&packed, "model: {layers: [dropout: 0, flatten, dense: {units: 6, name: d}]}", input,
             4);
    ck_assert(!plain.model.input_packed && packed.model.input_packed);
    ck_assert_double_eq(net_loss(&plain), net_loss(&packed));
    ck_assert(same_bits(model_output(&plain.model), model_output(&packed.model), 24));
    model_backward(&plain.model, &plain.batch, &plain.pass);
    model_backward(&packed.model, &packed.batch, &packed.pass);
    ck_assert(same_bits(plain.dw, packed.dw, plain.model.layout.n));
    net_free(&plain);
    net_free(&packed);
}
END_TEST

/* Evaluation: dropout passes, a short batch fits, without labels only the count comes back. */
START_TEST(test_evaluation)
{
    Net net;
    net_init(&net, residual_net, (Shape){ .ndim = 3, .dim = { 3, 7, 6 } }, 4);
    net.pass.train = false;
    double all = net_loss(&net);
    ck_assert_double_eq(all, net_loss(&net));
    net.batch.count = net.pass.batch = 1;
    ck_assert(isfinite(net_loss(&net)));
    net.batch.labels = NULL;
    net.batch.targets = NULL;
    Tally tally = model_forward(&net.model, &net.batch, &net.pass);
    ck_assert(tally.count == 1 && tally.loss == 0);
    net_free(&net);
}
END_TEST

/* ---- initial weights ---- */

static const float *tensor_start(const Net *net, const char *name)
{
    int index = layout_find(&net->model.layout, name);
    ck_assert_msg(index >= 0, "no tensor %s", name);
    return net->w + net->model.layout.tensors[index].offset;
}

START_TEST(test_zero_gamma)
{
    Net net;
    net_init(&net,
             "model:\n"
             "  zero_gamma: true\n"
             "  layers:\n"
             "    - conv2d: {channels: 3, kernel: 1, init: constant(2)}\n"
             "    - residual:\n"
             "        name: ends\n"
             "        body: [batchnorm, relu, layernorm, dropout]\n"
             "        shortcut: [batchnorm: {name: side}]\n"
             "    - residual: {name: inside, body: [batchnorm, relu]}\n"
             "    - flatten\n"
             "    - dense: 2\n",
             (Shape){ .ndim = 3, .dim = { 2, 3, 3 } }, 2);
    ck_assert(tensor_start(&net, "ends.body.0.batchnorm.weight")[2] == 1);
    ck_assert(tensor_start(&net, "ends.body.2.layernorm.weight")[5] == 0);
    ck_assert(tensor_start(&net, "ends.body.2.layernorm.bias")[5] == 0);
    ck_assert(tensor_start(&net, "side.weight")[0] == 1);
    ck_assert(tensor_start(&net, "side.running_var")[0] == 1);
    ck_assert(tensor_start(&net, "inside.body.0.batchnorm.weight")[0] == 1);
    ck_assert(tensor_start(&net, "0.conv2d.weight")[5] == 2);
    ck_assert(tensor_start(&net, "4.dense.weight")[0] != 0);
    ck_assert(tensor_start(&net, "4.dense.bias")[1] == 0);
    net_free(&net);
}
END_TEST

/* ---- weights from data ---- */

enum { PICTURES = 40 };
static const Shape picture = { .ndim = 3, .dim = { 3, 6, 7 } };

/* Neighbouring pixels and channels go together, and pictures differ in brightness. */
static void read_picture(void *context, int64_t sample, float *x)
{
    float *noise = normal_numbers((uint64_t)sample + 2, shape_values(picture));
    float brightness = *(const float *)context + (float)(sample % 5) - 2, last = 0;
    for (size_t i = 0; i < shape_values(picture); i++)
        x[i] = last = 0.7f * last + 0.2f * noise[i] + 0.3f * brightness;
    mem_free(noise);
}

/* The outputs of a whitened convolution on the training images: E[y_i y_j] is 1 for i = j, minus 1
 * for a filter and its negative, 0 for all others. */
START_TEST(test_whitened_outputs)
{
    enum { OC = 24, BATCH = PICTURES };
    float offset = 0.5f;
    Net net;
    Err err;
    net_init(&net, "model: {layers: [conv2d: {channels: 24, kernel: 2}]}", picture, BATCH);
    net.model.samples = (SampleSource){ read_picture, &offset, PICTURES };
    net.model.nodes[0].layer->init = mem_string("whiten(1e-9)");
    ck_assert_msg(model_initialize(&net.model, 1, net.w, &err), "%s", err.text);
    for (int64_t i = 0; i < PICTURES; i++)
        read_picture(&offset, i, net.x + (size_t)i * shape_values(picture));
    net.pass.train = false;
    net.batch.labels = NULL;
    net.batch.targets = NULL;
    model_begin_step(&net.model, 0);
    model_forward(&net.model, &net.batch, &net.pass);
    size_t pixels = 5 * 6, stored = shape_stored(net.model.output);
    float *y = mem_array(float, OC *pixels);
    double moments[OC][OC] = { { 0 } };
    for (size_t b = 0; b < BATCH; b++) {
        shape_unpack(net.model.output, model_output(&net.model) + b * stored, y);
        for (size_t k = 0; k < OC * OC * pixels; k++) {
            size_t i = k / pixels / OC, j = k / pixels % OC, p = k % pixels;
            moments[i][j] += (double)y[i * pixels + p] * (double)y[j * pixels + p];
        }
    }
    for (int i = 0; i < OC; i++)
        for (int j = 0; j < OC; j++)
            ck_assert_double_eq_tol(moments[i][j] / (double)(pixels * BATCH),
                                    i == j             ? 1
                                    : i % 12 == j % 12 ? -1
                                                       : 0,
                                    1e-4);
    mem_free(y);
    net_free(&net);
}
END_TEST

/* ---- frozen tensors ---- */

/* Only the bias of the first layer and the last layer are trained: their gradients are what they
 * are when all is trained, and nothing is written in the place of the others. */
START_TEST(test_frozen_gradients)
{
    static const char text[] =
        "model:\n  layers: [conv2d: {channels: 5, kernel: 3%s}, gelu, global_avgpool,\n"
        "                   dense: {units: 6%s}, dense: 4]\n";
    static const char *const names[] = { "0.conv2d.bias", "4.dense.weight", "4.dense.bias" };
    char all[256], some[256];
    snprintf(all, sizeof all, text, "", "");
    snprintf(some, sizeof some, text, ", trainable: bias", ", trainable: false");
    Net a, b;
    net_init(&a, all, picture, 3);
    net_init(&b, some, picture, 3);
    ck_assert_uint_eq(b.model.layout.trained, a.model.layout.trained - 5 * 27 - 6 * 5 - 6);
    for (size_t i = 0; i < b.model.layout.n; i++)
        b.dw[i] = 77;
    ck_assert(same_bits(a.w, b.w, a.model.layout.n));
    ck_assert(net_loss(&a) == net_loss(&b));
    model_backward(&a.model, &a.batch, &a.pass);
    model_backward(&b.model, &b.batch, &b.pass);
    for (size_t i = 0; i < 3; i++) {
        const LayoutTensor *t = &a.model.layout.tensors[layout_find(&a.model.layout, names[i])];
        ck_assert_msg(same_bits(a.dw + t->offset, b.dw + t->offset, t->n), "%s", names[i]);
    }
    for (int i = 0; i < b.model.layout.count; i++) {
        const LayoutTensor *t = &b.model.layout.tensors[i];
        for (size_t k = 0; t->flags & LAYOUT_FROZEN && k < t->n; k++)
            ck_assert_msg(b.dw[t->offset + k] == 77, "%s", t->name);
    }
    net_free(&a);
    net_free(&b);
}
END_TEST

/* Layers before the first trained tensor see no gradient. */
START_TEST(test_frozen_front)
{
    Net net;
    net_init(&net,
             "model: {layers: [conv2d: {channels: 5, kernel: 3, trainable: false}, relu, flatten, "
             "dense: 4]}",
             picture, 3);
    for (int i = 0; i < net.model.count; i++)
        ck_assert(net.model.nodes[i].backward == (i == 3));
    net_loss(&net);
    model_backward(&net.model, &net.batch, &net.pass);
    net_free(&net);
}
END_TEST

START_TEST(test_initialize_is_a_function_of_the_seed)
{
    Net net;
    Err err;
    net_init(&net, residual_net, (Shape){ .ndim = 3, .dim = { 3, 7, 6 } }, 2);
    size_t n = net.model.layout.n;
    memset(net.dw, 0xff, n * sizeof *net.dw); /* padding has to be cleared, too */
    ck_assert(model_initialize(&net.model, 9, net.dw, &err) && same_bits(net.w, net.dw, n));
    ck_assert(model_initialize(&net.model, 10, net.dw, &err) && !same_bits(net.w, net.dw, n));
    net_free(&net);
}
END_TEST

/* ---- losses ---- */

static void check_loss(const char *text, const float *y, int batch, int K, const Batch *data,
                       double wanted, const double *wanted_dy)
{
    Config config;
    Err err;
    Loss loss;
    Pass pass = { .train = true, .batch = batch, .global_targets = 7 };
    float *dy = mem_array(float, batch *K);
    ck_assert_msg(config_parse(&config, "test", text, strlen(text), &err), "%s", err.text);
    ck_assert_msg(loss_init(&loss, &config, config_get(config.root, "loss"),
                            (Shape){ .ndim = 1, .dim = { K, 1, 1 } }, &err),
                  "%s", err.text);
    Tally tally = loss.type->evaluate(&loss, &pass, data, y, dy);
    Tally again = loss.type->evaluate(&loss, &pass, data, y, NULL);
    ck_assert(tally.loss == again.loss && tally.count == batch);
    ck_assert_msg(fabs(tally.loss - wanted) <= 1e-6 * fabs(wanted), "%s: loss %.9g, not %.9g", text,
                  tally.loss, wanted);
    for (int i = 0; i < batch * K; i++)
        ck_assert_msg(fabs((double)dy[i] - wanted_dy[i] / 7) <= 3e-8, "%s: dy[%d] %g, not %g", text,
                      i, (double)dy[i], wanted_dy[i] / 7);
    loss_free(&loss);
    config_free(&config);
    mem_free(dy);
}

/* In double, by the definition: -sum t ln p. */
static double cross_entropy(const float *y, int K, int label, double s, double *dy)
{
    double sum = 0, loss = 0;
    for (int k = 0; k < K; k++)
        sum += exp((double)y[k] - (double)y[label]);
    for (int k = 0; k < K; k++) {
        double log_p = (double)y[k] - (double)y[label] - log(sum);
        double target = (k == label ? 1 - s : 0) + s / K;
        loss -= target * log_p;
        dy[k] = exp(log_p) - target;
    }
    return loss;
}

static void check_cross_entropy(int batch, int K, double s, double scale)
{
    char text[96];
    double wanted = 0, *dy = mem_array(double, batch *K);
    float *y = normal_numbers((uint64_t)K, (size_t)(batch * K));
    int32_t *labels = mem_array(int32_t, batch);
    for (int i = 0; i < batch * K; i++)
        y[i] *= (float)scale;
    for (int i = 0; i < batch; i++) {
        labels[i] = (i * 5 + 2) % K;
        wanted += cross_entropy(y + i * K, K, labels[i], s, dy + i * K);
    }
    Batch data = { .count = batch, .labels = labels };
    snprintf(text, sizeof text, "loss: {type: softmax_cross_entropy, label_smoothing: %g}", s);
    check_loss(text, y, batch, K, &data, wanted, dy);
    mem_free(dy);
    mem_free(y);
    mem_free(labels);
}

START_TEST(test_cross_entropy)
{
    static const int classes[] = { 1, 2, 10, 37, 256, 300 };
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        check_cross_entropy(3, classes[i], 0, 1);
        check_cross_entropy(3, classes[i], 0.1, 3);
    }
    check_cross_entropy(4, 10, 0.2, 60); /* exponentials far outside float */
}
END_TEST

START_TEST(test_correct)
{
    /* ties go to the first index, as in torch.argmax on CPU */
    float y[] = { 1, 3, 3, 0, 3, 3, 2, 2, 2, NAN, 1, 2 };
    int32_t labels[] = { 1, 2, 0, 2 };
    Loss loss;
    Err err;
    Pass pass = { .batch = 3, .global_targets = 3 };
    Batch data = { .count = 3, .labels = labels };
    ck_assert(loss_init(&loss, NULL, NULL, (Shape){ .ndim = 1, .dim = { 3, 1, 1 } }, &err));
    ck_assert(loss.type->evaluate(&loss, &pass, &data, y, NULL).correct == 2);
    pass.batch = data.count = 4;
    ck_assert(isnan(loss.type->evaluate(&loss, &pass, &data, y, NULL).loss));
    loss_free(&loss);
}
END_TEST

START_TEST(test_mse)
{
    float y[] = { 1, 2, 3, 4, 5, 6 }, targets[] = { 1, 0, 3, 5, 5, 3 };
    double dy[] = { 0, 4.0 / 3, 0, -2.0 / 3, 0, 2 };
    Batch data = { .count = 2, .targets = targets };
    check_loss("loss: mse", y, 2, 3, &data, 4.0 / 3 + 10.0 / 3, dy);
}
END_TEST

/* In double, by the definition: -t ln p - (1 - t) ln(1 - p), p = sigmoid(y). */
static void check_bce(const char *outputs, int batch, int K, double scale)
{
    char text[96];
    double wanted = 0, *dy = mem_array(double, batch *K);
    float *y = normal_numbers((uint64_t)K, (size_t)(batch * K));
    float *targets = mem_array(float, batch *K);
    double share = strcmp(outputs, "mean") == 0 ? 1.0 / K : 1;
    for (int i = 0; i < batch * K; i++) {
        y[i] *= (float)scale;
        targets[i] = (float)(i * 7 % 5) / 4;
        double value = (double)y[i], t = (double)targets[i];
        double no = log1p(exp(-fabs(value))) + fmax(value, 0); /* -ln(1 - p) */
        wanted += share * (t * (no - value) + (1 - t) * no);
        dy[i] = share * (1 / (1 + exp(-value)) - t);
    }
    Batch data = { .count = batch, .targets = targets };
    snprintf(text, sizeof text, "loss: {type: bce_with_logits, outputs: %s}", outputs);
    check_loss(text, y, batch, K, &data, wanted, dy);
    mem_free(dy);
    mem_free(y);
    mem_free(targets);
}

START_TEST(test_bce)
{
    static const int outputs[] = { 1, 2, 10, 37, 256, 300 };
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++) {
        check_bce("mean", 3, outputs[i], 1);
        check_bce("sum", 3, outputs[i], 3);
    }
    check_bce("mean", 4, 10, 300); /* exponentials far outside float */
}
END_TEST

/* ---- dropout ---- */

/* y of ones through dropout, samples first .. first + batch - 1, plain order. */
static void drop_ones(const char *options, Shape shape, int first, int batch, int64_t step,
                      float *y)
{
    Config config;
    Layout layout = { 0 };
    Err err;
    size_t stored = shape_stored(shape), values = shape_values(shape);
    float *x = mem_array(float, stored *(size_t)batch), *ones = mem_array(float, values);
    for (size_t i = 0; i < values; i++)
        ones[i] = 1;
    for (int i = 0; i < batch; i++)
        shape_pack(shape, ones, x + (size_t)i * stored);
    ck_assert(config_parse(&config, "test", options, strlen(options), &err));
    Layer *layer =
        layer_create(layer_find("dropout"), &config, config_get(config.root, "options"),
                     &(LayerPlace){ .name = "drop", .index = 4, .in = shape }, &layout, &err);
    Pass pass = { .train = true, .batch = batch, .seed = 6, .step = step, .first_sample = first };
    layer_allocate(layer, batch, NULL);
    layer->type->forward(layer, &pass, x, x);
    for (int i = 0; i < batch; i++)
        shape_unpack(shape, x + (size_t)i * stored, y + (size_t)i * values);
    layer_free(layer);
    config_free(&config);
    mem_free(x);
    mem_free(ones);
}

START_TEST(test_dropout_placement)
{
    enum { VALUES = 19 * 5 * 7, BATCH = 6 };
    Shape image = { .ndim = 3, .dim = { 19, 5, 7 } },
          vector = { .ndim = 1, .dim = { VALUES, 1, 1 } };
    float *whole = mem_array(float, 2 * VALUES * BATCH), *parts = whole + VALUES * BATCH;
    drop_ones("options: 0.3", image, 12, BATCH, 8, whole);
    drop_ones("options: 0.3", image, 12, 1, 8, parts);
    drop_ones("options: 0.3", image, 13, 5, 8, parts + VALUES);
    ck_assert_msg(same_bits(whole, parts, VALUES * BATCH), "lanes can be seen in the mask");
    drop_ones("options: 0.3", vector, 12, BATCH, 8, parts);
    ck_assert_msg(same_bits(whole, parts, VALUES * BATCH),
                  "channel blocks can be seen in the mask");
    drop_ones("options: 0.3", vector, 12, BATCH, 9, parts);
    ck_assert_msg(!same_bits(whole, parts, VALUES * BATCH), "steps have the same mask");
    double kept = 0;
    for (int i = 0; i < VALUES * BATCH; i++) {
        ck_assert(whole[i] == 0 || whole[i] == (float)(1 / 0.7));
        kept += whole[i] > 0;
    }
    ck_assert_double_le(fabs(kept / (VALUES * BATCH) - 0.7), 0.03); /* 4 standard errors */
    mem_free(whole);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model");
    Err err;
    if (!cpu_blas_setup("auto", &err))
        return 1;
    add_test(suite, test_gradients);
    add_test(suite, test_gradients_of_sequences);
    add_test(suite, test_plan);
    add_test(suite, test_fusion);
    add_test(suite, test_fusion_on_the_input);
    add_test(suite, test_plan_reuses_memory);
    add_test(suite, test_data_gradient_is_skipped);
    add_test(suite, test_plain_input);
    add_test(suite, test_evaluation);
    add_test(suite, test_zero_gamma);
    add_test(suite, test_whitened_outputs);
    add_test(suite, test_frozen_gradients);
    add_test(suite, test_frozen_front);
    add_test(suite, test_initialize_is_a_function_of_the_seed);
    add_test(suite, test_cross_entropy);
    add_test(suite, test_correct);
    add_test(suite, test_mse);
    add_test(suite, test_bce);
    add_test(suite, test_dropout_placement);
    return run_suite(suite);
}
