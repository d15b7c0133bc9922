/* Option tables: maps of the config tree become C structs, and the reverse of it, what a table says
 * about itself in messages. */
#include "config_tree.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <limits.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#define NAMES_MAX 128  /* options of a table and names of `other` */
#define CHOICES_MAX 32 /* of one option */
#define MESSAGE_BYTES 512
#define LARGE 1e9 /* bounds that only keep arithmetic safe are not worth a reader's time */

typedef struct Reader {
    const Config *config;
    const Option *option;
    void *member; /* of the struct that is filled */
    Err *err;
} Reader;

static void *member_of(const Option *option, void *out)
{
    return (char *)out + option->offset;
}

/* ---- what a table accepts, in words ---- */

/* Cuts "a|b|c" into words that point into `buffer`; returns how many. */
static size_t split_choices(const char *choices, char *buffer, size_t size,
                            const char *words[CHOICES_MAX])
{
    size_t count = 0;
    snprintf(buffer, size, "%s", choices);
    for (char *word = buffer; word && count < CHOICES_MAX;) {
        char *bar = strchr(word, '|');
        if (bar)
            *bar = '\0';
        words[count++] = word;
        word = bar ? bar + 1 : NULL;
    }
    return count;
}

static bool has_bounds(const Option *option)
{
    return option->min < option->max || option->min > option->max ||
           fabs(option->min) > 0.0; /* min == max == 0 says none */
}

static char *number_text(double value, char *buffer, size_t size)
{
    bool whole = value == floor(value) && fabs(value) < 1e16;
    snprintf(buffer, size, whole ? "%.0f" : "%.6g", value);
    return buffer;
}

/* "1 to 1048576", "at least 1", "at most 5", ""; a bound of `endless` and more is none. */
static void append_range(const Option *option, double endless, const char *before, char *buffer,
                         size_t size)
{
    char low[32], high[32];
    number_text(option->min, low, sizeof low);
    number_text(option->max, high, sizeof high);
    bool open_below = option->min <= -endless;
    bool open_above = option->max >= endless;
    if (open_above && !open_below)
        text_append(buffer, size, "%sat least %s", before, low);
    else if (open_below && !open_above)
        text_append(buffer, size, "%sat most %s", before, high);
    else if (!open_below)
        text_append(buffer, size, "%s%s to %s", before, low, high);
}

static const char *type_text(OptionType type)
{
    static const char *const texts[] = {
        [OPTION_INT] = "a whole number",
        [OPTION_FLOAT] = "a number",
        [OPTION_BOOL] = "true or false",
        [OPTION_STRING] = "text",
        [OPTION_CHOICE] = "one of",
        [OPTION_SPAN] = "steps, epochs or samples, like 500st, 5ep, 100000sa",
        [OPTION_FLOATS] = "a number or a list of numbers",
        [OPTION_NODE] = "a map or a list",
    };
    return texts[type];
}

char *option_wanted(const Option *option, char *buffer, size_t size)
{
    char text[MESSAGE_BYTES];
    const char *words[CHOICES_MAX];
    snprintf(buffer, size, "%s", option->type == OPTION_CHOICE ? "" : type_text(option->type));
    if (option->type == OPTION_CHOICE) {
        size_t count = split_choices(option->choices, text, sizeof text, words);
        for (size_t i = 0; i < count; i++)
            text_append(buffer, size, "%s%s",
                        i == 0          ? ""
                        : i + 1 < count ? ", "
                                        : " or ",
                        words[i]);
    } else if (has_bounds(option) && option->type != OPTION_SPAN)
        append_range(option, LARGE, ", ", buffer, size);
    return buffer;
}

/* ---- values ---- */

static bool wrong_type(const Reader *reader, const ConfigNode *node, const char *wanted)
{
    char quoted[256];
    if (node->kind == CONFIG_MAP || node->kind == CONFIG_LIST)
        return config_error(reader->config, node, reader->err, "%s is wanted, found a %s", wanted,
                            node->kind == CONFIG_MAP ? "map" : "list");
    return config_error(reader->config, node, reader->err, "%s is not %s%s",
                        node->text ? text_quoted(quoted, sizeof quoted, node->text) : "null",
                        wanted, node->quoted ? " (it is quoted, so it is text)" : "");
}

static bool out_of_range(const Reader *reader, const ConfigNode *node)
{
    char range[128] = "";
    if (has_bounds(reader->option))
        append_range(reader->option, (double)INFINITY, "", range, sizeof range);
    else
        snprintf(range, sizeof range, "%d to %d", INT_MIN, INT_MAX);
    return config_error(reader->config, node, reader->err, "%.40s is out of range, wanted %s",
                        node->text, range);
}

