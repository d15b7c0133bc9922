/* The config tree as YAML that reads back as itself.
 *
 * Maps are printed one key a line; lists of scalars on one line; strings that YAML would read as
 * something else, or that hold anything unusual, between double quotes. */
#include "config_tree.h"
#include "lockstep/text.h"

#include <stdarg.h>
#include <string.h>

#define ORIGIN_COLUMN 40
#define FLOW_MAX 64 /* characters of a list on one line */

typedef struct Printer {
    const Config *config;
    FILE *out;
    bool origins;
    int column; /* characters of this line so far */
} Printer;

static void print_map(Printer *printer, const ConfigNode *map, int indent, bool started);
static void print_list(Printer *printer, const ConfigNode *list, int indent);

static void put(Printer *printer, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(Printer *printer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printer->column += vfprintf(printer->out, format, arguments);
    va_end(arguments);
}

/* A file name in a comment must stay on its line. */
static void put_name(Printer *printer, const char *name)
{
    for (; *name; name++)
        put(printer, "%c", (unsigned char)*name < 0x20 ? '?' : *name);
}

static void put_origin(Printer *printer, const ConfigNode *node)
{
    const char *name = node->source ? node->source : "";
    put(printer, "%*s  # ", ORIGIN_COLUMN > printer->column ? ORIGIN_COLUMN - printer->column : 0,
        "");
    switch (node->origin) {
    case ORIGIN_DEFAULT:
        put(printer, "default");
        break;
    case ORIGIN_FILE:
        put_name(printer, printer->config->file);
        put(printer, ":%d", node->line);
        break;
    case ORIGIN_ENV:
        put(printer, "%s", name);
        break;
    case ORIGIN_COMMAND:
        put(printer, "command line");
        break;
    }
}

static void end_line(Printer *printer, const ConfigNode *node)
{
    if (node && printer->origins)
        put_origin(printer, node);
    fputc('\n', printer->out);
    printer->column = 0;
}

/* Whether YAML reads `text` back as this very string without quotes, anywhere in a line or list. */
static bool is_plain(const char *text)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_/0123456789";
    bool sign = *text == '-' || *text == '+' || *text == '.';
    if (plain_is_null(text) || (!sign && !strchr(letters, *text)))
        return false;
    if (sign &&
        (text[1] == '\0' || !strchr("0123456789./", text[1]) || strncmp(text, "..", 2) == 0))
        return false;
    for (const char *c = text + 1; *c; c++)
        if (!strchr(letters, *c) && !strchr(".-+*()%^", *c))
            return false;
    return true;
}

static void put_quoted(Printer *printer, const char *text)
{
    size_t bytes = strlen(text);
    put(printer, "\"");
    for (size_t i = 0; i < bytes;) {
        uint32_t code = 0;
        size_t length = text_utf8(text + i, bytes - i, &code);
        if (length == 0) /* the parser lets only UTF-8 in; a file name may be anything */
            put(printer, "\\x%02x", (unsigned char)text[i]);
        else if (code == '"' || code == '\\')
            put(printer, "\\%c", (char)code);
        else if (code < 0x20 || (code >= 0x7f && code < 0xa0))
            put(printer, "\\x%02x", (unsigned)code);
        else if (code == 0x2028 || code == 0x2029 || code == 0xfeff || code >= 0xfffe)
            put(printer, "\\U%08x", (unsigned)code);
        else
            put(printer, "%.*s", (int)length, text + i);
        i += length ? length : 1;
    }
    put(printer, "\"");
}

static void put_string(Printer *printer, const char *text, bool quoted)
{
    if (!quoted && is_plain(text))
        put(printer, "%s", text);
    else
        put_quoted(printer, text);
}

static void put_scalar(Printer *printer, const ConfigNode *node)
{
    if (node->kind == CONFIG_NULL)
        put(printer, "null");
    else
        put_string(printer, node->text, node->quoted);
}

/* Fits on one line: a scalar, an empty map or list, a short list of scalars of one origin. */
static bool is_inline(const ConfigNode *node)
{
    size_t characters = 2;
    if (node->kind == CONFIG_MAP)
        return node->count == 0;
    for (size_t i = 0; i < node->count; i++) {
        const ConfigNode *child = node->children[i];
        if (child->kind == CONFIG_MAP || child->kind == CONFIG_LIST ||
            child->origin != node->origin)
            return false;
        characters += 2 + (child->text ? strlen(child->text) : 4);
    }
    return node->count == 0 || characters <= FLOW_MAX;
}

/* On one line, whatever it is. */
static void put_inline(Printer *printer, const ConfigNode *node)
{
    bool map = node->kind == CONFIG_MAP;
    if (!map && node->kind != CONFIG_LIST) {
        put_scalar(printer, node);
        return;
    }
    put(printer, map ? "{" : "[");
    for (size_t i = 0; i < node->count; i++) {
        put(printer, "%s", i ? ", " : "");
        if (map) {
            put_string(printer, node->children[i]->key, false);
            put(printer, ": ");
        }
        put_inline(printer, node->children[i]);
    }
    put(printer, map ? "}" : "]");
}

/* `started`: the first key continues a line that begins with "- ". */
static void print_map(Printer *printer, const ConfigNode *map, int indent, bool started)
{
    for (size_t i = 0; i < map->count; i++) {
        const ConfigNode *child = map->children[i];
        put(printer, "%*s", started && i == 0 ? 0 : indent, "");
        put_string(printer, child->key, false);
        put(printer, ":");
        if (is_inline(child)) {
            put(printer, " ");
            put_inline(printer, child);
            end_line(printer, child);
            continue;
        }
        end_line(printer, NULL);
        if (child->kind == CONFIG_MAP)
            print_map(printer, child, indent + 2, false);
        else
            print_list(printer, child, indent + 2);
    }
}

static void print_list(Printer *printer, const ConfigNode *list, int indent)
{
    for (size_t i = 0; i < list->count; i++) {
        const ConfigNode *child = list->children[i];
        put(printer, "%*s-", indent, "");
        if (is_inline(child)) {
            put(printer, " ");
            put_inline(printer, child);
            end_line(printer, child);
        } else if (child->kind == CONFIG_MAP) {
            put(printer, " ");
            print_map(printer, child, indent + 2, true);
        } else {
            end_line(printer, NULL);
            print_list(printer, child, indent + 2);
        }
    }
}

void config_print(const Config *config, FILE *out, bool origins)
{
    Printer printer = { .config = config, .out = out, .origins = origins };
    if (config->root->count == 0)
        put(&printer, "{}\n");
    print_map(&printer, config->root, 0, false);
}

void config_print_value(const ConfigNode *node, FILE *out)
{
    Printer printer = { .out = out };
    put_inline(&printer, node);
}
