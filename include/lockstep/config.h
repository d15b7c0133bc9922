/* Configuration: a YAML file, LOCKSTEP_* environment variables and `key=value` arguments become one
 * tree whose nodes remember where they came from; option tables turn its maps into C structs.
 *
 * Precedence: command line > environment > file > default. A key that no table knows, a value of
 * the wrong type or out of range is one message: place, what was found, what is allowed, nearest
 * spelling.
 *
 * Nothing here is collective. Every rank parses the same text and sees the same errors. */
#ifndef LOCKSTEP_CONFIG_H
#define LOCKSTEP_CONFIG_H

#include "lockstep/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum ConfigKind { CONFIG_NULL, CONFIG_SCALAR, CONFIG_MAP, CONFIG_LIST } ConfigKind;
typedef enum ConfigOrigin { ORIGIN_DEFAULT, ORIGIN_FILE, ORIGIN_ENV, ORIGIN_COMMAND } ConfigOrigin;

typedef struct ConfigNode ConfigNode;
struct ConfigNode {
    ConfigKind kind;
    ConfigOrigin origin;
    int line, column;         /* of the value; 1-based, in the file; 0 elsewhere */
    int key_line, key_column; /* of the key, the same way */
    char *key;                /* the key in the parent map; NULL in lists and for the root */
    char *text;               /* scalars: the text as written, quotes removed; else NULL */
    char *source;             /* environment variable or argument it came from; NULL for the file */
    bool quoted;              /* scalar was quoted: never a number or null */
    ConfigNode **children;    /* maps and lists, in file order */
    size_t count, capacity;
    ConfigNode *parent;
};

typedef struct Config {
    char *file;       /* name used in messages */
    ConfigNode *root; /* a map */
} Config;

#define CONFIG_MAX_BYTES ((size_t)1 << 20) /* of a file */
#define CONFIG_MAX_DEPTH 100               /* of nesting */
#define CONFIG_MAX_NODES 20000             /* after aliases are expanded */

/* The file's bytes, at most CONFIG_MAX_BYTES; *text is NUL-terminated, freed by the caller. */
bool config_file(const char *path, char **text, size_t *length, Err *err);

/* Parses `length` bytes of YAML 1.2 called `file`. Errors: YAML syntax with line and column, a
 * duplicate key, a root that is not a map, more than the limits above. Aliases are expanded; tags,
 * merge keys ("<<") and second documents are refused. The caller frees with config_free, also after
 * an error. */
bool config_parse(Config *config, const char *file, const char *text, size_t length, Err *err);
void config_free(Config *config);

/* `assignment` is "optimizer.lr=0.1"; lists are indexed: "model.layers[2].dense.units=10". The
 * right side is YAML (so "data.mean=[0.1, 0.2]" works). Missing maps on the way are made; a scalar
 * on the way ("optimizer: sgd") becomes the first option of its map (config_as_map). */
bool config_override(Config *config, const char *assignment, Err *err);

/* Applies LOCKSTEP_<PATH> variables: LOCKSTEP_OPTIMIZER_LR sets the path for which `known` holds an
 * entry "optimizer.lr" (upper case, dots to underscores). `environment` is NULL-terminated. A
 * LOCKSTEP_ variable that matches nothing is an error with the nearest name. Variables whose names
 * are in `ignored` (NULL-terminated, may be NULL) are passed over. Before config_override: the
 * command line has the last word. */
bool config_environment(Config *config, char *const *environment, const char *const *known,
                        size_t known_count, const char *const *ignored, Err *err);

/* The child of map `node` called `key`, or NULL. `node` may be NULL. */
ConfigNode *config_get(const ConfigNode *node, const char *key);

/* The child, made as an empty map (origin default) if it is missing; replaces a null value. */
ConfigNode *config_section(ConfigNode *node, const char *key);

/* Makes a scalar node the map {first: scalar} and a null node an empty map, in place, so that
 * "optimizer: sgd" reads as "optimizer: {type: sgd}". Other nodes are left as they are. */
void config_as_map(ConfigNode *node, const char *first);

/* Takes a child out of its map and frees it. */
void config_remove(ConfigNode *child);

