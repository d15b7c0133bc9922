/* `lockstep diff`: what it prints and returns for runs that are the same, part, are cut short or
 * cannot be read. Runs are written as text here, so the expected reports are exact. */
#include "support.h"

#include "lockstep/diff.h"
#include "lockstep/error.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[TEST_PATH], run_a[TEST_PATH], run_b[TEST_PATH];

static void setup(void)
{
    temp_create(folder);
    ck_assert_int_eq(mkdir(join_path(run_a, folder, "a"), 0777), 0);
    ck_assert_int_eq(mkdir(join_path(run_b, folder, "b"), 0777), 0);
}

static void put(const char *run, const char *name, const char *text)
{
    char path[TEST_PATH];
    write_text(join_path(path, run, name), text);
}

/* ---- two runs to begin with ---- */

#define START "{\"event\": \"start\",\"name\": \"a\"}\n"
#define STEP(step, loss, bits, norm, lr, digest, trajectory)                                       \
    "{\"event\": \"step\",\"step\": " step ",\"time_s\": 1.5,\"loss\": " loss                      \
    ",\"accuracy\": null,\"lr\": " lr ",\"grad_norm\": " norm ",\"clip\": 1,\"digest\": \"" digest \
    "\",\"trajectory\": \"" trajectory "\",\"loss_bits\": \"" bits "\"}\n"
#define EVAL(step, loss, accuracy, bits)                                                           \
    "{\"event\": \"eval\",\"step\": " step ",\"loss\": " loss ",\"accuracy\": " accuracy           \
    ",\"count\": 10,\"loss_bits\": \"" bits "\"}\n"

/* 0.5, 0.25, 0.125 and 1.1 = 3ff199999999999a */
#define STEP1 STEP("1", "0.5", "3fe0000000000000", "2.5", "0.1", "d1", "t1")
#define STEP2 STEP("2", "0.25", "3fd0000000000000", "2.5", "0.1", "d2", "t2")
#define STEP3 STEP("3", "1.1", "3ff199999999999a", "2.5", "0.1", "d3", "t3")
#define EVAL2 EVAL("2", "0.125", "0.5", "3fc0000000000000")
#define SUMMARY(digest, ranks)                                                                     \
    "{\"status\": \"completed\", \"steps\": 3, \"test_loss\": 0.125, \"digest\": \"" digest        \
    "\", \"trajectory\": \"t3\", \"ranks\": " ranks ", \"seconds\": 1}\n"
#define CONFIG "name: a\nseed: 1\noptimizer:\n  lr: 0.1\n"

static void write_run(const char *run, const char *metrics)
{
    put(run, "metrics.jsonl", metrics);
    put(run, "summary.json", SUMMARY("d3", "1"));
    put(run, "config.yaml", CONFIG);
}

/* ---- what it prints ---- */

static char printed[16384];
static int code;

static int redirect(int from, const char *path)
{
    int saved = dup(from), to = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0666);
    ck_assert(saved >= 0 && to >= 0 && dup2(to, from) >= 0);
    close(to);
    return saved;
}

static void restore(int from, int saved)
{
    ck_assert_int_ge(dup2(saved, from), 0);
    close(saved);
}

/* Runs diff; `printed` is stdout and then stderr, the folders replaced by A and B. */
static void run_diff(const char *a, const char *b)
{
    char out[TEST_PATH], errors[TEST_PATH];
    fflush(NULL);
    int saved_out = redirect(STDOUT_FILENO, join_path(out, folder, "out"));
    int saved_errors = redirect(STDERR_FILENO, join_path(errors, folder, "errors"));
    code = diff_runs(a, b);
    fflush(NULL);
    restore(STDERR_FILENO, saved_errors);
    restore(STDOUT_FILENO, saved_out);
    char *text = read_text(out), *error_text = read_text(errors);
    snprintf(printed, sizeof printed, "%s%s", text, error_text);
    free(text);
    free(error_text);
    size_t length = strlen(folder);
    for (char *found; (found = strstr(printed, folder)) != NULL;)
        memmove(found, found + length + 1, strlen(found + length + 1) + 1);
}

