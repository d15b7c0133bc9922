/* What is measured of every trial beside its results: probes of its final weights, and the last
 * values of the probes that ran while it trained.
 *
 *   measure: {sharpness: {samples: 2000, take: [full_0.001]}, training: {take: [noise_scale]}}
 *
 * gives the columns sharpness.full_0.001 and training.noise_scale. */
#include "study_parts.h"

#include "lockstep/files.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TRAINING "training" /* not a probe of lockstep probe: events of metrics.jsonl */
#define TEXT_SIZE 1024      /* of a probe's name and options */
#define FILE_MAX_BYTES ((size_t)256 << 20)

/* ---- from the study file ---- */

static void add_column(Study *study, const char *probe, const char *key)
{
    char name[256];
    snprintf(name, sizeof name, "%s.%s", probe, key);
    study->measured[study->measured_count++] = mem_string(name);
}

static bool read_take(Study *study, const ConfigNode *node, Err *err)
{
    const ConfigNode *take = config_get(node, "take");
    bool list = take && take->kind == CONFIG_LIST && take->count > 0;
    for (size_t i = 0; list && i < take->count; i++)
        list = take->children[i]->kind == CONFIG_SCALAR;
    if (!list)
        return config_error(&study->config, take ? take : node, err,
                            "take: [KEY, ...] is wanted: which of what the probe finds");
    if ((size_t)study->measured_count + take->count > STUDY_MAX_MEASURED)
        return config_error(&study->config, take, err, "more than %d columns are measured",
                            STUDY_MAX_MEASURED);
    for (size_t i = 0; i < take->count; i++)
        add_column(study, node->key, take->children[i]->text);
    return true;
}

/* The options beside `take`, as lockstep probe has them: "samples=2000". */
static bool read_probe(Study *study, const ConfigNode *node, Err *err)
{
    Measure *measure = &study->measures[study->measure_count];
    *measure = (Measure){ .probe = node->key, .options = mem_array(char *, node->count) };
    study->measure_count++;
    for (size_t i = 0; i < node->count; i++) {
        const ConfigNode *option = node->children[i];
        if (strcmp(option->key, "take") == 0)
            continue;
        char *value = node_text(option, false);
        size_t size = strlen(option->key) + strlen(value) + 2;
        char *text = measure->options[measure->option_count++] = mem_alloc(size);
        snprintf(text, size, "%s=%s", option->key, value);
        mem_free(value);
    }
    ProbeRequest request = { .name = measure->probe,
                             .assignments = (const char *const *)measure->options,
                             .count = measure->option_count };
    Err problem;
    return probe_check(&request, &problem) ||
           config_error(&study->config, node, err, "%s", problem.text);
}

bool measures_read(Study *study, Err *err)
{
    const ConfigNode *map = config_get(study->config.root, "measure");
    if (!map || map->kind == CONFIG_NULL)
        return true;
    if (map->kind != CONFIG_MAP)
        return config_error(&study->config, map, err,
                            "a map is wanted, such as {hessian: {take: [largest_1]}}");
    for (size_t i = 0; i < map->count; i++) {
        const ConfigNode *node = map->children[i];
        bool training = strcmp(node->key, TRAINING) == 0;
        if (training && node->count > 1)
            return config_error(&study->config, node, err, "`take` is all that it can hold");
        if (!read_take(study, node, err) || (!training && !read_probe(study, node, err)))
            return false;
    }
    return true;
}

void measures_free(Study *study)
{
    for (int i = 0; i < study->measure_count; i++) {
        for (int k = 0; k < study->measures[i].option_count; k++)
            mem_free(study->measures[i].options[k]);
        mem_free(study->measures[i].options);
    }
    for (int i = 0; i < study->measured_count; i++)
        mem_free(study->measured[i]);
}

/* ---- of a trial ---- */

static json_t *read_findings(const char *folder, const char *probe)
{
    char name[160];
    snprintf(name, sizeof name, "probe-%s.json", probe);
    return file_json(folder, name);
}

