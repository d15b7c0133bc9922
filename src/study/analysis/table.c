/* trials.csv, read into a table of trials. */
#include "lockstep/table.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include "lockstep/files.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const first_columns[] = { "trial", "status" };
static const char *const result_columns[RESULTS] = {
    "steps",         "samples",     "epochs",         "seconds",
    "train_loss",    "test_loss",   "test_accuracy",  "best_loss",
    "best_accuracy", "target_step", "target_samples", "target_seconds",
};
static const char *const last_columns[] = { "digest", "trajectory", "message" };
static const char *const statuses[] = { "completed", "diverged", "failed", "pruned", "target" };

enum {
    FIRST = sizeof first_columns / sizeof *first_columns,
    LAST = sizeof last_columns / sizeof *last_columns,
    FIXED = FIRST + RESULTS + LAST,
    STATUSES = sizeof statuses / sizeof *statuses
};

const char *result_name(TrialResult result)
{
    return result_columns[result];
}

/* ---- CSV ---- */

typedef struct Reader {
    const char *name;
    char *at; /* the next character, NULL behind the end */
    long line;
    int count; /* cells of the record in hand */
    char *cells[TABLE_MAX_COLUMNS];
} Reader;

/* Takes the cell that begins at reader->at; its text is written over itself, without quotes.
 * *behind is the character that ended it: a comma, the end of a line or of the text. */
static bool read_cell(Reader *reader, char *behind, Err *err)
{
    char *from = reader->at, *to = from;
    bool quoted = *from == '"', open = quoted;
    long line = reader->line;
    reader->cells[reader->count++] = to;
    from += quoted;
    while (*from && (open || !strchr(",\r\n", *from))) {
        if (open && *from == '"' && *++from != '"') {
            open = false;
            break;
        }
        reader->line += *from == '\n';
        *to++ = *from++;
    }
    if (open)
        return err_set(err, "%s:%ld: a quote that is not closed", reader->name, line);
    from += *from == '\r' && from[1] == '\n';
    *behind = *from;
    if (*behind && *behind != ',' && *behind != '\n')
        return err_set(err, "%s:%ld: text behind a closed quote", reader->name, reader->line);
    *to = '\0';
    reader->at = from + 1;
    return true;
}

/* The next record; reader->count is 0 at the end of the text. */
static bool read_record(Reader *reader, Err *err)
{
    char behind = ',';
    reader->count = 0;
    if (!reader->at || !*reader->at)
        return true;
    reader->line++;
    while (behind == ',') {
        if (reader->count == TABLE_MAX_COLUMNS)
            return err_set(err, "%s:%ld: more than %d columns", reader->name, reader->line,
                           TABLE_MAX_COLUMNS);
        if (!read_cell(reader, &behind, err))
            return false;
    }
    if (behind == '\0')
        reader->at = NULL;
    return true;
}

/* ---- the header ---- */

static bool check_column(const Reader *reader, int column, const char *wanted, Err *err)
{
    if (column < reader->count && strcmp(reader->cells[column], wanted) == 0)
        return true;
    char found[128];
    return err_set(err, "%s:1: column %d is %s, \"%s\" is wanted", reader->name, column + 1,
                   column < reader->count ? text_quoted(found, sizeof found, reader->cells[column])
                                          : "missing",
                   wanted);
}

/* Where the results begin; behind the first columns if they do not. */
static int find_steps(const Reader *reader)
{
    for (int i = FIRST; i < reader->count; i++)
        if (strcmp(reader->cells[i], result_columns[0]) == 0)
            return i;
    return reader->count < FIXED ? FIRST : reader->count - FIXED + FIRST;
}

static bool read_header(Table *table, Reader *reader, Err *err)
{
    if (!read_record(reader, err))
        return false;
    if (reader->count == 0)
        return err_set(err, "%s: empty: a table of trials is wanted", reader->name);
    int keys = find_steps(reader) - FIRST, between = FIRST + keys + RESULTS + 2;
    for (int i = 0; i < FIRST; i++)
        if (!check_column(reader, i, first_columns[i], err))
            return false;
    for (int i = 0; i < RESULTS + 2; i++)
        if (!check_column(reader, FIRST + keys + i,
                          i < RESULTS ? result_columns[i] : last_columns[i - RESULTS], err))
            return false;
    int last = reader->count > between ? reader->count - 1 : between;
    if (!check_column(reader, last, last_columns[2], err))
        return false;
    table->measured_count = last - between;
    table->measured = mem_array(const char *, table->measured_count);
    for (int i = 0; i < table->measured_count; i++)
        table->measured[i] = reader->cells[between + i];
    table->keys = mem_array(const char *, keys);
    for (int i = 0; i < keys; i++) {
        table->keys[i] = reader->cells[FIRST + i];
        if (table_key(table, table->keys[i]) >= 0)
            return err_set(err, "%s:1: column \"%s\" twice", reader->name, table->keys[i]);
        table->key_count++;
    }
    return true;
}

