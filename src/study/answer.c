/* A study's folder becomes its answer: read, analysed, checked against what was expected, printed
 * and written. */
#include "lockstep/answer.h"

#include "lockstep/files.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_COLUMNS 100 /* for expectations */

/* ---- reading ---- */

static bool is_folder(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = mem_string(slash ? path : ".");
    if (slash)
        folder[slash > path ? slash - path : 1] = '\0';
    return folder;
}

static bool read_yaml(Answer *answer, Err *err)
{
    size_t length;
    char *path = path_join(answer->folder, "study.yaml");
    bool ok =
        access(path, F_OK) != 0 || (config_file(path, &answer->text, &length, err) &&
                                    config_parse(&answer->config, path, answer->text, length, err));
    mem_free(path);
    return ok;
}

static bool read_expectations(Answer *answer, Err *err)
{
    const Table *table = &answer->table;
    ExpectationNames names = { table->keys, table->measured, table->key_count,
                               table->measured_count };
    if (!answer->config.root || names.key_count + names.measured_count > MOST_COLUMNS)
        return true;
    const ConfigNode *list = config_get(answer->config.root, "expect");
    return expectations_read(&answer->expectations, &answer->config, list, &names, err);
}

bool answer_read(Answer *answer, const char *path, Err *err)
{
    bool folder = is_folder(path);
    Question question;
    *answer = (Answer){ .folder = folder ? mem_string(path) : parent_of(path) };
    char *table = folder ? path_join(path, "trials.csv") : mem_string(path);
    bool ok = table_read(&answer->table, table, err) && read_yaml(answer, err) &&
              question_read(&question, &answer->table, answer->folder, err) &&
              read_expectations(answer, err);
    mem_free(table);
    if (!ok)
        return false;
    analysis_make(&answer->analysis, &answer->table, &question);
    expectations_check(&answer->expectations, &answer->analysis);
    return true;
}

void answer_free(Answer *answer)
{
    expectations_free(&answer->expectations);
    analysis_free(&answer->analysis);
    table_free(&answer->table);
    config_free(&answer->config);
    mem_free(answer->folder);
    mem_free(answer->text);
    *answer = (Answer){ 0 };
}

/* ---- giving it ---- */

static int with_outcome(const Answer *answer, Outcome outcome)
{
    int count = 0;
    for (int i = 0; i < answer->expectations.count; i++)
        count += answer->expectations.list[i].outcome == outcome;
    return count;
}

char *answer_outcome(const Answer *answer, char *buffer, size_t size)
{
    int count = answer->expectations.count, open = with_outcome(answer, OUTCOME_OPEN);
    buffer[0] = '\0';
    if (count == 0)
        return buffer;
    text_append(buffer, size, "Expectations: %d of %d hold", with_outcome(answer, OUTCOME_YES),
                count);
    if (open > 0)
        text_append(buffer, size, ", %d open", open);
    return buffer;
}

void answer_print(const Answer *answer)
{
    analysis_print(&answer->analysis);
    expectations_print(&answer->expectations);
}

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *expectations_json(const Expectations *expectations)
{
    json_t *list = json_array();
    for (int i = 0; i < expectations->count; i++) {
        const Expectation *e = &expectations->list[i];
        json_t *value = json_object();
        json_object_set_new(value, "claim", json_string(e->claim));
        json_object_set_new(value, "outcome", json_string(outcome_text(e->outcome)));
        json_object_set_new(value, "value", number(e->found[0]));
        json_object_set_new(value, "other", number(e->found[1]));
        json_array_append_new(list, value);
    }
    return list;
}

bool answer_write(const Answer *answer, const char *path, Err *err)
{
    json_t *value = analysis_json(&answer->analysis);
    json_object_set_new(value, "expectations", expectations_json(&answer->expectations));
    char *dump = json_dumps(value, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    expect(dump);
    size_t length = strlen(dump);
    dump[length] = '\n'; /* in the place of the byte 0 */
    bool ok = file_replace(path, dump, length + 1, err);
    free(dump);
    json_decref(value);
    return ok;
}

bool answer_give(const char *folder, Err *err)
{
    Answer answer;
    char *path = path_join(folder, "summary.json");
    bool ok = answer_read(&answer, folder, err) && answer_write(&answer, path, err);
    if (ok)
        answer_print(&answer);
    answer_free(&answer);
    mem_free(path);
    return ok;
}
