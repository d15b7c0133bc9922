/* The list of compressors, and reading `comm.compress`. */
#include "lockstep/compress.h"
#include "world.h"

#include "lockstep/cpu.h"
#include "lockstep/memory.h"

#include <string.h>

#define COMPRESSOR(name) extern const Compressor compressor_##name##_v2;
#include "compressors.def"
#undef COMPRESSOR
static const Compressor *const types_v2[] = {
#define COMPRESSOR(name) &compressor_##name##_v2,
#include "compressors.def"
#undef COMPRESSOR
};
enum { TYPE_COUNT = sizeof types_v2 / sizeof *types_v2 };

#ifdef __x86_64__
#define COMPRESSOR(name) extern const Compressor compressor_##name##_v3, compressor_##name##_v4;
#include "compressors.def"
#undef COMPRESSOR
static const Compressor *const types_v3[] = {
#define COMPRESSOR(name) &compressor_##name##_v3,
#include "compressors.def"
#undef COMPRESSOR
};
static const Compressor *const types_v4[] = {
#define COMPRESSOR(name) &compressor_##name##_v4,
#include "compressors.def"
#undef COMPRESSOR
};
static const Compressor *const *const levels[ISA_COUNT] = { types_v2, types_v3, types_v4 };
#else
static const Compressor *const *const levels[ISA_COUNT] = { types_v2, types_v2, types_v2 };
#endif

const Compressor *const *compressor_all(int *count)
{
    *count = TYPE_COUNT;
    return levels[cpu_isa()];
}

const Compressor *compressor_find(const char *name)
{
    const Compressor *const *types = levels[cpu_isa()];
    for (int i = 0; i < TYPE_COUNT; i++)
        if (strcmp(types[i]->name, name) == 0)
            return types[i];
    return NULL;
}

typedef struct CommonOptions {
    char *type;
    int64_t whole;
} CommonOptions;

const Option compression_common_options[] = {
    { "type", OPTION_STRING, OPTION_AT(CommonOptions, type), 0, 0, NULL, NULL,
      "which compressor: see `lockstep list compressors`" },
    { "whole", OPTION_INT, OPTION_AT(CommonOptions, whole), 0, 1e12, NULL, "256",
      "tensors of fewer values travel as they are" },
    OPTION_END,
};

static bool unknown_type(const Config *config, const ConfigNode *node, Err *err)
{
    const char *names[TYPE_COUNT];
    for (int i = 0; i < TYPE_COUNT; i++)
        names[i] = types_v2[i]->name;
    return config_unknown(config, node, false, "compressor", "compressors", names, TYPE_COUNT, err);
}

static bool read_common(Compression *compression, const Config *config, ConfigNode *node, Err *err)
{
    const ConfigNode *type = config_get(node, "type");
    if (!type || type->kind != CONFIG_SCALAR)
        return config_error(config, node, err, "a type is wanted, such as {type: topk}");
    compression->type = compressor_find(type->text);
    if (!compression->type)
        return unknown_type(config, type, err);
    const char *own[OPTIONS_MAX];
    CommonOptions common;
    options_names(compression->type->options, own);
    if (!options_read(config, node, compression_common_options, own, &common, err))
        return false;
    compression->whole = common.whole;
    options_free(compression_common_options, &common);
    return true;
}

bool compression_init(Compression *compression, const Config *config, ConfigNode *node,
                      uint64_t seed, Err *err)
{
    static const char *const common[] = { "type", "whole", NULL };
    *compression = (Compression){ .seed = seed };
    if (!node || node->kind == CONFIG_NULL)
        return true;
    config_as_map(node, "type");
    if (!read_common(compression, config, node, err))
        return false;
    compression->options = mem_alloc(compression->type->options_bytes + 1);
    return options_read(config, node, compression->type->options, common, compression->options,
                        err);
}

void compression_free(Compression *compression)
{
    mem_free(compression->options);
    *compression = (Compression){ 0 };
}

void comm_set_compression(Comm *comm, const Compression *compression)
{
    comm->compression = compression && compression->type ? compression : NULL;
}