/* "configs/a.yaml:3:5", "command line: optimizer.lr=x", "environment: LOCKSTEP_..." and the dotted
 * path of a node ("optimizer.lr", "model.layers[2].dense"). Into buffer; returns buffer. */
char *config_place(const Config *config, const ConfigNode *node, char *buffer, size_t size);
char *config_path(const ConfigNode *node, char *buffer, size_t size);

/* err = "<place>: <path>: <formatted text>"; returns false. */
bool config_error(const Config *config, const ConfigNode *node, Err *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* For every "unknown ..." message; returns false. With at_key the node's key is unknown, else its
 * text:
 *   a.yaml:7:3: optimizer.momentun: unknown option; did you mean "momentum"? (options here: ...)
 *   a.yaml:6:9: optimizer.type: unknown optimizer "sgdd"; did you mean "sgd"? (optimizers: ...)
 * what = "option" or "optimizer", plural = "options here" or "optimizers". */
bool config_unknown(const Config *config, const ConfigNode *node, bool at_key, const char *what,
                    const char *plural, const char *const *names, size_t count, Err *err);

/* ---- option tables ---- */

typedef enum OptionType {
    OPTION_INT,    /* int64_t, or int if size is 4 */
    OPTION_FLOAT,  /* double */
    OPTION_BOOL,   /* bool: true/false/yes/no/on/off */
    OPTION_STRING, /* char * (owned by the struct, options_free), never NULL */
    OPTION_CHOICE, /* int: index into choices "a|b|c" */
    OPTION_SPAN,   /* Span: 5ep, 500st, 100000sa */
    OPTION_FLOATS, /* OptionFloats: a number or a list of numbers */
    OPTION_NODE,   /* ConfigNode *: taken as it is (borrowed); its reader checks it */
} OptionType;

#define OPTION_FLOATS_MAX 16
typedef struct OptionFloats {
    int count;
    double value[OPTION_FLOATS_MAX];
} OptionFloats;

typedef struct Option {
    const char *name;
    OptionType type;
    size_t offset, size; /* of the member in the struct; use OPTION_AT */
    double min, max;     /* inclusive, numbers (and span values) only; min == max == 0: no bounds */
    const char *choices; /* OPTION_CHOICE: "a|b|c" */
    const char *def;     /* default as it would be written; NULL: required; "" : empty / absent */
    const char *help;    /* one line, with the unit */
} Option;

/* Tables end with an entry whose name is NULL. */
#define OPTION_AT(type, member) offsetof(type, member), sizeof(((type *)0)->member)
#define OPTION_END                                                                                 \
    {                                                                                              \
        NULL, OPTION_INT, 0, 0, 0, 0, NULL, NULL, NULL                                             \
    }

/* Reads map `node` into `*out` by `table`; every entry of the table is set. Missing keys and nulls
 * get their default, which is also put into the tree (ORIGIN_DEFAULT), so that config_print shows
 * the resolved run. A default of "" is no value: all bits zero, "" for strings; nothing is put into
 * the tree. Unknown keys are errors, except those listed in `other` (NULL-terminated, may be NULL),
 * which somebody else reads. A scalar node is read as the table's first option ("dense: 10"), a
 * null node as all defaults. Strings in *out are owned by it: options_free; after an error there is
 * nothing to free. */
bool options_read(const Config *config, ConfigNode *node, const Option *table,
                  const char *const *other, void *out, Err *err);
void options_free(const Option *table, void *out);

/* A table's names, ending with NULL: `other` for whoever reads the rest of the map. */
#define OPTIONS_MAX 64
void options_names(const Option *table, const char *names[OPTIONS_MAX]);

/* "128 to 4096", "a, b or c", "a whole number", ...: what an option accepts, into buffer. */
char *option_wanted(const Option *option, char *buffer, size_t size);

/* The tree as YAML that reads back as itself; with `origins` each line of a value ends in
 * "# default", "# configs/a.yaml:7", "# LOCKSTEP_SEED" or "# command line". */
void config_print(const Config *config, FILE *out, bool origins);

/* One node on one line, as config_override takes it: "0.1", "[crop, flip]", "{steps: 8}". */
void config_print_value(const ConfigNode *node, FILE *out);

#endif
