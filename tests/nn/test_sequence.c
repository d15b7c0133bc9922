/* Layers of sequences: what a gradient check does not see. Padding, tied heads and what they
 * refuse, waves against libm, and a sequence as a batch of its positions. */
#include "lockstep/layer.h"
#include "lockstep/memory.h"
#include "lockstep/model.h"
#include "lockstep/random.h"

#include "support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- one layer ---- */

typedef struct Rig {
    Config config;
    Layout layout;
    Layer *layer;
    Pass pass;
    float *w, *dw;
} Rig;

static void rig_init(Rig *rig, const char *type, const char *options, Shape in, int batch)
{
    char text[128];
    Err err;
    *rig = (Rig){ .pass = { .train = true, .batch = batch, .global_batch = batch } };
    snprintf(text, sizeof text, "options: %s\n", options);
    ck_assert(config_parse(&rig->config, "test", text, strlen(text), &err));
    rig->layer =
        layer_create(layer_find(type), &rig->config, config_get(rig->config.root, "options"),
                     &(LayerPlace){ .name = "layer", .in = in }, &rig->layout, &err);
    ck_assert_msg(rig->layer, "%s", err.text);
    layout_seal(&rig->layout);
    layer_allocate(rig->layer, batch, NULL);
    rig->w = mem_array(float, rig->layout.n);
    rig->dw = mem_array(float, rig->layout.n);
    random_fill_normal(random_key(1, RANDOM_TEST, 0, 0), 0, rig->w, rig->layout.n);
    for (int i = 0; i < rig->layer->tensor_count; i++) {
        size_t offset = rig->layout.tensors[rig->layer->tensors[i].index].offset;
        rig->layer->tensors[i].w = rig->w + offset;
        rig->layer->tensors[i].dw = rig->dw + offset;
    }
    if (rig->layer->type->begin_step)
        rig->layer->type->begin_step(rig->layer, &rig->layout, batch);
}

static void rig_free(Rig *rig)
{
    layer_free(rig->layer);
    layout_free(&rig->layout);
    config_free(&rig->config);
    mem_free(rig->w);
    mem_free(rig->dw);
}

static float *normal_numbers(uint64_t stream, size_t n)
{
    float *x = mem_array(float, n);
    random_fill_normal(random_key(1, RANDOM_TEST, 1, stream), 0, x, n);
    return x;
}

/* ---- embedding ---- */

enum { T = 4, V = 6, F = 5, B = 2 };
static const int32_t tokens[B * T] = { 3, 0, 3, 5, 2, 3, 2, 0 };
static const Shape token_input = { .ndim = 1, .dim = { T, 1, 1 }, .vocabulary = V };

/* dw against the sum as it is written; `start` is what dw held before. */
static void check_embedding(const char *options, int padding, bool shared)
{
    Rig rig;
    rig_init(&rig, "embedding", options, token_input, B);
    rig.pass.tokens = tokens;
    float *y = mem_array(float, B *T *F), *dy = normal_numbers(2, B * T * F);
    LayerTensor *weight = &rig.layer->tensors[0];
    weight->shared = shared;
    for (size_t i = 0; i < (size_t)V * F; i++)
        weight->dw[i] = shared ? (float)i : NAN;
    rig.layer->type->forward(rig.layer, &rig.pass, NULL, y);
    rig.layer->type->backward(rig.layer, &rig.pass, NULL, NULL, dy, NULL);
    for (size_t t = 0; t < (size_t)B * T; t++)
        ck_assert(same_bits(y + t * F, weight->w + (size_t)tokens[t] * F, F));
    for (int v = 0; v < V; v++)
        for (size_t f = 0; f < F; f++) {
            double sum = shared ? (double)((size_t)v * F + f) : 0;
            for (size_t t = 0; v != padding && t < (size_t)B * T; t++)
                sum += tokens[t] == v ? (double)dy[t * F + f] : 0;
            ck_assert_double_eq_tol((double)weight->dw[(size_t)v * F + f], sum, 1e-5);
        }
    mem_free(y);
    mem_free(dy);
    rig_free(&rig);
}

START_TEST(test_embedding)
{
    check_embedding("{features: 5}", -1, false);
    check_embedding("{features: 5}", -1, true);
    check_embedding("{features: 5, padding: 3}", 3, false);
    check_embedding("{features: 5, padding: 3}", 3, true);
}
END_TEST

