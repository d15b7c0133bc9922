/* Which trials a study file means: grids, zipped keys, searches, arms, seeds, ids; and every way in
 * which it may be wrong, with its message. */
#include "support.h"

#include "lockstep/memory.h"
#include "lockstep/study.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char base[] = "data: {type: synthetic, shape: [8], classes: 4, train: 64, test: 16}\n"
                           "model: {layers: [dense: 16, relu, dense: 4]}\n"
                           "train: {batch: 32, lanes: 4, epochs: 2}\n"
                           "optimizer: {type: sgd, lr: 0.1, momentum: 0.9}\n";

static Study study;
static Err err;
static char *nothing[] = { NULL };

/* `text` without "base", as a plan. */
static bool plan_with(const char *text, const char *base_text)
{
    char *file = mem_alloc(strlen(text) + 32);
    sprintf(file, "base: b.yaml\n%s", text);
    bool ok = study_read(&study, "dir/s.yaml", file, strlen(file), NULL, 0, &err);
    study.text = base_text;
    study.bytes = strlen(base_text);
    study.environment = nothing;
    mem_free(file);
    return ok && study_plan(&study, &err);
}

static void plan(const char *text)
{
    bool ok = plan_with(text, base);
    ck_assert_msg(ok, "%s", err.text);
}

static void refuse(const char *text, const char *message)
{
    ck_assert(!plan_with(text, base));
    ck_assert_str_eq(err.text, message);
    study_free(&study);
}

static const char *value(int trial, const char *key)
{
    for (int i = 0; i < study.key_count; i++)
        if (strcmp(study.keys[i], key) == 0)
            return study.trials[trial].values[i];
    return "no such key";
}

START_TEST(test_grid)
{
    plan("grid: {train.batch: [32, 64], optimizer.lr: [0.1, 2e-1, 0.3]}\nseeds: 2\n");
    ck_assert_int_eq(study.count, 12);
    ck_assert_int_eq(study.settings, 6);
    ck_assert_int_eq(study.arms, 2); /* by train.batch */
    ck_assert_str_eq(study.name, "s");
    ck_assert_str_eq(study.folder, "studies/s");
    ck_assert_str_eq(study.base, "dir/b.yaml");
    ck_assert_str_eq(study.keys[0], "train.batch");
    ck_assert_str_eq(value(0, "seed"), "1");
    ck_assert_str_eq(value(1, "seed"), "2"); /* the seeds run fastest */
    ck_assert_str_eq(value(3, "optimizer.lr"), "2e-1");
    ck_assert_str_eq(value(6, "train.batch"), "64");
    ck_assert_int_eq(study.trials[6].arm, 1);
    ck_assert_int_eq(study.trials[7].setting, 3);
    study_free(&study);
    plan("grid: {train.batch: [32, 64], train: {batch: [8, 16, 32]}}\n"); /* the later one */
    ck_assert_int_eq(study.count, 3);
    study_free(&study);
}
END_TEST

START_TEST(test_one_trial)
{
    plan("set: {train.epochs: 5}\n");
    ck_assert_int_eq(study.count, 1);
    ck_assert_int_eq(study.key_count, 0);
    study_free(&study);
}
END_TEST

START_TEST(test_zipped_keys)
{
    plan("grid:\n  train.batch, optimizer.lr: [[32, 0.1], [64, 0.2]]\n  data.shape: [[8], [4]]\n");
    ck_assert_int_eq(study.count, 4);
    ck_assert_str_eq(value(2, "train.batch"), "64");
    ck_assert_str_eq(value(2, "optimizer.lr"), "0.2");
    ck_assert_str_eq(value(1, "data.shape"), "[4]");
    study_free(&study);
}
END_TEST

