/* What a study answers, on tables that are made here: a study that follows the formula, whose
 * answer SciPy has computed too, and studies that cannot answer. */
#include "support.h"

#include "lockstep/analysis.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESULT_COLUMNS                                                                             \
    "steps,samples,epochs,seconds,train_loss,test_loss,test_accuracy,best_loss,best_accuracy,"     \
    "target_step,target_samples,target_seconds,digest,trajectory,message\n"
#define HEADER "trial,status,train.batch,optimizer.lr,seed," RESULT_COLUMNS

static char csv[1 << 17];
static Table table;
static Analysis analysis;
static int rows;

static void begin(const char *header)
{
    snprintf(csv, sizeof csv, "%s", header);
    rows = 0;
}

/* A trial that took `steps` to the target, or diverged for 0. */
static void add_steps(double batch, double lr, int seed, int steps)
{
    if (steps > 0)
        text_append(csv, sizeof csv,
                    "t%d,target,%g,%g,%d,%d,%g,1,2,0.3,0.4,0.9,0.4,0.9,%d,%g,%g,,,\n", rows, batch,
                    lr, seed, steps, steps * batch, steps, steps * batch, 0.01 * steps);
    else
        text_append(csv, sizeof csv, "t%d,diverged,%g,%g,%d,9,%g,1,2,,,,,,,,,,,\n", rows, batch, lr,
                    seed, 9 * batch);
    rows++;
}

/* A trial of so many steps that ended with this accuracy; "" for none. */
static void add_accuracy(double batch, const char *lr, int seed, const char *accuracy)
{
    text_append(csv, sizeof csv, "t%d,completed,%g,%s,%d,100,%g,1,2,0.3,0.4,%s,0.4,%s,,,,,,\n",
                rows++, batch, lr, seed, 100 * batch, accuracy, accuracy);
}

static void analyse(const Question *question)
{
    Err err;
    ck_assert_msg(table_parse(&table, "t.csv", csv, strlen(csv), &err), "%s", err.text);
    Question asked = question ? *question : question_default(&table);
    analysis_make(&analysis, &table, &asked);
}

static void finish(void)
{
    analysis_free(&analysis);
    table_free(&table);
}

static void assert_close(double got, double wanted, double relative)
{
    ck_assert_msg(fabs(got - wanted) <= relative * fabs(wanted), "%.17g, %.17g is wanted", got,
                  wanted);
}

static void assert_warned(const char *text)
{
    for (size_t i = 0; i < analysis.warning_count; i++)
        if (strcmp(analysis.warnings[i], text) == 0)
            return;
    for (size_t i = 0; i < analysis.warning_count; i++)
        printf("warning: %s\n", analysis.warnings[i]);
    ck_abort_msg("no warning: %s", text);
}

static void assert_verdict(const char *wanted)
{
    char text[2048];
    ck_assert_str_eq(analysis_verdict(&analysis, text, sizeof text), wanted);
}

/* ---- a study that follows the formula ---- */

/* Steps 60 (1 + 500 / B) at the best lr, 0.1 sqrt(B / 32), more beside it; three seeds. */
static void write_formula(void)
{
    const double seeds[] = { 0.97, 1, 1.04 };
    begin(HEADER);
    for (int lr = 0; lr < 8; lr++)
        for (int i = 0; i < 7; i++)
            for (int seed = 0; seed < 3; seed++) {
                double batch = 32 << i, off = log2(0.5 * (1 << lr) / sqrt(batch / 32));
                double steps = 60 * (1 + 500 / batch) * (1 + 0.3 * off * off) * seeds[seed];
                add_steps(batch, 0.05 * (1 << lr), seed, (int)floor(steps + 0.5));
            }
}

