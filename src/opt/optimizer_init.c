/* The optimizer's options, and which method, lr, decay and adaptation each tensor has. */
#include "lockstep/error.h"
#include "lockstep/memory.h"
#include "optimizer_parts.h"

#include <stdio.h>
#include <string.h>

/* ---- options ---- */

typedef struct CommonOptions {
    char *type;
    double lr, weight_decay, clip_norm, clip_value, norm_bias_lr_factor;
    bool decay_all, adapt_all, maximize;
    ConfigNode *groups, *wrap;
} CommonOptions;

enum { OPTION_LR = 1, OPTION_WEIGHT_DECAY = 2, OPTION_CLIP_NORM = 3 };

const Option optimizer_common_options[] = {
    { "type", OPTION_STRING, OPTION_AT(CommonOptions, type), 0, 0, NULL, "sgd",
      "the method: see `lockstep list optimizers`" },
    { "lr", OPTION_FLOAT, OPTION_AT(CommonOptions, lr), 0, 1e9, NULL, "the method's",
      "learning rate, before lr_scaling and the schedule" },
    { "weight_decay", OPTION_FLOAT, OPTION_AT(CommonOptions, weight_decay), 0, 1e9, NULL,
      "the method's", "weight decay; a tensor of one dimension has none unless decay_all" },
    { "clip_norm", OPTION_FLOAT, OPTION_AT(CommonOptions, clip_norm), 0, 1e30, NULL, "the method's",
      "largest norm of the whole gradient; 0: no clipping" },
    { "clip_value", OPTION_FLOAT, OPTION_AT(CommonOptions, clip_value), 0, 1e30, NULL, "0",
      "largest size of a gradient element, applied before clip_norm; 0: no clipping" },
    { "decay_all", OPTION_BOOL, OPTION_AT(CommonOptions, decay_all), 0, 0, NULL, "false",
      "decay every tensor; false: only those of two and more dimensions" },
    { "adapt_all", OPTION_BOOL, OPTION_AT(CommonOptions, adapt_all), 0, 0, NULL, "false",
      "trust ratios for every tensor; false: only those of two and more dimensions" },
    { "norm_bias_lr_factor", OPTION_FLOAT, OPTION_AT(CommonOptions, norm_bias_lr_factor), 1e-6, 1e6,
      NULL, "1",
      "the lr of the biases of normalisations is multiplied by this, their decay divided by it, so "
      "that a step's decay stays (Jordan 2024)" },
    { "maximize", OPTION_BOOL, OPTION_AT(CommonOptions, maximize), 0, 0, NULL, "false",
      "climb instead of descend: the gradient changes its sign" },
    { "groups", OPTION_NODE, OPTION_AT(CommonOptions, groups), 0, 0, NULL, "",
      "tensors with a method, lr or decay of their own: a list such as [{match: \"*.bias\", "
      "weight_decay: 0}, {dims: [2, 4], type: muon, lr: 0.02}]; the first that fits a tensor "
      "counts" },
    { "wrap", OPTION_NODE, OPTION_AT(CommonOptions, wrap), 0, 0, NULL, "",
      "what acts around the method, in this order: a list such as [ema, {ema: {decay: 0.99}}]; see "
      "`lockstep list wrappers`" },
    OPTION_END,
};

const OptimizerType *optimizer_read_type(const Config *config, ConfigNode *node, const char *def,
                                         Err *err)
{
    const ConfigNode *value = config_get(node, "type");
    bool given = value && value->kind == CONFIG_SCALAR && value->text;
    const OptimizerType *type = optimizer_find(given ? value->text : def);
    if (type)
        return type;
    int count;
    const OptimizerType *const *types = optimizer_all(&count);
    const char *names[OPTIONS_MAX];
    expect(count <= OPTIONS_MAX);
    for (int i = 0; i < count; i++)
        names[i] = types[i]->name;
    config_unknown(config, value, false, "optimizer", "optimizers", names, (size_t)count, err);
    return NULL;
}

/* The common options with the method's own defaults in place. */
static bool read_common(const Config *config, ConfigNode *node, const OptimizerType *type,
                        CommonOptions *common, Err *err)
{
    Option table[sizeof optimizer_common_options / sizeof *optimizer_common_options];
    memcpy(table, optimizer_common_options, sizeof table);
    char lr[32], weight_decay[32], clip_norm[32];
    snprintf(lr, sizeof lr, "%.15g", type->default_lr);
    snprintf(weight_decay, sizeof weight_decay, "%.15g", type->default_weight_decay);
    snprintf(clip_norm, sizeof clip_norm, "%.15g", type->default_clip_norm);
    table[OPTION_LR].def = lr;
    table[OPTION_WEIGHT_DECAY].def = weight_decay;
    table[OPTION_CLIP_NORM].def = clip_norm;
    const char *other[OPTIONS_MAX];
    options_names(type->options, other);
    return options_read(config, node, table, other, common, err);
}

/* A table whose defaults are what `node` has. */
static void with_defaults_of(const ConfigNode *node, Option *table)
{
    for (; table->name; table++) {
        const ConfigNode *value = config_get(node, table->name);
        if (value && value->kind == CONFIG_SCALAR)
            table->def = value->text;
    }
}