#define SAME_END                                                                                   \
    "summary: the same results, digest d3, trajectory t3\nsettings: the same\n"                    \
    "the runs are the same, bit for bit\n"

START_TEST(test_same)
{
    setup();
    write_run(run_a, START STEP1 STEP2 EVAL2 STEP3);
    write_run(run_b, STEP1 STEP2 EVAL2 STEP3 "{\"event\": \"end\"}\n");
    put(run_b, "config.yaml", "name: b\noutput: x\nseed: 1\noptimizer: {lr: 0.1}\n");
    run_diff(run_a, run_b);
    ck_assert_str_eq(
        printed,
        "A a\nB b\nrecords in both runs: 3 steps and 1 evaluations, 0 of them differ\n" SAME_END);
    ck_assert_int_eq(code, DIFF_SAME);
    temp_remove(folder);
}
END_TEST

/* One bit in a loss: nothing else sees it, not even the printed number. */
START_TEST(test_one_bit_of_a_loss)
{
    setup();
    write_run(run_a, STEP1 STEP2 EVAL2 STEP3);
    write_run(run_b,
              STEP1 STEP2 EVAL2 STEP("3", "1.1", "3ff199999999999c", "2.5", "0.1", "d4", "t4"));
    put(run_b, "summary.json", SUMMARY("d4", "4"));
    put(run_b, "config.yaml", "name: b\nseed: 2\noptimizer:\n  momentum: 0.9\n  lr: 0.1\n");
    run_diff(run_a, run_b);
    ck_assert_str_eq(printed,
                     "A a\nB b\nfirst difference: in step 3\n"
                     "  loss           A 1.1                      B 1.1000000000000005       (bits "
                     "3ff199999999999a, 3ff199999999999c, 2 ulp apart)\n"
                     "  parameters     A d3                       B d4\n"
                     "  trajectory     A t3                       B t4\n"
                     "  the parameters before this step were the same: look at the samples, the "
                     "forward pass and "
                     "the loss\n"
                     "records in both runs: 3 steps and 1 evaluations, 1 of them differ\n"
                     "summary: digest       A d3                       B d4\n"
                     "summary: ranks        A 1                        B 4\n"
                     "settings that differ:\n"
                     "  optimizer.momentum           A (not there)      B 0.9\n"
                     "  seed                         A 1                B 2\n"
                     "the runs differ\n");
    ck_assert_int_eq(code, DIFF_DIFFERENT);
    temp_remove(folder);
}
END_TEST

/* Where the first quantity that differs points. */
START_TEST(test_hints)
{
    static const struct {
        const char *metrics, *line, *hint;
    } cases[] = {
        { STEP1 STEP("2", "0.25", "3fd0000000000000", "2.75", "0.1", "d9", "t9") EVAL2 STEP3,
          "  gradient norm  A 2.5                      B 2.75\n",
          "look at the backward pass and the reduction\n" },
        { STEP1 STEP("2", "0.25", "3fd0000000000000", "2.5", "0.2", "d9", "t9") EVAL2 STEP3,
          "  learning rate  A 0.1                      B 0.2\n",
          "look at the schedule and the clipping\n" },
        { STEP1 STEP("2", "0.25", "3fd0000000000000", "2.5", "0.1", "d9", "t9") EVAL2 STEP3,
          "first difference: in step 2\n  parameters     A d2                       B d9\n",
          "look at the optimizer\n" },
        { STEP("1", "-0.5", "bfe0000000000000", "2.5", "0.1", "d1", "t1") STEP2 EVAL2 STEP3,
          "  loss           A 0.5                      B -0.5                     (bits "
          "3fe0000000000000, bfe0000000000000, 9205357638345293825 ulp apart)\n",
          "were the initial ones: look at the samples" },
        { STEP1 STEP2 EVAL("2", "0.125", "0.75", "3fc0000000000000") STEP3,
          "first difference: evaluation after step 2\n"
          "  accuracy       A 0.5                      B 0.75\n",
          "records in both runs: 3 steps and 1 evaluations, 1 of them differ\n" },
        { STEP1 STEP("2", "null", "7ff8000000000000", "2.5", "0.1", "d2", "t2") EVAL2 STEP3,
          "  loss           A 0.25                     B nan                      (bits "
          "3fd0000000000000, 7ff8000000000000)\n",
          "the runs differ\n" },
    };
    setup();
    write_run(run_a, STEP1 STEP2 EVAL2 STEP3);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_run(run_b, cases[i].metrics);
        run_diff(run_a, run_b);
        ck_assert_msg(strstr(printed, cases[i].line), "case %zu: %s", i, printed);
        ck_assert_msg(strstr(printed, cases[i].hint), "case %zu: %s", i, printed);
        ck_assert_int_eq(code, DIFF_DIFFERENT);
    }
    temp_remove(folder);
}
END_TEST

