/* The list of losses, and reading the `loss` section. */
#include "lockstep/loss.h"
#include "lockstep/cpu.h"
#include "lockstep/memory.h"

#include <string.h>

#define LOSS(name) extern const LossType loss_##name##_v2;
#include "losses.def"
#undef LOSS
static const LossType *const types_v2[] = {
#define LOSS(name) &loss_##name##_v2,
#include "losses.def"
#undef LOSS
};
enum { TYPE_COUNT = sizeof types_v2 / sizeof *types_v2 };

#ifdef __x86_64__
#define LOSS(name) extern const LossType loss_##name##_v3, loss_##name##_v4;
#include "losses.def"
#undef LOSS
static const LossType *const types_v3[] = {
#define LOSS(name) &loss_##name##_v3,
#include "losses.def"
#undef LOSS
};
static const LossType *const types_v4[] = {
#define LOSS(name) &loss_##name##_v4,
#include "losses.def"
#undef LOSS
};
static const LossType *const *const levels[ISA_COUNT] = { types_v2, types_v3, types_v4 };
#else
static const LossType *const *const levels[ISA_COUNT] = { types_v2, types_v2, types_v2 };
#endif

const LossType *const *loss_all(int *count)
{
    *count = TYPE_COUNT;
    return levels[cpu_isa()];
}

const LossType *loss_find(const char *name)
{
    const LossType *const *types = levels[cpu_isa()];
    for (int i = 0; i < TYPE_COUNT; i++)
        if (strcmp(types[i]->name, name) == 0)
            return types[i];
    return NULL;
}

typedef struct CommonOptions {
    char *type;
} CommonOptions;

const Option loss_common_options[] = {
    { "type", OPTION_STRING, OPTION_AT(CommonOptions, type), 0, 0, NULL, "softmax_cross_entropy",
      "which loss: see `lockstep list losses`" },
    OPTION_END,
};

static bool unknown_type(const Config *config, const ConfigNode *node, Err *err)
{
    const char *names[TYPE_COUNT];
    for (int i = 0; i < TYPE_COUNT; i++)
        names[i] = types_v2[i]->name;
    return config_unknown(config, node, false, "loss", "losses", names, TYPE_COUNT, err);
}

/* Sets loss->type from {type: ...}; `own` names the options that are left for that type. */
static bool read_type(Loss *loss, const Config *config, ConfigNode *node, Err *err)
{
    config_as_map(node, "type");
    const ConfigNode *type = config_get(node, "type");
    bool named = type && type->kind == CONFIG_SCALAR;
    loss->type = loss_find(named ? type->text : loss_common_options[0].def);
    if (!loss->type)
        return unknown_type(config, type, err);
    const char *own[OPTIONS_MAX];
    CommonOptions common;
    options_names(loss->type->options, own);
    if (!options_read(config, node, loss_common_options, own, &common, err))
        return false;
    options_free(loss_common_options, &common);
    return true;
}

static bool read_options(Loss *loss, const Config *config, ConfigNode *node, Err *err)
{
    static const char *const common[] = { "type", NULL };
    if (!read_type(loss, config, node, err))
        return false;
    loss->options = mem_alloc(loss->type->options_bytes);
    if (options_read(config, node, loss->type->options, common, loss->options, err))
        return true;
    mem_free(loss->options);
    loss->options = NULL;
    return false;
}

bool loss_init(Loss *loss, const Config *config, ConfigNode *node, Shape output, Err *err)
{
    int rows = shape_rows(output);
    *loss = (Loss){ .rows = rows, .outputs = (int)(shape_values(output) / (size_t)rows) };
    if (node)
        return read_options(loss, config, node, err);
    Config empty = { 0 };
    bool ok =
        config_parse(&empty, "loss", "{}", 2, err) && read_options(loss, &empty, empty.root, err);
    config_free(&empty);
    return ok;
}

void loss_free(Loss *loss)
{
    if (loss->options)
        options_free(loss->type->options, loss->options);
    mem_free(loss->options);
    *loss = (Loss){ 0 };
}
