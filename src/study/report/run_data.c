/* Reads a run folder: metrics.jsonl, and summary.json, meta.json, config.yaml where they are. */
#include "run_data.h"

#include "lockstep/files.h"
#include "lockstep/memory.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX ((size_t)4 << 20) /* bytes of summary.json, meta.json, config.yaml */
#define LINE_MAX_BYTES (1 << 20)
#define COLUMNS_MAX 512

/* ---- frames ---- */

const double *frame_column(const Frame *frame, const char *name)
{
    for (size_t i = 0; i < frame->count; i++)
        if (strcmp(frame->columns[i].name, name) == 0)
            return frame->columns[i].values;
    return NULL;
}

/* The column of this name; a new one has NAN in all rows so far. */
static Column *column_of(Frame *frame, const char *name)
{
    for (size_t i = 0; i < frame->count; i++)
        if (strcmp(frame->columns[i].name, name) == 0)
            return &frame->columns[i];
    if (frame->count == COLUMNS_MAX)
        return NULL;
    mem_grow(&frame->columns, frame->count, &frame->capacity, sizeof *frame->columns);
    Column *column = &frame->columns[frame->count++];
    column->name = mem_string(name);
    for (size_t row = 0; row < frame->rows; row++) {
        mem_grow(&column->values, row, &column->capacity, sizeof *column->values);
        column->values[row] = (double)NAN;
    }
    return column;
}

static void add_record(Frame *frame, json_t *record)
{
    const char *key;
    json_t *value;
    json_object_foreach (record, key, value)
        if (json_is_number(value))
            column_of(frame, key);
    for (size_t i = 0; i < frame->count; i++) {
        Column *column = &frame->columns[i];
        mem_grow(&column->values, frame->rows, &column->capacity, sizeof *column->values);
        json_t *found = json_object_get(record, column->name);
        column->values[frame->rows] =
            json_is_number(found) ? json_number_value(found) : (double)NAN;
    }
    frame->rows++;
}

void frame_add(Frame *frame, double step, const char *name, double value)
{
    json_t *record = json_pack("{s:f, s:f}", "step", step, name, value);
    add_record(frame, record);
    json_decref(record);
}

void frame_free(Frame *frame)
{
    for (size_t i = 0; i < frame->count; i++) {
        mem_free(frame->columns[i].name);
        mem_free(frame->columns[i].values);
    }
    mem_free(frame->columns);
    *frame = (Frame){ 0 };
}

/* ---- metrics.jsonl ---- */

static bool take_record(RunData *run, json_t *record, const char *path, long line, Err *err)
{
    const char *event = json_string_value(json_object_get(record, "event"));
    if (!event)
        return err_set(err, "%s:%ld: no \"event\"", path, line);
    run->resumes += strcmp(event, "resume") == 0;
    run->rollbacks += strcmp(event, "rollback") == 0;
    bool step = strcmp(event, "step") == 0, eval = strcmp(event, "eval") == 0;
    if (!step && !eval && strcmp(event, "probe") != 0)
        return true;
    if (!json_is_integer(json_object_get(record, "step")))
        return err_set(err, "%s:%ld: no \"step\"", path, line);
    add_record(step ? &run->steps : eval ? &run->evals : &run->probes, record);
    return true;
}

static bool take_line(RunData *run, const char *text, const char *path, long line, Err *err)
{
    json_error_t where;
    json_t *record = json_loads(text, JSON_REJECT_DUPLICATES, &where);
    if (!record)
        return err_set(err, "%s:%ld: not JSON: %s", path, line, where.text);
    bool ok = take_record(run, record, path, line, err);
    json_decref(record);
    return ok;
}

