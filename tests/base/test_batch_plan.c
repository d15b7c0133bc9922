/* The plan of a growing batch against walking through the data step by step. */
#include "lockstep/batch_plan.h"
#include "support.h"

#include <string.h>

static Span span(double value, SpanUnit unit)
{
    return (Span){ value, unit };
}

/* Epochs of 100 samples; 32, from epoch 2 on 64, from step 20 on 256 (all at once). */
static BatchPlan three_stages(void)
{
    BatchPlan plan = batch_plan(100, 32);
    ck_assert(batch_plan_grow(&plan, span(2, SPAN_EPOCHS), 64, NULL));
    ck_assert(batch_plan_grow(&plan, span(20, SPAN_STEPS), 256, NULL));
    return plan;
}

/* Epochs of 1000 samples; the batch changes in the middle of epochs. */
static BatchPlan uneven_stages(void)
{
    BatchPlan plan = batch_plan(1000, 24);
    ck_assert(batch_plan_grow(&plan, span(1.37, SPAN_EPOCHS), 48, NULL));
    ck_assert(batch_plan_grow(&plan, span(3111, SPAN_SAMPLES), 96, NULL));
    ck_assert(batch_plan_grow(&plan, span(150, SPAN_STEPS), 768, NULL));
    return plan;
}

static int batch_of(const BatchPlan *plan, int64_t step)
{
    int batch = 0;
    for (int i = 0; i < plan->count; i++)
        if (plan->stages[i].step <= step)
            batch = plan->stages[i].batch;
    return batch;
}

static void check_walk(const BatchPlan *plan)
{
    int64_t epoch = 0, position = 0, samples = 0, time = 0;
    for (int64_t step = 0; step < 400; step++) {
        BatchPlace place = batch_plan_at(plan, step);
        int batch = batch_of(plan, step);
        int64_t left = plan->epoch_samples - position;
        ck_assert_int_eq(place.epoch, epoch);
        ck_assert_int_eq(place.position, position);
        ck_assert_int_eq(place.batch, batch);
        ck_assert_int_eq(place.size, left < batch ? left : batch);
        ck_assert_int_eq(batch_plan_samples(plan, step), samples);
        ck_assert_int_ge(batch_plan_time(plan, step), time);
        time = batch_plan_time(plan, step);
        if (position == 0) { /* an epoch begins where its moment is */
            ck_assert_int_eq(batch_plan_step(plan, span((double)epoch, SPAN_EPOCHS)), step);
            ck_assert_int_eq(time, epoch * plan->stages[0].per_epoch);
        }
        samples += place.size;
        position += place.size;
        if (position == plan->epoch_samples) {
            position = 0;
            epoch++;
        }
    }
}

START_TEST(walk)
{
    BatchPlan constant = batch_plan(100, 32), large = batch_plan(10, 64);
    BatchPlan three = three_stages(), uneven = uneven_stages();
    check_walk(&constant);
    check_walk(&large);
    check_walk(&three);
    check_walk(&uneven);
}
END_TEST

/* What each stage is, worked out by hand: 4 steps an epoch, then 2, then 1; step 20 begins epoch
 * 8. */
START_TEST(stages)
{
    BatchPlan plan = three_stages();
    ck_assert_int_eq(plan.stages[1].step, 8);
    ck_assert_int_eq(plan.stages[2].epoch, 8);
    ck_assert_int_eq(plan.stages[2].position, 0);
    ck_assert_int_eq(batch_plan_step(&plan, span(3.5, SPAN_EPOCHS)), 11);
    ck_assert_int_eq(batch_plan_step(&plan, span(264, SPAN_SAMPLES)), 9);
    ck_assert_int_eq(batch_plan_step(&plan, span(11, SPAN_STEPS)), 11);
    ck_assert_int_eq(batch_plan_span(&plan, 6, span(1, SPAN_EPOCHS)), 3); /* 1.5 ep to 2.5 ep */
    ck_assert_int_eq(batch_plan_span(&plan, 30, span(5, SPAN_EPOCHS)), 5);
    ck_assert_int_eq(batch_plan_span(&plan, 6, span(0, SPAN_EPOCHS)), 0);
    ck_assert_int_eq(batch_plan_span(&plan, 6, span(0.001, SPAN_EPOCHS)), 1);
}
END_TEST

/* A batch that does not grow: nothing is other than without a plan. */
START_TEST(constant)
{
    static const double values[] = { 0, 1e-9, 0.3, 1, 2.5, 7, 1000.5, 1e300 };
    BatchPlan plan = batch_plan(100, 32);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        for (SpanUnit unit = SPAN_STEPS; unit <= SPAN_SAMPLES; unit++) {
            Span s = span(values[i], unit);
            int64_t steps = span_steps(s, 4, 32);
            ck_assert_int_eq(batch_plan_step(&plan, s), steps);
            ck_assert_int_eq(batch_plan_span(&plan, 77, s), steps);
            for (int64_t done = 0; done < 50; done++)
                ck_assert_int_eq(batch_plan_due(&plan, done, s),
                                 done > 0 && steps > 0 && done % steps == 0);
        }
    for (int64_t step = 0; step < 50; step++)
        ck_assert_int_eq(batch_plan_time(&plan, step), step);
}
END_TEST

/* Twice an epoch, however many steps that is; every third step. */
START_TEST(due)
{
    BatchPlan plan = batch_plan(64, 8);
    ck_assert(batch_plan_grow(&plan, span(2, SPAN_EPOCHS), 32, NULL));
    int halves = 0, thirds = 0;
    for (int64_t done = 1; done <= 16 + 2 * 10; done++) { /* 12 epochs */
        halves += batch_plan_due(&plan, done, span(0.5, SPAN_EPOCHS));
        thirds += batch_plan_due(&plan, done, span(3, SPAN_STEPS));
        ck_assert(!batch_plan_due(&plan, done, span(0, SPAN_EPOCHS)));
    }
    ck_assert_int_eq(halves, 24);
    ck_assert_int_eq(thirds, 12);
}
END_TEST

START_TEST(messages)
{
    Err err;
    BatchPlan plan = three_stages();
    ck_assert(!batch_plan_grow(&plan, span(8, SPAN_EPOCHS), 512, &err));
    ck_assert_str_eq(err.text, "at: step 20 found, a step behind 20 wanted");
    for (int i = 3; i < BATCH_STAGES_MAX; i++)
        ck_assert(batch_plan_grow(&plan, span(100 * i, SPAN_STEPS), 512, &err));
    ck_assert(!batch_plan_grow(&plan, span(1e5, SPAN_STEPS), 512, &err));
    ck_assert_str_eq(err.text, "at most 15 changes of the batch wanted");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("batch_plan");
    add_test(suite, walk);
    add_test(suite, stages);
    add_test(suite, constant);
    add_test(suite, due);
    add_test(suite, messages);
    return run_suite(suite);
}
