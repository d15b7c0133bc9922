/* A trial: its configuration, the id that this gives it, its folder. */
#include "study_parts.h"

#include "lockstep/files.h"
#include "lockstep/memory.h"

#include <string.h>
#include <xxhash.h>

/* ---- a trial's configuration ---- */

/* Of the ways to say how long to train the last one stays. */
static void drop_other_length(const Config *config, const char *override)
{
    static const char *const lengths[] = { "train.epochs", "train.steps", "train.samples" };
    const ConfigNode *train = config_get(config->root, "train");
    size_t length = strcspn(override, "=");
    bool is_length = false;
    for (int i = 0; i < 3; i++)
        is_length = is_length ||
                    (strlen(lengths[i]) == length && strncmp(override, lengths[i], length) == 0);
    for (int i = 0; is_length && i < 3; i++) {
        ConfigNode *other = config_get(train, lengths[i] + strlen("train."));
        if (other)
            config_remove(other);
    }
}

/* Base, environment, overrides. */
static bool assemble(const Study *study, const Trial *trial, Config *config, Err *err)
{
    size_t known_count;
    char **known = settings_paths(&known_count);
    bool ok = config_parse(config, study->base, study->text, study->bytes, err) &&
              config_environment(config, study->environment, (const char *const *)known,
                                 known_count, NULL, err);
    settings_paths_free(known);
    for (int i = 0; ok && i < trial->override_count; i++) {
        drop_other_length(config, trial->overrides[i]);
        ok = config_override(config, trial->overrides[i], err);
    }
    return ok;
}

static bool set_text(Config *config, const char *key, const char *value, Err *err)
{
    char text[4096];
    snprintf(text, sizeof text, "%s=\"", key);
    for (const char *c = value; *c; c++)
        text_append(text, sizeof text, *c == '"' || *c == '\\' ? "\\%c" : "%c", *c);
    text_append(text, sizeof text, "\"");
    return config_override(config, text, err);
}

bool study_settings(const Study *study, const Trial *trial, int rung, Settings *settings, Err *err)
{
    char *folder = trial_folder(study, trial);
    *strrchr(folder, '/') = '\0';
    *settings = (Settings){ 0 };
    bool ok =
        assemble(study, trial, &settings->config, err) &&
        set_text(&settings->config, "name", trial->id, err) &&
        set_text(&settings->config, "output", folder, err) &&
        set_text(&settings->config, "checkpoint.resume", "auto", err) &&
        (rung < 0 || set_text(&settings->config, "train.stop_at", study->prune.text[rung], err)) &&
        settings_read(settings, err);
    mem_free(folder);
    return ok;
}

/* ---- a trial's id ---- */

/* Names, files and how ranks exchange data make no other trial, unless a study varies them. */
static bool counts(const char *path)
{
    return !settings_is_neutral(path) || strncmp(path, "train.", 6) == 0 ||
           strncmp(path, "eval.", 5) == 0;
}

static uint64_t digest_text(const char *path, const char *text)
{
    return XXH3_64bits_withSeed(text, strlen(text), XXH3_64bits(path, strlen(path)));
}

/* A sum over the leaves, so that their order in the file does not matter. */
static uint64_t digest_leaves(const ConfigNode *node)
{
    char path[512];
    uint64_t sum = 0;
    for (size_t i = 0; i < node->count; i++)
        sum += digest_leaves(node->children[i]);
    if (node->count > 0 || !node->parent || !counts(config_path(node, path, sizeof path)))
        return sum;
    return digest_text(path, node->kind == CONFIG_SCALAR ? node->text : "");
}

void trial_set_id(const Study *study, Trial *trial)
{
    Config config = { .root = NULL };
    Err err;
    uint64_t digest = 0;
    if (assemble(study, trial, &config, &err))
        digest = digest_leaves(config.root);
    else
        digest = digest_text("", err.text); /* it will fail with that */
    config_free(&config);
    for (int i = 0; i < study->key_count; i++)
        if (trial->values[i])
            digest += digest_text(study->keys[i], trial->values[i]);
    snprintf(trial->id, sizeof trial->id, "%012llx",
             (unsigned long long)(digest ^ digest >> 48) & 0xffffffffffff);
}

char *study_trial_text(const Study *study, const Trial *trial, char *buffer, size_t size)
{
    snprintf(buffer, size, "%s", trial->name ? trial->name : "");
    for (int i = 0; i < study->key_count; i++)
        if (trial->values[i] && !(trial->name && study->of_arm[i]))
            text_append(buffer, size, "%s%s=%s", *buffer ? " " : "", study->keys[i],
                        trial->values[i]);
    return buffer;
}

char *trial_folder(const Study *study, const Trial *trial)
{
    char *trials = path_join(study->folder, "trials");
    char *folder = path_join(trials, trial->id);
    mem_free(trials);
    return folder;
}
