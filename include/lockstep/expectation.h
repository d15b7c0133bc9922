/* What a study is expected to show, stated before it runs and checked afterwards: comparisons of
 * two quantities, each the median over seeds at the best setting of the trials that it names.
 *
 *   expect:
 *     - claim: linear scaling with warm-up is flat up to batch 1,024
 *       value: {metric: test_accuracy, arm: gradual, train.batch: 1024}
 *       about: {metric: test_accuracy, arm: gradual, train.batch: 64}
 *       by: 0.01
 *     - claim: without warm-up it is worse there
 *       value: {metric: test_accuracy, arm: none, train.batch: 1024}
 *       below: {metric: test_accuracy, arm: gradual, train.batch: 1024}
 *
 * The metric is a column of the table (a result, a varied key, something measured), or b_crit,
 * s_min or lr_exponent of a curve. docs/studies.md. */
#ifndef LOCKSTEP_EXPECTATION_H
#define LOCKSTEP_EXPECTATION_H

#include "lockstep/analysis.h"
#include "lockstep/config.h"

typedef struct Quantity {
    const char *metric; /* NULL: a number */
    double number;
    const ConfigNode *trials; /* the map: which trials */
} Quantity;

/* above: value > factor * other + by; below: value < other / factor - by; about: they differ by at
 * most `by`, or by a factor of at most `factor`. */
typedef enum Relation { RELATION_ABOVE, RELATION_BELOW, RELATION_ABOUT } Relation;

typedef enum Outcome {
    OUTCOME_OPEN, /* there are no such trials yet */
    OUTCOME_YES,
    OUTCOME_NO
} Outcome;

typedef struct Expectation {
    const char *claim;
    Quantity value, other;
    Relation relation;
    double by, factor; /* 0 and 1 unless given */
    double found[2];   /* value and other; NAN: open */
    Outcome outcome;
} Expectation;

typedef struct Expectations {
    Expectation *list;
    int count;
} Expectations;

/* Node `expect` of a study file, or NULL. `columns`: names that a metric may have beside the
 * results, and keys that tell trials apart. Text is borrowed from config. expectations_free in any
 * case. */
typedef struct ExpectationNames {
    const char *const *keys, *const *measured;
    int key_count, measured_count;
} ExpectationNames;
bool expectations_read(Expectations *expectations, const Config *config, const ConfigNode *list,
                       const ExpectationNames *names, Err *err);
void expectations_free(Expectations *expectations);

/* Fills in what was found. A trial that diverged or failed has accuracy 0 and an infinite loss; one
 * that never reached the target took infinitely many steps. */
void expectations_check(Expectations *expectations, const Analysis *analysis);

/* "test_accuracy 0.9051 (arm gradual, train.batch 1024)", into buffer; returns buffer. */
char *quantity_text(const Quantity *quantity, double found, char *buffer, size_t size);

/* "as expected", "NOT as expected", "open". */
const char *outcome_text(Outcome outcome);

/* A line for each and the count: on the standard output of rank 0. */
void expectations_print(const Expectations *expectations);

#endif
