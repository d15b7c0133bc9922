/* What stands above the file: key=value arguments and LOCKSTEP_* variables. */
#include "config_tree.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "LOCKSTEP_"
#define NAME_BYTES 128

/* Where a setting comes from, for the nodes it makes and for messages. */
typedef struct Setter {
    const Config *config;
    ConfigOrigin origin;
    const char *source; /* "optimizer.lr=0.1" or "LOCKSTEP_OPTIMIZER_LR" */
    Err *err;
} Setter;

static bool fail(const Setter *setter, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static bool fail(const Setter *setter, const char *format, ...)
{
    Err text;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text.text, sizeof text.text, format, arguments);
    va_end(arguments);
    const ConfigNode place = { .origin = setter->origin, .source = mem_string(setter->source) };
    config_error(setter->config, &place, setter->err, "%s", text.text);
    mem_free(place.source);
    return false;
}

/* `- relu` becomes `- relu: {}`, for a path that goes on with `key`. */
static bool become_entry(const Setter *setter, ConfigNode *node, const char *key)
{
    char path[NAME_BYTES], quoted[NAME_BYTES];
    if (strcmp(node->text, key) != 0)
        return fail(setter, "%s is %s; it has no options of that name",
                    config_path(node, path, sizeof path),
                    text_quoted(quoted, sizeof quoted, node->text));
    ConfigNode *map = node_new(CONFIG_MAP);
    map->origin = node->origin;
    map->line = node->line;
    map->column = node->column;
    ConfigNode *options = config_section(map, key);
    options->origin = map->origin;
    options->line = map->line;
    options->column = map->column;
    node_replace(node, map);
    return true;
}

/* Makes `node` ready to have a child `key`. A scalar becomes its map's first option, whose name
 * only the reader knows below the top level (config_as_map); there the families call it "type". */
static bool become_map(const Setter *setter, ConfigNode *node, const char *key)
{
    char path[NAME_BYTES];
    if (node->kind == CONFIG_LIST)
        return fail(setter, "%s is a list of %zu; its entries are written [0], [1] and so on",
                    config_path(node, path, sizeof path), node->count);
    if (node->kind == CONFIG_SCALAR && !node->key)
        return become_entry(setter, node, key);
    if (node->kind == CONFIG_SCALAR)
        config_as_map(node, node->parent == setter->config->root ? "type" : "");
    if (node->kind == CONFIG_NULL)
        config_as_map(node, "");
    return true;
}

/* "units" at *path, which is moved behind it. */
static ConfigNode *step_to_key(const Setter *setter, ConfigNode *node, const char **path)
{
    size_t length = strcspn(*path, ".[]");
    if (length == 0 || length >= NAME_BYTES) {
        fail(setter, "a path like \"optimizer.lr\" or \"model.layers[2].dense.units\" is wanted");
        return NULL;
    }
    char key[NAME_BYTES];
    snprintf(key, sizeof key, "%.*s", (int)length, *path);
    *path += length;
    if (!become_map(setter, node, key))
        return NULL;
    ConfigNode *child = config_get(node, key);
    if (!child) {
        child = node_append(node, node_new(CONFIG_NULL));
        child->key = mem_string(key);
        node_set_origin(child, setter->origin, setter->source);
    }
    return child;
}

/* "[2]" at *path, which is moved behind it. */
static ConfigNode *step_to_index(const Setter *setter, ConfigNode *node, const char **path)
{
    char at[NAME_BYTES];
    config_path(node, at, sizeof at);
    char *end;
    unsigned long index = strtoul(*path + 1, &end, 10);
    if (!isdigit((unsigned char)(*path)[1]) || *end != ']') {
        fail(setter, "a list index like \"[2]\" is wanted");
        return NULL;
    }
    if (node->kind != CONFIG_LIST) {
        fail(setter, "%s is not a list", at);
        return NULL;
    }
    if (index >= node->count) {
        fail(setter, "index %lu is out of range, %s has %zu entries (counted from 0)", index, at,
             node->count);
        return NULL;
    }
    *path = end + 1;
    return node->children[index];
}