/* scipy.optimize.least_squares on log medians of the best settings, numpy.polyfit for the power */
START_TEST(test_formula)
{
    const double medians[] = { 998, 568, 294, 190, 119, 96, 75 };
    write_formula();
    analyse(NULL);
    ck_assert_int_eq(analysis.curve_count, 1);
    ck_assert_int_eq(analysis.arm_count, 7);
    ck_assert_int_eq(analysis.setting_count, 56);
    for (int i = 0; i < 7; i++) {
        const Arm *arm = &analysis.arms[i];
        assert_close(arm->batch, 32 << i, 0);
        ck_assert(arm->found && arm->trials == 24 && arm->count == 8);
        assert_close(analysis.settings[arm->best].score, medians[i], 0);
        assert_close(arm->efficiency, 998 * 32 / (medians[i] * arm->batch), 1e-14);
    }
    ck_assert(isnan(analysis.arms[0].slope));
    assert_close(analysis.arms[2].slope, -0.95007477, 1e-8);
    const Curve *curve = &analysis.curves[0];
    assert_close(curve->s_min.value, 61.9613625904824, 1e-7);
    assert_close(curve->b_crit.value, 499.53326011882734, 1e-7);
    assert_close(curve->fit.residual, 0.03441202973375371, 1e-8);
    assert_close(curve->lr_exponent.value, 0.5, 1e-12);
    assert_close(log(curve->lr_scale), -4.183984583085328, 1e-12);
    assert_close(batch_of_efficiency(curve, EFFICIENCY_PLATEAU), 4 * curve->b_crit.value, 1e-12);
    finish();
}
END_TEST

/* Quantiles of 3,000 resamples by numpy.random.default_rng(0); ours are 1,000 others. */
START_TEST(test_intervals)
{
    write_formula();
    analyse(NULL);
    Curve curve = analysis.curves[0];
    ck_assert_int_eq(curve.resamples, 1000);
    assert_close(curve.s_min.low, 58.71768736, 0.01);
    assert_close(curve.s_min.high, 64.59889939, 0.01);
    assert_close(curve.b_crit.low, 468.09488183, 0.02);
    assert_close(curve.b_crit.high, 538.61338025, 0.02);
    assert_close(curve.lr_exponent.low, 0.36567092, 0.03);
    assert_close(curve.lr_exponent.high, 0.63501663, 0.03);
    finish();
    analyse(NULL);
    ck_assert(memcmp(&curve, &analysis.curves[0], sizeof curve) == 0);
    finish();
}
END_TEST

START_TEST(test_best_setting)
{
    write_formula();
    analyse(NULL);
    const Arm *arm = &analysis.arms[4];
    const Setting *best = &analysis.settings[arm->best];
    char text[128];
    ck_assert_str_eq(setting_name(&analysis, best, text, sizeof text), "lr 0.4");
    ck_assert_str_eq(arm_name(&analysis, arm, text, sizeof text), "batch 512");
    ck_assert_int_eq(best->count, 3);
    assert_close(best->of[RESULT_TARGET_STEP].min, 115, 0);
    assert_close(best->of[RESULT_TARGET_STEP].high, 121, 0);
    assert_close(best->of[RESULT_TARGET_SAMPLES].median, 119 * 512, 0);
    assert_close(best->of[RESULT_TARGET_SECONDS].median, 1.19, 1e-12);
    int count;
    double *scores = arm_scores(&analysis, arm, &count);
    ck_assert_int_eq(count, 8);
    assert_close(scores[0], 119, 0);
    mem_free(scores);
    ck_assert_uint_eq(analysis.warning_count, 0);
    finish();
}
END_TEST

/* With lr_scaling the rates that were reached count: as written times (B / 32)^power. */
START_TEST(test_scaled_lr)
{
    write_formula();
    Question question = { { BATCH_KEY }, 1, GOAL_STEPS, "accuracy 0.9", 0.5, 32 };
    analyse(&question);
    assert_close(analysis.curves[0].lr_exponent.value, 1, 1e-12);
    assert_close(trial_lr(&analysis, arm_trial(&analysis, &analysis.arms[2])), 0.05 * 2, 1e-12);
    finish();
}
END_TEST

START_TEST(test_verdict)
{
    write_formula();
    Question question = { { BATCH_KEY }, 1, GOAL_STEPS, "accuracy 0.9", 0, 0 };
    analyse(&question);
    assert_verdict("To accuracy 0.9: 998 steps at batch 32, 75 steps at batch 2,048; critical "
                   "batch about 500 (95 %: 469 to 536): diminishing returns from batch 120, a "
                   "plateau near 62 steps from 2,000.");
    finish();
}
END_TEST

/* ---- final values ---- */