/* ---- positions ---- */

START_TEST(test_waves)
{
    enum { LENGTH = 300, WIDTH = 7 };
    Rig rig;
    Shape in = { .ndim = 2, .dim = { LENGTH, WIDTH, 1 } };
    rig_init(&rig, "positional", "{type: sinusoidal}", in, 1);
    float *x = mem_array(float, LENGTH *WIDTH), *y = mem_array(float, LENGTH *WIDTH);
    rig.layer->type->forward(rig.layer, &rig.pass, x, y);
    for (int t = 0; t < LENGTH; t++)
        for (int f = 0; f < WIDTH; f++) {
            double angle = t / pow(10000, (double)(f / 2 * 2) / WIDTH);
            double wave = f % 2 ? cos(angle) : sin(angle);
            ck_assert_double_eq_tol((double)y[t * WIDTH + f], wave, 1e-7);
        }
    mem_free(x);
    mem_free(y);
    rig_free(&rig);
}
END_TEST

/* ---- a sequence is a batch of its positions ---- */

static void check_rows(const char *type, const char *options)
{
    enum { ROWS = 6, WIDTH = 37, SAMPLES = 3 };
    Rig sequence, rows;
    rig_init(&sequence, type, options, (Shape){ .ndim = 2, .dim = { ROWS, WIDTH, 1 } }, SAMPLES);
    rig_init(&rows, type, options, (Shape){ .ndim = 1, .dim = { WIDTH, 1, 1 } }, SAMPLES * ROWS);
    size_t n = (size_t)SAMPLES * ROWS * WIDTH;
    size_t out = shape_stored(sequence.layer->out) * SAMPLES;
    float *x = normal_numbers(3, n), *dy = normal_numbers(4, out);
    float *y = mem_array(float, 2 * out), *dx = mem_array(float, 2 * n);
    ck_assert_uint_eq(out, shape_stored(rows.layer->out) * SAMPLES * ROWS);
    Rig *rigs[] = { &sequence, &rows };
    for (size_t i = 0; i < 2; i++) {
        const LayerType *kind = rigs[i]->layer->type;
        kind->forward(rigs[i]->layer, &rigs[i]->pass, x, y + i * out);
        kind->backward(rigs[i]->layer, &rigs[i]->pass, x, y + i * out, dy, dx + i * n);
    }
    ck_assert_msg(same_bits(y, y + out, out) && same_bits(dx, dx + n, n) &&
                      same_bits(sequence.dw, rows.dw, sequence.layout.n),
                  "%s: a sequence is not its positions", type);
    float *arrays[] = { x, dy, y, dx };
    for (size_t i = 0; i < 4; i++)
        mem_free(arrays[i]);
    rig_free(&sequence);
    rig_free(&rows);
}

