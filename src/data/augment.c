/* The list of augmentations, and the reading of `data.augment`. */
#include "lockstep/memory.h"
#include "parts.h"

#include <string.h>

#define AUGMENT(name) extern const AugmentType augment_##name;
#include "augmentations.def"
#undef AUGMENT

static const AugmentType *const types[] = {
#define AUGMENT(name) &augment_##name,
#include "augmentations.def"
#undef AUGMENT
};

#define TYPES (sizeof types / sizeof *types)

const AugmentType *const *augment_all(int *count)
{
    *count = (int)TYPES;
    return types;
}

const AugmentType *augment_find(const char *name)
{
    for (size_t i = 0; i < TYPES; i++)
        if (strcmp(types[i]->name, name) == 0)
            return types[i];
    return NULL;
}

static bool unknown(const Config *config, const ConfigNode *node, bool at_key, Err *err)
{
    const char *names[TYPES];
    for (size_t i = 0; i < TYPES; i++)
        names[i] = types[i]->name;
    return config_unknown(config, node, at_key, "augmentation", "augmentations", names, TYPES, err);
}

/* `flip` becomes `{flip: {}}`, so that its options have a place in the printed config. */
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

static bool read_item(Augmentation *augment, const Config *config, ConfigNode *item, Err *err)
{
    bool bare = item->kind == CONFIG_SCALAR;
    if (!bare && (item->kind != CONFIG_MAP || item->count != 1))
        return config_error(config, item, err, "a name or one {name: {options}} is wanted");
    const AugmentType *type = augment_find(bare ? item->text : item->children[0]->key);
    if (!type)
        return unknown(config, bare ? item : item->children[0], !bare, err);
    if (bare)
        make_map(item);
    ConfigNode *node = item->children[0];
    augment->type = type;
    augment->node = node;
    augment->options = mem_alloc(type->options_bytes);
    return options_read(config, node, type->options, NULL, augment->options, err);
}

bool augment_read(Loader *loader, const Config *config, ConfigNode *node, Err *err)
{
    if (!node || node->kind == CONFIG_NULL)
        return true;
    if (node->kind != CONFIG_LIST)
        return config_error(config, node, err,
                            "a list is wanted, such as [flip, {crop: {pad: 4}}]");
    if (node->count > LOADER_MAX_AUGMENT)
        return config_error(config, node, err, "%zu augmentations, at most %d", node->count,
                            LOADER_MAX_AUGMENT);
    for (size_t i = 0; i < node->count; i++)
        if (!read_item(&loader->augment[loader->augment_count++], config, node->children[i], err))
            return false;
    return true;
}

bool augment_check(const Loader *loader, const Config *config, Err *err)
{
    for (int i = 0; i < loader->augment_count; i++) {
        const Augmentation *augment = &loader->augment[i];
        Err why;
        if (loader->shape.ndim != 3)
            return config_error(config, augment->node, err,
                                "works on images (C, H, W), samples here have shape (%d)",
                                loader->shape.dim[0]);
        if (augment->type->check && !augment->type->check(augment->options, loader->shape, &why))
            return config_error(config, augment->node, err, "%s", why.text);
    }
    return true;
}

void augment_free(Loader *loader)
{
    for (int i = 0; i < loader->augment_count; i++) {
        Augmentation *augment = &loader->augment[i];
        if (augment->options)
            options_free(augment->type->options, augment->options);
        mem_free(augment->options);
        *augment = (Augmentation){ 0 };
    }
    loader->augment_count = 0;
}
