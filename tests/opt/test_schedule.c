/* Schedules: warm-up conventions, clocks, scaling, and the exact messages of wrong options. The
 * shapes are tested against golden curves in tests/golden. */
#include "lockstep/schedule.h"
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct Bench {
    Config config;
    Schedule schedule;
    Err err;
    bool ok;
} Bench;

/* 100 steps, 10 an epoch, batch 512, optimizer.lr 0.1. */
static void bench_init(Bench *bench, const char *options)
{
    *bench = (Bench){ .ok = false };
    char text[512];
    snprintf(text, sizeof text, "schedule: {%s}\n", options);
    ck_assert(config_parse(&bench->config, "test.yaml", text, strlen(text), &bench->err));
    ScheduleRun run = { .steps = 100, .steps_per_epoch = 10, .batch = 512, .base_lr = 0.1 };
    bench->ok = schedule_init(&bench->schedule, &bench->config,
                              config_get(bench->config.root, "schedule"), &run, &bench->err);
}

static void bench_free(Bench *bench)
{
    schedule_free(&bench->schedule);
    config_free(&bench->config);
}

/* Each: options, then steps and what the lr is there. */
static const struct {
    const char *options;
    struct {
        int step;
        double lr;
    } points[5];
} curves[] = {
    { "", { { 0, 0.1 }, { 99, 0.1 }, { 1000, 0.1 } } },
    /* warm-up from 0: no step is lost, the peak is reached at step W - 1 */
    { "warmup: 1ep", { { 0, 0.01 }, { 4, 0.05 }, { 9, 0.1 }, { 10, 0.1 } } },
    { "warmup: 10st, warmup_count: from_zero",
      { { 0, 0 }, { 5, 0.05 }, { 9, 0.09 }, { 10, 0.1 } } },
    { "warmup: 10, warmup_start: 0.5", { { 0, 0.05 }, { 5, 0.075 }, { 10, 0.1 } } },
    { "warmup: 10, warmup_start: 0.5, warmup_count: from_one", { { 0, 0.055 }, { 9, 0.1 } } },
    { "warmup: 5120sa, warmup_shape: constant, warmup_start: 0.2",
      { { 0, 0.02 }, { 9, 0.02 }, { 10, 0.1 } } },
    /* Goyal: from the unscaled lr to the scaled one */
    { "warmup: 10, warmup_from: base, lr_scaling: linear, base_batch: 128",
      { { 0, 0.1 }, { 5, 0.25 }, { 10, 0.4 } } },
    { "lr_scaling: sqrt, base_batch: 128", { { 0, 0.2 } } },
    { "lr_scaling: linear, base_batch: 1024", { { 0, 0.05 } } },
    /* poly and cosine begin when the warm-up ends and last to the end of the run */
    { "type: poly, power: 1, warmup: 20",
      { { 19, 0.1 }, { 20, 0.1 }, { 60, 0.05 }, { 100, 0 }, { 130, 0 } } },
    { "type: poly, power: 1, warmup: 20, clock: run", { { 20, 0.08 }, { 60, 0.04 }, { 100, 0 } } },
    { "type: poly, power: 2, end: 0.5",
      { { 0, 0.1 }, { 50, 0.0625 }, { 100, 0.05 }, { 200, 0.05 } } },
    { "type: poly, power: 1, length: 5ep", { { 25, 0.05 }, { 50, 0 }, { 70, 0 } } },
    { "type: poly, power: 1, min_lr: 0.03", { { 50, 0.05 }, { 90, 0.03 } } },
    { "type: cosine", { { 0, 0.1 }, { 50, 0.05 }, { 100, 0 }, { 150, 0 } } },
    { "type: cosine, min: 0.2", { { 0, 0.1 }, { 50, 0.06 }, { 100, 0.02 } } },
    { "type: cosine, past_end: continue", { { 100, 0 }, { 150, 0.05 }, { 200, 0.1 } } },
    { "type: cosine, cycles: 1", { { 50, 0 }, { 100, 0.1 }, { 150, 0.1 } } },
    /* step counts from the start of the run, warm-up or not */
    { "type: step, every: 3ep, gamma: 0.5", { { 29, 0.1 }, { 30, 0.05 }, { 60, 0.025 } } },
    { "type: step, milestones: [3ep, 60st, 40960sa], warmup: 10",
      { { 29, 0.1 }, { 30, 0.01 }, { 60, 0.001 }, { 79, 0.001 }, { 80, 0.0001 } } },
    { "type: step, milestones: [50, 50], gamma: 0.5", { { 49, 0.1 }, { 50, 0.025 } } },
    { "type: step, every: 10, warmup: 5, clock: after_warmup", { { 14, 0.1 }, { 15, 0.01 } } },
};

