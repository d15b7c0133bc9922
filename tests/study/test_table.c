/* trials.csv read back: quotes, empty cells, numbers with units; and every way in which a file may
 * be wrong, with its message. */
#include "support.h"

#include "lockstep/memory.h"
#include "lockstep/table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define RESULT_COLUMNS                                                                             \
    "steps,samples,epochs,seconds,train_loss,test_loss,test_accuracy,best_loss,best_accuracy,"     \
    "target_step,target_samples,target_seconds,digest,trajectory,message"
#define HEADER "trial,status,train.batch,optimizer.lr," RESULT_COLUMNS "\n"
#define ROW "a,completed,64,0.1,100,6400,2,3.5,0.5,0.6,0.9,0.55,0.91,,,,d1,t1,\n"

static Table table;
static Err err;

static bool parse(const char *text)
{
    return table_parse(&table, "t.csv", text, strlen(text), &err);
}

static void refuse(const char *text, const char *message)
{
    ck_assert(!parse(text));
    ck_assert_str_eq(err.text, message);
    table_free(&table);
}

START_TEST(test_reads)
{
    ck_assert(parse(HEADER ROW
                    "b,diverged,\"[1, 2]\",5ep,7,,,,nan,inf,,,,,,,d2,t2,\"loss is \"\"nan\"\",\n"
                    "stop\"\n"));
    ck_assert_int_eq(table.count, 2);
    ck_assert_int_eq(table.key_count, 2);
    ck_assert_int_eq(table_key(&table, "optimizer.lr"), 1);
    ck_assert_int_eq(table_key(&table, "seed"), -1);
    const TrialRow *a = &table.trials[0], *b = &table.trials[1];
    ck_assert_str_eq(a->id, "a");
    ck_assert_str_eq(a->values[1], "0.1");
    ck_assert(a->result[RESULT_STEPS] == 100 && a->result[RESULT_BEST_ACCURACY] == 0.91);
    ck_assert(isnan(a->result[RESULT_TARGET_STEP]));
    ck_assert_str_eq(a->trajectory, "t1");
    ck_assert_str_eq(a->message, "");
    ck_assert_str_eq(b->status, "diverged");
    ck_assert_str_eq(b->values[0], "[1, 2]");
    ck_assert_str_eq(b->message, "loss is \"nan\",\nstop");
    ck_assert(isnan(b->result[RESULT_TRAIN_LOSS]) && isnan(b->result[RESULT_TEST_LOSS]));
    table_free(&table);
}
END_TEST

START_TEST(test_reads_other_forms)
{
    ck_assert(parse("trial,status," RESULT_COLUMNS "\r\n"
                    "a,target,1,,,,,,,,,1,,,,,\r\nb,failed,,,,,,,,,,,,,,,no memory"));
    ck_assert_int_eq(table.count, 2);
    ck_assert_int_eq(table.key_count, 0);
    ck_assert_str_eq(table.trials[1].message, "no memory");
    table_free(&table);
    ck_assert(parse(HEADER));
    ck_assert_int_eq(table.count, 0);
    table_free(&table);
}
END_TEST

START_TEST(test_reads_measured)
{
    const char *header = "trial,status,seed,steps,samples,epochs,seconds,train_loss,test_loss,"
                         "test_accuracy,best_loss,best_accuracy,target_step,target_samples,"
                         "target_seconds,digest,trajectory,hessian.largest_1,training.noise_scale,";
    char text[1024];
    snprintf(text, sizeof text, "%smessage\n%s", header,
             "a,completed,1,9,9,1,1,,,,,,,,,d,t,12.5,,\nb,diverged,2,9,9,1,1,,,,,,,,,d,t,,,gone\n");
    ck_assert_msg(parse(text), "%s", err.text);
    ck_assert_int_eq(table.measured_count, 2);
    ck_assert_int_eq(table_measured(&table, "training.noise_scale"), 1);
    ck_assert_int_eq(table_measured(&table, "seed"), -1);
    ck_assert(table.trials[0].measured[0] == 12.5 && isnan(table.trials[0].measured[1]));
    ck_assert_str_eq(table.trials[1].message, "gone");
    table_free(&table);
    snprintf(text, sizeof text, "%smessage\n%s", header,
             "a,completed,1,9,9,1,1,,,,,,,,,d,t,12.5,much,\n");
    refuse(text, "t.csv:2: training.noise_scale: \"much\" is not a number");
    snprintf(text, sizeof text, "%snote\n", header);
    refuse(text, "t.csv:1: column 20 is \"note\", \"message\" is wanted");
}
END_TEST

START_TEST(test_refuses)
{
    refuse("", "t.csv: empty: a table of trials is wanted");
    refuse("trial,state\n", "t.csv:1: column 2 is \"state\", \"status\" is wanted");
    refuse("trial,status,steps\n", "t.csv:1: column 4 is missing, \"samples\" is wanted");
    refuse("trial,status,seed,seed," RESULT_COLUMNS "\n", "t.csv:1: column \"seed\" twice");
    refuse(HEADER ROW "b,completed,64,0.1,100\n", "t.csv:3: 5 cells, 19 are wanted");
    refuse(HEADER "a,done,64,0.1,100,6400,2,3.5,0.5,0.6,0.9,0.55,0.91,,,,d1,t1,\n",
           "t.csv:2: status \"done\": completed, diverged, failed, pruned or target wanted");
    refuse(HEADER "a,completed,64,0.1,100,6400,2,3.5,0.5,low,0.9,0.55,0.91,,,,d1,t1,\n",
           "t.csv:2: test_loss: \"low\" is not a number");
    refuse(HEADER ROW "b,\"completed,64\n", "t.csv:3: a quote that is not closed");
    refuse(HEADER "\"a\"b,completed\n", "t.csv:2: text behind a closed quote");
    ck_assert(!table_parse(&table, "t.csv", "trial\0", 6, &err));
    ck_assert_str_eq(err.text, "t.csv: a byte 0 in a table");
    table_free(&table);
}
END_TEST

/* A table cut anywhere is read or refused, never more than read. */
START_TEST(test_cut_anywhere)
{
    const char text[] = HEADER ROW "b,failed,\"a\"\"b\",,,,,,,,,,,,,,,,\"x,\ny\"\n";
    for (size_t length = 0; length < sizeof text; length++) {
        char *copy = mem_alloc(length + 1);
        memcpy(copy, text, length);
        table_parse(&table, "t.csv", copy, length, &err);
        ck_assert_int_le(table.count, 2);
        table_free(&table);
        mem_free(copy);
    }
}
END_TEST

START_TEST(test_values)
{
    double number;
    const char *unit;
    ck_assert(value_number("0.5ep", &number, &unit) && number == 0.5);
    ck_assert_str_eq(unit, "ep");
    ck_assert(value_number("1e-3", &number, &unit) && number == 1e-3 && *unit == '\0');
    ck_assert(!value_number("lars", &number, &unit));
    ck_assert(!value_number("", &number, &unit));
    ck_assert(!value_number("nan", &number, &unit));
    ck_assert(!value_number("1, 2", &number, &unit));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("table");
    add_test(suite, test_reads);
    add_test(suite, test_reads_other_forms);
    add_test(suite, test_reads_measured);
    add_test(suite, test_refuses);
    add_test(suite, test_cut_anywhere);
    add_test(suite, test_values);
    return run_suite(suite);
}
