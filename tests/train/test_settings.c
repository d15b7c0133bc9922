/* Settings: sections, defaults, the length of a training, lanes, option paths. */
#include "lockstep/settings.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRED "data: {type: synthetic}\nmodel: {layers: [relu]}\n"

static bool read_settings(Settings *settings, const char *file, const char *text,
                          const char *override, Err *err)
{
    *settings = (Settings){ 0 };
    return config_parse(&settings->config, file, text, strlen(text), err) &&
           (!override || config_override(&settings->config, override, err)) &&
           settings_read(settings, err);
}

static Settings settings_of(const char *text, const char *override)
{
    Settings settings;
    Err err;
    bool ok = read_settings(&settings, "configs/fashion.yaml", text, override, &err);
    ck_assert_msg(ok, "%s", err.text);
    return settings;
}

START_TEST(test_defaults)
{
    Settings s = settings_of(REQUIRED "train: {batch: 96, epochs: 2.5}\n", NULL);
    ck_assert_str_eq(s.name, "fashion");
    ck_assert_str_eq(s.folder, "runs");
    ck_assert_int_eq(s.seed, 1);
    ck_assert_int_eq(s.train.batch, 96);
    ck_assert_int_eq(s.train.lanes, 8);
    ck_assert(s.train.epochs == 2.5 && s.train.steps == 0);
    ck_assert(s.eval.every.value == 1 && s.eval.every.unit == SPAN_EPOCHS);
    ck_assert(s.log.metrics.value == 1 && s.log.metrics.unit == SPAN_STEPS);
    ck_assert(s.log.tensorboard && !s.dry_run);
    ck_assert_str_eq(s.compute.blas_core, "auto");
    ck_assert_str_eq(s.compute.isa, "auto");
    ck_assert_int_eq(s.model->kind, CONFIG_MAP);
    ck_assert_int_eq(s.loss->kind, CONFIG_MAP);
    ck_assert_int_eq(s.optimizer->kind, CONFIG_MAP);
    ck_assert_int_eq(s.schedule->kind, CONFIG_MAP);
    settings_free(&s);
}
END_TEST

START_TEST(test_values)
{
    Settings s = settings_of(REQUIRED "name: n\nseed: 0\noutput: /tmp/out\noptimizer: sgd\n"
                                      "train: {batch: 128, lanes: 128, steps: 7}\n"
                                      "eval: {every: 0}\nlog: {every: 2ep, tensorboard: no}\n"
                                      "compute: {isa: v3, blas_core: keep}\n",
                             NULL);
    ck_assert_str_eq(s.name, "n");
    ck_assert_int_eq(s.seed, 0);
    ck_assert_str_eq(s.folder, "/tmp/out");
    ck_assert_int_eq(s.train.lanes, 128);
    ck_assert(s.train.epochs == 0 && s.train.steps == 7);
    ck_assert(s.eval.every.value == 0 && s.log.every.unit == SPAN_EPOCHS && !s.log.tensorboard);
    ck_assert_str_eq(s.compute.isa, "v3");
    ck_assert_str_eq(s.optimizer->text, "sgd");
    settings_free(&s);
}
END_TEST

START_TEST(test_auto_lanes)
{
    static const struct {
        const char *text;
        int lanes;
    } cases[] = { { "train: {epochs: 1, batch: 256}\n", 8 },
                  { "train: {epochs: 1, batch: 100}\n", 4 },
                  { "train: {epochs: 1, batch: 6}\n", 2 },
                  { "train: {epochs: 1, batch: 7}\n", 1 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256] = REQUIRED;
        strcat(text, cases[i].text);
        Settings s = settings_of(text, NULL);
        ck_assert_int_eq(s.train.lanes, cases[i].lanes);
        settings_free(&s);
    }
}
END_TEST

/* The command line says how long, whatever the file says, and the resolved config agrees. */
START_TEST(test_length_precedence)
{
    Settings s = settings_of(REQUIRED "train: {batch: 8, epochs: 10}\n", "train.steps=5");
    ck_assert(s.train.steps == 5 && s.train.epochs == 0);
    ck_assert_ptr_null(config_get(config_get(s.config.root, "train"), "epochs"));
    settings_free(&s);
    s = settings_of(REQUIRED "train: {batch: 8, steps: 10}\n", "train.epochs=0.5");
    ck_assert(s.train.steps == 0 && s.train.epochs == 0.5);
    settings_free(&s);
}
END_TEST

/* What a run writes as config.yaml gives the same settings again. */
START_TEST(test_resolved_reads_back)
{
    Settings first = settings_of(REQUIRED "train: {batch: 64, steps: 3}\n", "optimizer.lr=0.5");
    char *text[2] = { NULL, NULL };
    size_t bytes = 0;
    FILE *out = open_memstream(&text[0], &bytes);
    config_print(&first.config, out, false);
    fclose(out);
    Settings again;
    ck_assert(read_settings(&again, "runs/x/config.yaml", text[0], NULL, NULL));
    ck_assert_str_eq(again.name, "fashion");
    ck_assert_int_eq(again.train.lanes, first.train.lanes);
    out = open_memstream(&text[1], &bytes);
    config_print(&again.config, out, false);
    fclose(out);
    ck_assert_str_eq(text[0], text[1]);
    settings_free(&first);
    settings_free(&again);
    free(text[0]);
    free(text[1]);
}
END_TEST

START_TEST(test_default_names)
{
    static const struct {
        const char *file, *name;
    } cases[] = { { "a.yaml", "a" },     { "x/y/b.yml", "b" },      { "c", "c" },
                  { "d.e.yaml", "d.e" }, { "null.yaml", "null" },   { ".yaml", "run" },
                  { "[x.yaml", "run" },  { "/dev/stdin", "stdin" }, { "two words.yaml", "run" },
                  { "-x.yaml", "run" },  { "a\nb.yaml", "run" },    { "configs/", "run" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Settings s;
        ck_assert(
            read_settings(&s, cases[i].file, REQUIRED "train: {batch: 8, steps: 1}\n", NULL, NULL));
        ck_assert_str_eq(s.name, cases[i].name);
        settings_free(&s);
    }
}
END_TEST

START_TEST(test_paths)
{
    static const char *const wanted[] = { "name",
                                          "seed",
                                          "train.batch",
                                          "train.steps",
                                          "log.metrics",
                                          "optimizer.type",
                                          "optimizer.lr",
                                          "optimizer.nesterov",
                                          "schedule.warmup",
                                          "schedule.type",
                                          "data.type",
                                          "loss.type",
                                          "model.init",
                                          "compute.isa",
                                          "optimizer.trust_coefficient" };
    size_t count = 0;
    char **paths = settings_paths(&count);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        size_t found = 0;
        for (size_t j = 0; j < count; j++)
            found += strcmp(paths[j], wanted[i]) == 0;
        ck_assert_msg(found == 1, "%s is there %zu times", wanted[i], found);
    }
    for (size_t j = 0; j < count; j++)
        ck_assert(strcmp(paths[j], "data") != 0 && strcmp(paths[j], "model.layers") != 0);
    ck_assert_ptr_null(paths[count]);
    settings_paths_free(paths);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("settings");
    add_test(suite, test_defaults);
    add_test(suite, test_values);
    add_test(suite, test_auto_lanes);
    add_test(suite, test_length_precedence);
    add_test(suite, test_resolved_reads_back);
    add_test(suite, test_default_names);
    add_test(suite, test_paths);
    return run_suite(suite);
}
