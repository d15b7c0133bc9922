/* From the config's list of layers to a flat list of nodes: the grammar, names, shapes. */
#include "lockstep/initializer.h"
#include "lockstep/memory.h"
#include "lockstep/model.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { MAX_NODES = 10000, NAME_BYTES = sizeof((Layer *)0)->name };

typedef struct Builder {
    Model *model;
    const Config *config;
    const ModelWish *wish;
    Err *err;
} Builder;

/* Where in the grammar we are: what stands before and behind the names made here. */
typedef struct Scope {
    char prefix[NAME_BYTES]; /* "3.residual.body." */
    char rounds[NAME_BYTES]; /* ".1" inside the second round of a repeat */
} Scope;

/* The end of the network so far. */
typedef struct Port {
    int buffer;
    Shape shape;
    bool backward; /* a gradient is wanted here */
} Port;

typedef struct ResidualOptions {
    ConfigNode *body, *shortcut;
    char *name;
} ResidualOptions;

static const Option residual_options[] = {
    { "body", OPTION_NODE, OPTION_AT(ResidualOptions, body), 0, 0, NULL, NULL,
      "list of layers: y = body(x) + shortcut(x)" },
    { "shortcut", OPTION_NODE, OPTION_AT(ResidualOptions, shortcut), 0, 0, NULL, "",
      "list of layers; default: the identity" },
    { "name", OPTION_STRING, OPTION_AT(ResidualOptions, name), 0, 0, NULL, "",
      "stands before the names of the layers inside" },
    OPTION_END,
};

typedef struct RepeatOptions {
    ConfigNode *body;
    int times;
    char *name;
} RepeatOptions;

static const Option repeat_options[] = {
    { "times", OPTION_INT, OPTION_AT(RepeatOptions, times), 1, MAX_NODES, NULL, NULL,
      "how many copies, each with weights of its own" },
    { "body", OPTION_NODE, OPTION_AT(RepeatOptions, body), 0, 0, NULL, NULL, "list of layers" },
    { "name", OPTION_STRING, OPTION_AT(RepeatOptions, name), 0, 0, NULL, "",
      "stands before the names of the layers inside" },
    OPTION_END,
};

const Option model_options[] = {
    { "layers", OPTION_NODE, OPTION_AT(ModelOptions, layers), 0, 0, NULL, NULL,
      "the network: a list of layers, `residual: {body, shortcut}` and `repeat: {times, body}`" },
    { "init", OPTION_STRING, OPTION_AT(ModelOptions, init), 0, 0, NULL, "he_normal",
      "initialiser of weights, e.g. he_normal, xavier_uniform*1.67, orthogonal, normal(0.02)" },
    { "zero_gamma", OPTION_BOOL, OPTION_AT(ModelOptions, zero_gamma), 0, 0, NULL, "false",
      "the gain of a norm that ends a residual body starts at 0 (Goyal et al. 2017)" },
    OPTION_END,
};

/* ---- names ---- */

static bool join_name(const Builder *b, const ConfigNode *node, char *buffer, const char *first,
                      const char *second, const char *third)
{
    int length = snprintf(buffer, NAME_BYTES, "%s%s%s", first, second, third);
    if (length >= 0 && length < NAME_BYTES)
        return true;
    return config_error(b->config, node, b->err,
                        "the path of this layer is longer than %d characters: give it a `name`",
                        NAME_BYTES - 1);
}

static bool check_name(const Builder *b, const ConfigNode *node, const char *name)
{
    size_t good = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");
    if (*name && !name[good])
        return true;
    return config_error(b->config, node, b->err,
                        "a name is made of letters, digits, \"_\", \"-\" and \".\"");
}

/* The name of entry number `index`, called `kind`: its `name` option, or its path. */
static bool entry_name(const Builder *b, const ConfigNode *entry, const ConfigNode *options,
                       const Scope *scope, size_t index, const char *kind, char *buffer)
{
    const ConfigNode *given = config_get(options, "name");
    if (given && given->kind == CONFIG_SCALAR)
        return check_name(b, given, given->text) &&
               join_name(b, entry, buffer, given->text, scope->rounds, "");
    char number[24];
    snprintf(number, sizeof number, "%zu.", index);
    return join_name(b, entry, buffer, scope->prefix, number, kind);
}

static bool name_is_new(const Builder *b, const ConfigNode *entry, const char *name)
{
    for (int i = 0; i < b->model->count; i++)
        if (b->model->nodes[i].layer && strcmp(b->model->nodes[i].layer->name, name) == 0)
            return config_error(b->config, entry, b->err, "\"%s\" is the name of another layer",
                                name);
    return true;
}

