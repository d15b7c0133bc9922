/* The config tree: nodes, where they came from, and messages that say so. */
#include "lockstep/config.h"
#include "config_tree.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <stdarg.h>
#include <string.h>

#define PATH_BYTES 256

ConfigNode *node_new(ConfigKind kind)
{
    ConfigNode *node = mem_new(ConfigNode);
    node->kind = kind;
    return node;
}

static void clear_content(ConfigNode *node)
{
    for (size_t i = 0; i < node->count; i++)
        node_free(node->children[i]);
    mem_free(node->children);
    mem_free(node->text);
    mem_free(node->source);
    node->children = NULL;
    node->text = node->source = NULL;
    node->count = node->capacity = 0;
    node->quoted = false;
}

void node_free(ConfigNode *node)
{
    if (!node)
        return;
    clear_content(node);
    mem_free(node->key);
    mem_free(node);
}

ConfigNode *node_append(ConfigNode *parent, ConfigNode *child)
{
    mem_grow(&parent->children, parent->count, &parent->capacity, sizeof(ConfigNode *));
    parent->children[parent->count++] = child;
    child->parent = parent;
    return child;
}

ConfigNode *node_scalar(const char *text, bool quoted)
{
    ConfigNode *node = node_new(CONFIG_SCALAR);
    node->text = mem_string(text);
    node->quoted = quoted;
    return node;
}

ConfigNode *node_copy(const ConfigNode *node)
{
    ConfigNode *copy = node_new(node->kind);
    copy->origin = node->origin;
    copy->line = node->line;
    copy->column = node->column;
    copy->quoted = node->quoted;
    copy->text = node->text ? mem_string(node->text) : NULL;
    copy->source = node->source ? mem_string(node->source) : NULL;
    for (size_t i = 0; i < node->count; i++) {
        const ConfigNode *child = node->children[i];
        ConfigNode *child_copy = node_append(copy, node_copy(child));
        child_copy->key = child->key ? mem_string(child->key) : NULL;
        child_copy->key_line = child->key_line;
        child_copy->key_column = child->key_column;
    }
    return copy;
}

void node_set_origin(ConfigNode *node, ConfigOrigin origin, const char *source)
{
    node->origin = origin;
    mem_free(node->source);
    node->source = source ? mem_string(source) : NULL;
    node->line = node->column = node->key_line = node->key_column = 0;
    for (size_t i = 0; i < node->count; i++)
        node_set_origin(node->children[i], origin, source);
}

void node_replace(ConfigNode *node, ConfigNode *value)
{
    clear_content(node);
    node->kind = value->kind;
    node->origin = value->origin;
    node->line = value->line;
    node->column = value->column;
    node->text = value->text;
    node->source = value->source;
    node->quoted = value->quoted;
    node->children = value->children;
    node->count = value->count;
    node->capacity = value->capacity;
    for (size_t i = 0; i < node->count; i++)
        node->children[i]->parent = node;
    mem_free(value->key);
    mem_free(value);
}

void config_free(Config *config)
{
    node_free(config->root);
    mem_free(config->file);
    *config = (Config){ 0 };
}

ConfigNode *config_get(const ConfigNode *node, const char *key)
{
    if (!node || node->kind != CONFIG_MAP)
        return NULL;
    for (size_t i = 0; i < node->count; i++)
        if (strcmp(node->children[i]->key, key) == 0)
            return node->children[i];
    return NULL;
}

ConfigNode *config_section(ConfigNode *node, const char *key)
{
    ConfigNode *child = config_get(node, key);
    if (!child) {
        child = node_append(node, node_new(CONFIG_MAP));
        child->key = mem_string(key);
    } else if (child->kind == CONFIG_NULL)
        child->kind = CONFIG_MAP;
    return child;
}

/* A scalar that an override had to make a map of, when only its reader knows the first option's
 * name, waits under the key "". The parser lets no empty key in. */
static void name_waiting_scalar(ConfigNode *map, const char *first)
{
    ConfigNode *waiting = config_get(map, "");
    if (!waiting)
        return;
    if (config_get(map, first)) {
        config_remove(waiting);
        return;
    }
    mem_free(waiting->key);
    waiting->key = mem_string(first);
}

void config_as_map(ConfigNode *node, const char *first)
{
    if (node->kind == CONFIG_MAP)
        name_waiting_scalar(node, first);
    if (node->kind == CONFIG_NULL)
        node->kind = CONFIG_MAP;
    if (node->kind != CONFIG_SCALAR)
        return;
    ConfigNode *map = node_new(CONFIG_MAP);
    map->origin = node->origin;
    map->line = node->line;
    map->column = node->column;
    map->source = node->source ? mem_string(node->source) : NULL;
    ConfigNode *value = node_append(map, node_copy(node));
    value->key = mem_string(first);
    value->key_line = node->line;
    value->key_column = node->column;
    node_replace(node, map);
}

