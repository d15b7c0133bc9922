/* Shapes and the grammar: what a network becomes, what its layers are called, and every message
 * about a network that cannot be. Also plain and stored order. */
#include "lockstep/memory.h"
#include "lockstep/model.h"

#include "support.h"

#include <stdio.h>
#include <string.h>

static const Shape image = { .ndim = 3, .dim = { 3, 8, 8 } },
                   vector = { .ndim = 1, .dim = { 12, 1, 1 } };

/* ---- shapes ---- */

START_TEST(test_stored_sizes)
{
    char text[48];
    Shape shape = { .ndim = 3, .dim = { 17, 3, 5 } };
    ck_assert_uint_eq(shape_values(shape), 255);
    ck_assert_uint_eq(shape_stored(shape), 32 * 15);
    ck_assert_int_eq(shape_blocks(shape), 2);
    ck_assert_uint_eq(shape_stored(vector), 12);
    ck_assert_str_eq(shape_text(shape, text, sizeof text), "(17, 3, 5)");
    ck_assert_str_eq(shape_text(vector, text, sizeof text), "(12)");
    ck_assert(shape_equal(shape, (Shape){ .ndim = 3, .dim = { 17, 3, 5 } }) &&
              !shape_equal(shape, image));
}
END_TEST

START_TEST(test_pack)
{
    static const int channels[] = { 1, 3, 16, 17, 40 };
    for (size_t i = 0; i < 5; i++) {
        Shape shape = { .ndim = 3, .dim = { channels[i], 3, 2 } };
        size_t values = shape_values(shape), stored = shape_stored(shape);
        float *plain = mem_array(float, 2 * values), *packed = mem_array(float, stored);
        for (size_t k = 0; k < values; k++)
            plain[k] = (float)(k + 1);
        memset(packed, 0xff, stored * sizeof *packed);
        shape_pack(shape, plain, packed);
        for (size_t c = 0; c < (stored / 6); c++)
            for (size_t p = 0; p < 6; p++) {
                bool there = c < (size_t)channels[i];
                float wanted = there ? plain[c * 6 + p] : 0;
                ck_assert(packed[(c / 16 * 6 + p) * 16 + c % 16] == wanted);
            }
        shape_unpack(shape, packed, plain + values);
        ck_assert(same_bits(plain, plain + values, values));
        mem_free(plain);
        mem_free(packed);
    }
}
END_TEST

/* ---- networks that are fine ---- */

/* "name (shape); name (shape); ..." of all nodes */
static void describe(const Model *model, char *buffer, size_t size)
{
    snprintf(buffer, size, "%s", "");
    for (int i = 0; i < model->count; i++) {
        char shape[48];
        size_t used = strlen(buffer);
        const ModelNode *node = &model->nodes[i];
        snprintf(buffer + used, size - used, "%s%s %s", i ? "; " : "",
                 node->layer ? node->layer->name : "+",
                 shape_text(node->shape, shape, sizeof shape));
    }
}

static bool build(const char *layers, Shape input, int outputs, char *answer, size_t size)
{
    Config config;
    Model model;
    Err err;
    char text[2048];
    snprintf(text, sizeof text, "model:\n  layers: %s\n", layers);
    ck_assert_msg(config_parse(&config, "net.yaml", text, strlen(text), &err), "%s", err.text);
    ModelWish wish = { .input = input };
    if (outputs > 0)
        wish.output = (Shape){ .ndim = 1, .dim = { outputs, 1, 1 } };
    bool ok = model_build(&model, &config, config_get(config.root, "model"), NULL, &wish, &err);
    if (ok)
        describe(&model, answer, size);
    else
        snprintf(answer, size, "%s", err.text);
    if (ok)
        model_free(&model);
    config_free(&config);
    return ok;
}

static void assert_net(const char *layers, Shape input, int outputs, const char *wanted)
{
    char answer[4096];
    ck_assert_msg(build(layers, input, outputs, answer, sizeof answer), "%s: %s", layers, answer);
    ck_assert_str_eq(answer, wanted);
}

