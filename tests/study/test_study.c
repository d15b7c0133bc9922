/* A whole study in one process: trials that end, diverge, fail and are pruned, twice; the second
 * time nothing is trained. run_suite sees that no memory is left.
 * ranks: 1 2 3 */
#include "support.h"

#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/study.h"

#include <stdlib.h>
#include <string.h>

static Comm *world;
static char folder[TEST_PATH];
static char *nothing[] = { NULL };

static const char base[] = "data: {type: synthetic, shape: [8], classes: 4, train: 64, test: 16}\n"
                           "model: {layers: [dense: 16, relu, dense: 4]}\n"
                           "train: {batch: 32, lanes: 2, epochs: 4}\n"
                           "optimizer: {type: sgd, lr: 0.1}\n"
                           "log: {tensorboard: false}\n";

/* The same on every rank, below a folder of rank 0's making. */
static void read_study(Study *study, const char *rest)
{
    Err err;
    char text[1024];
    snprintf(text, sizeof text, "base: b.yaml\nname: s\nfolder: \"%s\"\n%s", folder, rest);
    bool ok = study_read(study, "s.yaml", text, strlen(text), NULL, 0, &err);
    study->text = base;
    study->bytes = strlen(base);
    study->environment = nothing;
    ok = ok && study_plan(study, &err);
    ck_assert_msg(ok, "%s", err.text);
}

static void run(const char *rest)
{
    Study study;
    Err err;
    read_study(&study, rest);
    int code = study_run(&study, world, 0, nothing, &err);
    if (comm_rank(world) == 0)
        study_print_status(&study);
    study_free(&study);
    assert_all(code == EXIT_OK && !err.text[0]);
}

/* Rank 0's; freed with free. */
static char *table(void)
{
    char path[TEST_PATH], part[TEST_PATH];
    join_path(part, folder, "s");
    return read_text(join_path(path, part, "trials.csv"));
}

static int count(const char *text, const char *word)
{
    int found = 0;
    for (; (text = strstr(text, word)) != NULL; text++)
        found++;
    return found;
}

static const char many[] = "grid: {optimizer.lr: [1e-4, 0.01, 0.1, 1e9], train.batch: [32, 33]}\n"
                           "seeds: 2\n"
                           "ranks: 2\n"
                           "arms_by: [train.batch]\n"
                           "prune: {type: halving, rungs: [1ep, 2ep]}\n";

/* On rank 0: the table has so many of each ending. */
static bool has_endings(const char *text)
{
    return count(text, ",failed,") == 8 && count(text, ",diverged,") == 2 &&
           count(text, ",pruned,") == 4 && count(text, ",completed,") == 2;
}

START_TEST(test_study)
{
    char *first = NULL, *second = NULL;
    bool leads = comm_rank(world) == 0;
    if (leads)
        temp_create(folder);
    comm_broadcast(world, folder, sizeof folder, 0);
    run(many);
    first = leads ? table() : NULL;
    assert_all(!leads || has_endings(first));
    run(many);
    second = leads ? table() : NULL;
    assert_all(!leads || strcmp(first, second) == 0); /* seconds as well: nothing was trained */
    if (leads)
        temp_remove(folder);
    free(first);
    free(second);
}
END_TEST

START_TEST(test_plan_is_printed)
{
    Study study;
    Comm *alone = comm_split(world, comm_rank(world));
    read_study(&study, "grid: {train.batch: [32, 33]}\nseeds: 3\n");
    study_print_plan(&study, alone);
    study_free(&study);
    comm_free(alone);
}
END_TEST

int main(int argc, char **argv)
{
    world = comm_init(&argc, &argv);
    log_set_level(LOG_QUIET);
    Suite *suite = suite_create("study");
    add_test(suite, test_study);
    add_test(suite, test_plan_is_printed);
    int code = run_suite(suite);
    comm_free(world);
    return code;
}
