/* The arms of a study: what all trials set, what an arm sets, and what varies within it. */
#include "study_parts.h"

#include "lockstep/memory.h"

#include <string.h>

static ConfigNode *section(const Study *study, const char *name)
{
    ConfigNode *node = config_get(study->config.root, name);
    return node && node->kind != CONFIG_NULL ? node : NULL;
}

static void add_override(StudyArm *arm, const char *key, const char *value)
{
    size_t size = strlen(key) + strlen(value) + 2;
    mem_grow(&arm->overrides, arm->override_count, &arm->capacity, sizeof(char *));
    char *text = arm->overrides[arm->override_count++] = mem_alloc(size);
    snprintf(text, size, "%s=%s", key, value);
}

static int find_key(const Study *study, const char *key)
{
    for (int i = 0; i < study->key_count; i++)
        if (strcmp(study->keys[i], key) == 0)
            return i;
    return -1;
}

static bool add_key(Study *study, const char *key, bool of_arm, Err *err)
{
    if (find_key(study, key) >= 0)
        return true;
    if (study->key_count == STUDY_MAX_KEYS)
        return err_set(err, "%s: more than %d keys vary", study->config.file, STUDY_MAX_KEYS);
    study->of_arm[study->key_count] = of_arm;
    study->keys[study->key_count++] = mem_string(key);
    return true;
}

/* ---- options that are set ---- */

/* The parts of an arm that are no options of a trial. */
static bool is_arms_own(const char *key)
{
    return strcmp(key, "name") == 0 || strcmp(key, "grid") == 0 || strcmp(key, "ranges") == 0;
}

static bool add_option(Study *study, StudyArm *arm, const ConfigNode *node, const char *key,
                       bool varied, Err *err)
{
    if (!key_check(&study->config, node, key, err) || (varied && !add_key(study, key, true, err)))
        return false;
    char *value = node_text(node, false);
    add_override(arm, key, value);
    mem_free(value);
    return true;
}

/* A map of options, "train.epochs: 5" or "train: {epochs: 5}"; with `varied` they become columns. A
 * map with a type takes the place of the base's, whose options another type may not know. */
static bool add_options(Study *study, StudyArm *arm, const ConfigNode *map, const char *prefix,
                        bool varied, Err *err)
{
    for (size_t i = 0; i < map->count; i++) {
        const ConfigNode *node = map->children[i];
        char key[256];
        snprintf(key, sizeof key, "%s%s%s", prefix, *prefix ? "." : "", node->key);
        if (varied && !*prefix && is_arms_own(node->key))
            continue;
        bool parts = key_is_group(node, key) && !config_get(node, "type");
        bool ok = parts ? add_options(study, arm, node, key, varied, err)
                        : add_option(study, arm, node, key, varied, err);
        if (!ok)
            return false;
    }
    return true;
}

static bool is_map(const Config *config, const ConfigNode *node, const char *example, Err *err)
{
    return node->kind == CONFIG_MAP ||
           config_error(config, node, err, "a map of options is wanted, such as %s", example);
}

/* ---- what varies ---- */

static int count_axes(const Axes *axes, const char *key)
{
    int count = 0;
    for (int i = 0; i < axes->count; i++)
        for (int k = 0; k < axes->axis[i].key_count; k++)
            count += strcmp(axes->axis[i].keys[k], key) == 0;
    return count;
}

/* The keys of the axes become columns; what makes the arm cannot vary within it. */
static bool add_axis_keys(Study *study, const StudyArm *arm, const ConfigNode *node, Err *err)
{
    for (int i = 0; i < arm->axes.count; i++)
        for (int k = 0; k < arm->axes.axis[i].key_count; k++) {
            const char *key = arm->axes.axis[i].keys[k];
            int found = find_key(study, key);
            if (found >= 0 && study->of_arm[found])
                return config_error(&study->config, node, err,
                                    "%s makes the arms and varies within them as well", key);
            if (count_axes(&arm->axes, key) > 1)
                return err_set(err, "%s: %s varies in two places", study->config.file, key);
            if (!add_key(study, key, false, err))
                return false;
        }
    return true;
}

static bool read_name(Study *study, StudyArm *arm, const ConfigNode *node, Err *err)
{
    const ConfigNode *name = config_get(node, "name");
    if (!name || name->kind != CONFIG_SCALAR || !*name->text)
        return config_error(&study->config, node, err, "the arm has no name");
    arm->name = name->text;
    return true;
}

static bool read_axes(Study *study, StudyArm *arm, const ConfigNode *node, Err *err)
{
    const Config *config = &study->config;
    return axes_add_grid(&arm->axes, config, section(study, "grid"), err) &&
           axes_add_grid(&arm->axes, config, config_get(node, "grid"), err) &&
           axes_add_search(&arm->axes, config, section(study, "search"), config_get(node, "ranges"),
                           err) &&
           axes_add_seeds(&arm->axes, config, section(study, "seeds"), err);
}

/* `node`: its map of the list `arms`, or NULL. */
static bool read_arm(Study *study, StudyArm *arm, const ConfigNode *node, Err *err)
{
    const Config *config = &study->config;
    const ConfigNode *set = section(study, "set");
    if (set && (!is_map(config, set, "{train.epochs: 5}", err) ||
                !add_options(study, arm, set, "", false, err)))
        return false;
    if (node &&
        (!is_map(config, node, "{name: lars, optimizer.type: lars}", err) ||
         !read_name(study, arm, node, err) || !add_options(study, arm, node, "", true, err)))
        return false;
    return read_axes(study, arm, node, err);
}

bool arms_read(Study *study, StudyArms *arms, Err *err)
{
    const ConfigNode *list = section(study, "arms");
    const Config *config = &study->config;
    if (list && (list->kind != CONFIG_LIST || list->count == 0))
        return config_error(config, list, err,
                            "a list is wanted, such as [{name: lars, optimizer.type: lars}]");
    study->has_arms = list != NULL;
    arms->count = list ? (int)list->count : 1;
    arms->arm = mem_array(StudyArm, arms->count);
    for (int i = 0; i < arms->count; i++) {
        const ConfigNode *node = list ? list->children[i] : NULL;
        if (!read_arm(study, &arms->arm[i], node, err))
            return false;
        for (int j = 0; node && j < i; j++)
            if (strcmp(arms->arm[j].name, arms->arm[i].name) == 0)
                return config_error(config, node, err, "two arms are called %s", arms->arm[i].name);
    }
    for (int i = 0; i < arms->count; i++) /* now that all keys of arms are known */
        if (!add_axis_keys(study, &arms->arm[i], list ? list->children[i] : config->root, err))
            return false;
    return true;
}

void arms_free(StudyArms *arms)
{
    for (int i = 0; i < arms->count; i++) {
        for (size_t j = 0; j < arms->arm[i].override_count; j++)
            mem_free(arms->arm[i].overrides[j]);
        mem_free(arms->arm[i].overrides);
        axes_free(&arms->arm[i].axes);
    }
    mem_free(arms->arm);
}