/* B was killed while it wrote step 3. */
START_TEST(test_shorter)
{
    char path[TEST_PATH];
    setup();
    write_run(run_a, STEP1 STEP2 EVAL2 STEP3);
    write_run(run_b, STEP1 STEP2 "{\"event\": \"step\",\"step\": 3,\"lo");
    ck_assert_int_eq(unlink(join_path(path, run_b, "summary.json")), 0);
    run_diff(run_a, run_b);
    ck_assert_str_eq(printed,
                     "A a\nB b\nrecords in both runs: 2 steps and 0 evaluations, 0 of them differ\n"
                     "records in one run only: 2 in A, 0 in B\n"
                     "A is longer: it ends at step 3, B at step 2\n"
                     "summary: none in B, which has not ended in order\n"
                     "settings: the same\nthe runs differ\n");
    ck_assert_int_eq(code, DIFF_DIFFERENT);
    temp_remove(folder);
}
END_TEST

/* Other cadence of records: the same run all the same; a difference says what it does not know. */
START_TEST(test_other_cadence)
{
    setup();
    write_run(run_a, STEP1 STEP2 EVAL2 STEP3);
    write_run(run_b, STEP1 STEP3);
    run_diff(run_a, run_b);
    ck_assert_str_eq(printed,
                     "A a\nB b\nrecords in both runs: 2 steps and 0 evaluations, 0 of them differ\n"
                     "records in one run only: 2 in A, 0 in B\n" SAME_END);
    ck_assert_int_eq(code, DIFF_SAME);
    write_run(run_b, STEP1 STEP("3", "1.1", "3ff199999999999b", "2.5", "0.1", "d3", "t3"));
    run_diff(run_a, run_b);
    ck_assert_ptr_nonnull(
        strstr(printed, "  step 1 is the last one before it that both have logged\n"));
    ck_assert_int_eq(code, DIFF_DIFFERENT);
    write_run(run_b, STEP1 EVAL2 STEP3);
    run_diff(run_a, run_b);
    ck_assert_ptr_nonnull(strstr(printed, "records in both runs: 2 steps and 1 evaluations, 0 of"));
    ck_assert_ptr_nonnull(strstr(printed, "records in one run only: 1 in A, 0 in B\n"));
    ck_assert_int_eq(code, DIFF_SAME);
    write_run(run_b, START);
    run_diff(run_a, run_b);
    ck_assert_ptr_nonnull(strstr(printed, "no step is recorded in both runs\n"));
    ck_assert_int_eq(code, DIFF_DIFFERENT);
    temp_remove(folder);
}
END_TEST

/* Records may be equal and the end not: another final digest is a difference. */
START_TEST(test_summaries_differ)
{
    setup();
    write_run(run_a, STEP1);
    write_run(run_b, STEP1);
    put(run_b, "summary.json", SUMMARY("dx", "1"));
    run_diff(run_a, run_b);
    ck_assert_ptr_nonnull(
        strstr(printed, "summary: digest       A d3                       B dx\n"));
    ck_assert_int_eq(code, DIFF_DIFFERENT);
    temp_remove(folder);
}
END_TEST