START_TEST(test_accuracy)
{
    begin(HEADER);
    const char *accuracies[2][3] = { { "0.90", "0.92", "0.91" }, { "0.80", "0.85", "0.70" } };
    for (int i = 0; i < 2; i++)
        for (int seed = 0; seed < 3; seed++) {
            add_accuracy(64, i ? "0.2" : "0.1", seed, accuracies[i][seed]);
            add_accuracy(1024, i ? "0.1" : "0.2", seed, i ? "0.5" : "0.89");
        }
    analyse(NULL);
    ck_assert_int_eq(analysis.question.goal, GOAL_ACCURACY);
    const Setting *best = &analysis.settings[analysis.arms[0].best];
    assert_close(best->score, -0.91, 1e-14);
    assert_close(best->of[RESULT_TEST_ACCURACY].min, 0.90, 1e-14);
    ck_assert_int_eq(analysis.curves[0].fit.points, 0);
    ck_assert(isnan(analysis.arms[1].efficiency));
    assert_verdict("Accuracy 0.9100 at batch 64, accuracy 0.8900 at batch 1,024.");
    finish();
}
END_TEST

/* ---- what cannot be answered ---- */

START_TEST(test_no_trials)
{
    begin(HEADER);
    analyse(NULL);
    ck_assert_int_eq(analysis.curve_count, 0);
    ck_assert_uint_eq(analysis.warning_count, 0);
    assert_verdict("No trial has ended yet.");
    finish();
}
END_TEST

START_TEST(test_one_seed)
{
    begin(HEADER);
    for (int i = 0; i < 4; i++)
        for (int lr = 1; lr <= 4; lr++)
            add_steps(64 << i, 0.1 * lr, 1, (800 >> i) + 100 + 10 * abs(lr - 2));
    analyse(NULL);
    ck_assert_int_eq(analysis.curves[0].fit.points, 4);
    ck_assert(isnan(analysis.curves[0].b_crit.low));
    ck_assert_int_eq(analysis.curves[0].resamples, 0);
    assert_warned("4 of 4 best settings were tried with one seed: no spread and no interval there");
    finish();
}
END_TEST

START_TEST(test_two_batches)
{
    begin(HEADER);
    for (int seed = 0; seed < 2; seed++) {
        add_steps(64, 0.1, seed, 1000 + seed);
        add_steps(128, 0.1, seed, 600);
    }
    analyse(NULL);
    ck_assert_int_eq(analysis.curves[0].fit.points, 0);
    assert_warned("no fit of S = S_min (1 + B_crit/B): 2 batch sizes reached the target, at least "
                  "three are needed");
    ck_assert_int_eq(analysis.curves[0].lr_points, 0); /* 0.1 was given, not found */
    finish();
}
END_TEST

START_TEST(test_nothing_reached)
{
    begin(HEADER);
    for (int seed = 0; seed < 2; seed++)
        for (int i = 0; i < 3; i++)
            add_steps(64 << i, 0.1, seed, 0);
    add_accuracy(64, "0.2", 1, "0.5");
    Question question = { { BATCH_KEY }, 1, GOAL_STEPS, "accuracy 0.9", 0, 0 };
    analyse(&question);
    ck_assert(!analysis.arms[0].found);
    const Setting *best = &analysis.settings[analysis.arms[0].best];
    ck_assert(isinf(best->score));
    assert_close(best->of[RESULT_TEST_LOSS].median, 0.4, 0); /* that did not diverge */
    assert_warned("batch 64: no setting reached the target (accuracy 0.9) with most of its "
                  "seeds (3 trials, 2 diverged)");
    assert_warned("batch 128: all 2 trials diverged");
    assert_verdict("To accuracy 0.9: no setting reached the target.");
    finish();
}
END_TEST

/* Two of four seeds is not most of them; three of five are. */
START_TEST(test_half_of_the_seeds)
{
    begin(HEADER);
    for (int seed = 0; seed < 4; seed++)
        add_steps(64, 0.1, seed, seed < 2 ? 100 : 0);
    for (int seed = 0; seed < 5; seed++)
        add_steps(128, 0.1, seed, seed < 3 ? 70 + seed : 0);
    analyse(NULL);
    ck_assert(!analysis.arms[0].found);
    ck_assert(analysis.arms[1].found);
    assert_close(analysis.settings[analysis.arms[1].best].score, 72, 0);
    ck_assert_int_eq(analysis.settings[analysis.arms[1].best].reached, 3);
    finish();
}
END_TEST

