/* What the files of the config module share: making and changing the tree. */
#ifndef LOCKSTEP_CONFIG_TREE_H
#define LOCKSTEP_CONFIG_TREE_H

#include "lockstep/config.h"

ConfigNode *node_new(ConfigKind kind);
void node_free(ConfigNode *node);

/* Takes ownership of child (its key included); returns child. */
ConfigNode *node_append(ConfigNode *parent, ConfigNode *child);

/* A scalar node with a copy of text. */
ConfigNode *node_scalar(const char *text, bool quoted);

/* A copy of the subtree without its key. */
ConfigNode *node_copy(const ConfigNode *node);

/* Origin and source (copied; may be NULL) of a whole subtree. */
void node_set_origin(ConfigNode *node, ConfigOrigin origin, const char *source);

/* `node` becomes `value` in place: it keeps its key and parent; value is used up. */
void node_replace(ConfigNode *node, ConfigNode *value);

/* Whether a plain (unquoted) scalar means null. */
bool plain_is_null(const char *text);

/* One YAML value, such as the right side of an override: a node without key, or NULL and err. */
ConfigNode *value_parse(const char *text, Err *err);

/* Whether all bytes are UTF-8 without control characters; otherwise the 1-based place of the first
 * that is not, and what it is. */
bool text_check(const char *text, size_t length, int *line, int *column, Err *err);

/* The column of the first tab in the indentation of a line (both 1-based), or 0. */
int text_tab(const char *text, size_t length, int line);

#endif