START_TEST(test_names_and_shapes)
{
    assert_net("[dense: 7, relu, dense: {units: 10, name: head}]", vector, 10,
               "0.dense (7); 1.relu (7); head (10)");
    assert_net("[conv2d: {channels: 5, kernel: 3, name: stem}, maxpool: 2, flatten]", image, 0,
               "stem (5, 6, 6); 1.maxpool (5, 3, 3); 2.flatten (45)");
    assert_net("[relu, {residual: {body: [relu, dense: 4], shortcut: [dense: 4]}}]", vector, 4,
               "0.relu (12); 1.residual.body.0.relu (12); 1.residual.body.1.dense (4); "
               "1.residual.shortcut.0.dense (4); + (4)");
    assert_net("[residual: {name: block, body: [dense: {units: 12, name: a}, tanh]}]", vector, 12,
               "a (12); block.body.1.tanh (12); + (12)");
    assert_net("[repeat: {times: 2, body: [dense: {units: 3, name: fc}, relu]}]", vector, 3,
               "fc.0 (3); 0.repeat.0.1.relu (3); fc.1 (3); 0.repeat.1.1.relu (3)");
    assert_net(
        "[repeat: {times: 2, name: r, body: [repeat: {times: 2, body: [relu: {name: a}, tanh]}]}]",
        vector, 12,
        "a.0.0 (12); r.0.0.repeat.0.1.tanh (12); a.0.1 (12); r.0.0.repeat.1.1.tanh (12); a.1.0 "
        "(12); r.1.0.repeat.0.1.tanh (12); a.1.1 (12); r.1.0.repeat.1.1.tanh (12)");
    assert_net("[repeat: {times: 2, body: [residual: {name: b, body: [relu]}]}]", vector, 12,
               "b.0.body.0.relu (12); + (12); b.1.body.0.relu (12); + (12)");
}
END_TEST

/* An override below a bare name, and the resolved tree that --print-config shows. */
START_TEST(test_override)
{
    Config config;
    Model model;
    Err err;
    const char *text = "model: {layers: [dropout, dense: 10]}";
    ck_assert(config_parse(&config, "net.yaml", text, strlen(text), &err));
    ck_assert(config_override(&config, "model.layers[0].dropout.p=0.125", &err));
    ck_assert(config_override(&config, "model.layers[1].dense.units=3", &err));
    ConfigNode *node = config_get(config.root, "model");
    ck_assert_msg(model_build(&model, &config, node, NULL, &(ModelWish){ .input = vector }, &err),
                  "%s", err.text);
    ConfigNode *first = config_get(node, "layers")->children[0];
    ck_assert_str_eq(config_get(config_get(first, "dropout"), "p")->text, "0.125");
    ConfigNode *second = config_get(config_get(node, "layers")->children[1], "dense");
    ck_assert_str_eq(config_get(second, "bias")->text, "auto");
    model_free(&model);
    config_free(&config);
}
END_TEST

/* ---- networks that are not ---- */

static void assert_error(const char *layers, Shape input, int outputs, const char *wanted)
{
    char answer[4096];
    ck_assert_msg(!build(layers, input, outputs, answer, sizeof answer), "%s: built", layers);
    ck_assert_msg(strncmp(answer, wanted, strlen(wanted)) == 0, "%s\ngave   \"%s\"\nwanted \"%s\"",
                  layers, answer, wanted);
}

START_TEST(test_impossible_shapes)
{
    assert_error("[dense: 10]", image, 10,
                 "net.yaml:2:19: model.layers[0].dense: layer 0.dense gets (3, 8, 8): it needs a "
                 "vector (F): put flatten or global_avgpool before it");
    assert_error("[relu, conv2d: {channels: 4, kernel: 3}]", vector, 0,
                 "net.yaml:2:26: model.layers[1].conv2d: layer 1.conv2d gets (12): it needs an "
                 "image (C, H, W)");
    assert_error("[{conv2d: {channels: 4, kernel: 9}}]", image, 0,
                 "net.yaml:2:21: model.layers[0].conv2d: layer 0.conv2d gets (3, 8, 8): a 9 x 9 "
                 "kernel with padding 0 and dilation 1 needs a larger image");
    assert_error("[residual: {body: [dense: 5]}]", vector, 5,
                 "net.yaml:2:20: model.layers[0]: residual 0.residual: its body gives (5), its "
                 "input is (12); the same shape is needed: give it a `shortcut`");
    assert_error("[residual: {body: [dense: 5], shortcut: [dense: 6]}]", vector, 5,
                 "net.yaml:2:20: model.layers[0]: residual 0.residual: its body gives (5), its "
                 "shortcut gives (6); the same shape is needed");
    assert_error("[dense: 7]", vector, 10,
                 "net.yaml:2:11: model.layers: the network's output is (7), the data set needs "
                 "(10): change the last layer");
    assert_error("[relu]", image, 10,
                 "net.yaml:2:11: model.layers: the network's output is (3, 8, 8), the data set "
                 "needs (10): end with global_avgpool or flatten, then dense");
}
END_TEST

