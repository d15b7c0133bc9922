/* The list of layers, shapes, and what every layer's life begins and ends with. */
#include "lockstep/layer.h"
#include "lockstep/cpu.h"
#include "lockstep/initializer.h"
#include "lockstep/memory.h"

#include <stdio.h>
#include <string.h>

/* ---- the registry: one table per ISA level ---- */

#define LAYER(name) extern const LayerType layer_##name##_v2;
#include "layers.def"
#undef LAYER
static const LayerType *const types_v2[] = {
#define LAYER(name) &layer_##name##_v2,
#include "layers.def"
#undef LAYER
};
enum { TYPE_COUNT = sizeof types_v2 / sizeof *types_v2 };

#ifdef __x86_64__
#define LAYER(name) extern const LayerType layer_##name##_v3, layer_##name##_v4;
#include "layers.def"
#undef LAYER
static const LayerType *const types_v3[] = {
#define LAYER(name) &layer_##name##_v3,
#include "layers.def"
#undef LAYER
};
static const LayerType *const types_v4[] = {
#define LAYER(name) &layer_##name##_v4,
#include "layers.def"
#undef LAYER
};
static const LayerType *const *const levels[ISA_COUNT] = { types_v2, types_v3, types_v4 };
#else
static const LayerType *const *const levels[ISA_COUNT] = { types_v2, types_v2, types_v2 };
#endif

const LayerType *const *layer_all(int *count)
{
    *count = TYPE_COUNT;
    return levels[cpu_isa()];
}

const LayerType *layer_find(const char *name)
{
    const LayerType *const *types = levels[cpu_isa()];
    for (int i = 0; i < TYPE_COUNT; i++)
        if (strcmp(types[i]->name, name) == 0)
            return types[i];
    return NULL;
}

/* ---- shapes ---- */

#define BLOCK 16 /* channels that stand next to each other in nChw16c */

int shape_blocks(Shape shape)
{
    return (shape.dim[0] + BLOCK - 1) / BLOCK;
}

size_t shape_values(Shape shape)
{
    size_t values = (size_t)shape.dim[0];
    for (int i = 1; i < shape.ndim; i++)
        values *= (size_t)shape.dim[i];
    return values;
}

size_t shape_stored(Shape shape)
{
    if (shape.ndim < 3)
        return shape_values(shape);
    return (size_t)shape_blocks(shape) * BLOCK * (size_t)shape.dim[1] * (size_t)shape.dim[2];
}

int shape_rows(Shape shape)
{
    return shape.ndim == 2 ? shape.dim[0] : 1;
}

int shape_features(Shape shape)
{
    return shape.dim[shape.ndim - 1];
}

bool shape_equal(Shape a, Shape b)
{
    return a.ndim == b.ndim && a.vocabulary == b.vocabulary &&
           memcmp(a.dim, b.dim, (size_t)a.ndim * sizeof *a.dim) == 0;
}

char *shape_text(Shape shape, char *buffer, size_t size)
{
    if (shape.vocabulary > 0)
        snprintf(buffer, size, "(%d) tokens", shape.dim[0]);
    else if (shape.ndim == 1)
        snprintf(buffer, size, "(%d)", shape.dim[0]);
    else if (shape.ndim == 2)
        snprintf(buffer, size, "(%d, %d)", shape.dim[0], shape.dim[1]);
    else
        snprintf(buffer, size, "(%d, %d, %d)", shape.dim[0], shape.dim[1], shape.dim[2]);
    return buffer;
}

void shape_pack(Shape shape, const float *plain, float *stored)
{
    if (shape.ndim < 3) {
        memcpy(stored, plain, shape_values(shape) * sizeof *plain);
        return;
    }
    size_t pixels = (size_t)shape.dim[1] * (size_t)shape.dim[2];
    for (int first = 0; first < shape.dim[0]; first += BLOCK) {
        int channels = shape.dim[0] - first < BLOCK ? shape.dim[0] - first : BLOCK;
        for (size_t p = 0; p < pixels; p++, stored += BLOCK) {
            for (int c = 0; c < channels; c++)
                stored[c] = plain[(size_t)(first + c) * pixels + p];
            for (int c = channels; c < BLOCK; c++)
                stored[c] = 0;
        }
    }
}

void shape_unpack(Shape shape, const float *stored, float *plain)
{
    if (shape.ndim < 3) {
        memcpy(plain, stored, shape_values(shape) * sizeof *plain);
        return;
    }
    size_t pixels = (size_t)shape.dim[1] * (size_t)shape.dim[2];
    for (int c = 0; c < shape.dim[0]; c++) {
        const float *from = stored + (size_t)(c / BLOCK) * pixels * BLOCK + c % BLOCK;
        for (size_t p = 0; p < pixels; p++)
            *plain++ = from[p * BLOCK];
    }
}

