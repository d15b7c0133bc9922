/* What a study asks, from its files. */
#include "lockstep/analysis.h"

#include "lockstep/config.h"
#include "lockstep/files.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Calls `take` with the parsed file if it is there. */
static bool with_config(Question *question, const char *path,
                        void (*take)(Question *question, const ConfigNode *root), Err *err)
{
    char *text;
    size_t length;
    Config config;
    if (access(path, F_OK) != 0)
        return true;
    if (!config_file(path, &text, &length, err))
        return false;
    bool ok = config_parse(&config, path, text, length, err);
    if (ok)
        take(question, config.root);
    config_free(&config);
    mem_free(text);
    return ok;
}

static void add_key(Question *question, const ConfigNode *node)
{
    if (node->kind == CONFIG_SCALAR && question->arm_keys < ARM_KEYS)
        snprintf(question->arms_by[question->arm_keys++], sizeof question->arms_by[0], "%s",
                 node->text);
}

static void take_arms_by(Question *question, const ConfigNode *root)
{
    const ConfigNode *node = config_get(root, "arms_by");
    if (!node || node->kind == CONFIG_NULL || node->kind == CONFIG_MAP)
        return;
    question->arm_keys = 0;
    if (node->kind == CONFIG_SCALAR)
        add_key(question, node);
    for (size_t i = 0; node->kind == CONFIG_LIST && i < node->count; i++)
        add_key(question, node->children[i]);
}

/* The number at section.key; 0: there is none. */
static double number_at(const ConfigNode *root, const char *section, const char *key)
{
    const ConfigNode *node = config_get(config_get(root, section), key);
    double value;
    return node && node->kind == CONFIG_SCALAR && text_to_double(node->text, &value) ? value : 0;
}

static void take_target(Question *question, const ConfigNode *root)
{
    static const char *const names[] = { "accuracy", "loss" };
    for (int i = 0; i < 2; i++) {
        char key[32];
        snprintf(key, sizeof key, "target_%s", names[i]);
        double value = number_at(root, "train", key);
        if (value > 0) {
            question->goal = GOAL_STEPS;
            text_append(question->target, sizeof question->target, "%s%s %g",
                        question->target[0] ? " and " : "", names[i], value);
        }
    }
}

static void take_run(Question *question, const ConfigNode *root)
{
    const ConfigNode *scaling = config_get(config_get(root, "schedule"), "lr_scaling");
    take_target(question, root);
    question->base_batch = number_at(root, "schedule", "base_batch");
    if (scaling && scaling->text)
        question->lr_power = strcmp(scaling->text, "linear") == 0 ? 1
                             : strcmp(scaling->text, "sqrt") == 0 ? 0.5
                                                                  : 0;
}

static char *trial_config(const char *folder, const char *id)
{
    size_t size = strlen(folder) + strlen(id) + 32;
    char *path = mem_alloc(size);
    snprintf(path, size, "%s/trials/%s/config.yaml", folder, id);
    return path;
}

bool question_read(Question *question, const Table *table, const char *folder, Err *err)
{
    *question = question_default(table);
    char *path = path_join(folder, "study.yaml");
    bool ok = with_config(question, path, take_arms_by, err), found = false;
    mem_free(path);
    for (int i = 0; ok && i < table->count && !found; i++) {
        path = trial_config(folder, table->trials[i].id);
        found = access(path, F_OK) == 0;
        ok = with_config(question, path, take_run, err);
        mem_free(path);
    }
    return ok;
}