START_TEST(test_wrong_grammar)
{
    assert_error("[dens: 10]", vector, 10,
                 "net.yaml:2:12: model.layers[0].dens: unknown layer; did you mean \"dense\"? "
                 "(layers: residual, repeat, adanorm, ");
    assert_error("[relu, rellu]", vector, 12,
                 "net.yaml:2:18: model.layers[1]: unknown layer \"rellu\"; did you mean \"relu\"?");
    assert_error("relu", vector, 12,
                 "net.yaml:2:11: model.layers: a list of at least one layer is wanted");
    assert_error("[]", vector, 12,
                 "net.yaml:2:11: model.layers: a list of at least one layer is wanted");
    assert_error("[[relu]]", vector, 12,
                 "net.yaml:2:12: model.layers[0]: a layer's name or a map of one layer is wanted, "
                 "found a list");
    assert_error("[{relu: null, tanh: null}]", vector, 12,
                 "net.yaml:2:12: model.layers[0]: a layer's name or a map of one layer is wanted, "
                 "found a map of another size");
    assert_error("[null]", vector, 12,
                 "net.yaml:2:12: model.layers[0]: a layer's name or a map of one layer is wanted, "
                 "found nothing");
    assert_error("[relu: 3]", vector, 12, "net.yaml:2:18: model.layers[0].relu: ");
    assert_error("[residual]", vector, 12,
                 "net.yaml:2:12: model.layers[0].residual: body is missing");
    assert_error("[residual: {body: []}]", vector, 12,
                 "net.yaml:2:29: model.layers[0].residual.body: a list of at least one layer");
    assert_error("[residual: {bodi: [relu]}]", vector, 12,
                 "net.yaml:2:23: model.layers[0].residual.bodi: unknown option");
    assert_error("[repeat: {times: 0, body: [relu]}]", vector, 12,
                 "net.yaml:2:28: model.layers[0].repeat.times: 0 is out of range");
    assert_error("[repeat: {times: 10000, body: [relu, relu]}]", vector, 12,
                 "net.yaml:2:42: model.layers[0].repeat.body[0]: more than 10000 layers");
    assert_error("[dense: {unit: 10}]", vector, 10,
                 "net.yaml:2:20: model.layers[0].dense.unit: unknown option; did you mean "
                 "\"units\"? (options here: units, bias, tie, name, init, trainable, lr_factor)");
    assert_error("[dense: 16777216, dense: 16777216]", vector, 10,
                 "net.yaml:2:36: model.layers[1].dense: layer 1.dense gets (16777216): 2.81e+14 "
                 "weights are too many");
    assert_error("[dense: 0]", vector, 10,
                 "net.yaml:2:19: model.layers[0].dense.units: 0 is out of range, wanted 1 to");
    assert_error("[dense]", vector, 10,
                 "net.yaml:2:12: model.layers[0].dense: layer 0.dense gets "
                 "(12): units is missing");
    assert_error("[weightnorm_dense]", vector, 10,
                 "net.yaml:2:12: model.layers[0].weightnorm_dense: units is missing");
    assert_error("[dropout: 1]", vector, 12,
                 "net.yaml:2:21: model.layers[0].dropout.p: 1 is out of");
}
END_TEST

