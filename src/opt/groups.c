/* Parameter groups and wrappers: the lists `optimizer.groups` and `optimizer.wrap`. */
#include "lockstep/error.h"
#include "lockstep/memory.h"
#include "optimizer_parts.h"

#include <fnmatch.h>
#include <string.h>

/* ---- groups ---- */

typedef struct GroupOptions {
    char *match, *type;
    OptionFloats dims;
    double lr, lr_factor, weight_decay;
    bool adapt, lazy_rows;
} GroupOptions;

const Option optimizer_group_options[] = {
    { "match", OPTION_STRING, OPTION_AT(GroupOptions, match), 0, 0, NULL, "*",
      "tensor names: a pattern with * and ?, such as \"*.bias\"" },
    { "dims", OPTION_FLOATS, OPTION_AT(GroupOptions, dims), 1, LAYOUT_MAX_DIMS, NULL, "",
      "only tensors of so many dimensions" },
    { "type", OPTION_STRING, OPTION_AT(GroupOptions, type), 0, 0, NULL, "",
      "a method of its own, with that method's lr, weight_decay and options unless they are given; "
      "default: the optimizer's" },
    { "lr", OPTION_FLOAT, OPTION_AT(GroupOptions, lr), 0, 1e9, NULL, "",
      "the group's base lr; the schedule multiplies it as it does the optimizer's" },
    { "lr_factor", OPTION_FLOAT, OPTION_AT(GroupOptions, lr_factor), 0, 1e9, NULL, "1",
      "the lr is multiplied by this; 0: the weights rest" },
    { "weight_decay", OPTION_FLOAT, OPTION_AT(GroupOptions, weight_decay), 0, 1e9, NULL, "",
      "weight decay of every tensor of the group, whatever its dimensions" },
    { "adapt", OPTION_BOOL, OPTION_AT(GroupOptions, adapt), 0, 0, NULL, "",
      "whether trust ratios apply to the group's tensors" },
    { "lazy_rows", OPTION_BOOL, OPTION_AT(GroupOptions, lazy_rows), 0, 0, NULL, "false",
      "rows (of the first dimension) whose gradient is all zero keep weights and state: for "
      "embeddings" },
    OPTION_END,
};

/* One entry of the list, read. */
typedef struct Group {
    GroupOptions options;
    const ConfigNode *node;
    bool has_type;
    int method;
} Group;

static bool is_given(const Group *group, const char *option)
{
    const ConfigNode *value = config_get(group->node, option);
    return value && value->kind != CONFIG_NULL;
}

static bool has_any(const ConfigNode *node, const Option *table)
{
    for (; table->name; table++)
        if (config_get(node, table->name))
            return true;
    return false;
}

static bool fits(const Group *group, const LayoutTensor *tensor)
{
    const OptionFloats *dims = &group->options.dims;
    bool counted = dims->count == 0;
    for (int i = 0; i < dims->count; i++)
        counted = counted || (int)dims->value[i] == tensor->ndim;
    return counted && fnmatch(group->options.match, tensor->name, 0) == 0;
}

static void apply(Optimizer *o, const Group *group, int tensor)
{
    const GroupOptions *options = &group->options;
    const OptimizerMethod *method = &o->methods[group->method];
    double lr = is_given(group, "lr") ? options->lr : method->lr;
    double layout_factor = o->layout->tensors[tensor].lr_factor;
    double factor = layout_factor > 0 ? o->tensor_lr[tensor] / layout_factor : 1; /* norm bias */
    if (o->lr > 0)
        o->tensor_lr[tensor] *= lr / o->lr;
    o->tensor_lr[tensor] *= options->lr_factor;
    if (is_given(group, "weight_decay"))
        o->tensor_decay[tensor] = options->weight_decay / factor;
    else if (group->has_type && o->tensor_decay[tensor] > 0)
        o->tensor_decay[tensor] = method->type->default_weight_decay / factor;
    if (is_given(group, "adapt"))
        o->tensor_adapt[tensor] = options->adapt;
    o->tensor_lazy[tensor] = options->lazy_rows;
    o->tensor_method[tensor] = group->method;
}