/* ---- nodes ---- */

static bool add_node(const Builder *b, const ConfigNode *entry, Layer *layer, int in, int in2,
                     Port *port)
{
    Model *model = b->model;
    if (model->count >= MAX_NODES) {
        layer_free(layer);
        return config_error(b->config, entry, b->err, "more than %d layers", MAX_NODES);
    }
    mem_grow(&model->nodes, (size_t)model->count, &model->capacity, sizeof *model->nodes);
    port->buffer = model->buffers++;
    model->nodes[model->count++] = (ModelNode){ .layer = layer,
                                                .in = in,
                                                .in2 = in2,
                                                .out = port->buffer,
                                                .shape = port->shape,
                                                .backward = port->backward };
    return true;
}

static bool add_layer(const Builder *b, const ConfigNode *entry, const LayerType *type,
                      ConfigNode *options, const char *name, Port *port)
{
    if (!name_is_new(b, entry, name))
        return false;
    int tokens = b->wish->input.vocabulary > 0 ? b->wish->input.dim[0] : 0;
    LayerPlace place = { .name = name,
                         .index = b->model->count,
                         .in = port->shape,
                         .first = !port->backward,
                         .precision = b->wish->precision,
                         .tokens = tokens };
    Layer *layer = layer_create(type, b->config, options, &place, &b->model->layout, b->err);
    if (!layer)
        return false;
    port->shape = layer->out;
    for (int i = 0; i < layer->tensor_count; i++)
        port->backward |= !layer->tensors[i].frozen;
    return add_node(b, entry, layer, port->buffer, -1, port);
}

/* Is it a normalisation, that is, does it have a trained gain that starts at one? */
static bool is_norm(const Layer *layer, const Layout *layout)
{
    for (int i = 0; i < layer->tensor_count; i++) {
        const LayerTensor *tensor = &layer->tensors[i];
        if (tensor->initializer && strcmp(tensor->initializer, "ones") == 0 &&
            !(layout->tensors[tensor->index].flags & LAYOUT_STATISTIC))
            return true;
    }
    return false;
}

/* Goyal et al. 2017, section 5.1. Only a norm that ends the body: before a relu, gain and bias at
 * zero would give no gradient ever. Dropout may stand behind it. */
static void start_body_at_zero(Model *model, int first_node)
{
    for (int i = model->count - 1; i >= first_node && model->nodes[i].layer; i--) {
        Layer *layer = model->nodes[i].layer;
        if (is_norm(layer, &model->layout))
            layer->zero_init = true;
        if (strcmp(layer->type->name, "dropout") != 0)
            return;
    }
}

static bool add_list(const Builder *b, ConfigNode *list, const Scope *scope, Port *port);

static bool add_body(const Builder *b, ConfigNode *body, const char *name, const char *part,
                     const char *rounds, Port *port)
{
    Scope scope;
    return join_name(b, body, scope.prefix, name, part, ".") &&
           join_name(b, body, scope.rounds, rounds, "", "") && add_list(b, body, &scope, port);
}

static bool join(const Builder *b, const ConfigNode *entry, const char *name, const Port *body,
                 const Port *shortcut, bool identity, Port *port)
{
    char x[48], y[48];
    if (!shape_equal(body->shape, shortcut->shape))
        return config_error(
            b->config, entry, b->err,
            "residual %s: its body gives %s, its %s %s; the same shape is needed%s", name,
            shape_text(body->shape, x, sizeof x), identity ? "input is" : "shortcut gives",
            shape_text(shortcut->shape, y, sizeof y), identity ? ": give it a `shortcut`" : "");
    *port = *body;
    port->backward |= shortcut->backward;
    return add_node(b, entry, NULL, body->buffer, shortcut->buffer, port);
}

static bool add_residual(const Builder *b, const ConfigNode *entry, ConfigNode *node,
                         const char *name, const Scope *scope, Port *port)
{
    ResidualOptions options;
    if (!options_read(b->config, node, residual_options, NULL, &options, b->err))
        return false;
    options_free(residual_options, &options);
    int first_node = b->model->count;
    bool identity = !options.shortcut ||
                    (options.shortcut->kind == CONFIG_LIST && options.shortcut->count == 0);
    Port body = *port, shortcut = *port;
    if (!add_body(b, options.body, name, ".body", scope->rounds, &body))
        return false;
    if (b->model->options.zero_gamma)
        start_body_at_zero(b->model, first_node);
    if (!identity && !add_body(b, options.shortcut, name, ".shortcut", scope->rounds, &shortcut))
        return false;
    return join(b, entry, name, &body, &shortcut, identity, port);
}