START_TEST(test_many_settings)
{
    char text[4096] = "layers:\n";
    setup();
    write_run(run_a, STEP1);
    write_run(run_b, STEP1);
    for (int i = 0; i < 25; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "  - dense: %d\n", i);
    put(run_b, "config.yaml", text);
    run_diff(run_a, run_b);
    ck_assert_ptr_nonnull(strstr(printed, "  layers[0].dense "));
    ck_assert_ptr_nonnull(strstr(printed, "  and 7 more\n"));
    ck_assert_int_eq(code, DIFF_SAME);
    put(run_b, "config.yaml", "a: [1\n");
    run_diff(run_a, run_b);
    ck_assert_ptr_nonnull(strstr(printed, "settings not compared: b/config.yaml"));
    ck_assert_int_eq(code, DIFF_SAME);
    temp_remove(folder);
}
END_TEST

/* ---- what cannot be read ---- */

START_TEST(test_unreadable)
{
    static const struct {
        const char *metrics, *message;
    } cases[] = {
        { "x\n", "lockstep: b/metrics.jsonl:1: not JSON: " },
        { START "{\"step\": 1}\n", "lockstep: b/metrics.jsonl:2: no \"event\"\n" },
        { "{\"event\": \"step\"}\n", "lockstep: b/metrics.jsonl:1: no \"step\"\n" },
        { "{\"event\": \"eval\",\"step\": \"1\"}\n", "lockstep: b/metrics.jsonl:1: no \"step\"\n" },
        { STEP2 STEP1, "lockstep: b/metrics.jsonl:2: step 1 after step 2\n" },
        { "[]\n", "lockstep: b/metrics.jsonl:1: no \"event\"\n" },
    };
    setup();
    write_run(run_a, STEP1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_run(run_b, cases[i].metrics);
        run_diff(run_a, run_b);
        ck_assert_msg(strstr(printed, cases[i].message), "case %zu: %s", i, printed);
        ck_assert_int_eq(code, EXIT_CHECKPOINT);
    }
    temp_remove(folder);
}
END_TEST

START_TEST(test_long_line)
{
    setup();
    write_run(run_a, STEP1);
    write_run(run_b, STEP1);
    char path[TEST_PATH], *line = malloc(70001);
    memset(line, ' ', 70000);
    line[70000] = '\0';
    write_text(join_path(path, run_b, "metrics.jsonl"), line);
    free(line);
    run_diff(run_a, run_b);
    ck_assert_ptr_nonnull(
        strstr(printed, "lockstep: b/metrics.jsonl:1: line longer than 65536 bytes\n"));
    ck_assert_int_eq(code, EXIT_CHECKPOINT);
    temp_remove(folder);
}
END_TEST

START_TEST(test_no_run)
{
    char missing[TEST_PATH];
    setup();
    write_run(run_a, STEP1);
    run_diff(run_a, join_path(missing, folder, "c"));
    ck_assert_str_eq(printed,
                     "lockstep: c: not a run folder: metrics.jsonl: No such file or directory\n");
    ck_assert_int_eq(code, EXIT_CHECKPOINT);
    write_run(run_b, STEP1);
    put(run_b, "summary.json", "{");
    run_diff(run_a, run_b);
    ck_assert_int_eq(strncmp(printed, "lockstep: b/summary.json:1: not JSON: ", 38), 0);
    ck_assert_int_eq(code, EXIT_CHECKPOINT);
    put(run_b, "summary.json", "[]");
    run_diff(run_a, run_b);
    ck_assert_str_eq(printed, "lockstep: b/summary.json: not a JSON object\n");
    temp_remove(folder);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("diff");
    add_test(suite, test_same);
    add_test(suite, test_one_bit_of_a_loss);
    add_test(suite, test_hints);
    add_test(suite, test_shorter);
    add_test(suite, test_other_cadence);
    add_test(suite, test_summaries_differ);
    add_test(suite, test_many_settings);
    add_test(suite, test_unreadable);
    add_test(suite, test_long_line);
    add_test(suite, test_no_run);
    return run_suite(suite);
}