START_TEST(test_arms)
{
    plan("arms:\n"
         "  - {name: sgd, optimizer.type: sgd}\n"
         "  - {name: adam, optimizer.type: adamw, optimizer: {weight_decay: 0.1}, grid: "
         "{optimizer.lr: [1]}}\n"
         "grid: {optimizer.lr: [0.1, 0.2]}\n"
         "arms_by: [arm]\n");
    ck_assert_int_eq(study.count, 3);
    ck_assert_int_eq(study.arms, 2);
    ck_assert_str_eq(study.trials[2].name, "adam");
    ck_assert_str_eq(value(2, "optimizer.weight_decay"), "0.1");
    ck_assert_ptr_null(value(0, "optimizer.weight_decay"));
    ck_assert_str_eq(value(2, "optimizer.lr"), "1");
    char text[128];
    ck_assert_str_eq(study_trial_text(&study, &study.trials[2], text, sizeof text),
                     "adam optimizer.lr=1");
    study_free(&study);
}
END_TEST

/* A section with a type replaces the base's, whose options another type may not know. */
START_TEST(test_whole_section)
{
    Settings settings;
    plan("arms:\n  - {name: a, optimizer: {type: adamw, lr: 0.2}}\ngrid: {optimizer.beta1: "
         "[0.5]}\n");
    ck_assert_str_eq(value(0, "optimizer"), "{type: adamw, lr: 0.2}");
    ck_assert_msg(study_settings(&study, &study.trials[0], -1, &settings, &err), "%s", err.text);
    ck_assert_ptr_null(config_get(settings.optimizer, "momentum"));
    ck_assert_str_eq(config_get(settings.optimizer, "type")->text, "adamw");
    ck_assert_str_eq(config_get(settings.optimizer, "beta1")->text, "0.5");
    settings_free(&settings);
    study_free(&study);
}
END_TEST

#define SEARCH(type, rest)                                                                         \
    "search: {type: " type ", trials: 3, ranges: {optimizer.lr: {from: 0.01, to: 1, scale: log}, " \
    "optimizer.momentum: {from: 0.9, to: 0.99, scale: complement}" rest "}}\n"

START_TEST(test_search)
{
    plan(SEARCH("halton", ", train.batch: {from: 1, to: 5, scale: integer}"));
    ck_assert_int_eq(study.count, 3);
    ck_assert_str_eq(value(0, "optimizer.lr"), "0.1"); /* halton 1/2, 1/4, 3/4 */
    ck_assert_str_eq(value(1, "optimizer.lr"), "0.03162");
    ck_assert_str_eq(value(2, "optimizer.lr"), "0.3162");
    double momentum = atof(value(0, "optimizer.momentum")); /* 1/3 of the way in log (1 - x) */
    ck_assert(fabs((1 - momentum) - 0.1 * pow(0.1, 1. / 3)) < 1e-5);
    ck_assert_str_eq(value(0, "train.batch"), "2"); /* halton 1/5, 2/5, 3/5 of 1 to 5 */
    ck_assert_str_eq(value(1, "train.batch"), "3");
    study_free(&study);
    plan(SEARCH("sobol", ""));
    ck_assert_str_eq(value(1, "optimizer.lr"), "0.3162"); /* 3/4 */
    study_free(&study);
}
END_TEST

START_TEST(test_search_grid)
{
    plan("search: {type: grid, ranges: {optimizer.lr: {from: 0.01, to: 1, scale: log, points: 3}, "
         "optimizer.momentum: {from: 0, to: 0.9, points: 2}}}\n");
    ck_assert_int_eq(study.count, 6);
    ck_assert_str_eq(value(0, "optimizer.lr"), "0.01");
    ck_assert_str_eq(value(2, "optimizer.lr"), "0.1");
    ck_assert_str_eq(value(5, "optimizer.lr"), "1");
    ck_assert_str_eq(value(5, "optimizer.momentum"), "0.9");
    study_free(&study);
}
END_TEST

