/* The table of a study, trials.csv: a line for each trial. Columns, in this order: trial, status, a
 * column for each key that the study varies (its dotted name), and the results of TrialResult,
 * then digest, trajectory, a column for each thing that was measured beside ("probe.what"),
 * message. RFC 4180; an empty cell means that the value does not apply. */
#ifndef LOCKSTEP_TABLE_H
#define LOCKSTEP_TABLE_H

#include "lockstep/error.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum TrialResult {
    RESULT_STEPS,
    RESULT_SAMPLES,
    RESULT_EPOCHS,
    RESULT_SECONDS,
    RESULT_TRAIN_LOSS,
    RESULT_TEST_LOSS,
    RESULT_TEST_ACCURACY,
    RESULT_BEST_LOSS,
    RESULT_BEST_ACCURACY,
    RESULT_TARGET_STEP, /* these three: when the target was reached; empty: it was not */
    RESULT_TARGET_SAMPLES,
    RESULT_TARGET_SECONDS,
    RESULTS
} TrialResult;

/* The column's name, "steps" to "target_seconds". */
const char *result_name(TrialResult result);

typedef struct TrialRow {
    const char *id, *status; /* completed, diverged, failed, pruned or target */
    const char **values;     /* of the varied keys, as written */
    double result[RESULTS];  /* NAN: empty, or not finite */
    double *measured;        /* the same */
    const char *digest, *trajectory, *message;
} TrialRow;

typedef struct Table {
    int key_count, count;
    const char **keys; /* dotted names */
    int measured_count;
    const char **measured; /* names */
    TrialRow *trials;
    size_t capacity;
    char *text; /* the cells point into it */
} Table;

#define TABLE_MAX_BYTES ((size_t)64 << 20)
#define TABLE_MAX_COLUMNS 256

/* `name` stands in messages. The text is copied. Whoever calls one of these calls table_free, also
 * after an error. */
bool table_parse(Table *table, const char *name, const char *text, size_t length, Err *err);
bool table_read(Table *table, const char *path, Err *err);
void table_free(Table *table);

/* The column of a varied key, or -1. */
int table_key(const Table *table, const char *key);

/* The column of something measured, or -1. */
int table_measured(const Table *table, const char *name);

/* The number at the start of a value and the unit behind it ("5ep": 5 and "ep"); false if there is
 * no finite number, or if what is behind it is not a word of letters. */
bool value_number(const char *text, double *number, const char **unit);

#endif