void config_remove(ConfigNode *child)
{
    ConfigNode *parent = child->parent;
    size_t place = 0;
    while (parent->children[place] != child)
        place++;
    parent->count--;
    memmove(&parent->children[place], &parent->children[place + 1],
            (parent->count - place) * sizeof(ConfigNode *));
    node_free(child);
}

static size_t index_in_parent(const ConfigNode *node)
{
    for (size_t i = 0; i < node->parent->count; i++)
        if (node->parent->children[i] == node)
            return i;
    return 0;
}

/* A key of the file as part of a path: odd keys are quoted. */
static void append_key(char *buffer, size_t size, const char *key)
{
    char quoted[PATH_BYTES];
    size_t plain = strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    bool odd = key[plain] != '\0' || plain > 40;
    text_append(buffer, size, "%s", odd ? text_quoted(quoted, sizeof quoted, key) : key);
}

static void append_path(const ConfigNode *node, char *buffer, size_t size)
{
    if (!node->parent)
        return;
    append_path(node->parent, buffer, size);
    if (!node->key)
        text_append(buffer, size, "[%zu]", index_in_parent(node));
    else if (*node->key) {
        text_append(buffer, size, "%s", *buffer ? "." : "");
        append_key(buffer, size, node->key);
    }
}

char *config_path(const ConfigNode *node, char *buffer, size_t size)
{
    snprintf(buffer, size, "%s", "");
    append_path(node, buffer, size);
    return buffer;
}

/* A command line argument or variable name, as it is unless it is long or not printable. */
static const char *printable(const char *source, char *buffer, size_t size)
{
    size_t plain = 0;
    while ((unsigned char)source[plain] >= 0x20 && source[plain] != 0x7f)
        plain++;
    return source[plain] == '\0' && plain < 200 ? source : text_quoted(buffer, size, source);
}

static char *place_of(const Config *config, const ConfigNode *node, bool at_key, char *buffer,
                      size_t size)
{
    while (node->origin == ORIGIN_DEFAULT && node->parent) { /* a default stands where its map is */
        node = node->parent;
        at_key = true;
    }
    int line = at_key && node->key_line ? node->key_line : node->line;
    int column = at_key && node->key_line ? node->key_column : node->column;
    char quoted[PATH_BYTES];
    if (node->origin == ORIGIN_COMMAND && node->source)
        snprintf(buffer, size, "command line: %s", printable(node->source, quoted, sizeof quoted));
    else if (node->origin == ORIGIN_ENV && node->source)
        snprintf(buffer, size, "environment: %s", printable(node->source, quoted, sizeof quoted));
    else if (line > 0)
        snprintf(buffer, size, "%s:%d:%d", config->file, line, column);
    else
        snprintf(buffer, size, "%s", config->file);
    return buffer;
}

char *config_place(const Config *config, const ConfigNode *node, char *buffer, size_t size)
{
    return place_of(config, node, false, buffer, size);
}

/* "<place>: <path>: ", without the path where the command line has just said it. */
static void start_message(const Config *config, const ConfigNode *node, bool at_key, Err *err)
{
    char path[PATH_BYTES];
    config_path(node, path, sizeof path);
    place_of(config, node, at_key, err->text, sizeof err->text);
    bool said = node->origin == ORIGIN_COMMAND && node->source &&
                strncmp(node->source, path, strlen(path)) == 0 && node->source[strlen(path)] == '=';
    text_append(err->text, sizeof err->text, "%s%s: ", *path && !said ? ": " : "",
                said ? "" : path);
}

bool config_error(const Config *config, const ConfigNode *node, Err *err, const char *format, ...)
{
    if (!err)
        return false;
    char text[sizeof err->text];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    start_message(config, node, false, err);
    text_append(err->text, sizeof err->text, "%s", text);
    err_tidy(err);
    return false;
}

bool config_unknown(const Config *config, const ConfigNode *node, bool at_key, const char *what,
                    const char *plural, const char *const *names, size_t count, Err *err)
{
    if (!err)
        return false;
    char quoted[PATH_BYTES];
    const char *word = at_key ? node->key : node->text;
    const char *nearest = text_nearest(word ? word : "", names, count);
    start_message(config, node, at_key, err);
    text_append(err->text, sizeof err->text, "unknown %s", what);
    if (!at_key)
        text_append(err->text, sizeof err->text, " %s",
                    text_quoted(quoted, sizeof quoted, word ? word : ""));
    if (nearest)
        text_append(err->text, sizeof err->text, "; did you mean \"%s\"?", nearest);
    text_append(err->text, sizeof err->text, " (%s:", plural);
    for (size_t i = 0; i < count; i++)
        text_append(err->text, sizeof err->text, "%s %s", i ? "," : "", names[i]);
    text_append(err->text, sizeof err->text, "%s)", count ? "" : " none");
    err_tidy(err);
    return false;
}
