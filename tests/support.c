/* Helpers of the test programs; see support.h. */
#include "support.h"

#include "lockstep/memory.h"

#include <ftw.h>
#include <limits.h>
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool mpi_is_running(void)
{
    int started = 0;
    int finished = 0;
    MPI_Initialized(&started);
    MPI_Finalized(&finished);
    return started && !finished;
}

static int mpi_rank(void)
{
    int rank = 0;
    if (mpi_is_running())
        MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}

/* The lowest rank that is not ok, or -1. */
static int first_failing_rank(bool ok)
{
    int mine = ok ? INT_MAX : mpi_rank();
    int lowest = mine;
    if (mpi_is_running())
        MPI_Allreduce(&mine, &lowest, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    return lowest == INT_MAX ? -1 : lowest;
}

bool agree(bool ok, const char *condition, const char *file, int line)
{
    int failing = first_failing_rank(ok);
    if (failing == mpi_rank())
        fprintf(stderr, "%s:%d: rank %d: failed: %s\n", file, line, failing, condition);
    return failing < 0;
}

void add_named_test(Suite *suite, const char *name, const TTest *test)
{
    TCase *test_case = tcase_create(name);
    tcase_set_timeout(test_case, 0);
    tcase_add_test(test_case, test);
    suite_add_tcase(suite, test_case);
}

int run_suite(Suite *suite)
{
    size_t blocks = mem_use().blocks;
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, mpi_rank() == 0 ? CK_NORMAL : CK_SILENT);
    bool passed = srunner_ntests_failed(runner) == 0;
    srunner_free(runner);
    if (passed && mem_use().blocks != blocks) {
        fprintf(stderr, "rank %d: %zu memory blocks before the tests, %zu after\n", mpi_rank(),
                blocks, mem_use().blocks);
        passed = false;
    }
    return first_failing_rank(passed) < 0 ? 0 : 1;
}

size_t first_difference(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof a[i]) != 0)
            return i;
    return n;
}

bool same_bits(const float *a, const float *b, size_t n)
{
    return first_difference(a, b, n) == n;
}

bool all_close(const float *got, const float *wanted, size_t n, double absolute, double relative)
{
    for (size_t i = 0; i < n; i++) {
        double distance = fabs((double)got[i] - (double)wanted[i]);
        double allowed = absolute + relative * fabs((double)wanted[i]);
        if (!(distance <= allowed)) {
            fprintf(stderr, "element %zu of %zu: got %.9g, wanted %.9g, |difference| %.3g > %.3g\n",
                    i, n, (double)got[i], (double)wanted[i], distance, allowed);
            return false;
        }
    }
    return true;
}

double largest_difference(const float *a, const float *b, size_t n)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        double distance = fabs((double)a[i] - (double)b[i]);
        if (!(distance <= largest)) /* also when it is NaN */
            largest = distance;
    }
    return largest;
}

void temp_create(char path[TEST_PATH])
{
    const char *base = getenv("TMPDIR");
    int length =
        snprintf(path, TEST_PATH, "%s/lockstep-test-XXXXXX", base && *base ? base : "/tmp");
    ck_assert_int_lt(length, TEST_PATH);
    ck_assert_msg(mkdtemp(path) != NULL, "cannot make a folder like %s", path);
}

static int remove_entry(const char *path, const struct stat *status, int flag, struct FTW *place)
{
    (void)status;
    (void)flag;
    (void)place;
    return remove(path);
}

void temp_remove(const char *path)
{
    nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

char *join_path(char path[TEST_PATH], const char *folder, const char *name)
{
    int length = snprintf(path, TEST_PATH, "%s/%s", folder, name);
    ck_assert_int_lt(length, TEST_PATH);
    return path;
}

void write_bytes(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    ck_assert_msg(file != NULL, "cannot write %s", path);
    size_t written = bytes ? fwrite(data, 1, bytes, file) : 0;
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_uint_eq(written, bytes);
}

void write_text(const char *path, const char *text)
{
    write_bytes(path, text, strlen(text));
}

char *read_text(const char *path)
{
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "cannot read %s", path);
    ck_assert_int_eq(fseek(file, 0, SEEK_END), 0);
    long bytes = ftell(file);
    ck_assert_int_ge(bytes, 0);
    rewind(file);
    char *text = calloc((size_t)bytes + 1, 1);
    ck_assert_ptr_nonnull(text);
    ck_assert_uint_eq(fread(text, 1, (size_t)bytes, file), (size_t)bytes);
    fclose(file);
    return text;
}