/* An unfinished last line counts as not there. */
static bool read_lines(RunData *run, FILE *file, const char *path, Err *err)
{
    char *text = NULL;
    size_t size = 0;
    ssize_t length;
    bool ok = true;
    for (long line = 1; ok && (length = getline(&text, &size, file)) > 0; line++) {
        run->cut = text[length - 1] != '\n';
        if (length > LINE_MAX_BYTES)
            ok = err_set(err, "%s:%ld: line longer than %d bytes", path, line, LINE_MAX_BYTES);
        else if (!run->cut)
            ok = take_line(run, text, path, line, err);
    }
    if (ok && ferror(file))
        ok = err_set(err, "%s: %s", path, strerror(errno));
    free(text);
    return ok;
}

static bool read_metrics(RunData *run, Err *err)
{
    char *path = path_join(run->folder, "metrics.jsonl");
    FILE *file = fopen(path, "re");
    bool ok =
        file ? read_lines(run, file, path, err) : err_set(err, "%s: %s", path, strerror(errno));
    if (file)
        fclose(file);
    mem_free(path);
    return ok;
}

/* ---- the other files ---- */

/* True without *text if the file is not there. */
static bool read_if_there(const char *path, char **text, size_t *bytes, Err *err)
{
    *text = NULL;
    return access(path, F_OK) != 0 || file_text(path, TEXT_MAX, text, bytes, err);
}

static bool read_json(const RunData *run, const char *name, json_t **value, Err *err)
{
    char *path = path_join(run->folder, name), *text;
    size_t bytes;
    json_error_t where;
    bool ok = read_if_there(path, &text, &bytes, err);
    if (ok && text) {
        *value = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &where);
        if (!*value)
            ok = err_set(err, "%s:%d: not JSON: %s", path, where.line, where.text);
        else if (!json_is_object(*value))
            ok = err_set(err, "%s: not a JSON object", path);
        mem_free(text);
    }
    mem_free(path);
    return ok;
}

static char *last_part(const char *folder)
{
    char *copy = mem_string(folder);
    size_t length = strlen(copy);
    while (length > 1 && copy[length - 1] == '/')
        copy[--length] = '\0';
    const char *slash = strrchr(copy, '/');
    char *name = mem_string(slash && slash[1] ? slash + 1 : copy);
    mem_free(copy);
    return name;
}

bool run_data_read(RunData *run, const char *folder, Err *err)
{
    size_t bytes;
    *run = (RunData){ .folder = mem_string(folder), .name = last_part(folder) };
    char *path = path_join(folder, "config.yaml");
    bool ok = read_metrics(run, err) && read_json(run, "summary.json", &run->summary, err) &&
              read_json(run, "meta.json", &run->meta, err) &&
              read_if_there(path, &run->config, &bytes, err);
    mem_free(path);
    return ok;
}

void run_data_free(RunData *run)
{
    mem_free(run->folder);
    mem_free(run->name);
    mem_free(run->config);
    json_decref(run->summary);
    json_decref(run->meta);
    frame_free(&run->steps);
    frame_free(&run->evals);
    frame_free(&run->probes);
    *run = (RunData){ 0 };
}

/* ---- what it holds ---- */

double run_number(const RunData *run, const char *key)
{
    const json_t *value = json_object_get(run->summary, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

const char *run_text(const RunData *run, const char *key)
{
    const char *text = json_string_value(json_object_get(run->summary, key));
    return text ? text : "";
}

/* From the first records: samples a step. */
double run_batch(const RunData *run)
{
    double batch = run_number(run, "global_batch");
    const double *samples = frame_column(&run->steps, "samples");
    const double *steps = frame_column(&run->steps, "step");
    if (isnan(batch) && run->steps.rows > 0 && samples && steps && steps[0] > 0)
        batch = samples[0] / steps[0];
    return batch;
}

double run_steps_to(const RunData *run, bool accuracy, double value)
{
    const double *values = frame_column(&run->evals, accuracy ? "accuracy" : "loss");
    const double *steps = frame_column(&run->evals, "step");
    for (size_t i = 0; values && steps && i < run->evals.rows; i++)
        if (accuracy ? values[i] >= value : values[i] <= value)
            return steps[i];
    return (double)INFINITY;
}
