/* The study file's own options. What is to be trained is found out by plan.c. */
#include "study_parts.h"

#include "lockstep/files.h"
#include "lockstep/memory.h"

#include <string.h>

typedef struct StudyOptions {
    char *name, *folder, *base;
    int64_t ranks;
    ConfigNode *set, *arms, *grid, *search, *seeds, *arms_by, *prune, *measure, *expect;
} StudyOptions;

static const Option study_options[] = {
    { "name", OPTION_STRING, OPTION_AT(StudyOptions, name), 0, 0, NULL, "",
      "the study's folder below `folder`; default: the study file's name without .yaml" },
    { "folder", OPTION_STRING, OPTION_AT(StudyOptions, folder), 0, 0, NULL, "studies",
      "folder in which study folders are made" },
    { "base", OPTION_STRING, OPTION_AT(StudyOptions, base), 0, 0, NULL, NULL,
      "the config that all trials begin with; relative to the study file" },
    { "ranks", OPTION_INT, OPTION_AT(StudyOptions, ranks), 1, 1e6, NULL, "1",
      "ranks that train a trial together" },
    { "set", OPTION_NODE, OPTION_AT(StudyOptions, set), 0, 0, NULL, "",
      "options of all trials, such as {train.epochs: 5}" },
    { "arms", OPTION_NODE, OPTION_AT(StudyOptions, arms), 0, 0, NULL, "",
      "what is compared, such as [{name: lars, optimizer.type: lars}]" },
    { "grid", OPTION_NODE, OPTION_AT(StudyOptions, grid), 0, 0, NULL, "",
      "lists of values, such as {train.batch: [64, 128]}" },
    { "search", OPTION_NODE, OPTION_AT(StudyOptions, search), 0, 0, NULL, "",
      "ranges that are searched" },
    { "seeds", OPTION_NODE, OPTION_AT(StudyOptions, seeds), 0, 0, NULL, "",
      "repetitions: [1, 2, 3], or how many" },
    { "arms_by", OPTION_NODE, OPTION_AT(StudyOptions, arms_by), 0, 0, NULL, "",
      "varied keys that separate what is compared; default: arm and train.batch" },
    { "prune", OPTION_NODE, OPTION_AT(StudyOptions, prune), 0, 0, NULL, "",
      "whether trials that are behind end early" },
    { "measure", OPTION_NODE, OPTION_AT(StudyOptions, measure), 0, 0, NULL, "",
      "probes of every trial, such as {hessian: {samples: 2000, take: [largest_1]}, training: "
      "{take: [noise_scale]}}" },
    { "expect", OPTION_NODE, OPTION_AT(StudyOptions, expect), 0, 0, NULL, "",
      "what the study is expected to show: {claim: TEXT, value: {metric: .., KEY: ..}, above|below|"
      "about: {..}, by: X, factor: X}" },
    OPTION_END,
};

/* `path` as seen from the folder of `file`; mem_alloc'ed. */
static char *relative_to(const char *file, const char *path)
{
    const char *slash = strrchr(file, '/');
    if (!slash || path[0] == '/')
        return mem_string(path);
    char *folder = mem_string(file);
    folder[slash - file] = '\0';
    char *joined = path_join(folder, path);
    mem_free(folder);
    return joined;
}

static bool take_options(Study *study, StudyOptions *o, const char *file, Err *err)
{
    char name[256], quoted[256];
    settings_default_name(file, name, sizeof name);
    study->name = mem_string(o->name[0] ? o->name : name);
    study->output = mem_string(o->folder);
    study->folder = path_join(study->output, study->name);
    study->base = relative_to(file, o->base);
    study->ranks = o->ranks;
    return settings_is_name(study->name) ||
           config_error(&study->config, config_get(study->config.root, "name"), err,
                        "%s is not a folder name: 1 to %d characters without / or blanks, not "
                        "beginning with . or -",
                        text_quoted(quoted, sizeof quoted, study->name), SETTINGS_NAME_BYTES);
}

bool study_read(Study *study, const char *file, const char *text, size_t bytes,
                const char *const *overrides, int count, Err *err)
{
    StudyOptions o;
    *study = (Study){ .name = NULL };
    bool ok = config_parse(&study->config, file, text, bytes, err);
    for (int i = 0; ok && i < count; i++)
        ok = config_override(&study->config, overrides[i], err);
    if (!ok || !options_read(&study->config, study->config.root, study_options, NULL, &o, err))
        return false;
    ok = take_options(study, &o, file, err) && prune_read(study, err);
    options_free(study_options, &o);
    /* As study.yaml of the folder has it, where a copy lies beside it. */
    return ok && config_override(&study->config, "base=" STUDY_BASE, err) &&
           measures_read(study, err);
}

static void free_strings(char **strings, int count)
{
    for (int i = 0; strings && i < count; i++)
        mem_free(strings[i]);
    mem_free(strings);
}

void study_free(Study *study)
{
    for (int i = 0; i < study->count; i++) {
        free_strings(study->trials[i].values, study->key_count);
        free_strings(study->trials[i].overrides, study->trials[i].override_count);
        mem_free(study->trials[i].name);
    }
    for (int i = 0; i < study->prune.rungs; i++)
        mem_free(study->prune.text[i]);
    free_strings(study->keys, study->key_count);
    measures_free(study);
    mem_free(study->trials);
    mem_free(study->name);
    mem_free(study->output);
    mem_free(study->folder);
    mem_free(study->base);
    config_free(&study->config);
    *study = (Study){ .name = NULL };
}