START_TEST(test_curves)
{
    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++) {
        Bench bench;
        bench_init(&bench, curves[i].options);
        ck_assert_msg(bench.ok, "%s: %s", curves[i].options, bench.err.text);
        for (int k = 4; k >= 0; k--) { /* backwards: a pure function of the step */
            int step = curves[i].points[k].step;
            double lr = curves[i].points[k].lr;
            if (k > 0 && step == 0)
                continue;
            double got = schedule_lr(&bench.schedule, step);
            ck_assert_msg(fabs(got - lr) <= 1e-15, "%s: step %d: %.17g wanted, found %.17g",
                          curves[i].options, step, lr, got);
        }
        bench_free(&bench);
    }
}
END_TEST

START_TEST(test_without_a_section)
{
    Config config = { .file = NULL };
    ScheduleRun run = { .steps = 10, .steps_per_epoch = 10, .batch = 1, .base_lr = 0.3 };
    Schedule schedule;
    ck_assert(schedule_init(&schedule, &config, NULL, &run, NULL));
    ck_assert_double_eq(schedule_lr(&schedule, 5), 0.3);
    schedule_free(&schedule);
}
END_TEST

/* Whatever the type: finite, not negative, at most the peak within the run, and the peak is
 * reached. */
START_TEST(test_every_type)
{
    int count;
    const ScheduleType *const *types = schedule_all(&count);
    ck_assert_int_ge(count, 4);
    for (int i = 0; i < count; i++) {
        char options[128];
        bool step = strcmp(types[i]->name, "step") == 0;
        snprintf(options, sizeof options, "type: %s, warmup: 10%s", types[i]->name,
                 step ? ", every: 30" : "");
        Bench bench;
        bench_init(&bench, options);
        ck_assert_msg(bench.ok, "%s", bench.err.text);
        double largest = 0;
        for (int64_t t = 0; t < 200; t++) {
            double lr = schedule_lr(&bench.schedule, t);
            ck_assert_msg(isfinite(lr) && lr >= 0 && lr <= 0.1 * (1 + 1e-15), "%s", options);
            largest = fmax(largest, lr);
        }
        ck_assert_double_eq_tol(largest, 0.1, 1e-15);
        bench_free(&bench);
    }
}
END_TEST

START_TEST(test_messages)
{
    static const struct {
        const char *options, *message;
    } cases[] = {
        { "lr_scaling: linear", "test.yaml:1:11: schedule: lr_scaling needs base_batch, the global "
                                "batch that optimizer.lr is "
                                "for" },
        { "type: cosin", "test.yaml:1:18: schedule.type: unknown schedule \"cosin\"; did you mean "
                         "\"cosine\"? (schedules: constant, cosine, poly, step)" },
        { "type: step", "test.yaml:1:11: schedule: neither every nor milestones is given: one of "
                        "them is wanted" },
        { "type: step, every: 5, milestones: [3]",
          "test.yaml:1:11: schedule: both every and milestones are given: one of them is wanted" },
        { "type: step, milestones: [3ep, soon]",
          "test.yaml:1:11: schedule: milestones[1]: soon is not a moment such as 30ep, 500st or "
          "100000sa" },
        { "type: step, milestones: 3ep",
          "test.yaml:1:11: schedule: milestones: a list of at most 64 "
          "moments wanted, e.g. [30ep, 60ep]" },
        { "type: poly, gamma: 0.1", "test.yaml:1:24: schedule.gamma: unknown option (options here: "
                                    "type, warmup, warmup_start, "
                                    "warmup_from, warmup_count, warmup_shape, clock, length, "
                                    "lr_scaling, base_batch, min_lr, power, end)" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Bench bench;
        bench_init(&bench, cases[i].options);
        ck_assert_msg(!bench.ok, "%s", cases[i].options);
        ck_assert_str_eq(bench.err.text, cases[i].message);
        bench_free(&bench);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("schedule");
    add_test(suite, test_curves);
    add_test(suite, test_without_a_section);
    add_test(suite, test_every_type);
    add_test(suite, test_messages);
    return run_suite(suite);
}