static bool check_range(const Reader *reader, const ConfigNode *node, double value)
{
    const Option *option = reader->option;
    if (!has_bounds(option) || (value >= option->min && value <= option->max))
        return true;
    return out_of_range(reader, node);
}

/* The scalar's text if it may be a number. */
static const char *bare_text(const ConfigNode *node)
{
    return node->kind == CONFIG_SCALAR && !node->quoted ? node->text : "";
}

/* An integer that int64_t cannot hold. */
static bool is_huge_int(const char *text)
{
    double value;
    return text_to_double(text, &value) && !strpbrk(text, ".eE") && fabs(value) > 9e18;
}

static bool read_int(const Reader *reader, const ConfigNode *node)
{
    int64_t value = 0;
    if (is_huge_int(bare_text(node)))
        return out_of_range(reader, node);
    if (!text_to_int(bare_text(node), &value))
        return wrong_type(reader, node, "a whole number");
    if (!check_range(reader, node, (double)value))
        return false;
    if (reader->option->size == sizeof(int64_t)) {
        memcpy(reader->member, &value, sizeof value);
        return true;
    }
    expect(reader->option->size == sizeof(int));
    if (value < INT_MIN || value > INT_MAX)
        return out_of_range(reader, node);
    int narrow = (int)value;
    memcpy(reader->member, &narrow, sizeof narrow);
    return true;
}

static bool read_double(const Reader *reader, const ConfigNode *node, double *value)
{
    if (!text_to_double(bare_text(node), value))
        return wrong_type(reader, node, "a number");
    return check_range(reader, node, *value);
}

static bool read_float(const Reader *reader, const ConfigNode *node)
{
    double value = 0.0;
    expect(reader->option->size == sizeof value);
    bool ok = read_double(reader, node, &value);
    memcpy(reader->member, &value, sizeof value);
    return ok;
}

static bool read_floats(const Reader *reader, const ConfigNode *node)
{
    OptionFloats floats = { 0 };
    expect(reader->option->size == sizeof floats);
    if (node->kind == CONFIG_MAP)
        return wrong_type(reader, node, "a number or a list of numbers");
    bool list = node->kind == CONFIG_LIST;
    size_t count = list ? node->count : 1;
    if (count > OPTION_FLOATS_MAX)
        return config_error(reader->config, node, reader->err, "%zu numbers, at most %d are wanted",
                            count, OPTION_FLOATS_MAX);
    for (size_t i = 0; i < count; i++)
        if (!read_double(reader, list ? node->children[i] : node, &floats.value[i]))
            return false;
    floats.count = (int)count;
    memcpy(reader->member, &floats, sizeof floats);
    return true;
}

static bool read_bool(const Reader *reader, const ConfigNode *node)
{
    static const char *const words[2][3] = { { "false", "no", "off" }, { "true", "yes", "on" } };
    expect(reader->option->size == sizeof(bool));
    for (int value = 0; value < 2; value++)
        for (size_t i = 0; i < 3; i++)
            if (strcasecmp(bare_text(node), words[value][i]) == 0) {
                *(bool *)reader->member = value;
                return true;
            }
    return wrong_type(reader, node, "true or false");
}

static bool read_string(const Reader *reader, const ConfigNode *node)
{
    expect(reader->option->size == sizeof(char *));
    if (node->kind != CONFIG_SCALAR)
        return wrong_type(reader, node, "text");
    char *copy = mem_string(node->text);
    memcpy(reader->member, &copy, sizeof copy);
    return true;
}

static bool read_choice(const Reader *reader, const ConfigNode *node)
{
    char buffer[MESSAGE_BYTES];
    const char *words[CHOICES_MAX];
    expect(reader->option->size == sizeof(int));
    if (node->kind != CONFIG_SCALAR)
        return wrong_type(reader, node, "one word");
    size_t count = split_choices(reader->option->choices, buffer, sizeof buffer, words);
    for (size_t i = 0; i < count; i++)
        if (strcmp(node->text, words[i]) == 0) {
            int value = (int)i;
            memcpy(reader->member, &value, sizeof value);
            return true;
        }
    return config_unknown(reader->config, node, false, "choice", "choices", words, count,
                          reader->err);
}

static bool read_span(const Reader *reader, const ConfigNode *node)
{
    Span span = { 0 };
    expect(reader->option->size == sizeof span);
    if (node->kind != CONFIG_SCALAR || !span_parse(node->text, &span))
        return wrong_type(reader, node,
                          "a span of steps, epochs or samples (500st, 5ep, 100000sa)");
    memcpy(reader->member, &span, sizeof span);
    return check_range(reader, node, span.value);
}

static bool read_node(const Reader *reader, ConfigNode *node)
{
    expect(reader->option->size == sizeof node);
    memcpy(reader->member, &node, sizeof node);
    return true;
}