/* ---- trials ---- */

/* A number, or NAN; `name` is the column's. */
static bool read_number(const Reader *reader, int column, const char *name, double *value, Err *err)
{
    const char *text = reader->cells[column];
    *value = (double)NAN;
    if (!*text || strcmp(text, "nan") == 0 || strcmp(text, "inf") == 0 || strcmp(text, "-inf") == 0)
        return true;
    if (text_to_double(text, value))
        return true;
    char found[128];
    return err_set(err, "%s:%ld: %s: %s is not a number", reader->name, reader->line, name,
                   text_quoted(found, sizeof found, text));
}

static bool read_status(const Reader *reader, Err *err)
{
    for (int i = 0; i < STATUSES; i++)
        if (strcmp(reader->cells[1], statuses[i]) == 0)
            return true;
    char found[128];
    return err_set(err, "%s:%ld: status %s: completed, diverged, failed, pruned or target wanted",
                   reader->name, reader->line, text_quoted(found, sizeof found, reader->cells[1]));
}

static bool read_measured(const Table *table, const Reader *reader, int first, TrialRow *trial,
                          Err *err)
{
    bool ok = true;
    trial->measured = mem_array(double, table->measured_count);
    for (int i = 0; ok && i < table->measured_count; i++)
        ok = read_number(reader, first + i, table->measured[i], &trial->measured[i], err);
    if (!ok)
        mem_free(trial->measured);
    return ok;
}

static bool read_trial(Table *table, const Reader *reader, Err *err)
{
    char *const *cells = reader->cells;
    int results = FIRST + table->key_count, last = results + RESULTS;
    int wanted = last + LAST + table->measured_count;
    if (reader->count != wanted)
        return err_set(err, "%s:%ld: %d cells, %d are wanted", reader->name, reader->line,
                       reader->count, wanted);
    if (!read_status(reader, err))
        return false;
    TrialRow trial = { .id = cells[0],
                       .status = cells[1],
                       .digest = cells[last],
                       .trajectory = cells[last + 1],
                       .message = cells[wanted - 1] };
    for (int i = 0; i < RESULTS; i++)
        if (!read_number(reader, results + i, result_columns[i], &trial.result[i], err))
            return false;
    if (!read_measured(table, reader, last + 2, &trial, err))
        return false;
    size_t keys = (size_t)table->key_count;
    trial.values = mem_array(const char *, keys);
    for (size_t i = 0; i < keys; i++)
        trial.values[i] = cells[FIRST + i];
    mem_grow(&table->trials, (size_t)table->count, &table->capacity, sizeof *table->trials);
    table->trials[table->count++] = trial;
    return true;
}

bool table_parse(Table *table, const char *name, const char *text, size_t length, Err *err)
{
    *table = (Table){ .text = mem_alloc(length + 1) };
    memcpy(table->text, text, length);
    if (strlen(table->text) != length)
        return err_set(err, "%s: a byte 0 in a table", name);
    Reader reader = { .name = name, .at = table->text };
    if (!read_header(table, &reader, err))
        return false;
    for (;;) {
        if (!read_record(&reader, err))
            return false;
        if (reader.count == 0)
            return true;
        if (!read_trial(table, &reader, err))
            return false;
    }
}

bool table_read(Table *table, const char *path, Err *err)
{
    char *text;
    size_t bytes;
    *table = (Table){ 0 };
    if (!file_text(path, TABLE_MAX_BYTES, &text, &bytes, err))
        return false;
    bool ok = table_parse(table, path, text, bytes, err);
    mem_free(text);
    return ok;
}

void table_free(Table *table)
{
    for (int i = 0; i < table->count; i++) {
        mem_free(table->trials[i].values);
        mem_free(table->trials[i].measured);
    }
    mem_free(table->trials);
    mem_free(table->keys);
    mem_free(table->measured);
    mem_free(table->text);
    *table = (Table){ 0 };
}

int table_key(const Table *table, const char *key)
{
    for (int i = 0; i < table->key_count; i++)
        if (strcmp(table->keys[i], key) == 0)
            return i;
    return -1;
}

bool value_number(const char *text, double *number, const char **unit)
{
    char *end;
    *number = strtod(text, &end);
    if (end == text || isspace((unsigned char)*text) || !isfinite(*number))
        return false;
    *unit = end;
    for (; *end; end++)
        if (!isalpha((unsigned char)*end))
            return false;
    return true;
}

int table_measured(const Table *table, const char *name)
{
    for (int i = 0; i < table->measured_count; i++)
        if (strcmp(table->measured[i], name) == 0)
            return i;
    return -1;
}
