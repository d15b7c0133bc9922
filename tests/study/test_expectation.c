/* Expectations of a study: each relation, holding, failing and open; best settings, seeds, trials
 * that diverged; and every way in which one may be written wrongly, with its message. */
#include "support.h"

#include "lockstep/expectation.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char csv[] =
    "trial,status,arm,train.batch,optimizer.lr,seed,steps,samples,epochs,seconds,train_loss,"
    "test_loss,test_accuracy,best_loss,best_accuracy,target_step,target_samples,target_seconds,"
    "digest,trajectory,hessian.largest_1,message\n"
    "a,completed,sgd,64,0.1,1,10,640,1,1,0.3,0.4,0.90,,0.90,,,,,,4,\n"
    "b,completed,sgd,64,0.1,2,10,640,1,1,0.3,0.4,0.92,,0.92,,,,,,6,\n"
    "c,completed,sgd,64,0.4,1,10,640,1,1,0.3,0.4,0.80,,0.80,,,,,,9,\n"
    "d,completed,sgd,64,0.4,2,10,640,1,1,0.3,0.4,0.80,,0.80,,,,,,9,\n"
    "e,completed,sgd,1024,0.1,1,10,640,1,1,0.3,0.4,0.85,,0.85,,,,,,40,\n"
    "f,completed,sgd,1024,0.1,2,10,640,1,1,0.3,0.4,0.85,,0.85,,,,,,60,\n"
    "i,completed,sgd,256,0.1,1,10,640,1,1,0.3,0.4,0.70,,0.70,,,,,,7,\n"
    "j,completed,sgd,256,0.4,1,10,640,1,1,0.3,0.3,0.70,,0.70,,,,,,8,\n"
    "g,diverged,sgd,1024,0.4,1,3,192,1,1,,,,,,,,,,,,diverged\n"
    "h,diverged,sgd,1024,0.4,2,3,192,1,1,,,,,,,,,,,,diverged\n";

static const char *const keys[] = { "arm", "train.batch", "optimizer.lr", "seed" };
static const char *const measured[] = { "hessian.largest_1" };
static const ExpectationNames names = { keys, measured, 4, 1 };

static Config config;
static Expectations expectations;
static Err err;

static bool read(const char *text)
{
    ck_assert(config_parse(&config, "s.yaml", text, strlen(text), &err));
    return expectations_read(&expectations, &config, config_get(config.root, "expect"), &names,
                             &err);
}

static void finish(void)
{
    expectations_free(&expectations);
    config_free(&config);
}

static void refuse(const char *text, const char *message)
{
    ck_assert(!read(text));
    ck_assert_str_eq(err.text, message);
    finish();
}

static bool same_number(double found, double wanted)
{
    return isnan(wanted) ? isnan(found) : found == wanted || fabs(found - wanted) < 1e-12;
}

/* One expectation, checked against the table. */
static void check(const char *text, Outcome outcome, double value, double other)
{
    char file[1024];
    Table table;
    Analysis analysis;
    snprintf(file, sizeof file, "expect: [{claim: c, %s}]\n", text);
    ck_assert_msg(read(file), "%s", err.text);
    ck_assert(table_parse(&table, "t.csv", csv, strlen(csv), &err));
    Question question = question_default(&table);
    analysis_make(&analysis, &table, &question);
    expectations_check(&expectations, &analysis);
    const Expectation *e = &expectations.list[0];
    ck_assert_int_eq(e->outcome, outcome);
    ck_assert(same_number(e->found[0], value));
    ck_assert(same_number(e->found[1], other));
    analysis_free(&analysis);
    table_free(&table);
    finish();
}

#define SMALL "{metric: test_accuracy, train.batch: 64}"
#define LARGE "{metric: test_accuracy, train.batch: 1024, arm: sgd}"

START_TEST(test_checks)
{
    check("value: " SMALL ", above: " LARGE, OUTCOME_YES, 0.91, 0.85);
    check("value: " SMALL ", above: " LARGE ", by: 0.05", OUTCOME_YES, 0.91, 0.85);
    check("value: " SMALL ", above: " LARGE ", by: 0.07", OUTCOME_NO, 0.91, 0.85);
    check("value: " LARGE ", below: " SMALL, OUTCOME_YES, 0.85, 0.91);
    check("value: " SMALL ", below: 0.9", OUTCOME_NO, 0.91, 0.9);
    check("value: " SMALL ", about: 0.9, by: 0.02", OUTCOME_YES, 0.91, 0.9);
    check("value: " SMALL ", about: 0.9, by: 0.005", OUTCOME_NO, 0.91, 0.9);
    check("value: {metric: hessian.largest_1, train.batch: 1024}, above: {metric: "
          "hessian.largest_1, train.batch: 64.0}, factor: 5",
          OUTCOME_YES, 50, 5);
    check("value: {metric: hessian.largest_1, train.batch: 256}, above: 7.5", OUTCOME_YES, 8,
          7.5); /* equal accuracies: the smaller loss */
    check("value: {metric: hessian.largest_1, train.batch: 1024}, about: 100, factor: 1.9",
          OUTCOME_NO, 50, 100);
    check("value: {metric: optimizer.lr, train.batch: 64}, about: 0.1, by: 1e-9", OUTCOME_YES, 0.1,
          0.1);
    check("value: {metric: test_accuracy, train.batch: 1024, optimizer.lr: 0.4}, below: 0.2",
          OUTCOME_YES, 0, 0.2);
    check("value: {metric: test_accuracy, train.batch: 2048}, below: 0.2", OUTCOME_OPEN,
          (double)NAN, 0.2);
    check("value: {metric: target_step, train.batch: 64}, below: 100", OUTCOME_NO, (double)INFINITY,
          100); /* nobody got there */
    check("value: {metric: b_crit}, above: 100", OUTCOME_OPEN, (double)NAN, 100);
}
END_TEST

#define HEAD "expect: [{claim: c, value: {metric: test_accuracy}, "

START_TEST(test_refuses)
{
    refuse("expect: {claim: c}\n", "s.yaml:1:9: expect: a list of expectations is wanted");
    refuse(HEAD "}]\n", "s.yaml:1:10: expect[0]: one of above, below and about is wanted");
    refuse(HEAD "above: 1, below: 2}]\n",
           "s.yaml:1:10: expect[0]: one of above, below and about is wanted");
    refuse(HEAD "about: 1}]\n",
           "s.yaml:1:10: expect[0]: about: how far? `by` or `factor` is wanted");
    refuse(HEAD "above: [1]}]\n", "s.yaml:1:60: expect[0].above: a number or a map is wanted, such "
                                  "as {metric: test_accuracy, train.batch: 64}");
    refuse(HEAD "above: {train.batch: 64}}]\n",
           "s.yaml:1:60: expect[0].above: `metric` is wanted: which column");
    ck_assert(!read(HEAD "above: {metric: test_acuracy}}]\n"));
    ck_assert_ptr_nonnull(strstr(err.text, "unknown metric \"test_acuracy\"; did you mean"));
    finish();
    ck_assert(!read(HEAD "above: {metric: steps, batch: 64}}]\n"));
    ck_assert_ptr_nonnull(strstr(err.text, "expect[0].above.batch: unknown key"));
    finish();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("expectation");
    add_test(suite, test_checks);
    add_test(suite, test_refuses);
    return run_suite(suite);
}