static bool read_value(const Reader *reader, ConfigNode *node)
{
    switch (reader->option->type) {
    case OPTION_INT:
        return read_int(reader, node);
    case OPTION_FLOAT:
        return read_float(reader, node);
    case OPTION_BOOL:
        return read_bool(reader, node);
    case OPTION_STRING:
        return read_string(reader, node);
    case OPTION_CHOICE:
        return read_choice(reader, node);
    case OPTION_SPAN:
        return read_span(reader, node);
    case OPTION_FLOATS:
        return read_floats(reader, node);
    case OPTION_NODE:
        return read_node(reader, node);
    }
    expect(reader->option->type <= OPTION_NODE);
    return false;
}

/* ---- tables ---- */

/* The names that may stand in the map, for messages. */
static size_t allowed_names(const Option *table, const char *const *other,
                            const char *names[NAMES_MAX])
{
    size_t count = 0;
    for (; table->name; table++) {
        expect(count < NAMES_MAX);
        names[count++] = table->name;
    }
    for (; other && *other; other++) {
        expect(count < NAMES_MAX);
        names[count++] = *other;
    }
    return count;
}

static bool check_keys(const Config *config, const ConfigNode *map, const Option *table,
                       const char *const *other, Err *err)
{
    const char *names[NAMES_MAX];
    size_t count = allowed_names(table, other, names);
    for (size_t i = 0; i < map->count; i++) {
        const ConfigNode *child = map->children[i];
        size_t found = 0;
        while (found < count && strcmp(child->key, names[found]) != 0)
            found++;
        if (found == count)
            return config_unknown(config, child, true, "option", "options here", names, count, err);
    }
    return true;
}

/* The default as a node. A table's defaults are ours: a bad one is our mistake. */
static ConfigNode *default_node(const Option *option)
{
    bool collection = *option->def == '[' || *option->def == '{';
    ConfigNode *value =
        collection ? value_parse(option->def, NULL) : node_scalar(option->def, false);
    expect(value);
    node_set_origin(value, ORIGIN_DEFAULT, NULL);
    return value;
}

/* Puts the option's default into the map; NULL if it has none. */
static ConfigNode *add_default(ConfigNode *map, ConfigNode *null_node, const Option *option)
{
    if (*option->def == '\0') {
        if (null_node)
            config_remove(null_node);
        return NULL;
    }
    if (null_node) {
        node_replace(null_node, default_node(option));
        return null_node;
    }
    ConfigNode *value = node_append(map, default_node(option));
    value->key = mem_string(option->name);
    return value;
}

static void set_empty(const Option *option, void *member)
{
    memset(member, 0, option->size);
    if (option->type != OPTION_STRING)
        return;
    char *empty = mem_string("");
    memcpy(member, &empty, sizeof empty);
}

static bool read_option(const Config *config, ConfigNode *map, const Option *option, void *out,
                        Err *err)
{
    char wanted[MESSAGE_BYTES];
    const Reader reader = { config, option, member_of(option, out), err };
    ConfigNode *node = config_get(map, option->name);
    bool missing = !node || node->kind == CONFIG_NULL;
    if (missing && !option->def)
        return config_error(config, node ? node : map, err, "%s is missing; wanted: %s",
                            node ? "the value" : option->name,
                            option_wanted(option, wanted, sizeof wanted));
    if (missing)
        node = add_default(map, node, option);
    if (node)
        return read_value(&reader, node);
    set_empty(option, reader.member);
    return true;
}

bool options_read(const Config *config, ConfigNode *node, const Option *table,
                  const char *const *other, void *out, Err *err)
{
    char quoted[256];
    for (const Option *option = table; option->name; option++)
        memset(member_of(option, out), 0, option->size);
    if (node->kind == CONFIG_SCALAR && !table->name)
        return config_error(config, node, err, "%s: no options are wanted here",
                            text_quoted(quoted, sizeof quoted, node->text));
    config_as_map(node, table->name ? table->name : "");
    if (node->kind != CONFIG_MAP)
        return config_error(config, node, err, "a map of options is wanted, found a list");
    bool ok = check_keys(config, node, table, other, err);
    for (const Option *option = table; ok && option->name; option++)
        ok = read_option(config, node, option, out, err);
    if (!ok)
        options_free(table, out);
    return ok;
}

void options_free(const Option *table, void *out)
{
    for (; table->name; table++) {
        if (table->type != OPTION_STRING)
            continue;
        char *string;
        memcpy(&string, member_of(table, out), sizeof string);
        mem_free(string);
        memset(member_of(table, out), 0, table->size);
    }
}

void options_names(const Option *table, const char *names[OPTIONS_MAX])
{
    size_t count = 0;
    for (; table->name; table++) {
        expect(count < OPTIONS_MAX - 1);
        names[count++] = table->name;
    }
    names[count] = NULL;
}