/* All arms have the same points, each in its own range. */
START_TEST(test_search_of_arms)
{
    plan("arms:\n"
         "  - {name: sgd, optimizer.type: sgd}\n"
         "  - {name: lars, optimizer.type: lars, ranges: {optimizer.lr: {from: 1, to: 100, scale: "
         "log}}}\n"
         "search: {type: halton, trials: 2, ranges: {optimizer.lr: {from: 0.01, to: 1, scale: "
         "log}}}\n");
    ck_assert_int_eq(study.count, 4);
    ck_assert_str_eq(value(0, "optimizer.lr"), "0.1");
    ck_assert_str_eq(value(2, "optimizer.lr"), "10");
    study_free(&study);
}
END_TEST

static char *ids(void)
{
    char *text = mem_alloc((size_t)study.count * STUDY_ID_SIZE + 1);
    for (int i = 0; i < study.count; i++)
        strcat(strcat(text, study.trials[i].id), " ");
    study_free(&study);
    return text;
}

/* An id is what a trial trains: longer grids, other orders, names and notes keep it. */
START_TEST(test_ids)
{
    plan("grid: {optimizer.lr: [0.1, 0.2]}\n");
    char *two = ids();
    plan("grid: {optimizer.lr: [0.1, 0.2, 0.3]}\nset: {log.every: 5st, comm.memory: private}\n");
    char *three = ids();
    ck_assert_msg(strncmp(two, three, strlen(two)) == 0, "%s, then %s", two, three);
    ck_assert(plan_with("grid: {optimizer.lr: [0.1, 0.2]}\n",
                        "optimizer: {lr: 0.1, momentum: 0.9, type: sgd}\n"
                        "train: {epochs: 2, batch: 32, lanes: 4} # other order\n"
                        "data: {type: synthetic, shape: [8], classes: 4, train: 64, test: 16}\n"
                        "model: {layers: [dense: 16, relu, dense: 4]}\n"));
    char *same = ids();
    ck_assert_str_eq(two, same);
    plan("grid: {optimizer.lr: [0.1, 0.2]}\nset: {train.target_accuracy: 0.5}\n");
    char *target = ids();
    ck_assert(strncmp(two, target, STUDY_ID_SIZE) != 0);
    plan("grid: {comm.memory: [auto, private]}\n"); /* changes no step, but it varies */
    ck_assert(strcmp(study.trials[0].id, study.trials[1].id) != 0);
    study_free(&study);
    mem_free(two);
    mem_free(three);
    mem_free(same);
    mem_free(target);
}
END_TEST

START_TEST(test_settings)
{
    Settings settings;
    plan("set: {train: {steps: 7}}\ngrid: {train.batch: [64], train.samples: [1000]}\n"
         "prune: {type: median, rungs: [1ep]}\n");
    ck_assert_msg(study_settings(&study, &study.trials[0], 0, &settings, &err), "%s", err.text);
    ck_assert_int_eq(settings.train.batch, 64);
    ck_assert_int_eq(settings.train.steps, 0); /* the last length counts */
    ck_assert(settings.train.samples == 1000 && settings.train.epochs == 0);
    ck_assert(settings.train.stop_at.value == 1 && settings.train.stop_at.unit == SPAN_EPOCHS);
    ck_assert_str_eq(settings.name, study.trials[0].id);
    ck_assert_str_eq(settings.folder, "studies/s/trials");
    ck_assert_int_eq(settings.checkpoint.resume, RESUME_AUTO);
    settings_free(&settings);
    study_free(&study);
}
END_TEST

