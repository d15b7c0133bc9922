/* What every test program shares: running a Check suite with or without MPI, agreeing across ranks
 * before an assertion, comparing floats, temporary folders and files.
 *
 *   int main(void)                                    without MPI
 *   {
 *       Suite *suite = suite_create("random");
 *       add_test(suite, test_uniform);
 *       return run_suite(suite);
 *   }
 *
 * A test with ranks calls comm_init first and comm_free after run_suite, and asserts with
 * assert_all. */
#ifndef LOCKSTEP_TESTS_SUPPORT_H
#define LOCKSTEP_TESTS_SUPPORT_H

#include <check.h>
#include <stdbool.h>
#include <stddef.h>

/* Runs the suite in this process (a forked child's first collective would crash) and frees it. Rank
 * 0 prints Check's summary. Returns main's exit code: 1 everywhere if a test failed on any rank, or
 * if more memory blocks are alive than before. Collective when MPI is running. */
int run_suite(Suite *suite);

/* One test function as a test case of its own, named after it; no time limit (the runner has
 * one). */
#define add_test(suite, function) add_named_test(suite, #function, function)
void add_named_test(Suite *suite, const char *name, const TTest *test);

/* True if the condition holds on every rank; the lowest rank where it does not says so. Without
 * MPI: the condition. Collective when MPI is running. */
bool agree(bool ok, const char *condition, const char *file, int line);

/* Fails on every rank or on none, so that nobody is left alone in the next collective. */
#define assert_all(condition)                                                                      \
    ck_assert_msg(agree(condition, #condition, __FILE__, __LINE__), "on some rank: %s", #condition)

/* The first index where the bits of two float arrays differ, or n. */
size_t first_difference(const float *a, const float *b, size_t n);
bool same_bits(const float *a, const float *b, size_t n);

/* |got - wanted| <= absolute + relative * |wanted| for every element; NaN never passes. The first
 * element that fails is printed. */
bool all_close(const float *got, const float *wanted, size_t n, double absolute, double relative);
double largest_difference(const float *a, const float *b, size_t n); /* max |a - b| */

/* A new, empty folder below TMPDIR (or /tmp). Its name is written to `path`. */
#define TEST_PATH 512
void temp_create(char path[TEST_PATH]);
void temp_remove(const char *path); /* with everything in it */

/* "folder/name" into path; returns path. */
char *join_path(char path[TEST_PATH], const char *folder, const char *name);

/* Whole files, failing the test on any error. read_text's result is freed with free. */
void write_bytes(const char *path, const void *data, size_t bytes);
void write_text(const char *path, const char *text);
char *read_text(const char *path);

#endif