bool optimizer_add_method(Optimizer *o, const OptimizerType *type, const Config *config,
                          ConfigNode *node, const char *const *other, const ConfigNode *main,
                          Err *err)
{
    Option table[OPTIONS_MAX] = { { 0 } };
    for (size_t i = 0; type->options[i].name; i++) {
        expect(i + 1 < OPTIONS_MAX);
        table[i] = type->options[i];
    }
    if (main)
        with_defaults_of(main, table);
    void *options = mem_alloc(type->options_bytes);
    if (!options_read(config, node, table, other, options, err)) {
        mem_free(options);
        return false;
    }
    expect(type->states <= OPTIMIZER_MAX_STATES && type->sums <= OPTIMIZER_MAX_SUMS);
    OptimizerMethod *method = &o->methods[o->method_count++];
    *method = (OptimizerMethod){ .type = type, .options = options };
    method->needs = type->needs ? type->needs(options) : 0;
    method->states = type->state_mask ? type->state_mask(options) : ~0U;
    o->needs |= method->needs;
    Err problem;
    if (type->check && !type->check(options, &problem))
        return config_error(config, node, err, "%s", problem.text);
    return true;
}

/* ---- life ---- */

static void allocate_tensors(Optimizer *o)
{
    int count = o->layout->count;
    o->tensor_lr = mem_array(double, count);
    o->tensor_decay = mem_array(double, count);
    o->tensor_adapt = mem_array(bool, count);
    o->tensor_lazy = mem_array(bool, count);
    o->tensor_method = mem_array(int, count);
    o->trust = mem_array(double, count);
    for (int i = 0; i < count; i++)
        o->trust[i] = 1;
}

static void set_tensor(Optimizer *o, const CommonOptions *common, int tensor)
{
    unsigned flags = o->layout->tensors[tensor].flags;
    bool decay = common->decay_all || flags & LAYOUT_DECAY;
    double factor = flags & LAYOUT_NORM_BIAS ? common->norm_bias_lr_factor : 1;
    o->tensor_lr[tensor] = o->layout->tensors[tensor].lr_factor * factor;
    o->tensor_decay[tensor] = decay ? common->weight_decay / factor : 0;
    o->tensor_adapt[tensor] = common->adapt_all || flags & LAYOUT_ADAPT;
}

/* One method for all tensors, by the section itself. */
static bool read_main(Optimizer *o, const Config *config, ConfigNode *node, CommonOptions *common,
                      Err *err)
{
    config_as_map(node, "type");
    const OptimizerType *type =
        optimizer_read_type(config, node, optimizer_common_options[0].def, err);
    if (!type || !read_common(config, node, type, common, err))
        return false;
    options_free(optimizer_common_options, common);
    size_t groups =
        common->groups && common->groups->kind == CONFIG_LIST ? common->groups->count : 0;
    o->methods = mem_array(OptimizerMethod, groups + 1);
    const char *other[OPTIONS_MAX];
    options_names(optimizer_common_options, other);
    if (!optimizer_add_method(o, type, config, node, other, NULL, err))
        return false;
    o->type = type;
    o->options = o->methods[0].options;
    o->methods[0].lr = common->lr;
    o->lr = common->lr;
    o->weight_decay = common->weight_decay;
    o->clip_norm = common->clip_norm;
    o->clip_value = common->clip_value;
    o->maximize = common->maximize;
    return true;
}

bool optimizer_init(Optimizer *o, const Config *config, ConfigNode *node, const Layout *layout,
                    Err *err)
{
    CommonOptions common;
    *o = (Optimizer){ .layout = layout, .clip_factor = 1 };
    if (!read_main(o, config, node, &common, err))
        return false;
    allocate_tensors(o);
    for (int i = 0; i < layout->count; i++)
        set_tensor(o, &common, i);
    return groups_read(o, config, common.groups, node, err) &&
           wrappers_read(o, config, common.wrap, err);
}

static void free_methods(Optimizer *o)
{
    for (int i = 0; i < o->method_count; i++) {
        options_free(o->methods[i].type->options, o->methods[i].options);
        mem_free(o->methods[i].options);
    }
    mem_free(o->methods);
    for (int k = 0; k < o->wrapper_count; k++) {
        OptimizerWrapper *wrapper = &o->wrappers[k];
        options_free(wrapper->type->options, wrapper->options);
        mem_free(wrapper->options);
        mem_free(wrapper->tensor_scalars);
        for (int i = 0; i < OPTIMIZER_MAX_STATES; i++)
            mem_free(wrapper->state[i]);
    }
}

void optimizer_free(Optimizer *o)
{
    free_methods(o);
    for (int i = 0; i < OPTIMIZER_MAX_STATES; i++) {
        mem_free(o->state[i]);
        mem_free(o->state_at[i]);
    }
    for (int i = 0; o->buffers && i < o->layout->count * OPTIMIZER_MAX_BUFFERS; i++)
        mem_free(o->buffers[i]);
    void *const arrays[] = { o->tensor_lr,     o->tensor_decay, o->tensor_adapt,   o->tensor_lazy,
                             o->tensor_method, o->buffers,      o->tensor_scalars, o->scratch,
                             o->before,        o->squares_w,    o->squares_g,      o->squares_u,
                             o->sums[0],       o->sums[1],      o->exchanged,      o->steps,
                             o->trust,         o->probe_w,      o->probe_g,        o->estimate,
                             o->squares_mean };
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        mem_free(arrays[i]);
    *o = (Optimizer){ 0 };
}