START_TEST(test_wrong_names)
{
    assert_error("[relu: {name: a}, tanh: {name: a}]", vector, 12,
                 "net.yaml:2:33: model.layers[1]: \"a\" is the name of another layer");
    assert_error("[relu: {name: a b}]", vector, 12,
                 "net.yaml:2:25: model.layers[0].relu.name: a name is made of letters, digits, "
                 "\"_\", \"-\" and \".\"");
    assert_error("[residual: {name: abcdefghijklmnopqrstuvwxyz_abcdefghijklmnopqrstuvwxyz_0123, "
                 "body: [relu]}]",
                 vector, 12,
                 "net.yaml:2:95: model.layers[0].residual.body: the path of this layer is longer "
                 "than 63 characters: give it a `name`");
    assert_error("[dense: {units: 12, init: he_nomal}]", vector, 12,
                 "net.yaml:2:37: model.layers[0].dense.init: unknown initialiser \"he_nomal\"; did "
                 "you mean \"he_normal\"?");
    assert_error("[dense: 12, relu: {init: zeros}]", vector, 12,
                 "net.yaml:2:36: model.layers[1].relu.init: layer 1.relu has no weights to "
                 "initialise");
    assert_error("[dense: 12, relu: {trainable: false}]", vector, 12,
                 "net.yaml:2:41: model.layers[1].relu.trainable: layer 1.relu has no weights to "
                 "train");
    assert_error("[dense: 12, relu: {lr_factor: 2}]", vector, 12,
                 "net.yaml:2:41: model.layers[1].relu.lr_factor: layer 1.relu has no weights to "
                 "train");
    assert_error("[dense: {units: 12, bias: false, trainable: bias}]", vector, 12,
                 "net.yaml:2:55: model.layers[0].dense.trainable: layer 0.dense has no bias");
    assert_error("[dense: {units: 12, lr_factor: 0}]", vector, 12,
                 "net.yaml:2:42: model.layers[0].dense.lr_factor: 0 is out of range, wanted ");
    assert_error(
        "[batchnorm: {init: ones}]", vector, 12,
        "net.yaml:2:30: model.layers[0].batchnorm.init: layer 0.batchnorm has no weights to "
        "initialise");
}
END_TEST

START_TEST(test_wrong_sections)
{
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        { "model: {init: he, layers: [relu]}", "net.yaml:1:15: model.init: unknown initialiser" },
        { "model: {layer: [relu]}",
          "net.yaml:1:9: model.layer: unknown option; did you mean \"layers\"?" },
        { "modl: {}", "net.yaml: model is missing; a map with `layers` is wanted" },
        { "model: {layers: [relu]}\nloss: mze",
          "net.yaml:2:7: loss.type: unknown loss \"mze\"; did you mean \"mse\"? (losses: "
          "bce_with_logits, mse, softmax_cross_entropy)" },
        { "model: {layers: [relu]}\nloss: {type: mse, label_smoothing: 1}",
          "net.yaml:2:19: loss.label_smoothing: unknown option" },
        { "model: {layers: [relu]}\nloss: {label_smoothing: 2}",
          "net.yaml:2:25: loss.label_smoothing: 2 is out of range, wanted 0 to 1" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Config config;
        Model model;
        Err err;
        ck_assert(config_parse(&config, "net.yaml", cases[i].text, strlen(cases[i].text), &err));
        ck_assert(!model_build(&model, &config, config_get(config.root, "model"),
                               config_get(config.root, "loss"), &(ModelWish){ .input = vector },
                               &err));
        ck_assert_msg(strncmp(err.text, cases[i].wanted, strlen(cases[i].wanted)) == 0,
                      "gave   \"%s\"\nwanted \"%s\"", err.text, cases[i].wanted);
        config_free(&config);
    }
}
END_TEST

START_TEST(test_registries)
{
    int count;
    const LayerType *const *layers = layer_all(&count);
    for (int i = 0; i < count; i++) {
        ck_assert_ptr_eq(layer_find(layers[i]->name), layers[i]);
        ck_assert(layers[i]->help && layers[i]->formula && layers[i]->plan);
        ck_assert(i == 0 || strcmp(layers[i - 1]->name, layers[i]->name) < 0);
        ck_assert_msg(!(layers[i]->in_place && layers[i]->keep_x), "%s", layers[i]->name);
    }
    const LossType *const *losses = loss_all(&count);
    for (int i = 0; i < count; i++)
        ck_assert_ptr_eq(loss_find(losses[i]->name), losses[i]);
    ck_assert(!layer_find("nothing") && !loss_find("nothing"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shapes");
    add_test(suite, test_stored_sizes);
    add_test(suite, test_pack);
    add_test(suite, test_names_and_shapes);
    add_test(suite, test_override);
    add_test(suite, test_impossible_shapes);
    add_test(suite, test_wrong_grammar);
    add_test(suite, test_wrong_names);
    add_test(suite, test_wrong_sections);
    add_test(suite, test_registries);
    return run_suite(suite);
}
