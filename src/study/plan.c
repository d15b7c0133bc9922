/* Which trials a study has: every arm with every row of its axes, the seeds running fastest. */
#include "study_parts.h"

#include "lockstep/expectation.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"

#include <stdlib.h>
#include <string.h>

static int64_t count_rows(const Axes *axes)
{
    int64_t count = 1;
    for (int i = 0; i < axes->count && count <= STUDY_MAX_TRIALS; i++)
        count *= axes->axis[i].rows;
    return count;
}

static int find_key(const Study *study, const char *key)
{
    int i = 0;
    while (i < study->key_count && strcmp(study->keys[i], key) != 0)
        i++;
    return i < study->key_count ? i : -1;
}

/* ---- trials ---- */

static void set_value(const Study *study, Trial *trial, const char *key, const char *value)
{
    int i = find_key(study, key);
    if (i < 0) /* of `set`: the same for all */
        return;
    mem_free(trial->values[i]);
    trial->values[i] = mem_string(value);
}

static void add_override(const Study *study, Trial *trial, const char *key, const char *value)
{
    size_t size = strlen(key) + strlen(value) + 2;
    char *text = trial->overrides[trial->override_count++] = mem_alloc(size);
    snprintf(text, size, "%s=%s", key, value);
    set_value(study, trial, key, value);
}

/* Row `number` of all that the axes hold: its digits in the mixed base of their lengths. */
static void make_trial(const Study *study, Trial *trial, const StudyArm *arm, int64_t number)
{
    const Axes *axes = &arm->axes;
    size_t most = arm->override_count;
    for (int i = 0; i < axes->count; i++)
        most += (size_t)axes->axis[i].key_count;
    *trial = (Trial){ .name = arm->name ? mem_string(arm->name) : NULL };
    trial->values = mem_array(char *, study->key_count);
    trial->overrides = mem_array(char *, most);
    for (size_t i = 0; i < arm->override_count; i++) {
        char *key = mem_string(arm->overrides[i]);
        char *equals = strchr(key, '=');
        *equals = '\0';
        add_override(study, trial, key, equals + 1);
        mem_free(key);
    }
    int64_t block = count_rows(axes);
    for (int i = 0; i < axes->count; i++) {
        const Axis *axis = &axes->axis[i];
        block /= axis->rows;
        int64_t row = number / block % axis->rows;
        for (int k = 0; k < axis->key_count; k++)
            add_override(study, trial, axis->keys[k], axis->cells[row * axis->key_count + k]);
    }
    trial_set_id(study, trial);
}

static bool make_trials(Study *study, const StudyArms *arms, Err *err)
{
    int64_t count = 0;
    for (int i = 0; i < arms->count; i++)
        count += count_rows(&arms->arm[i].axes);
    if (count > STUDY_MAX_TRIALS)
        return err_set(err, "%s: more than %d trials", study->config.file, STUDY_MAX_TRIALS);
    study->trials = mem_array(Trial, count);
    for (int i = 0; i < arms->count; i++)
        for (int64_t row = 0; row < count_rows(&arms->arm[i].axes); row++)
            make_trial(study, &study->trials[study->count++], &arms->arm[i], row);
    return true;
}

static int by_id(const void *left, const void *right)
{
    const Trial *const *a = left, *const *b = right;
    return strcmp((*a)->id, (*b)->id);
}

static bool check_twins(const Study *study, Err *err)
{
    bool ok = true;
    char text[512];
    Trial **sorted = mem_array(Trial *, study->count);
    for (int i = 0; i < study->count; i++)
        sorted[i] = &study->trials[i];
    qsort(sorted, (size_t)study->count, sizeof(Trial *), by_id);
    for (int i = 1; ok && i < study->count; i++)
        if (strcmp(sorted[i]->id, sorted[i - 1]->id) == 0)
            ok = err_set(err, "%s: two trials are the same: %s", study->config.file,
                         study_trial_text(study, sorted[i], text, sizeof text));
    mem_free(sorted);
    return ok;
}

/* ---- which of them are compared ---- */