/* A method of its own if the group names one, or gives one of the optimizer's options. */
static bool read_method(Optimizer *o, const Config *config, ConfigNode *node,
                        const ConfigNode *main, Group *group, Err *err)
{
    const OptimizerType *type = optimizer_read_type(config, node, o->type->name, err);
    const char *other[OPTIONS_MAX];
    if (!type)
        return false;
    options_names(type->options, other);
    group->has_type = config_get(node, "type");
    bool own = group->has_type || has_any(node, type->options);
    if (!options_read(config, node, optimizer_group_options, other, &group->options, err))
        return false;
    group->node = node;
    if (group->options.lazy_rows && (type->update_tensor || type->direction || type->gather))
        return config_error(config, config_get(node, "lazy_rows"), err,
                            "%s needs more than a row at a time and cannot leave out rows",
                            type->name);
    if (is_given(group, "lr") && o->lr <= 0)
        return config_error(config, config_get(node, "lr"), err,
                            "a group's lr is a multiple of optimizer.lr, which is 0 here");
    if (!own)
        return true;
    group->method = o->method_count;
    options_names(optimizer_group_options, other);
    bool ok =
        optimizer_add_method(o, type, config, node, other, group->has_type ? NULL : main, err);
    if (ok)
        o->methods[group->method].lr = group->has_type ? type->default_lr : o->lr;
    return ok;
}

bool groups_read(Optimizer *o, const Config *config, ConfigNode *groups, const ConfigNode *main,
                 Err *err)
{
    if (!groups)
        return true;
    if (groups->kind != CONFIG_LIST)
        return config_error(config, groups, err,
                            "a list is wanted, such as [{match: \"*.bias\", weight_decay: 0}]");
    bool *taken = mem_array(bool, o->layout->count);
    bool ok = true;
    for (size_t i = 0; ok && i < groups->count; i++) {
        Group group = { .method = 0 };
        config_as_map(groups->children[i], "match");
        ok = read_method(o, config, groups->children[i], main, &group, err);
        for (int k = 0; ok && k < o->layout->count; k++)
            if (!taken[k] && fits(&group, &o->layout->tensors[k])) {
                taken[k] = true;
                apply(o, &group, k);
            }
        options_free(optimizer_group_options, &group.options);
    }
    mem_free(taken);
    return ok;
}

/* ---- wrappers ---- */

static bool unknown(const Config *config, const ConfigNode *node, bool at_key, Err *err)
{
    int count;
    const WrapperType *const *types = wrapper_all(&count);
    const char *names[OPTIONS_MAX];
    expect(count <= OPTIONS_MAX);
    for (int i = 0; i < count; i++)
        names[i] = types[i]->name;
    return config_unknown(config, node, at_key, "wrapper", "wrappers", names, (size_t)count, err);
}

/* `ema` becomes `{ema: {}}`, so that its options have a place in the printed config. */
static void make_map(ConfigNode *item)
{
    char *name = item->text;
    item->text = NULL;
    item->kind = CONFIG_MAP;
    ConfigNode *options = config_section(item, name);
    options->origin = item->origin;
    options->line = item->line;
    options->column = item->column;
    mem_free(name);
}

static bool read_wrapper(Optimizer *o, const Config *config, ConfigNode *item, Err *err)
{
    bool bare = item->kind == CONFIG_SCALAR;
    if (!bare && (item->kind != CONFIG_MAP || item->count != 1))
        return config_error(config, item, err, "a name or one {name: {options}} is wanted");
    const WrapperType *type = wrapper_find(bare ? item->text : item->children[0]->key);
    if (!type)
        return unknown(config, bare ? item : item->children[0], !bare, err);
    if (bare)
        make_map(item);
    ConfigNode *node = item->children[0];
    void *options = mem_alloc(type->options_bytes);
    if (!options_read(config, node, type->options, NULL, options, err)) {
        mem_free(options);
        return false;
    }
    o->wrappers[o->wrapper_count++] = (OptimizerWrapper){ .type = type, .options = options };
    o->needs |= type->needs ? type->needs(options) : 0;
    Err problem;
    if (type->check && !type->check(options, &problem))
        return config_error(config, node, err, "%s", problem.text);
    return true;
}

bool wrappers_read(Optimizer *o, const Config *config, ConfigNode *wrap, Err *err)
{
    if (!wrap)
        return true;
    if (wrap->kind != CONFIG_LIST)
        return config_error(config, wrap, err, "a list is wanted, such as [{ema: {decay: 0.99}}]");
    if (wrap->count > OPTIMIZER_MAX_WRAPPERS)
        return config_error(config, wrap, err, "%zu wrappers, at most %d", wrap->count,
                            OPTIMIZER_MAX_WRAPPERS);
    for (size_t i = 0; i < wrap->count; i++)
        if (!read_wrapper(o, config, wrap->children[i], err))
            return false;
    return true;
}
