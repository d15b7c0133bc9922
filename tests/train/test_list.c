/* `lockstep list`: what it prints, its messages, and that docs/options.md and the table in
 * docs/optimizers.md are what `make docs` writes. */
#include "lockstep/list.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* stdout, while it goes to a file. */
typedef struct Caught {
    FILE *file;
    int saved;
} Caught;

static Caught catch_stdout(void)
{
    fflush(stdout);
    Caught caught = { .file = tmpfile(), .saved = dup(STDOUT_FILENO) };
    ck_assert(caught.file && dup2(fileno(caught.file), STDOUT_FILENO) >= 0);
    return caught;
}

/* Restores stdout; what was printed in between. Freed by the caller. */
static char *caught_text(Caught caught)
{
    fflush(stdout);
    dup2(caught.saved, STDOUT_FILENO);
    close(caught.saved);
    fseek(caught.file, 0, SEEK_END);
    size_t bytes = (size_t)ftell(caught.file);
    rewind(caught.file);
    char *text = calloc(bytes + 1, 1);
    ck_assert_uint_eq(fread(text, 1, bytes, caught.file), bytes);
    fclose(caught.file);
    return text;
}

static char *listed(const char *family, const char *name)
{
    Err err;
    Caught caught = catch_stdout();
    bool ok = list_print(family, name, &err);
    char *text = caught_text(caught);
    ck_assert_msg(ok, "%s", err.text);
    return text;
}

static void check_listed(const char *family, const char *name, const char *wanted)
{
    char *text = listed(family, name);
    ck_assert_msg(strstr(text, wanted) != NULL, "%s is not in\n%s", wanted, text);
    free(text);
}

START_TEST(test_print)
{
    check_listed(NULL, NULL, "  conv2d ");
    check_listed(NULL, NULL, "  residual ");
    check_listed("layers", NULL, "  dense ");
    check_listed("optimizers", "lars", "  trust_coefficient ");
    check_listed("optimizers", "lars", "  weight_decay ");
    check_listed("optimizer", "sgd", "sgd (optimizer): ");
    check_listed("cosine", NULL, "cosine (schedule): ");
    check_listed("initializers", NULL, "  orthogonal ");
    check_listed("config", NULL, "train: ");
    check_listed("config", "train", "a whole number, 1 to 1048576; default: required");
}
END_TEST

START_TEST(test_unknown)
{
    Err err;
    ck_assert(!list_print("optimizers", "larz", &err));
    ck_assert_ptr_eq(
        strstr(err.text, "unknown optimizer \"larz\"; did you mean \"lars\"? (adabelief, "),
        err.text);
    ck_assert(!list_print("layrs", NULL, &err));
    ck_assert_str_eq(err.text, "unknown list \"layrs\"; did you mean \"layers\"? (layers, losses, "
                               "initializers, optimizers, groups, wrappers, schedules, datasets, "
                               "augmentations, collectives, compressors, probes, config)");
    ck_assert(!list_print("config", "nothing", &err));
    ck_assert_str_eq(
        err.text,
        "unknown config section \"nothing\" (train, eval, log, compute, comm, comm.compress, "
        "checkpoint, probes, data, model, loss, optimizer, schedule)");
}
END_TEST

START_TEST(test_reference_is_current)
{
    Caught caught = catch_stdout();
    list_markdown();
    char *text = caught_text(caught);
    char *file = read_text("docs/options.md");
    ck_assert_msg(strcmp(text, file) == 0, "docs/options.md is not current: run `make docs`");
    free(text);
    free(file);
}
END_TEST

/* Between the two comments that say so. */
START_TEST(test_costs_are_current)
{
    static const char begin[] = "<!-- costs: written by make docs -->\n";
    Caught caught = catch_stdout();
    list_optimizer_costs();
    char *text = caught_text(caught), *file = read_text("docs/optimizers.md");
    char *table = strstr(file, begin);
    ck_assert(table != NULL && strlen(text) > 1000);
    table += sizeof begin - 1;
    ck_assert_msg(strncmp(table, text, strlen(text)) == 0 &&
                      strncmp(table + strlen(text), "<!-- end", 8) == 0,
                  "the costs in docs/optimizers.md are not current: run `make docs`");
    free(text);
    free(file);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("list");
    add_test(suite, test_print);
    add_test(suite, test_unknown);
    add_test(suite, test_reference_is_current);
    add_test(suite, test_costs_are_current);
    return run_suite(suite);
}
