/* What varies in a study: grids, searches and seeds, each as rows of values. */
#include "study_parts.h"

#include "lockstep/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- nodes and keys ---- */

char *node_text(const ConfigNode *node, bool plain)
{
    char *text = NULL;
    size_t bytes = 0;
    if (plain && node->kind == CONFIG_SCALAR)
        return mem_string(node->text);
    FILE *memory = open_memstream(&text, &bytes);
    expect(memory);
    config_print_value(node, memory);
    expect(fclose(memory) == 0);
    char *copy = mem_string(text);
    free(text);
    return copy;
}

bool key_check(const Config *config, const ConfigNode *node, const char *key, Err *err)
{
    static const char *const own[] = { "name", "output", "train.stop_at", "checkpoint.resume" };
    char quoted[256], *nearest = NULL;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(key, own[i]) == 0)
            return config_error(config, node, err, "%s is the study's own to set", key);
    if (settings_path_is_section(key) || settings_path_known(key, &nearest))
        return true;
    config_error(config, node, err, "unknown option %s%s%s%s",
                 text_quoted(quoted, sizeof quoted, key), nearest ? "; did you mean \"" : "",
                 nearest ? nearest : "", nearest ? "\"?" : "");
    mem_free(nearest);
    return false;
}

bool key_is_group(const ConfigNode *node, const char *key)
{
    char *nearest = NULL;
    if (node->kind != CONFIG_MAP || node->count == 0)
        return false;
    bool known = !settings_path_is_section(key) && settings_path_known(key, &nearest);
    mem_free(nearest);
    return !known;
}

/* ---- axes ---- */

static void free_axis(Axis *axis)
{
    for (int i = 0; i < axis->key_count; i++)
        mem_free(axis->keys[i]);
    for (int i = 0; i < axis->rows * axis->key_count; i++)
        mem_free(axis->cells[i]);
    mem_free(axis->keys);
    mem_free(axis->cells);
}

void axes_free(Axes *axes)
{
    for (int i = 0; i < axes->count; i++)
        free_axis(&axes->axis[i]);
    axes->count = 0;
}

static Axis *find_axis(Axes *axes, const char *key)
{
    for (int i = 0; i < axes->count; i++)
        for (int k = 0; k < axes->axis[i].key_count; k++)
            if (strcmp(axes->axis[i].keys[k], key) == 0)
                return &axes->axis[i];
    return NULL;
}

/* An empty axis; its cells are to be filled. */
Axis *axes_new(Axes *axes, int key_count, int rows)
{
    expect(axes->count < AXES_MAX);
    Axis *axis = &axes->axis[axes->count++];
    *axis = (Axis){ .key_count = key_count, .rows = rows };
    axis->keys = mem_array(char *, key_count);
    axis->cells = mem_array(char *, (size_t)rows *(size_t)key_count);
    return axis;
}

static bool room_for(const Axes *axes, const Config *config, const ConfigNode *node, Err *err)
{
    return axes->count < AXES_MAX ||
           config_error(config, node, err, "at most %d things that vary wanted", AXES_MAX);
}

/* ---- grid ---- */

/* "a, b" -> its keys. */
static int split_keys(const char *text, char *keys[STUDY_MAX_KEYS])
{
    int count = 0;
    while (*text && count < STUDY_MAX_KEYS) {
        size_t length = strcspn(text, ", ");
        if (length > 0) {
            keys[count] = mem_string(text);
            keys[count++][length] = '\0';
        }
        text += length + strspn(text + length, ", ");
    }
    return count;
}

/* The values of one row: of a single key the node itself. */
static bool fill_row(Axis *axis, int row, const Config *config, const ConfigNode *node, Err *err)
{
    char **cell = axis->cells + row * axis->key_count;
    if (axis->key_count == 1) {
        *cell = node_text(node, false);
        return true;
    }
    if (node->kind != CONFIG_LIST || node->count != (size_t)axis->key_count)
        return config_error(config, node, err, "a list of %d values wanted, one for each key",
                            axis->key_count);
    for (int k = 0; k < axis->key_count; k++)
        cell[k] = node_text(node->children[k], false);
    return true;
}

/* An axis of the same keys is replaced where it stands, so that an arm's own values keep the
 * study's order. */
static Axis *place_axis(Axes *axes, const char *key, int key_count, int rows)
{
    Axis *old = find_axis(axes, key);
    Axis *axis = old && old->key_count == key_count ? old : NULL;
    if (!axis)
        return axes_new(axes, key_count, rows);
    free_axis(axis);
    Axes fresh = { .count = 0 };
    *axis = *axes_new(&fresh, key_count, rows);
    return axis;
}

static bool add_entry(Axes *axes, const Config *config, const ConfigNode *node, const char *path,
                      Err *err)
{
    char *keys[STUDY_MAX_KEYS];
    if (node->kind != CONFIG_LIST || node->count == 0)
        return config_error(config, node, err, "a list of values is wanted, such as [64, 128]");
    if (!room_for(axes, config, node, err))
        return false;
    int count = split_keys(path, keys);
    bool ok = true;
    for (int k = 0; k < count; k++)
        ok = ok && key_check(config, node, keys[k], err);
    if (ok && count == 0)
        ok = config_error(config, node, err, "a key is wanted, such as train.batch");
    if (!ok) {
        for (int k = 0; k < count; k++)
            mem_free(keys[k]);
        return false;
    }
    Axis *axis = place_axis(axes, keys[0], count, (int)node->count);
    memcpy(axis->keys, keys, (size_t)count * sizeof *keys);
    for (int row = 0; ok && row < axis->rows; row++)
        ok = fill_row(axis, row, config, node->children[row], err);
    return ok;
}

/* "train.batch: [64]" or "train: {batch: [64]}", as `grid.train.batch=[64]` makes it. */
static bool add_entries(Axes *axes, const Config *config, const ConfigNode *map, const char *prefix,
                        Err *err)
{
    for (size_t i = 0; i < map->count; i++) {
        const ConfigNode *node = map->children[i];
        char path[256];
        snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", node->key);
        bool ok = key_is_group(node, path) ? add_entries(axes, config, node, path, err)
                                           : add_entry(axes, config, node, path, err);
        if (!ok)
            return false;
    }
    return true;
}

bool axes_add_grid(Axes *axes, const Config *config, const ConfigNode *grid, Err *err)
{
    if (!grid || grid->kind == CONFIG_NULL)
        return true;
    if (grid->kind != CONFIG_MAP)
        return config_error(config, grid, err,
                            "a map of lists is wanted, such as {train.batch: [64, 128]}");
    return add_entries(axes, config, grid, "", err);
}

/* ---- seeds ---- */

bool axes_add_seeds(Axes *axes, const Config *config, const ConfigNode *seeds, Err *err)
{
    int64_t count;
    if (!seeds || seeds->kind == CONFIG_NULL)
        return true;
    if (!room_for(axes, config, seeds, err))
        return false;
    bool number = seeds->kind == CONFIG_SCALAR && text_to_int(seeds->text, &count) && count > 0 &&
                  count <= STUDY_MAX_TRIALS;
    if (!number && (seeds->kind != CONFIG_LIST || seeds->count == 0))
        return config_error(config, seeds, err, "a list of seeds is wanted, or how many");
    Axis *axis = axes_new(axes, 1, number ? (int)count : (int)seeds->count);
    axis->keys[0] = mem_string("seed");
    for (int row = 0; row < axis->rows; row++) {
        char text[24];
        snprintf(text, sizeof text, "%d", row + 1);
        axis->cells[row] = number ? mem_string(text) : node_text(seeds->children[row], false);
    }
    return true;
}
