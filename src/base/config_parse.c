/* YAML text to config tree, from libfyaml's events. The file is hostile: its bytes, nesting, nodes
 * and expanded aliases are all bounded, and libfyaml's own words reach the user only as part of our
 * one message. */
#include "config_tree.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <libfyaml.h>
#include <stdarg.h>
#include <string.h>

typedef struct Anchor {
    char *name;
    const ConfigNode *node; /* borrowed from the tree */
} Anchor;

typedef struct Parser {
    const char *file; /* NULL: a value of the command line, whose messages have no place */
    struct fy_parser *fy;
    struct fy_diag *diag;
    const char *text;
    size_t length;
    Anchor *anchors;
    size_t anchor_count, anchor_capacity;
    size_t nodes, bytes; /* in the tree so far */
    int line, column;    /* of the last event that had a place */
    Err *err;
} Parser;

static ConfigNode *parse_node(Parser *parser, struct fy_event *event, int depth);

/* ---- messages ---- */

static bool fail(Parser *parser, int line, int column, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static bool fail(Parser *parser, int line, int column, const char *format, ...)
{
    char text[sizeof parser->err->text];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (!parser->file)
        return err_set(parser->err, "%s", text);
    return err_set(parser->err, "%s:%d:%d: %s", parser->file, line, column, text);
}

/* Start of an event, 1-based. libfyaml gives none for implicit events (the last place is as near
 * as we get), and for quoted scalars and aliases the character behind the quote or star. */
static void position(Parser *parser, struct fy_event *event, int *line, int *column)
{
    const struct fy_mark *mark = fy_event_start_mark(event);
    if (mark) {
        parser->line = mark->line + 1;
        parser->column = mark->column + 1;
    }
    *line = parser->line;
    *column = parser->column;
    bool marked = event->type == FYET_ALIAS || event->type == FYET_SCALAR;
    if (mark && marked && mark->column > 0 && mark->input_pos <= parser->length &&
        strchr("\"'*", parser->text[mark->input_pos - 1]))
        *column -= 1;
}

static bool fail_event(Parser *parser, struct fy_event *event, const char *message)
{
    int line, column;
    position(parser, event, &line, &column);
    return fail(parser, line, column, "%s", message);
}

/* libfyaml's first complaint. Tabs are said in our own words: it sees them as many things. */
static bool fail_syntax(Parser *parser)
{
    void *iterator = NULL;
    const struct fy_diag_error *found = fy_diag_errors_iterate(parser->diag, &iterator);
    if (!found)
        return fail(parser, 1, 1, "not YAML 1.2");
    int line = found->line > 0 ? found->line : 1;
    int column = found->column > 0 ? found->column : 1;
    int tab = text_tab(parser->text, parser->length, line);
    if (tab)
        return fail(parser, line, tab, "a tab in the indentation; YAML wants spaces");
    return fail(parser, line, column, "not YAML: %s", found->msg);
}

/* A copy of a token's text; false if it holds what a C string cannot. */
static bool token_string(struct fy_token *token, char **string)
{
    size_t length = 0;
    const char *text = token ? fy_token_get_text(token, &length) : "";
    uint32_t code;
    for (size_t i = 0; text && i < length;) {
        size_t bytes = text_utf8(text + i, length - i, &code);
        if (bytes == 0 || code == 0)
            return false;
        i += bytes;
    }
    *string = mem_alloc(length + 1);
    if (text)
        memcpy(*string, text, length);
    return true;
}

/* libfyaml 0.7.12 takes 'a''''b' for a string of the wrong characters. */
static bool quotes_meet(const Parser *parser, struct fy_token *token)
{
    if (!token || fy_token_scalar_style(token) != FYSS_SINGLE_QUOTED)
        return false;
    size_t first = fy_token_start_mark(token)->input_pos;
    size_t last = fy_token_end_mark(token)->input_pos;
    return first < last && last <= parser->length &&
           memmem(parser->text + first, last - first, "''''", 4);
}

static const char meeting_quotes[] = "doubled quotes in a row in '...'; write it as \"...\"";

/* ---- the tree ---- */

static bool spend(Parser *parser, struct fy_event *event, size_t nodes, size_t bytes)
{
    parser->nodes += nodes;
    parser->bytes += bytes;
    if (parser->nodes > CONFIG_MAX_NODES)
        return fail_event(parser, event, "the file has more than 20000 values (aliases expanded)");
    if (parser->bytes > 2 * CONFIG_MAX_BYTES)
        return fail_event(parser, event, "the file has more than 2 MiB of text (aliases expanded)");
    return true;
}

static void measure(const ConfigNode *node, size_t *nodes, size_t *bytes, int *depth)
{
    int deepest = 0;
    *nodes += 1;
    *bytes += (node->text ? strlen(node->text) : 0) + (node->key ? strlen(node->key) : 0);
    for (size_t i = 0; i < node->count; i++) {
        int child_depth = 0;
        measure(node->children[i], nodes, bytes, &child_depth);
        deepest = child_depth > deepest ? child_depth : deepest;
    }
    *depth = deepest + 1;
}

static ConfigNode *parse_alias(Parser *parser, struct fy_event *event, int depth)
{
    char *name = NULL;
    char quoted[256], message[320];
    const ConfigNode *found = NULL;
    if (!token_string(fy_event_get_token(event), &name)) {
        fail_event(parser, event, "a broken alias");
        return NULL;
    }
    for (size_t i = parser->anchor_count; i > 0 && !found; i--)
        if (strcmp(parser->anchors[i - 1].name, name) == 0)
            found = parser->anchors[i - 1].node;
    snprintf(message, sizeof message, "alias %s has no anchor before it",
             text_quoted(quoted, sizeof quoted, name));
    mem_free(name);
    if (!found) {
        fail_event(parser, event, message);
        return NULL;
    }
    size_t nodes = 0;
    size_t bytes = 0;
    int levels = 0;
    measure(found, &nodes, &bytes, &levels);
    if (!spend(parser, event, nodes, bytes))
        return NULL;
    if (depth + levels > CONFIG_MAX_DEPTH) {
        fail_event(parser, event, "nested more than 100 levels deep");
        return NULL;
    }
    return node_copy(found);
}

static ConfigNode *parse_scalar(Parser *parser, struct fy_event *event)
{
    struct fy_token *token = fy_event_get_token(event);
    char *text = NULL;
    if (quotes_meet(parser, token)) {
        fail_event(parser, event, meeting_quotes);
        return NULL;
    }
    if (!token_string(token, &text)) {
        fail_event(parser, event, "a string with a NUL character or broken UTF-8");
        return NULL;
    }
    ConfigNode *node = node_new(CONFIG_SCALAR);
    node->text = text;
    node->quoted = token && fy_token_scalar_style(token) != FYSS_PLAIN;
    if (!node->quoted && plain_is_null(text)) {
        node->kind = CONFIG_NULL;
        mem_free(node->text);
        node->text = NULL;
    }
    if (!spend(parser, event, 1, node->text ? strlen(node->text) : 0)) {
        node_free(node);
        return NULL;
    }
    return node;
}

static ConfigNode *parse_list(Parser *parser, int depth)
{
    ConfigNode *list = node_new(CONFIG_LIST);
    for (;;) {
        struct fy_event *event = fy_parser_parse(parser->fy);
        bool end = event && event->type == FYET_SEQUENCE_END;
        ConfigNode *child = event && !end ? parse_node(parser, event, depth + 1) : NULL;
        if (!event)
            fail_syntax(parser);
        fy_parser_event_free(parser->fy, event);
        if (end)
            return list;
        if (!child) {
            node_free(list);
            return NULL;
        }
        node_append(list, child);
    }
}

/* Checks a key and returns it (owned), or NULL. */
static char *parse_key(Parser *parser, struct fy_event *event, const ConfigNode *map)
{
    char *key = NULL;
    char quoted[256], message[320] = "";
    if (event->type != FYET_SCALAR || fy_event_get_anchor_token(event) ||
        fy_event_get_tag_token(event))
        snprintf(message, sizeof message, "a key must be plain text");
    else if (quotes_meet(parser, fy_event_get_token(event)))
        snprintf(message, sizeof message, "%s", meeting_quotes);
    else if (!token_string(fy_event_get_token(event), &key) || *key == '\0')
        snprintf(message, sizeof message, "an empty or broken key");
    else if (strcmp(key, "<<") == 0)
        snprintf(message, sizeof message, "merge keys (<<) are not part of YAML 1.2");
    const ConfigNode *twin = *message ? NULL : config_get(map, key);
    if (twin)
        snprintf(message, sizeof message, "%s is given twice; first in line %d",
                 text_quoted(quoted, sizeof quoted, key), twin->key_line);
    if (!*message && spend(parser, event, 0, strlen(key)))
        return key;
    if (*message)
        fail_event(parser, event, message);
    mem_free(key);
    return NULL;
}

/* One key and its value; the end of the map sets *end. */
static bool parse_pair(Parser *parser, ConfigNode *map, int depth, bool *end)
{
    struct fy_event *event = fy_parser_parse(parser->fy);
    if (!event)
        return fail_syntax(parser);
    *end = event->type == FYET_MAPPING_END;
    char *key = *end ? NULL : parse_key(parser, event, map);
    int line, column;
    position(parser, event, &line, &column);
    fy_parser_event_free(parser->fy, event);
    if (!key)
        return *end;
    event = fy_parser_parse(parser->fy);
    ConfigNode *value = event ? parse_node(parser, event, depth + 1) : NULL;
    if (!event)
        fail_syntax(parser);
    fy_parser_event_free(parser->fy, event);
    if (!value) {
        mem_free(key);
        return false;
    }
    value->key = key;
    value->key_line = line;
    value->key_column = column;
    if (value->kind == CONFIG_NULL) { /* its place may be the next line */
        value->line = line;
        value->column = column;
    }
    node_append(map, value);
    return true;
}

static ConfigNode *parse_map(Parser *parser, int depth)
{
    ConfigNode *map = node_new(CONFIG_MAP);
    bool end = false;
    while (!end) {
        if (!parse_pair(parser, map, depth, &end)) {
            node_free(map);
            return NULL;
        }
    }
    return map;
}

static bool remember_anchor(Parser *parser, struct fy_event *event, const ConfigNode *node)
{
    struct fy_token *token = fy_event_get_anchor_token(event);
    char *name = NULL;
    if (!token)
        return true;
    if (!token_string(token, &name))
        return fail_event(parser, event, "a broken anchor");
    mem_grow(&parser->anchors, parser->anchor_count, &parser->anchor_capacity, sizeof(Anchor));
    parser->anchors[parser->anchor_count++] = (Anchor){ .name = name, .node = node };
    return true;
}

/* The node that `event` begins, or NULL and a message. */
static ConfigNode *parse_node(Parser *parser, struct fy_event *event, int depth)
{
    ConfigNode *node = NULL;
    int line, column;
    position(parser, event, &line, &column);
    bool collection = event->type == FYET_MAPPING_START || event->type == FYET_SEQUENCE_START;
    if (event->type != FYET_ALIAS && fy_event_get_tag_token(event)) {
        fail_event(parser, event, "tags (!!int, !name) are not used here");
        return NULL;
    }
    if (collection && depth >= CONFIG_MAX_DEPTH) {
        fail_event(parser, event, "nested more than 100 levels deep");
        return NULL;
    }
    if (collection && !spend(parser, event, 1, 0))
        return NULL;
    if (event->type == FYET_ALIAS)
        node = parse_alias(parser, event, depth);
    else if (event->type == FYET_SCALAR)
        node = parse_scalar(parser, event);
    else if (event->type == FYET_SEQUENCE_START)
        node = parse_list(parser, depth);
    else if (event->type == FYET_MAPPING_START)
        node = parse_map(parser, depth);
    else
        fail_event(parser, event, "a value is missing");
    if (!node)
        return NULL;
    node->origin = ORIGIN_FILE;
    node->line = line;
    node->column = column;
    if (event->type != FYET_ALIAS && !remember_anchor(parser, event, node)) {
        node_free(node);
        return NULL;
    }
    return node;
}

/* The stream's only document; *root stays NULL if there is none. */
static bool parse_stream(Parser *parser, ConfigNode **root)
{
    for (;;) {
        struct fy_event *event = fy_parser_parse(parser->fy);
        if (!event)
            return fail_syntax(parser);
        enum fy_event_type type = event->type;
        bool frame = type == FYET_STREAM_START || type == FYET_DOCUMENT_START ||
                     type == FYET_DOCUMENT_END || type == FYET_STREAM_END;
        bool ok = true;
        if (!frame && *root)
            ok = fail_event(parser, event, "a second document; one is wanted");
        else if (!frame)
            ok = (*root = parse_node(parser, event, 0)) != NULL;
        fy_parser_event_free(parser->fy, event);
        if (!ok)
            return false;
        if (type == FYET_STREAM_END)
            return true;
    }
}

/* A diag object that keeps messages to itself. */
static struct fy_diag *silent_diag(void)
{
    struct fy_diag_cfg config;
    fy_diag_cfg_default(&config);
    config.fp = NULL;
    config.level = FYET_ERROR;
    struct fy_diag *diag = fy_diag_create(&config);
    expect(diag);
    fy_diag_set_collect_errors(diag, true);
    return diag;
}

/* True and a tree (or NULL for text without any value) in *root; or false and a message. */
static bool parse_text(const char *file, const char *text, size_t length, ConfigNode **root,
                       Err *err)
{
    Err unheard;
    Parser parser = { .file = file,
                      .text = text,
                      .length = length,
                      .line = 1,
                      .column = 1,
                      .err = err ? err : &unheard };
    *root = NULL;
    if (length > CONFIG_MAX_BYTES)
        return fail(&parser, 1, 1, "%zu bytes; a config has at most %zu", length, CONFIG_MAX_BYTES);
    Err fault;
    int line, column;
    if (!text_check(text, length, &line, &column, &fault))
        return fail(&parser, line, column, "%s", fault.text);
    parser.diag = silent_diag();
    const struct fy_parse_cfg config = { .flags = FYPCF_DEFAULT_VERSION_1_2 | FYPCF_JSON_NONE |
                                                  FYPCF_DISABLE_DEPTH_LIMIT,
                                         .diag = parser.diag };
    parser.fy = fy_parser_create(&config);
    expect(parser.fy && fy_parser_set_string(parser.fy, text, length) == 0);
    bool ok = parse_stream(&parser, root);
    fy_parser_destroy(parser.fy);
    fy_diag_destroy(parser.diag);
    for (size_t i = 0; i < parser.anchor_count; i++)
        mem_free(parser.anchors[i].name);
    mem_free(parser.anchors);
    if (!ok) {
        node_free(*root);
        *root = NULL;
    }
    return ok;
}

/* ---- the module's functions ---- */

bool plain_is_null(const char *text)
{
    return *text == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 ||
           strcmp(text, "Null") == 0 || strcmp(text, "NULL") == 0;
}

ConfigNode *value_parse(const char *text, Err *err)
{
    ConfigNode *root = NULL;
    if (!parse_text(NULL, text, strlen(text), &root, err))
        return NULL;
    if (root)
        return root;
    return node_new(CONFIG_NULL);
}

bool config_parse(Config *config, const char *file, const char *text, size_t length, Err *err)
{
    *config = (Config){ .file = mem_string(file) };
    if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* byte order mark */
        text += 3;
        length -= 3;
    }
    ConfigNode *root = NULL;
    if (!parse_text(file, text, length, &root, err))
        return false;
    if (root && root->kind == CONFIG_MAP) {
        config->root = root;
        return true;
    }
    const char *found = !root || root->kind == CONFIG_NULL ? "nothing"
                        : root->kind == CONFIG_LIST        ? "a list"
                                                           : "one value";
    int line = root ? root->line : 1;
    int column = root ? root->column : 1;
    node_free(root);
    return err_set(err, "%s:%d:%d: a map of options is wanted (train: ...), found %s", file, line,
                   column, found);
}
