/* The three things `lockstep diff` compares, one file each. Private to src/train. */
#ifndef LOCKSTEP_TRAIN_DIFF_PARTS_H
#define LOCKSTEP_TRAIN_DIFF_PARTS_H

#include "lockstep/config.h"
#include "lockstep/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* ---- diff_records.c: metrics.jsonl ---- */

/* The steps and evaluations of a run in their order. */
typedef struct Records {
    char *path; /* of metrics.jsonl, owned */
    FILE *file;
    long line;         /* 1-based number of the line in hand */
    json_t *record;    /* in hand: an object, or NULL at the end */
    int64_t step;      /* of the record in hand */
    bool eval;         /* it is an evaluation */
    int64_t last_step; /* largest so far, 0 before the first */
} Records;

bool records_open(Records *records, const char *folder, Err *err);
bool records_next(Records *records, Err *err);
void records_close(Records *records);

/* How many of the quantities that the two records hold differ; `print` shows each with both
 * values. */
int records_compare(const json_t *a, const json_t *b, bool print);
bool records_same(const json_t *a, const json_t *b, const char *key);

/* Values for people: all digits of a number, text as it is, "none" for null; into buffer. */
#define VALUE_SIZE 64
char *value_text(char buffer[VALUE_SIZE], const json_t *value);

/* ---- diff_settings.c: config.yaml ---- */

/* Prints the settings that differ, as context for everything else. */
void settings_diff(const char *folder_a, const char *folder_b);

/* Calls visit for every setting that differs between a config's text (resolved, YAML) and a config,
 * in the order of their paths; NULL: it is not there. Name and output are left out. */
typedef void LeafVisitor(void *context, const char *path, const char *a, const char *b);
bool leaves_compare(const char *text, const Config *config, LeafVisitor *visit, void *context,
                    Err *err);

#endif