START_TEST(test_refuses)
{
#define AT "dir/s.yaml:2:"
    refuse("gird: {}\n", AT
           "1: gird: unknown option; did you mean \"grid\"? (options here: name, "
           "folder, base, ranks, set, arms, grid, search, seeds, arms_by, prune, measure, expect)");
    refuse("name: a/b\n", AT "7: name: \"a/b\" is not a folder name: 1 to 100 characters without / "
                             "or blanks, not beginning with . or -");
    refuse("grid: {train.bacth: [3]}\n",
           AT "21: grid.\"train.bacth\": unknown option \"train.bacth\"; did you mean "
              "\"train.batch\"?");
    refuse("grid: {train.batch: 3}\n",
           AT "21: grid.\"train.batch\": a list of values is wanted, such as [64, 128]");
    refuse("grid: {\"train.batch,seed\": [3]}\n",
           AT "29: grid.\"train.batch,seed\"[0]: a list of 2 values wanted, one for each key");
    refuse("grid: {name: [a]}\n", AT "14: grid.name: name is the study's own to set");
    refuse("set: {train.epoch: 3}\n", AT "20: set.\"train.epoch\": unknown option \"train.epoch\"; "
                                         "did you mean \"train.epochs\"?");
    refuse("arms: [{optimizer.type: sgd}]\n", AT "8: arms[0]: the arm has no name");
    refuse("arms: [{name: a}, {name: a}]\n", AT "19: arms[1]: two arms are called a");
    refuse("arms: [{name: a, optimizer.lr: 1}]\ngrid: {optimizer.lr: [1]}\n",
           AT "8: arms[0]: optimizer.lr makes the arms and varies within them as well");
    refuse("arms_by: [optimizer.lr]\ngrid: {seed: [1]}\n",
           AT "11: arms_by[0]: unknown key \"optimizer.lr\" (keys that vary: seed)");
    refuse("grid: {seed: [1]}\nseeds: 2\n", "dir/s.yaml: seed varies in two places");
    refuse("grid: {seed: [1, 1]}\n", "dir/s.yaml: two trials are the same: seed=1");
    refuse("seeds: 0\n", AT "8: seeds: a list of seeds is wanted, or how many");
    refuse("search: {trials: 3, ranges: {}}\n",
           AT "29: search.ranges: a map of ranges is wanted, such as {optimizer.lr: {from: 0.01, "
              "to: 1, scale: log}}");
    refuse("search: {ranges: {optimizer.lr: {from: 0, to: 1}}}\n",
           AT "9: search: trials is missing: how many points");
    refuse("search: {trials: 2, ranges: {optimizer.lr: {from: 0, to: 1, scale: log}}}\n",
           AT "44: search.ranges.\"optimizer.lr\": scale log wants numbers above 0");
    refuse("search: {type: grid, ranges: {optimizer.lr: {from: 0, to: 1}}}\n",
           AT "45: search.ranges.\"optimizer.lr\": points is missing: how many the grid has here");
    refuse("search: {trials: 2, ranges: {optimizer.lrr: {from: 0, to: 1}}}\n",
           AT "45: search.ranges.\"optimizer.lrr\": unknown option \"optimizer.lrr\"; did you mean "
              "\"optimizer.lr\"?");
    refuse("arms: [{name: a, ranges: {seed: {from: 1, to: 2}}}]\n"
           "search: {trials: 2, ranges: {optimizer.lr: {from: 0, to: 1}}}\n",
           AT "27: arms[0].ranges.seed: unknown range (ranges of the search: optimizer.lr)");
    refuse("prune: {type: median}\n",
           AT "8: prune: rungs: a list of 1 to 16 is wanted, such as [1ep, 3ep]");
    refuse("prune: {type: median, rungs: [1ep, 20st]}\n",
           AT "36: prune.rungs[1]: more than the rung before, in the same unit, is wanted");
    ck_assert(!plan_with("seeds: 2\n", "train: [\n"));
    ck_assert_msg(strncmp(err.text, "dir/b.yaml:", 11) == 0, "%s", err.text);
    study_free(&study);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("plan");
    add_test(suite, test_grid);
    add_test(suite, test_one_trial);
    add_test(suite, test_zipped_keys);
    add_test(suite, test_arms);
    add_test(suite, test_whole_section);
    add_test(suite, test_search);
    add_test(suite, test_search_grid);
    add_test(suite, test_search_of_arms);
    add_test(suite, test_ids);
    add_test(suite, test_settings);
    add_test(suite, test_refuses);
    return run_suite(suite);
}