/* ---- a layer ---- */

typedef struct CommonOptions {
    char *name, *init;
    int trainable; /* enum LayerTrainable */
    double lr_factor;
} CommonOptions;

const Option layer_common_options[] = {
    { "name", OPTION_STRING, OPTION_AT(CommonOptions, name), 0, 0, NULL, "",
      "name of the layer and of its tensors (\"stem\" gives \"stem.weight\"); default: its path" },
    { "init", OPTION_STRING, OPTION_AT(CommonOptions, init), 0, 0, NULL, "",
      "initialiser of its weights; default: the model's" },
    { "trainable", OPTION_CHOICE, OPTION_AT(CommonOptions, trainable), 0, 0, "true|false|bias",
      "true", "false: its weights stay what they are at the start; bias: all but its bias do" },
    { "lr_factor", OPTION_FLOAT, OPTION_AT(CommonOptions, lr_factor), 1e-6, 1e6, NULL, "1",
      "the learning rate of its weights is the run's times this" },
    OPTION_END,
};

const Option layer_no_options[] = { OPTION_END };

static const Option *options_of(const LayerType *type)
{
    return type->options ? type->options : layer_no_options;
}

static bool read_common(Layer *layer, const Config *config, ConfigNode *node, Err *err)
{
    const char *own[OPTIONS_MAX];
    CommonOptions common;
    options_names(options_of(layer->type), own);
    if (!options_read(config, node, layer_common_options, own, &common, err))
        return false;
    Err reason;
    bool ok = !*common.init || initializer_check(common.init, &reason);
    if (!ok)
        config_error(config, config_get(node, "init"), err, "%s", reason.text);
    else if (*common.init)
        layer->init = mem_string(common.init);
    layer->trainable = common.trainable;
    layer->lr_factor = common.lr_factor;
    options_free(layer_common_options, &common);
    return ok;
}

static bool read_options(Layer *layer, const Config *config, ConfigNode *node, Err *err)
{
    const char *common[OPTIONS_MAX];
    const Option *options = options_of(layer->type);
    options_names(layer_common_options, common);
    layer->options = mem_alloc(layer->type->options_bytes);
    if (!options_read(config, node, options, common, layer->options, err)) {
        mem_free(layer->options);
        layer->options = NULL;
        return false;
    }
    return read_common(layer, config, node, err);
}

/* `init` says how weights start that do not have a start of their own, as a norm's have. */
static bool check_init(const Layer *layer, const Config *config, const ConfigNode *node, Err *err)
{
    bool used = !layer->init;
    for (int i = 0; i < layer->tensor_count; i++)
        used = used || (!layer->tensors[i].initializer && !layer->tensors[i].tied);
    return used || config_error(config, config_get(node, "init"), err,
                                "layer %s has no weights to initialise", layer->name);
}

/* `trainable` and `lr_factor` have something to work on. */
static bool check_trainable(const Layer *layer, const Layout *layout, const Config *config,
                            const ConfigNode *node, Err *err)
{
    bool weights = false, bias = false;
    for (int i = 0; i < layer->tensor_count; i++) {
        const LayoutTensor *tensor = &layout->tensors[layer->tensors[i].index];
        if (layer->tensors[i].tied && (layer->trainable != TRAINABLE_ALL || layer->lr_factor != 1))
            return config_error(config, node, err,
                                "layer %s: trainable and lr_factor are for the layer that has %s",
                                layer->name, tensor->name);
        bool trained = !(tensor->flags & (LAYOUT_STATISTIC | LAYOUT_FROZEN));
        weights = weights || !(tensor->flags & LAYOUT_STATISTIC);
        bias = bias || trained;
    }
    if (layer->trainable == TRAINABLE_BIAS && !bias)
        return config_error(config, config_get(node, "trainable"), err, "layer %s has no bias",
                            layer->name);
    if (!weights && layer->trainable != TRAINABLE_ALL)
        return config_error(config, config_get(node, "trainable"), err,
                            "layer %s has no weights to train", layer->name);
    return weights || layer->lr_factor == 1 ||
           config_error(config, config_get(node, "lr_factor"), err,
                        "layer %s has no weights to train", layer->name);
}

