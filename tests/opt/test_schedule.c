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
static void bench_plan(Bench *bench, const char *options, const BatchPlan *plan)
{
    *bench = (Bench){ .ok = false };
    char text[512];
    snprintf(text, sizeof text, "schedule: {%s}\n", options);
    ck_assert(config_parse(&bench->config, "test.yaml", text, strlen(text), &bench->err));
    ScheduleRun run = {
        .steps = 100, .steps_per_epoch = 10, .batch = 512, .base_lr = 0.1, .plan = plan
    };
    bench->ok = schedule_init(&bench->schedule, &bench->config,
                              config_get(bench->config.root, "schedule"), &run, &bench->err);
}

static void bench_init(Bench *bench, const char *options)
{
    bench_plan(bench, options, NULL);
}

/* From epoch 2 on the whole epoch at once. */
static BatchPlan grown_plan(void)
{
    BatchPlan plan = batch_plan(5120, 512);
    ck_assert(batch_plan_grow(&plan, (Span){ 2, SPAN_EPOCHS }, 5120, NULL));
    return plan;
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
    { "type: exponential, gamma: 0.25, every: 2ep", { { 0, 0.1 }, { 10, 0.05 }, { 20, 0.025 } } },
    { "type: inverse_time, every: 5120sa, decay: 3",
      { { 0, 0.1 }, { 10, 0.025 }, { 50, 0.00625 } } },
    { "type: inverse_time, every: 1st, power: 0.5", { { 3, 0.05 }, { 24, 0.02 } } },
    { "type: inverse_sqrt, warmup: 1ep", { { 4, 0.05 }, { 10, 0.1 }, { 40, 0.05 } } },
    { "type: inverse_sqrt, timescale: 5st", { { 0, 0.1 }, { 15, 0.05 } } },
    { "type: noam, dim: 4, rise: 1ep", /* 0.1 / 2 / sqrt(10) at its top */
      { { 0, 0.0015811388300841895 },
        { 9, 0.015811388300841896 },
        { 39, 0.0079056941504209479 } } },
    { "type: sgdr, cycle: 1ep, growth: 2",
      { { 0, 0.1 }, { 5, 0.05 }, { 10, 0.1 }, { 20, 0.05 }, { 30, 0.1 } } },
    { "type: sgdr, cycle: 10, decay: 0.5, min: 0.1",
      { { 5, 0.055 }, { 10, 0.05 }, { 15, 0.03 }, { 20, 0.025 } } },
    { "type: sgdr, cycles: 4", { { 0, 0.1 }, { 25, 0.1 }, { 50, 0.1 }, { 75, 0.1 }, { 100, 0 } } },
    { "type: cyclic, up: 1ep, down: 2ep, min: 0.5",
      { { 0, 0.05 }, { 5, 0.075 }, { 10, 0.1 }, { 20, 0.075 }, { 30, 0.05 } } },
    { "type: cyclic, up: 10, mode: triangular2, min: 0",
      { { 10, 0.1 }, { 20, 0 }, { 30, 0.05 }, { 35, 0.025 }, { 50, 0.025 } } },
    { "type: cyclic, up: 1, mode: exp_range, gamma: 0.5, min: 0",
      { { 1, 0.05 }, { 2, 0 }, { 3, 0.0125 } } },
    { "type: onecycle, anneal: linear, pct_start: 0.51, div_factor: 10, final_div_factor: 10",
      { { 0, 0.01 }, { 25, 0.055 }, { 50, 0.1 }, { 99, 0.001 }, { 200, 0.001 } } },
    { "type: onecycle, anneal: linear, three_phase: true, pct_start: 0.26, div_factor: 10",
      { { 0, 0.01 }, { 25, 0.1 }, { 50, 0.01 }, { 99, 1e-6 } } },
    { "type: wsd, decay: 2ep", { { 0, 0.1 }, { 80, 0.1 }, { 85, 0.05 }, { 100, 0 }, { 300, 0 } } },
    { "type: wsd, cooldown: linear, min: 0.2", { { 90, 0.1 }, { 95, 0.06 }, { 100, 0.02 } } },
    { "type: wsd, stable: 20, decay: 20, cooldown: square, warmup: 10",
      { { 29, 0.1 }, { 30, 0.1 }, { 40, 0.075 }, { 50, 0 } } },
    { "type: stagewise, first: 1ep",
      { { 9, 0.1 }, { 10, 0.05 }, { 29, 0.05 }, { 30, 0.025 }, { 70, 0.0125 } } },
    { "type: stagewise, first: 10, growth: 1, gamma: 0.1",
      { { 9, 0.1 }, { 19, 0.01 }, { 20, 0.001 } } },
    /* a part lasts its warm-up and its length; its clock starts with it */
    { "type: sequence, parts: [{length: 1ep, warmup: 10}, {type: poly, power: 1, length: 20}, "
      "{type: poly, power: 1}]",
      { { 4, 0.05 }, { 19, 0.1 }, { 30, 0.05 }, { 40, 0.1 }, { 70, 0.05 } } },
    { "type: sequence, warmup: 20, clock: after_warmup, parts: [{type: step, milestones: [10]}]",
      { { 9, 0.05 }, { 29, 0.1 }, { 30, 0.01 } } },
    { "type: sequence, min_lr: 0.02, parts: [{type: sequence, length: 10, parts: [{type: poly, "
      "power: 1, length: 5}, {}]}, {type: step, every: 5}]",
      { { 4, 0.02 }, { 5, 0.1 }, { 14, 0.1 }, { 15, 0.02 } } },
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

/* What a type cannot do without. */
static const char *wanted_options(const ScheduleType *type)
{
    static const char *const wanted[][2] = {
        { "step", ", every: 30" },
        { "sgdr", ", cycle: 20" },
        { "sequence", ", parts: [{length: 20}, {type: cosine, length: 2ep}, {type: poly}]" },
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (strcmp(wanted[i][0], type->name) == 0)
            return wanted[i][1];
    return "";
}

/* Whatever the type: finite, not negative, at most the peak within the run, the peak is reached
 * (noam's is its own), asking twice and in any order gives the same, and so it is for a batch that
 * grows. */
START_TEST(test_every_type)
{
    int count;
    const ScheduleType *const *types = schedule_all(&count);
    ck_assert_int_ge(count, 15);
    for (int i = 0; i < 2 * count; i++) {
        const ScheduleType *type = types[i / 2];
        char options[256];
        snprintf(options, sizeof options, "type: %s, warmup: 10%s", type->name,
                 wanted_options(type));
        Bench bench;
        BatchPlan plan = grown_plan();
        bench_plan(&bench, options, i % 2 ? &plan : NULL);
        ck_assert_msg(bench.ok, "%s", bench.err.text);
        double largest = 0, first[200];
        for (int64_t t = 0; t < 200; t++) {
            double lr = first[t] = schedule_lr(&bench.schedule, t);
            double momentum = schedule_momentum(&bench.schedule, t);
            ck_assert_msg(isfinite(lr) && lr >= 0 && lr <= 0.1 * (1 + 1e-15), "%s", options);
            ck_assert_msg(momentum >= 0 && momentum < 1, "%s", options);
            largest = fmax(largest, lr);
        }
        for (int64_t t = 199; t >= 0; t--)
            ck_assert_double_eq(schedule_lr(&bench.schedule, t), first[t]);
        if (strcmp(type->name, "noam") != 0)
            ck_assert_msg(fabs(largest - 0.1) <= 1e-15, "%s: largest %.17g", options, largest);
        bench_free(&bench);
    }
}
END_TEST

/* Milestones are moments and periods are counted in samples, so the shape over the data is the same
 * whether the batch grows or not: 16 times from epoch 2 on, i.e. from step 20 on. */
START_TEST(test_growth)
{
    static const struct {
        const char *options;
        struct {
            int step;
            double lr;
        } points[4];
    } grown[] = {
        { "type: step, milestones: [3ep, 4ep]", { { 20, 0.1 }, { 21, 0.01 }, { 22, 0.001 } } },
        { "type: step, every: 3ep", { { 20, 0.1 }, { 21, 0.01 }, { 23, 0.01 }, { 24, 0.001 } } },
        { "type: step, every: 15360sa", { { 20, 0.1 }, { 21, 0.01 }, { 24, 0.001 } } },
        { "type: step, every: 22st", { { 21, 0.1 }, { 22, 0.01 }, { 44, 0.001 } } },
        { "warmup: 4ep, warmup_count: from_zero",
          { { 11, 0.05 }, { 21, 0.1 * 21 / 22 }, { 22, 0.1 } } },
        { "type: sgdr, cycle: 4ep", { { 20, 0.05 }, { 22, 0.1 } } },
        { "type: wsd, stable: 4ep, decay: 10st, cooldown: linear", { { 22, 0.1 }, { 27, 0.05 } } },
        { "type: sequence, parts: [{length: 3ep}, {type: step, milestones: [2ep]}]",
          { { 22, 0.1 }, { 23, 0.01 } } },
        { "lr_scaling: linear, base_batch: 512", { { 0, 0.1 }, { 20, 0.1 } } },
        { "lr_scaling: linear, base_batch: 512, on_growth: scale", { { 19, 0.1 }, { 20, 1.0 } } },
        { "lr_scaling: sqrt, base_batch: 51.2, on_growth: scale", { { 20, 1.0 } } },
    };
    for (size_t i = 0; i < sizeof grown / sizeof *grown; i++) {
        Bench bench;
        BatchPlan plan = grown_plan();
        bench_plan(&bench, grown[i].options, &plan);
        ck_assert_msg(bench.ok, "%s: %s", grown[i].options, bench.err.text);
        for (int k = 0; k < 4; k++) {
            int step = grown[i].points[k].step;
            double lr = grown[i].points[k].lr, got = schedule_lr(&bench.schedule, step);
            ck_assert_msg((k > 0 && step == 0) || fabs(got - lr) <= 1e-15,
                          "%s: step %d: %.17g wanted, found %.17g", grown[i].options, step, lr,
                          got);
        }
        bench_free(&bench);
    }
}
END_TEST

/* Momentum goes down while the lr goes up; other schedules leave it alone, and so does the wish not
 * to. */
START_TEST(test_momentum)
{
    static const struct {
        const char *options;
        double at_0, at_10, at_99;
    } cases[] = {
        { "type: onecycle, pct_start: 0.11", 0.95, 0.85, 0.95 },
        { "type: onecycle, pct_start: 0.11, base_momentum: 0.5, max_momentum: 0.6", 0.6, 0.5, 0.6 },
        { "type: onecycle, cycle_momentum: false", 0, 0, 0 },
        { "type: cyclic, up: 10, down: 89, cycle_momentum: true", 0.9, 0.8, 0.9 },
        { "type: cyclic, up: 10", 0, 0, 0 },
        { "type: cosine", 0, 0, 0 },
        { "type: sequence, parts: [{length: 9}, {type: cyclic, up: 90, cycle_momentum: true}]", 0,
          0.9 - 0.1 / 90, 0.8 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Bench bench;
        bench_init(&bench, cases[i].options);
        ck_assert_msg(bench.ok, "%s", bench.err.text);
        const int steps[] = { 0, 10, 99 };
        const double wanted[] = { cases[i].at_0, cases[i].at_10, cases[i].at_99 };
        for (int k = 0; k < 3; k++) {
            double got = schedule_momentum(&bench.schedule, steps[k]);
            ck_assert_msg(fabs(got - wanted[k]) < 1e-15, "%s: step %d: %.17g", cases[i].options,
                          steps[k], got);
        }
        bench_free(&bench);
    }
}
END_TEST

/* Losses of steps (two looked at together) or of evaluations; an improvement by less than the
 * threshold is none. */
static int cuts_after(const char *options, ScheduleEvent event, const double *values, int count,
                      int stop)
{
    Bench bench, resumed;
    bench_init(&bench, options);
    bench_init(&resumed, options);
    ck_assert_msg(bench.ok, "%s", bench.err.text);
    for (int i = 0; i < count; i++) {
        ScheduleNews news = {
            .event = event, .done = i + 1, .loss = 5 * values[i], .count = 5, .accuracy = values[i]
        };
        if (i == stop) /* as from a checkpoint */
            resumed.schedule.state = bench.schedule.state;
        schedule_observe(i < stop ? &bench.schedule : &resumed.schedule, &news);
    }
    int cuts = (int)lround(-log10(schedule_lr(&resumed.schedule, count) / 0.1));
    bench_free(&bench);
    bench_free(&resumed);
    return cuts;
}

START_TEST(test_plateau)
{
    static const double falls[] = { 8, 7, 6, 5, 4, 3, 2, 1, 0.5, 0.25 };
    static const double stays[] = { 2, 2, 2, 2, 2, 2, 2, 2, 2, 2 };
    static const double pairs[] = { 1, 3, 3, 1, 2, 2, 0, 4, 4, 0 };
    const char *looks = "type: plateau, every: 1st, patience: 2";
    const char *test = "type: plateau, metric: test_loss, patience: 2";
    const char *accuracy = "type: plateau, metric: test_accuracy, patience: 2";
    for (int stop = 0; stop < 10; stop++) {
        ck_assert_int_eq(cuts_after(looks, SCHEDULE_STEP, falls, 10, stop), 0);
        ck_assert_int_eq(cuts_after(looks, SCHEDULE_STEP, stays, 10, stop), 3); /* at 4, 7, 10 */
        ck_assert_int_eq(cuts_after(looks, SCHEDULE_TEST, stays, 10, stop), 0);
        ck_assert_int_eq(cuts_after(test, SCHEDULE_TEST, stays, 10, stop), 3);
        ck_assert_int_eq(cuts_after(test, SCHEDULE_STEP, stays, 10, stop), 0);
        ck_assert_int_eq(cuts_after(accuracy, SCHEDULE_TEST, falls, 10, stop), 3);
        /* five looks at a mean of 2 */
        ck_assert_int_eq(
            cuts_after("type: plateau, every: 2st, patience: 3", SCHEDULE_STEP, pairs, 10, stop),
            1);
        ck_assert_int_eq(cuts_after("type: plateau, every: 1st, patience: 2, cooldown: 2",
                                    SCHEDULE_STEP, stays, 10, stop),
                         2); /* at 4 and 9 */
        ck_assert_int_eq(cuts_after("type: plateau, every: 1st, patience: 8, threshold: 0.5",
                                    SCHEDULE_STEP, falls, 10, stop),
                         0);
        ck_assert_int_eq(cuts_after("type: plateau, every: 1st, patience: 0, threshold: 1.5, "
                                    "threshold_mode: abs",
                                    SCHEDULE_STEP, falls, 4, stop < 3 ? stop : 3),
                         2); /* 8, then 7 is none, 6 is one, 5 is none */
        ck_assert_int_eq(cuts_after("type: plateau, every: 1st, patience: 0, min_lr: 0.01",
                                    SCHEDULE_STEP, stays, 10, stop),
                         1); /* nine cuts, one rung */
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
        { "type: cosin",
          "test.yaml:1:18: schedule.type: unknown schedule \"cosin\"; did you mean "
          "\"cosine\"? (schedules: constant, cosine, cyclic, exponential, inverse_sqrt, "
          "inverse_time, noam, onecycle, plateau, poly, sequence, sgdr, stagewise, step, wsd)" },
        { "type: sgdr",
          "test.yaml:1:11: schedule: neither cycle nor cycles is given: one of them is wanted" },
        { "type: sgdr, cycle: 5, cycles: 2",
          "test.yaml:1:11: schedule: both cycle and cycles are given: one of them is wanted" },
        { "type: sgdr, cycles: 2, growth: 2",
          "test.yaml:1:11: schedule: growth needs cycle, the length of the first one" },
        { "type: cyclic, up: 5st, down: 1ep",
          "test.yaml:1:11: schedule: up and down: both in steps or neither wanted" },
        { "type: onecycle, three_phase: true, pct_start: 0.6",
          "test.yaml:1:11: schedule: pct_start: at most 0.5 wanted with three_phase, found 0.6" },
        { "on_growth: scale",
          "test.yaml:1:23: schedule.on_growth: scale needs lr_scaling: linear or sqrt" },
        { "type: sequence, parts: 5",
          "test.yaml:1:35: schedule.parts: a list of 1 to 16 schedules is wanted" },
        { "type: sequence, parts: [cosine]",
          "test.yaml:1:36: schedule.parts[0]: a schedule is wanted: {type: ..., ...}" },
        { "type: sequence, parts: [{type: cosine}, {}]",
          "test.yaml:1:36: schedule.parts[0]: length is missing: when the next part begins" },
        { "type: sequence, parts: [{min_lr: 1}]",
          "test.yaml:1:45: schedule.parts[0].min_lr: min_lr belongs to the schedule, not to its "
          "parts" },
        { "type: sequence, parts: [{type: plateau}]",
          "test.yaml:1:36: schedule.parts[0]: plateau cannot be a part of a sequence" },
        { "type: sequence, parts: [{type: sgdr}]",
          "test.yaml:1:36: schedule.parts[0]: neither cycle nor cycles is given: one of them is "
          "wanted" },
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
                                    "lr_scaling, base_batch, on_growth, min_lr, power, end)" },
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
    add_test(suite, test_growth);
    add_test(suite, test_momentum);
    add_test(suite, test_plateau);
    add_test(suite, test_messages);
    return run_suite(suite);
}