START_TEST(test_rows)
{
    static const char *const types[][2] = {
        { "dense", "{units: 5}" },
        { "cosine_dense", "{units: 5}" },
        { "weightnorm_dense", "{units: 5}" },
        { "spectralnorm_dense", "{units: 5}" },
        { "layernorm", "{}" },
        { "layernorm", "{affine: false}" },
        { "rmsnorm", "{}" },
        { "adanorm", "{}" },
        { "softmax", "{}" },
        { "log_softmax", "{}" },
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        check_rows(types[i][0], types[i][1]);
}
END_TEST

/* ---- networks ---- */

static void check_error(const char *layers, Shape input, const char *wanted)
{
    char text[512];
    Config config;
    Model model = { 0 };
    Err err;
    snprintf(text, sizeof text, "model: {layers: %s}\n", layers);
    ck_assert_msg(config_parse(&config, "net.yaml", text, strlen(text), &err), "%s", err.text);
    bool ok = model_build(&model, &config, config_get(config.root, "model"), NULL,
                          &(ModelWish){ .input = input }, &err);
    ck_assert_msg(!ok && strstr(err.text, wanted), "gave   \"%s\"\nwanted \"%s\"",
                  ok ? "no error" : err.text, wanted);
    if (ok)
        model_free(&model);
    config_free(&config);
}

START_TEST(test_refused)
{
    Shape vector = { .ndim = 1, .dim = { 12, 1, 1 } }, image = { .ndim = 3, .dim = { 3, 8, 8 } };
    check_error("[dense: 5]", token_input,
                "layer 0.dense gets (4) tokens: put embedding before it");
    check_error("[embedding: 5]", vector, "gets (12): it needs token ids");
    check_error("[embedding: {features: 5, padding: 6}]", token_input,
                "padding: 6 is not one of its 6 tokens");
    check_error("[positional]", vector, "gets (12): it needs a sequence (T, F)");
    check_error("[pool_positions]", image, "gets (3, 8, 8): it needs a sequence (T, F)");
    check_error("[lstm: 5]", vector, "gets (12): it needs a sequence (T, F)");
    check_error("[embedding: 5, gru: {units: 5, recurrent_init: orthogonl}]", token_input,
                "gets (4, 5): recurrent_init: unknown initialiser \"orthogonl\"; did you mean "
                "\"orthogonal\"?");
    check_error("[embedding: 5, lstm: 1000000]", token_input, "4e+12 weights are too many");
    check_error("[embedding: 5, rnn: {units: 5, bias: false, trainable: bias}]", token_input,
                "layer 1.rnn has no bias");
    check_error("[embedding: 5, rnn: {units: 5, return: first}]", token_input, "return: ");
    check_error("[positional: {type: sinusoidal, init: zeros}]",
                (Shape){ .ndim = 2, .dim = { 3, 4, 1 } }, "has no weights to initialise");
    check_error("[embedding: {features: 5, name: a}, dense: {tie: b}]", token_input,
                "gets (4, 5): there is no tensor \"b.weight\" in the layers before it");
    check_error("[embedding: {features: 5, name: a}, dense: 7, dense: {tie: a}]", token_input,
                "gets (4, 7): tensor \"a.weight\" would have to have the shape (6, 7)");
    check_error("[embedding: {features: 5, name: a}, dense: {units: 7, tie: a}]", token_input,
                "tensor \"a.weight\" would have to have the shape (7, 5)");
    check_error("[embedding: {features: 5, name: a}, dense: {tie: a, trainable: false}]",
                token_input,
                "layer 1.dense: trainable and lr_factor are for the layer that has a.");
    check_error("[embedding: {features: 5, name: a}, dense: {tie: a, lr_factor: 2}]", token_input,
                "layer 1.dense: trainable and lr_factor are for the layer that has a.weight");
    check_error("[embedding: {features: 5, name: a}, dense: {tie: a, init: zeros}]", token_input,
                "has no weights to initialise");
    check_error("[embedding: 5, cosine_dense: {units: 5, name: b}, dense: {tie: b}]", token_input,
                "cannot use the weights of layer b: cosine_dense does not share");
    for (size_t i = 0; i < 6; i++) {
        static const char *const images_only[] = { "conv2d: {channels: 2, kernel: 1}",
                                                   "avgpool: 1",
                                                   "maxpool: 1",
                                                   "global_avgpool",
                                                   "instancenorm",
                                                   "batchnorm" };
        char layers[128];
        snprintf(layers, sizeof layers, "[embedding: 5, %s]", images_only[i]);
        check_error(layers, token_input, "gets (4, 5): it needs");
    }
}
END_TEST

/* A tied head has the embedding's values, and nothing of its own to count or to initialise. */
START_TEST(test_tied)
{
    static const char text[] = "model: {layers: [embedding: {features: 5, name: a}, dense: "
                               "{tie: a}]}\n";
    Config config;
    Model model;
    Err err;
    ck_assert(config_parse(&config, "net.yaml", text, strlen(text), &err));
    ck_assert_msg(model_build(&model, &config, config_get(config.root, "model"), NULL,
                              &(ModelWish){ .input = token_input }, &err),
                  "%s", err.text);
    ck_assert_uint_eq(model.layout.trained, V * F);
    ck_assert(shape_equal(model.output, (Shape){ .ndim = 2, .dim = { T, V, 1 } }));
    ck_assert(model.nodes[0].layer->tensors[0].shared && model.nodes[1].layer->tensors[0].tied);
    model_free(&model);
    config_free(&config);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sequence");
    add_test(suite, test_embedding);
    add_test(suite, test_waves);
    add_test(suite, test_rows);
    add_test(suite, test_refused);
    add_test(suite, test_tied);
    return run_suite(suite);
}