static bool plan(Layer *layer, const Config *config, const ConfigNode *node, Layout *layout,
                 Err *err)
{
    char in[48];
    Err reason;
    shape_text(layer->in, in, sizeof in);
    if (layer->in.vocabulary > 0 && !layer->type->takes_tokens)
        return config_error(config, node, err, "layer %s gets %s: put embedding before it",
                            layer->name, in);
    if (!layer->type->plan(layer, layout, &reason))
        return config_error(config, node, err, "layer %s gets %s: %s", layer->name, in,
                            reason.text);
    if (shape_stored(layer->out) > INT32_MAX / 2)
        return config_error(config, node, err, "layer %s gets %s: its output is too large",
                            layer->name, in);
    return check_init(layer, config, node, err) &&
           check_trainable(layer, layout, config, node, err);
}

Layer *layer_create(const LayerType *type, const Config *config, ConfigNode *node,
                    const LayerPlace *place, Layout *layout, Err *err)
{
    Layer *layer = mem_new(Layer);
    layer->type = type;
    layer->index = place->index;
    layer->in = place->in;
    layer->first = place->first;
    layer->precision = place->precision;
    layer->tokens = place->tokens;
    snprintf(layer->name, sizeof layer->name, "%s", place->name);
    if (read_options(layer, config, node, err) && plan(layer, config, node, layout, err))
        return layer;
    layer_free(layer);
    return NULL;
}

void layer_allocate(Layer *layer, int max_batch, float *scratch)
{
    const LayerType *type = layer->type;
    expect(!layer->state && layer->max_batch == 0);
    layer->max_batch = max_batch;
    if (!scratch && type->scratch)
        scratch = layer->own_scratch = mem_array(float, type->scratch(layer, max_batch));
    layer->scratch = scratch;
    if (type->allocate)
        type->allocate(layer, max_batch);
}

bool layer_masks_by_y(const Layer *layer)
{
    const LayerEpilogue *epilogue = &layer->epilogue;
    return layer->type->masks_by_y ? epilogue->relu != RECTIFY_NONE
                                   : epilogue->add && epilogue->relu == RECTIFY_LAST;
}

bool layer_keeps_y(const Layer *layer)
{
    return layer->type->keep_y || layer_masks_by_y(layer);
}

void layer_free(Layer *layer)
{
    if (!layer)
        return;
    if (layer->type->release && layer->state)
        layer->type->release(layer);
    if (layer->options)
        options_free(options_of(layer->type), layer->options);
    mem_free(layer->options);
    mem_free(layer->init);
    mem_free(layer->own_scratch);
    mem_free(layer);
}

/* "bias", "in_proj_bias", "bias_hh" */
static bool is_bias(const char *tensor)
{
    return strstr(tensor, "bias") != NULL;
}

static bool is_frozen(const Layer *layer, const char *tensor)
{
    return layer->trainable == TRAINABLE_NONE ||
           (layer->trainable == TRAINABLE_BIAS && !is_bias(tensor));
}

int layer_add_tensor(Layer *layer, Layout *layout, const char *name, int ndim, const int *shape,
                     unsigned flags, int fan_in, int fan_out, const char *initializer)
{
    expect(layer->tensor_count < LAYER_MAX_TENSORS);
    char full[sizeof layout->tensors->name];
    snprintf(full, sizeof full, "%s.%s", layer->name, name);
    bool frozen = !(flags & LAYOUT_STATISTIC) && is_frozen(layer, name);
    if (frozen)
        flags = LAYOUT_FROZEN;
    else if (ndim >= 2 && !(flags & LAYOUT_STATISTIC))
        flags |= LAYOUT_DECAY | LAYOUT_ADAPT;
    int index = layout_add(layout, full, ndim, shape, flags);
    layout->tensors[index].lr_factor = layer->lr_factor;
    layer->tensors[layer->tensor_count] = (LayerTensor){
        .index = index,
        .frozen = frozen,
        .fan_in = fan_in,
        .fan_out = fan_out,
        .initializer = initializer,
    };
    return layer->tensor_count++;
}

bool layer_share_tensor(Layer *layer, const Layout *layout, const char *name, int rows, int columns,
                        Err *err)
{
    expect(layer->tensor_count < LAYER_MAX_TENSORS);
    int index = layout_find(layout, name);
    if (index < 0)
        return err_set(err, "there is no tensor \"%s\" in the layers before it", name);
    const LayoutTensor *tensor = &layout->tensors[index];
    if (tensor->ndim != 2 || tensor->shape[0] != rows || tensor->shape[1] != columns)
        return err_set(err, "tensor \"%s\" would have to have the shape (%d, %d)", name, rows,
                       columns);
    layer->tensors[layer->tensor_count++] =
        (LayerTensor){ .index = index, .tied = true, .frozen = tensor->flags & LAYOUT_FROZEN };
    return true;
}