/* The node at `path`, made if it is missing, or NULL and a message. */
static ConfigNode *walk(const Setter *setter, const char *path)
{
    ConfigNode *node = setter->config->root;
    do {
        if (*path == '[')
            node = step_to_index(setter, node, &path);
        else
            node = step_to_key(setter, node, &path);
        if (node && *path != '\0' && *path != '[' && *path != '.') {
            fail(setter,
                 "a path like \"optimizer.lr\" or \"model.layers[2].dense.units\" is wanted");
            return NULL;
        }
        if (node && *path == '.')
            path++;
        else if (node && *path == '\0')
            return node;
    } while (node);
    return NULL;
}

static bool set(const Setter *setter, const char *path, const char *value_text)
{
    Err err;
    ConfigNode *value = value_parse(value_text, &err);
    if (!value)
        return fail(setter, "the value is %s", err.text);
    ConfigNode *node = walk(setter, path);
    if (!node) {
        node_free(value);
        return false;
    }
    node_set_origin(value, setter->origin, setter->source);
    node_replace(node, value);
    node->key_line = node->key_column = 0;
    return true;
}

bool config_override(Config *config, const char *assignment, Err *err)
{
    const Setter setter = { config, ORIGIN_COMMAND, assignment, err };
    const char *equals = strchr(assignment, '=');
    if (!equals || equals == assignment)
        return fail(&setter, "an option is written key=value, like optimizer.lr=0.1");
    size_t length = (size_t)(equals - assignment);
    char *path = mem_string(assignment);
    path[length] = '\0';
    bool ok = set(&setter, path, equals + 1);
    mem_free(path);
    return ok;
}

/* "optimizer.lr" -> "LOCKSTEP_OPTIMIZER_LR" */
static char *variable_name(const char *path, char *buffer, size_t size)
{
    snprintf(buffer, size, PREFIX "%s", path);
    for (char *c = buffer; *c; c++)
        *c = *c == '.' ? '_' : (char)toupper((unsigned char)*c);
    return buffer;
}

static bool is_ignored(const char *name, const char *const *ignored)
{
    for (; ignored && *ignored; ignored++)
        if (strcmp(name, *ignored) == 0)
            return true;
    return false;
}

static bool unknown_variable(const Setter *setter, const char *const *known, size_t known_count)
{
    char *names = mem_alloc((known_count + 1) * NAME_BYTES);
    const char **pointers = mem_array(const char *, known_count);
    for (size_t i = 0; i < known_count; i++)
        pointers[i] = variable_name(known[i], names + i * NAME_BYTES, NAME_BYTES);
    const char *nearest = text_nearest(setter->source, pointers, known_count);
    if (nearest)
        fail(setter, "unknown variable; did you mean %s?", nearest);
    else
        fail(setter, "unknown variable; LOCKSTEP_OPTIMIZER_LR stands for optimizer.lr, and so on");
    mem_free(names);
    mem_free(pointers);
    return false;
}

/* One LOCKSTEP_NAME=value of the environment. */
static bool apply_variable(Config *config, const char *entry, const char *const *known,
                           size_t known_count, const char *const *ignored, Err *err)
{
    char candidate[NAME_BYTES];
    size_t length = strcspn(entry, "=");
    char *name = mem_string(entry);
    name[length] = '\0';
    const Setter setter = { config, ORIGIN_ENV, name, err };
    const char *path = NULL;
    for (size_t i = 0; i < known_count && !path; i++)
        if (strcmp(variable_name(known[i], candidate, sizeof candidate), name) == 0)
            path = known[i];
    bool ok = true;
    if (path)
        ok = set(&setter, path, entry[length] == '=' ? entry + length + 1 : "");
    else if (!is_ignored(name, ignored))
        ok = unknown_variable(&setter, known, known_count);
    mem_free(name);
    return ok;
}

bool config_environment(Config *config, char *const *environment, const char *const *known,
                        size_t known_count, const char *const *ignored, Err *err)
{
    for (; *environment; environment++)
        if (strncmp(*environment, PREFIX, strlen(PREFIX)) == 0 &&
            !apply_variable(config, *environment, known, known_count, ignored, err))
            return false;
    return true;
}
