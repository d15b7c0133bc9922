/* Every kind of bad configuration has one exact message.
 *
 * tests/bad/config/NAME.yaml is read as the file NAME.yaml, as a run would: parsed, overridden,
 * given to settings and to the families that need no data. NAME.expected is the message; one that
 * ends in "*" is compared up to there, where libfyaml's own words or a list of members follow.
 * NAME.set, if there is one, has a line for each LOCKSTEP_ variable or command line argument. */
#include "lockstep/loss.h"
#include "lockstep/memory.h"
#include "lockstep/model.h"
#include "lockstep/optimizer.h"
#include "lockstep/schedule.h"
#include "lockstep/settings.h"
#include "support.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#define FOLDER "tests/bad/config"
#define LINES_MAX 16
#define NAME_BYTES 300

/* The lines of NAME.set: variables and arguments, each list ending with NULL. */
typedef struct Lines {
    char *text;
    char *variables[LINES_MAX], *arguments[LINES_MAX];
} Lines;

static char *case_path(char path[TEST_PATH], const char *name, const char *ending)
{
    snprintf(path, TEST_PATH, FOLDER "/%.*s%s", NAME_BYTES, name, ending);
    return path;
}

static Lines read_lines(const char *name)
{
    Lines lines = { 0 };
    char path[TEST_PATH], *rest = NULL;
    size_t variables = 0;
    size_t arguments = 0;
    FILE *file = fopen(case_path(path, name, ".set"), "r");
    if (!file)
        return lines;
    fclose(file);
    lines.text = read_text(path);
    for (char *line = strtok_r(lines.text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        ck_assert(variables + 1 < LINES_MAX && arguments + 1 < LINES_MAX);
        if (strncmp(line, "LOCKSTEP_", 9) == 0)
            lines.variables[variables++] = line;
        else
            lines.arguments[arguments++] = line;
    }
    return lines;
}

static bool override_all(Config *config, const Lines *lines, Err *err)
{
    size_t known_count;
    char **known = settings_paths(&known_count);
    bool ok = config_environment(config, lines->variables, (const char *const *)known, known_count,
                                 NULL, err);
    settings_paths_free(known);
    for (size_t i = 0; ok && lines->arguments[i]; i++)
        ok = config_override(config, lines->arguments[i], err);
    return ok;
}

/* A network for images of 1 x 8 x 8 and ten classes, its optimizer and its schedule. */
static bool read_families(const Settings *settings, Err *err)
{
    const Config *config = &settings->config;
    const Shape input = { .ndim = 3, .dim = { 1, 8, 8 } };
    const ScheduleRun run = {
        .steps = 100, .steps_per_epoch = 10, .batch = settings->train.batch, .base_lr = 0.1
    };
    Model model = { 0 };
    Optimizer optimizer = { 0 };
    Schedule schedule = { 0 };
    const ModelWish wish = { .input = input, .output = { .ndim = 1, .dim = { 10, 1, 1 } } };
    bool ok = model_build(&model, config, settings->model, settings->loss, &wish, err);
    ok = ok && optimizer_init(&optimizer, config, settings->optimizer, &model.layout, err);
    ok = ok && schedule_init(&schedule, config, settings->schedule, &run, err);
    schedule_free(&schedule);
    optimizer_free(&optimizer);
    model_free(&model);
    return ok;
}

/* The message of reading tests/bad/config/NAME.yaml, or "" if nothing is wrong with it. */
static const char *message_of(const char *name, const Lines *lines)
{
    static Err err;
    char path[TEST_PATH], *text;
    size_t length;
    Settings settings = { 0 };
    ck_assert(config_file(case_path(path, name, ".yaml"), &text, &length, &err));
    snprintf(path, sizeof path, "%.*s.yaml", NAME_BYTES, name);
    bool ok = config_parse(&settings.config, path, text, length, &err) &&
              override_all(&settings.config, lines, &err) && settings_read(&settings, &err) &&
              read_families(&settings, &err);
    settings_free(&settings);
    mem_free(text);
    return ok ? "" : err.text;
}

/* Whether the case passes; otherwise says how not. */
static bool check_case(const char *name)
{
    char path[TEST_PATH];
    Lines lines = read_lines(name);
    char *expected = read_text(case_path(path, name, ".expected"));
    expected[strcspn(expected, "\n")] = '\0';
    size_t length = strlen(expected);
    bool open_end = length > 0 && expected[length - 1] == '*';
    const char *message = message_of(name, &lines);
    bool same =
        open_end ? strncmp(message, expected, length - 1) == 0 : strcmp(message, expected) == 0;
    if (!same)
        fprintf(stderr, "%s\n  wanted %s\n  got    %s\n", name, expected, message);
    free(lines.text);
    free(expected);
    return same;
}

START_TEST(test_messages)
{
    DIR *folder = opendir(FOLDER);
    ck_assert_ptr_nonnull(folder);
    int cases = 0;
    int failures = 0;
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || strcmp(dot, ".yaml") != 0)
            continue;
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "%.*s", (int)(dot - entry->d_name), entry->d_name);
        failures += !check_case(name);
        cases++;
    }
    closedir(folder);
    ck_assert_int_eq(failures, 0);
    ck_assert_int_ge(cases, 40);
}
END_TEST

/* The file that the cases are made from has no fault, so that each of them has exactly one. */
START_TEST(test_good)
{
    static const char text[] = "data: {type: synthetic}\nmodel:\n  layers:\n    - flatten\n"
                               "    - dense: 10\ntrain:\n  batch: 8\n  epochs: 1\n";
    Settings settings = { 0 };
    Err err;
    bool ok = config_parse(&settings.config, "good.yaml", text, sizeof text - 1, &err) &&
              settings_read(&settings, &err) && read_families(&settings, &err);
    ck_assert_msg(ok, "%s", err.text);
    settings_free(&settings);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bad config");
    add_test(suite, test_good);
    add_test(suite, test_messages);
    return run_suite(suite);
}
