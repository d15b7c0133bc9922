/* Settings that differ between two runs, by their full path ("optimizer.lr"). Name and place always
 * differ and are left out. */
#include "diff_parts.h"
#include "run_parts.h"

#include "lockstep/config.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"

#include <stdlib.h>
#include <string.h>

#define CONFIG_MAX ((size_t)4 << 20) /* bytes */
#define SHOWN_MAX 20                 /* differences */
#define PATH_SIZE 256

typedef struct Leaf {
    char *path;
    const char *text; /* borrowed from the tree */
} Leaf;

typedef struct Leaves {
    Config config;
    Leaf *leaf;
    size_t count, capacity;
} Leaves;

static void collect(Leaves *leaves, const ConfigNode *node)
{
    for (size_t i = 0; i < node->count; i++)
        collect(leaves, node->children[i]);
    if (node->count > 0 || !node->parent)
        return;
    char path[PATH_SIZE];
    config_path(node, path, sizeof path);
    if (strcmp(path, "name") == 0 || strcmp(path, "output") == 0)
        return;
    mem_grow(&leaves->leaf, leaves->count, &leaves->capacity, sizeof *leaves->leaf);
    leaves->leaf[leaves->count++] = (Leaf){ .path = mem_string(path),
                                            .text = node->kind == CONFIG_SCALAR ? node->text
                                                    : node->kind == CONFIG_NULL ? "null"
                                                                                : "(empty)" };
}

static int by_path(const void *left, const void *right)
{
    const Leaf *a = left, *b = right;
    return strcmp(a->path, b->path);
}

static void collect_sorted(Leaves *leaves, const ConfigNode *root)
{
    collect(leaves, root);
    if (leaves->count > 0)
        qsort(leaves->leaf, leaves->count, sizeof *leaves->leaf, by_path);
}

static bool leaves_read(Leaves *leaves, const char *folder, Err *err)
{
    char *text, *path = path_join(folder, "config.yaml");
    size_t bytes;
    *leaves = (Leaves){ 0 };
    bool ok = file_text(path, CONFIG_MAX, &text, &bytes, err);
    if (ok) {
        ok = config_parse(&leaves->config, path, text, bytes, err);
        mem_free(text);
    }
    mem_free(path);
    if (ok)
        collect_sorted(leaves, leaves->config.root);
    return ok;
}

static void leaves_free(Leaves *leaves)
{
    for (size_t i = 0; i < leaves->count; i++)
        mem_free(leaves->leaf[i].path);
    mem_free(leaves->leaf);
    if (leaves->config.root || leaves->config.file)
        config_free(&leaves->config);
}

/* Both lists are sorted: one pass, as in a merge. */
static void compare_leaves(const Leaves *a, const Leaves *b, LeafVisitor *visit, void *context)
{
    size_t i = 0, j = 0;
    while (i < a->count || j < b->count) {
        int order = i == a->count   ? 1
                    : j == b->count ? -1
                                    : strcmp(a->leaf[i].path, b->leaf[j].path);
        const char *text_a = order <= 0 ? a->leaf[i].text : NULL;
        const char *text_b = order >= 0 ? b->leaf[j].text : NULL;
        if (order != 0 || strcmp(text_a, text_b) != 0)
            visit(context, order <= 0 ? a->leaf[i].path : b->leaf[j].path, text_a, text_b);
        i += order <= 0;
        j += order >= 0;
    }
}

bool leaves_compare(const char *text, const Config *config, LeafVisitor *visit, void *context,
                    Err *err)
{
    Leaves a = { 0 }, b = { 0 };
    bool ok = config_parse(&a.config, "config", text, strlen(text), err);
    if (ok) {
        collect_sorted(&a, a.config.root);
        collect_sorted(&b, config->root);
        compare_leaves(&a, &b, visit, context);
    }
    leaves_free(&a);
    leaves_free(&b);
    return ok;
}

static void print_leaf(void *context, const char *path, const char *a, const char *b)
{
    size_t *shown = context;
    if (*shown == 0)
        log_out("settings that differ:");
    if ((*shown)++ < SHOWN_MAX)
        log_out("  %-28s A %-16s B %s", path, a ? a : "(not there)", b ? b : "(not there)");
}

void settings_diff(const char *folder_a, const char *folder_b)
{
    Leaves a, b = { 0 };
    Err err;
    bool ok = leaves_read(&a, folder_a, &err) && leaves_read(&b, folder_b, &err);
    if (ok) {
        size_t shown = 0;
        compare_leaves(&a, &b, print_leaf, &shown);
        if (shown > SHOWN_MAX)
            log_out("  and %zu more", shown - SHOWN_MAX);
        if (shown == 0)
            log_out("settings: the same");
    } else {
        log_out("settings not compared: %s", err.text);
    }
    leaves_free(&a);
    leaves_free(&b);
}