static bool add_repeat(const Builder *b, ConfigNode *node, const char *name, const Scope *scope,
                       Port *port)
{
    RepeatOptions options;
    if (!options_read(b->config, node, repeat_options, NULL, &options, b->err))
        return false;
    options_free(repeat_options, &options);
    for (int i = 0; i < options.times; i++) {
        char round[16], rounds[NAME_BYTES];
        snprintf(round, sizeof round, ".%d", i);
        if (!join_name(b, node, rounds, scope->rounds, round, "") ||
            !add_body(b, options.body, name, round, rounds, port))
            return false;
    }
    return true;
}

static bool unknown_layer(const Builder *b, const ConfigNode *node, bool at_key)
{
    const char *names[128] = { "residual", "repeat" };
    int count;
    const LayerType *const *types = layer_all(&count);
    expect(count + 2 <= 128);
    for (int i = 0; i < count; i++)
        names[i + 2] = types[i]->name;
    return config_unknown(b->config, node, at_key, "layer", "layers", names, (size_t)count + 2,
                          b->err);
}

static bool is_container(const char *kind)
{
    return strcmp(kind, "residual") == 0 || strcmp(kind, "repeat") == 0;
}

/* Makes "relu" the map {relu: null}. An override below a bare name
 * ("model.layers[1].dropout.p=0.5") has left that name waiting under the key "" (config_as_map). */
static void make_map(ConfigNode *entry)
{
    ConfigNode *waiting = config_get(entry, "");
    if (waiting && waiting->text && config_get(entry, waiting->text))
        config_remove(waiting);
    if (entry->kind != CONFIG_SCALAR)
        return;
    char *name = mem_string(entry->text);
    config_as_map(entry, name);
    ConfigNode *value = config_get(entry, name);
    mem_free(value->text);
    value->text = NULL;
    value->quoted = false;
    value->kind = CONFIG_NULL;
    mem_free(name);
}

static bool add_entry(const Builder *b, ConfigNode *entry, const Scope *scope, size_t index,
                      Port *port)
{
    if (entry->kind == CONFIG_SCALAR && !is_container(entry->text) && !layer_find(entry->text))
        return unknown_layer(b, entry, false);
    make_map(entry);
    if (entry->kind != CONFIG_MAP || entry->count != 1)
        return config_error(b->config, entry, b->err,
                            "a layer's name or a map of one layer is wanted, found %s",
                            entry->kind == CONFIG_MAP    ? "a map of another size"
                            : entry->kind == CONFIG_LIST ? "a list"
                                                         : "nothing");
    ConfigNode *node = entry->children[0];
    const char *kind = node->key;
    const LayerType *type = layer_find(kind);
    char name[NAME_BYTES];
    if (!type && !is_container(kind))
        return unknown_layer(b, node, true);
    if (!entry_name(b, entry, node, scope, index, kind, name))
        return false;
    if (type)
        return add_layer(b, entry, type, node, name, port);
    if (strcmp(kind, "residual") == 0)
        return add_residual(b, entry, node, name, scope, port);
    return add_repeat(b, node, name, scope, port);
}

static bool add_list(const Builder *b, ConfigNode *list, const Scope *scope, Port *port)
{
    if (list->kind != CONFIG_LIST || list->count == 0)
        return config_error(b->config, list, b->err, "a list of at least one layer is wanted");
    for (size_t i = 0; i < list->count; i++)
        if (!add_entry(b, list->children[i], scope, i, port))
            return false;
    return true;
}

/* ---- the whole network ---- */

static bool read_model_options(const Builder *b, ConfigNode *node)
{
    Model *model = b->model;
    Err reason;
    if (!node)
        return err_set(b->err, "%s: model is missing; a map with `layers` is wanted",
                       b->config->file);
    if (!options_read(b->config, node, model_options, NULL, &model->options, b->err))
        return false;
    if (initializer_check(model->options.init, &reason))
        return true;
    return config_error(b->config, config_get(node, "init"), b->err, "%s", reason.text);
}

static bool reads(const ModelNode *node, int buffer)
{
    return node->in == buffer || node->in2 == buffer;
}

/* Does a join read the input as it comes, or flattened? Joins add whole cache lines, which only our
 * own buffers have. */
static bool joins_input(const Model *model)
{
    for (int i = 0; i < model->count; i++) {
        const ModelNode *join = &model->nodes[i];
        for (int k = 0; !join->layer && k < i; k++)
            if (reads(join, 0) || (model->nodes[k].in == 0 && reads(join, model->nodes[k].out)))
                return true;
    }
    return false;
}

