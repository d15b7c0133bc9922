/* The answer of a study's folder: its table analysed as study.yaml asks, and what study.yaml
 * expects, checked. Read from trials.csv, study.yaml and one trial's config.yaml. */
#ifndef LOCKSTEP_ANSWER_H
#define LOCKSTEP_ANSWER_H

#include "lockstep/analysis.h"
#include "lockstep/config.h"
#include "lockstep/expectation.h"

typedef struct Answer {
    char *folder;
    char *text; /* of study.yaml, or NULL */
    Table table;
    Config config; /* of study.yaml; its root is NULL without one */
    Analysis analysis;
    Expectations expectations;
} Answer;

/* `path` is a study's folder or its table. answer_free in any case. */
bool answer_read(Answer *answer, const char *path, Err *err);
void answer_free(Answer *answer);

/* "Expectations: 2 of 3 hold", or "" without any; into buffer; returns buffer. */
char *answer_outcome(const Answer *answer, char *buffer, size_t size);

/* For the standard output of rank 0. */
void answer_print(const Answer *answer);

/* summary.json, whole or not at all. */
bool answer_write(const Answer *answer, const char *path, Err *err);

/* What `lockstep study` does at its end: reads, prints, writes <folder>/summary.json. */
bool answer_give(const char *folder, Err *err);

#endif