static bool read_arms_by(Study *study, Err *err)
{
    const char *names[STUDY_MAX_KEYS + 1] = { "arm" };
    const ConfigNode *list = config_get(study->config.root, "arms_by");
    study->arms_by_name = study->has_arms;
    int batch = find_key(study, "train.batch");
    if (!list || list->kind == CONFIG_NULL) {
        if (batch >= 0)
            study->arms_by[batch] = true;
        return true;
    }
    for (int i = 0; i < study->key_count; i++)
        names[i + 1] = study->keys[i];
    if (list->kind != CONFIG_LIST)
        return config_error(&study->config, list, err, "a list of keys is wanted");
    study->arms_by_name = false;
    for (size_t i = 0; i < list->count; i++) {
        const ConfigNode *node = list->children[i];
        const char *text = node->kind == CONFIG_SCALAR ? node->text : "";
        int key = find_key(study, text);
        if (key < 0 && (strcmp(text, "arm") != 0 || !study->has_arms))
            return config_unknown(&study->config, node, false, "key", "keys that vary",
                                  names + !study->has_arms,
                                  (size_t)study->key_count + study->has_arms, err);
        study->arms_by_name = study->arms_by_name || key < 0;
        if (key >= 0)
            study->arms_by[key] = true;
    }
    return true;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* Of one arm; of one setting: everything but the seed is the same. */
static bool same_arm(const Study *study, const Trial *a, const Trial *b)
{
    bool same = !study->arms_by_name || same_text(a->name, b->name);
    for (int i = 0; same && i < study->key_count; i++)
        same = !study->arms_by[i] || same_text(a->values[i], b->values[i]);
    return same;
}

static bool same_setting(const Study *study, const Trial *a, const Trial *b)
{
    bool same = same_text(a->name, b->name);
    for (int i = 0; same && i < study->key_count; i++)
        same = strcmp(study->keys[i], "seed") == 0 || same_text(a->values[i], b->values[i]);
    return same;
}

/* Numbers both by their first member; as few differ, looking at one of each is quick. */
static void find_groups(Study *study)
{
    int *first_arm = mem_array(int, study->count), *first = mem_array(int, study->count);
    for (int i = 0; i < study->count; i++) {
        Trial *trial = &study->trials[i];
        int arm = 0, setting = study->settings;
        while (arm < study->arms && !same_arm(study, trial, &study->trials[first_arm[arm]]))
            arm++;
        if (arm == study->arms)
            first_arm[study->arms++] = i;
        for (int k = study->settings - 1; k >= 0 && setting == study->settings; k--)
            if (same_setting(study, trial, &study->trials[first[k]]))
                setting = k;
        if (setting == study->settings)
            first[study->settings++] = i;
        trial->arm = arm;
        trial->setting = setting;
    }
    mem_free(first_arm);
    mem_free(first);
}

/* ---- the whole plan ---- */

static bool check_base(const Study *study, Err *err)
{
    Config config;
    bool ok = config_parse(&config, study->base, study->text, study->bytes, err);
    config_free(&config);
    return ok;
}

/* A wrong one is found now, not when everything has been trained. */
static bool check_expectations(const Study *study, Err *err)
{
    const char *keys[STUDY_MAX_KEYS + 1] = { "arm" };
    int first = study->has_arms ? 1 : 0;
    Expectations expectations;
    for (int i = 0; i < study->key_count; i++)
        keys[first + i] = study->keys[i];
    ExpectationNames names = { keys, (const char *const *)study->measured, first + study->key_count,
                               study->measured_count };
    bool ok = expectations_read(&expectations, &study->config,
                                config_get(study->config.root, "expect"), &names, err);
    expectations_free(&expectations);
    return ok;
}

bool study_plan(Study *study, Err *err)
{
    StudyArms arms = { .count = 0 };
    study->keys = mem_array(char *, STUDY_MAX_KEYS);
    bool ok = check_base(study, err) && arms_read(study, &arms, err) && read_arms_by(study, err) &&
              make_trials(study, &arms, err) && check_twins(study, err) &&
              check_expectations(study, err);
    arms_free(&arms);
    if (ok)
        find_groups(study);
    return ok;
}