/* A plain image that only `flatten` reads is features as it comes: no packing, no copy. */
static void plan_input(Model *model)
{
    bool image = model->input.ndim == 3, only_flatten = true;
    for (int i = 0; i < model->count; i++) {
        const ModelNode *node = &model->nodes[i];
        if (reads(node, 0) && !(node->layer && strcmp(node->layer->type->name, "flatten") == 0))
            only_flatten = false;
    }
    model->input_packed = joins_input(model) || (image && !only_flatten);
    for (int i = 0; i < model->count; i++)
        model->nodes[i].alias = image && !model->input_packed && model->nodes[i].in == 0;
}

static bool check_output(const Builder *b)
{
    char found[48], wanted[48];
    const Model *model = b->model;
    Shape output = b->wish->output;
    if (output.ndim == 0 || shape_equal(model->output, output))
        return true;
    shape_text(model->output, found, sizeof found);
    shape_text(output, wanted, sizeof wanted);
    return config_error(b->config, model->options.layers, b->err,
                        "the network's output is %s, the data set needs %s: %s", found, wanted,
                        model->output.ndim == output.ndim
                            ? "change the last layer"
                            : "end with global_avgpool or flatten, then dense");
}

/* Node i's user of a layout's tensor. */
static LayerTensor *tensor_of(const Model *model, int i, int index)
{
    Layer *layer = model->nodes[i].layer;
    for (int k = 0; layer && k < layer->tensor_count; k++)
        if (layer->tensors[k].index == index)
            return &layer->tensors[k];
    return NULL;
}

/* backward comes to the last user of a tied tensor first; those before it add their part. */
static bool share_with(const Builder *b, const Layer *tied, const LayerTensor *tensor, int before)
{
    for (int i = 0; i < before; i++) {
        LayerTensor *earlier = tensor_of(b->model, i, tensor->index);
        const Layer *layer = b->model->nodes[i].layer;
        if (earlier && !layer->type->shares)
            return config_error(b->config, b->model->options.layers, b->err,
                                "layer %s cannot use the weights of layer %s: %s does not share",
                                tied->name, layer->name, layer->type->name);
        if (earlier)
            earlier->shared = true;
    }
    return true;
}

static bool share_tensors(const Builder *b)
{
    for (int i = 0; i < b->model->count; i++) {
        const Layer *layer = b->model->nodes[i].layer;
        for (int k = 0; layer && k < layer->tensor_count; k++)
            if (layer->tensors[k].tied && !share_with(b, layer, &layer->tensors[k], i))
                return false;
    }
    return true;
}

static bool build(const Builder *b, ConfigNode *node, ConfigNode *loss_node)
{
    Model *model = b->model;
    const Scope top = { .prefix = "", .rounds = "" };
    Port port = { .buffer = 0, .shape = model->input };
    if (!read_model_options(b, node) || !add_list(b, model->options.layers, &top, &port))
        return false;
    model->output = port.shape;
    plan_input(model);
    layout_seal(&model->layout);
    if (!share_tensors(b) || !check_output(b) ||
        !loss_init(&model->loss, b->config, loss_node, model->output, b->err))
        return false;
    for (int i = 0; i < model->count; i++)
        if (model->nodes[i].layer)
            model->nodes[i].layer->keeps_sides = b->wish->sides;
    if (!b->wish->apart && !b->wish->sides)
        model_fuse(model);
    model_plan(model);
    return true;
}

bool model_build(Model *model, const Config *config, ConfigNode *node, ConfigNode *loss_node,
                 const ModelWish *wish, Err *err)
{
    *model = (Model){ .input = wish->input, .buffers = 1 };
    Builder builder = { .model = model, .config = config, .wish = wish, .err = err };
    bool ok = build(&builder, node, loss_node);
    if (!ok)
        model_free(model);
    return ok;
}

bool model_check_lanes(Model *model, int lane_size, Err *err)
{
    for (int i = 0; i < model->count; i++) {
        Layer *layer = model->nodes[i].layer;
        if ((int64_t)lane_size * shape_rows(model->nodes[i].shape) > INT_MAX / 2)
            return err_set(err, "%d samples a lane of %d positions each are too many", lane_size,
                           shape_rows(model->nodes[i].shape));
        if (layer && layer->type->check_lane && !layer->type->check_lane(layer, lane_size, err))
            return err_prefix(err, "layer %s: ", layer->name);
    }
    return true;
}
