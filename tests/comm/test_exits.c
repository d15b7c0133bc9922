/* How a job ends when it must: the exit code of mpirun, and one message whoever found out. The
 * program starts mpirun with itself; a first argument makes it one of the ranks. */
#include "support.h"

#include "lockstep/clock.h"
#include "lockstep/comm.h"
#include "lockstep/memory.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *program;

/* ---- ranks ---- */

static void rank_dies_alone(Comm *comm)
{
    if (comm_rank(comm) == 1)
        die(EXIT_DATA, "data/train-images: cannot be read");
    comm_barrier(comm);
    comm_barrier(comm);
}

/* The others sleep in shared memory when it happens. */
static void rank_is_killed(Comm *comm)
{
    comm_reserve_board(comm, 64);
    comm_barrier(comm);
    if (comm_rank(comm) == 1) {
        usleep(100000);
        raise(SIGKILL);
    }
    comm_barrier(comm);
}

static void ranks_die_together(Comm *comm)
{
    Err err;
    err_set(&err, "data/train-images-%d: cannot be read", comm_rank(comm));
    if (!comm_all_ok(comm, comm_rank(comm) < 1, &err))
        die_all(EXIT_DATA, "%s", err.text);
}

static void ranks_leave(Comm *comm)
{
    comm_barrier(comm);
    leave(EXIT_DIVERGED);
}

static void rank_expects(Comm *comm)
{
    expect(comm_rank(comm) != 1);
    comm_barrier(comm);
}

static int run_rank(int argc, char **argv)
{
    Comm *comm = comm_init(&argc, &argv);
    if (strcmp(argv[1], "die") == 0)
        rank_dies_alone(comm);
    else if (strcmp(argv[1], "killed") == 0)
        rank_is_killed(comm);
    else if (strcmp(argv[1], "die_all") == 0)
        ranks_die_together(comm);
    else if (strcmp(argv[1], "leave") == 0)
        ranks_leave(comm);
    else if (strcmp(argv[1], "expect") == 0)
        rank_expects(comm);
    comm_free(comm);
    if (strcmp(argv[1], "late") == 0)
        die_all(EXIT_CHECKPOINT, "after the end");
    return EXIT_OK;
}

/* ---- the test ---- */

typedef struct Outcome {
    int code;       /* of the command */
    int messages;   /* lines that begin with "lockstep: " */
    char last[512]; /* the last of them, without that word */
} Outcome;

static Outcome run(const char *launcher, const char *role)
{
    char command[1024];
    char line[1024];
    Outcome outcome = { 0 };
    snprintf(command, sizeof command, "%s '%s' %s 2>&1", launcher, program, role);
    FILE *output = popen(command, "r");
    ck_assert_ptr_nonnull(output);
    while (fgets(line, sizeof line, output)) {
        const char *text = line[0] ? line : line + 1; /* Open MPI 5.0 writes NULs */
        if (strncmp(text, "lockstep: ", 10) == 0) {
            outcome.messages++;
            snprintf(outcome.last, sizeof outcome.last, "%.*s", (int)strcspn(text + 10, "\n"),
                     text + 10);
        }
    }
    int status = pclose(output);
    outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return outcome;
}

/* mpirun as all tests start it; the runner's working folder is the top of the sources. */
#define THREE_RANKS ". tests/mpirun.sh; mpi 3"

START_TEST(test_success)
{
    Outcome outcome = run(THREE_RANKS, "nothing");
    ck_assert_int_eq(outcome.code, EXIT_OK);
    ck_assert_int_eq(outcome.messages, 0);
}
END_TEST

START_TEST(test_die)
{
    Outcome outcome = run(THREE_RANKS, "die");
    ck_assert_int_eq(outcome.code, EXIT_DATA);
    ck_assert_int_eq(outcome.messages, 1);
    ck_assert_msg(strncmp(outcome.last, "rank 1 on ", 10) == 0, "%s", outcome.last);
    ck_assert_msg(strstr(outcome.last, "): data/train-images: cannot be read") != NULL, "%s",
                  outcome.last);
}
END_TEST

/* mpirun notices and ends the ranks that wait. */
START_TEST(test_killed)
{
    double before = clock_seconds();
    Outcome outcome = run(THREE_RANKS, "killed");
    ck_assert_int_eq(outcome.code, 128 + SIGKILL);
    ck_assert_int_eq(outcome.messages, 0);
    ck_assert(clock_seconds() - before < 60);
}
END_TEST

START_TEST(test_die_all)
{
    Outcome outcome = run(THREE_RANKS, "die_all");
    ck_assert_int_eq(outcome.code, EXIT_DATA);
    ck_assert_int_eq(outcome.messages, 1);
    ck_assert_msg(strncmp(outcome.last, "rank 1 on ", 10) == 0, "%s", outcome.last);
    ck_assert_msg(strstr(outcome.last, ": data/train-images-1: cannot be read") != NULL, "%s",
                  outcome.last);
}
END_TEST

START_TEST(test_leave)
{
    Outcome outcome = run(THREE_RANKS, "leave");
    ck_assert_int_eq(outcome.code, EXIT_DIVERGED);
    ck_assert_int_eq(outcome.messages, 0);
}
END_TEST

START_TEST(test_expect)
{
    Outcome outcome = run(THREE_RANKS, "expect");
    ck_assert_int_ne(outcome.code, 0);
    ck_assert_int_eq(outcome.messages, 1);
    ck_assert_msg(strstr(outcome.last, "expected comm_rank(comm) != 1") != NULL, "%s",
                  outcome.last);
}
END_TEST

/* The exits must not call MPI after its end. One rank: of several, mpirun kills the others, perhaps
 * before they speak, as soon as one has left with an error and nothing holds them together. */
START_TEST(test_die_after_the_end)
{
    Outcome outcome = run(". tests/mpirun.sh; mpi 1", "late");
    ck_assert_int_eq(outcome.code, EXIT_CHECKPOINT);
    ck_assert_int_eq(outcome.messages, 1);
    ck_assert_str_eq(outcome.last, "after the end");
}
END_TEST

/* A plain process is one rank, and starts fast: no daemon, no search for network hardware. */
START_TEST(test_without_mpirun)
{
    double before = clock_seconds();
    Outcome outcome = run("timeout 60", "leave");
    ck_assert_int_eq(outcome.code, EXIT_DIVERGED);
    outcome = run("timeout 60", "nothing");
    ck_assert_int_eq(outcome.code, EXIT_OK);
    ck_assert(clock_seconds() - before < 30);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc > 1)
        return run_rank(argc, argv);
    program = argv[0];
    Suite *suite = suite_create("exits");
    add_test(suite, test_success);
    add_test(suite, test_die);
    add_test(suite, test_killed);
    add_test(suite, test_die_all);
    add_test(suite, test_leave);
    add_test(suite, test_expect);
    add_test(suite, test_die_after_the_end);
    add_test(suite, test_without_mpirun);
    return run_suite(suite);
}
