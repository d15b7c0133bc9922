/* What a probe finds: the same values as a table for people and as JSON, rows as CSV. */
#include "lockstep/probe.h"

#include "lockstep/files.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN 6 /* numbers of a list on a line */

struct Findings {
    json_t *values;
    char *lines, *rows; /* text so far, owned */
    size_t lines_bytes, lines_capacity, rows_bytes, rows_capacity;
};

Findings *findings_new(void)
{
    Findings *findings = mem_new(Findings);
    findings->values = json_object();
    return findings;
}

void findings_free(Findings *findings)
{
    if (!findings)
        return;
    json_decref(findings->values);
    mem_free(findings->lines);
    mem_free(findings->rows);
    mem_free(findings);
}

/* Appends to a text that grows. */
static void append(char **text, size_t *bytes, size_t *capacity, const char *more)
{
    for (size_t i = 0; more[i]; i++) {
        mem_grow(text, *bytes + 1, capacity, 1);
        (*text)[(*bytes)++] = more[i];
    }
}

static void add_line(Findings *findings, const char *key, const char *value, const char *help)
{
    char line[1024];
    snprintf(line, sizeof line, "  %-24s %-14s %s", key, value, help);
    size_t end = strlen(line);
    while (end > 0 && line[end - 1] == ' ')
        end--;
    snprintf(line + end, sizeof line - end, "\n");
    append(&findings->lines, &findings->lines_bytes, &findings->lines_capacity, line);
}

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

void found(Findings *findings, const char *key, double value, const char *help)
{
    char text[32];
    snprintf(text, sizeof text, "%.6g", value);
    json_object_set_new(findings->values, key, number(value));
    if (help)
        add_line(findings, key, text, help);
}

void found_text(Findings *findings, const char *key, const char *value)
{
    Err tidy; /* a path may hold any bytes, JSON may not */
    err_set(&tidy, "%s", value);
    json_object_set_new(findings->values, key, json_string(tidy.text));
}

void found_integer(Findings *findings, const char *key, int64_t value)
{
    json_object_set_new(findings->values, key, json_integer(value));
}

void found_list(Findings *findings, const char *key, const double *values, int count,
                const char *help)
{
    char text[SHOWN * 16 + 8] = "";
    json_t *list = json_array();
    for (int i = 0; i < count; i++) {
        json_array_append_new(list, number(values[i]));
        if (i < SHOWN)
            text_append(text, sizeof text, "%s%.5g", i ? " " : "", values[i]);
    }
    text_append(text, sizeof text, "%s", count > SHOWN ? " ..." : "");
    json_object_set_new(findings->values, key, list);
    add_line(findings, key, text, help);
}

static void add_row(Findings *findings, const char *row)
{
    append(&findings->rows, &findings->rows_bytes, &findings->rows_capacity, row);
    append(&findings->rows, &findings->rows_bytes, &findings->rows_capacity, "\n");
}

void found_columns(Findings *findings, const char *columns)
{
    add_row(findings, columns);
}

void found_row(Findings *findings, const char *format, ...)
{
    char row[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(row, sizeof row, format, arguments);
    va_end(arguments);
    add_row(findings, row);
}

void findings_print(const Findings *findings)
{
    if (findings->lines_bytes > 0)
        log_out("%.*s", (int)findings->lines_bytes - 1, findings->lines); /* it ends the line */
}

static bool write_file(const char *folder, const char *name, const char *end, const char *text,
                       size_t bytes, Err *err)
{
    char file[64];
    snprintf(file, sizeof file, "probe-%s.%s", name, end);
    char *path = path_join(folder, file);
    bool ok = file_replace(path, text, bytes, err);
    mem_free(path);
    return ok;
}

bool findings_write(const Findings *findings, const char *folder, const char *name, Err *err)
{
    char *text = json_dumps(findings->values, JSON_INDENT(1) | JSON_REAL_PRECISION(10));
    expect(text);
    bool ok = write_file(folder, name, "json", text, strlen(text), err) &&
              (findings->rows_bytes == 0 ||
               write_file(folder, name, "csv", findings->rows, findings->rows_bytes, err));
    free(text);
    return ok;
}