/* "lockstep study: hessian samples=2000": stands in what the probe writes. */
static char *measure_text(const Measure *measure, char *buffer, size_t size)
{
    snprintf(buffer, size, "lockstep study: %s", measure->probe);
    for (int i = 0; i < measure->option_count; i++)
        text_append(buffer, size, " %s", measure->options[i]);
    return buffer;
}

/* A column of the probe that is not among what it found, or NULL. A value that is not finite is
 * there, as null. */
static const char *find_missing(const Study *study, const char *probe, const json_t *findings)
{
    size_t length = strlen(probe);
    for (int i = 0; i < study->measured_count; i++) {
        const char *key = study->measured[i] + length + 1;
        if (strncmp(study->measured[i], probe, length) == 0 && key[-1] == '.' &&
            !json_object_get(findings, key))
            return key;
    }
    return NULL;
}

bool measure_is_done(const Study *study, const char *folder, const Measure *measure)
{
    char wanted[TEXT_SIZE];
    json_t *findings = read_findings(folder, measure->probe);
    const char *found = json_string_value(json_object_get(findings, "command"));
    bool done = found && strcmp(found, measure_text(measure, wanted, sizeof wanted)) == 0 &&
                !find_missing(study, measure->probe, findings);
    json_decref(findings);
    return done;
}

/* The last `probe` event that has the key: lines are read from the end. */
static double last_of_training(const char *folder, const char *key)
{
    char *text, *path = path_join(folder, "metrics.jsonl");
    size_t bytes;
    double value = (double)NAN;
    if (file_text(path, FILE_MAX_BYTES, &text, &bytes, NULL)) {
        for (char *end = text + bytes; end > text && isnan(value);) {
            while (end > text && end[-1] == '\n')
                *--end = '\0';
            char *line = end;
            while (line > text && line[-1] != '\n')
                line--;
            json_t *event = strstr(line, "\"event\":\"probe\"") ? json_loads(line, 0, NULL) : NULL;
            json_t *found = json_object_get(event, key);
            value = json_is_number(found) ? json_number_value(found) : value;
            json_decref(event);
            end = line;
        }
        mem_free(text);
    }
    mem_free(path);
    return value;
}

double measured_value(const char *folder, const char *column)
{
    char probe[128];
    const char *key = strchr(column, '.') + 1;
    snprintf(probe, sizeof probe, "%.*s", (int)(key - column) - 1, column);
    if (strcmp(probe, TRAINING) == 0)
        return last_of_training(folder, key);
    json_t *findings = read_findings(folder, probe);
    json_t *found = json_object_get(findings, key);
    double value = json_is_number(found) ? json_number_value(found) : (double)NAN;
    json_decref(findings);
    return value;
}

/* Of rank 0, which has written what was found; all ranks get its answer. */
static bool check_findings(const Study *study, const char *folder, const char *probe, Comm *comm,
                           Err *err)
{
    struct {
        bool ok;
        Err err;
    } answer = { .ok = true };
    if (comm_rank(comm) == 0) {
        json_t *findings = read_findings(folder, probe);
        const char *missing = find_missing(study, probe, findings);
        answer.ok = !missing || err_set(&answer.err, "measure.%s.take: the probe finds no \"%s\"",
                                        probe, missing);
        json_decref(findings);
    }
    comm_broadcast(comm, &answer, sizeof answer, 0);
    return answer.ok || err_set(err, "%s", answer.err.text);
}

int measure_trial(const Study *study, const Trial *trial, Trainer *trainer, Err *err)
{
    char *folder = trial_folder(study, trial);
    int code = EXIT_OK;
    for (int i = 0; code == EXIT_OK && i < study->measure_count; i++) {
        const Measure *measure = &study->measures[i];
        char text[TEXT_SIZE];
        ProbeRequest request = { .name = measure->probe,
                                 .assignments = (const char *const *)measure->options,
                                 .count = measure->option_count,
                                 .folder = folder,
                                 .checkpoint = "final",
                                 .out = folder,
                                 .command = measure_text(measure, text, sizeof text),
                                 .quiet = true };
        code = probe_run(trainer, &request, err);
        if (code == EXIT_OK && !check_findings(study, folder, measure->probe, trainer->comm, err))
            code = EXIT_USAGE;
    }
    mem_free(folder);
    return code;
}