START_TEST(test_edges)
{
    begin(HEADER);
    const char *lrs[] = { "0.1", "0.2", "0.4" };
    for (int lr = 0; lr < 3; lr++)
        for (int seed = 0; seed < 2; seed++) {
            add_steps(64, atof(lrs[lr]), seed, 100 - 10 * lr); /* best: the largest */
            add_steps(128, atof(lrs[lr]), seed, lr == 1 ? 50 : 80);
            if (lr < 2)
                add_steps(256, atof(lrs[lr]), seed, 30 + lr); /* two values: a choice */
        }
    analyse(NULL);
    assert_warned("the best optimizer.lr is the largest of 3 tried at batch 64 (0.4): the optimum "
                  "may lie beyond, so widen the grid");
    assert_warned("unequal tuning: 2 settings for batch 256, 3 for batch 64; compare at "
                  "equal budgets only");
    ck_assert_uint_eq(analysis.warning_count, 2);
    finish();
}
END_TEST

START_TEST(test_zero_is_no_edge)
{
    begin(HEADER);
    for (int seed = 0; seed < 2; seed++) {
        add_steps(64, 0, seed, 100);
        add_steps(64, 0.1, seed, 110);
        add_steps(64, 0.2, seed, 120);
    }
    analyse(NULL);
    ck_assert_uint_eq(analysis.warning_count, 0);
    finish();
}
END_TEST

/* ---- several curves ---- */

START_TEST(test_optimizers)
{
    begin("trial,status,optimizer.type,train.batch,seed," RESULT_COLUMNS);
    const char *types[] = { "sgd", "lars" };
    for (int i = 3; i >= 0; i--)
        for (int type = 0; type < 2; type++)
            for (int seed = 0; seed < 2; seed++) {
                int steps = type ? 400 >> i : (400 >> i) + 100;
                text_append(csv, sizeof csv, "t%d,target,%s,%d,%d,1,1,1,1,,,,,,%d,%d,1,,,\n",
                            rows++, types[type], 64 << i, seed, steps, steps * (64 << i));
            }
    Question question = { { BATCH_KEY, "optimizer.type" }, 2, GOAL_STEPS, "loss 1", 0, 0 };
    analyse(&question);
    char name[64];
    ck_assert_int_eq(analysis.curve_count, 2);
    ck_assert_str_eq(curve_name(&analysis, &analysis.curves[0], name, sizeof name),
                     "optimizer.type sgd");
    ck_assert(analysis.arms[0].batch == 64 && analysis.arms[3].batch == 512);
    assert_close(analysis.curves[0].s_min.value, 100, 1e-6);
    assert_close(analysis.curves[0].b_crit.value, 256, 1e-6);
    ck_assert(isinf(analysis.curves[1].b_crit.value));
    char text[512];
    assert_verdict("To loss 1: critical batch about 260 for optimizer.type sgd, beyond what was "
                   "tried for optimizer.type lars; at batch 512: optimizer.type lars 50 steps, "
                   "optimizer.type sgd 150 steps.");
    ck_assert_str_eq(curve_text(&analysis, &analysis.curves[0], text, sizeof text),
                     "optimizer.type sgd: 500 steps at batch 64, 150 steps at batch 512; critical "
                     "batch about 260 (95 %: 256 to 256): diminishing returns from batch 64, a "
                     "plateau near 100 steps from 1,000");
    ck_assert_str_eq(curve_text(&analysis, &analysis.curves[1], text, sizeof text),
                     "optimizer.type lars: 400 steps at batch 64, 50 steps at batch 512; perfect "
                     "scaling as far as it was tried");
    finish();
}
END_TEST

/* ---- for programs ---- */

START_TEST(test_json)
{
    write_formula();
    analyse(NULL);
    json_t *value = analysis_json(&analysis);
    char *text = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(6));
    ck_assert(strstr(text, "\"goal\":\"steps\""));
    ck_assert(strstr(text, "\"setting\":{\"optimizer.lr\":\"0.4\"}"));
    ck_assert(strstr(text, "\"b_crit\":{\"value\":499.533,"));
    ck_assert(strstr(text, "\"slope\":null")); /* of the first arm */
    free(text);
    json_decref(value);
    finish();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("analysis");
    add_test(suite, test_formula);
    add_test(suite, test_intervals);
    add_test(suite, test_best_setting);
    add_test(suite, test_scaled_lr);
    add_test(suite, test_verdict);
    add_test(suite, test_accuracy);
    add_test(suite, test_no_trials);
    add_test(suite, test_one_seed);
    add_test(suite, test_two_batches);
    add_test(suite, test_nothing_reached);
    add_test(suite, test_half_of_the_seeds);
    add_test(suite, test_edges);
    add_test(suite, test_zero_is_no_edge);
    add_test(suite, test_optimizers);
    add_test(suite, test_json);
    return run_suite(suite);
}
