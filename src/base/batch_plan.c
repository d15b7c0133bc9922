/* Stages of constant batch size; everything is found by looking for the stage first. */
#include "lockstep/batch_plan.h"

#include <math.h>

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static BatchStage stage_at(const BatchPlan *plan, int64_t step, BatchPlace place, int batch)
{
    int64_t rest = plan->epoch_samples - place.position;
    return (BatchStage){ .step = step,
                         .samples = place.epoch * plan->epoch_samples + place.position,
                         .epoch = place.epoch,
                         .position = place.position,
                         .first_epoch = divide_up(rest, batch),
                         .per_epoch = divide_up(plan->epoch_samples, batch),
                         .batch = batch };
}

BatchPlan batch_plan(int64_t epoch_samples, int batch)
{
    BatchPlan plan = { .epoch_samples = epoch_samples, .count = 1 };
    expect(epoch_samples > 0 && batch > 0);
    plan.stages[0] = stage_at(&plan, 0, (BatchPlace){ .epoch = 0 }, batch);
    return plan;
}

bool batch_plan_grow(BatchPlan *plan, Span at, int batch, Err *err)
{
    int64_t step = batch_plan_step(plan, at);
    int64_t before = plan->stages[plan->count - 1].step;
    if (plan->count == BATCH_STAGES_MAX)
        return err_set(err, "at most %d changes of the batch wanted", BATCH_STAGES_MAX - 1);
    if (step <= before)
        return err_set(err, "at: step %lld found, a step behind %lld wanted", (long long)step,
                       (long long)before);
    plan->stages[plan->count] = stage_at(plan, step, batch_plan_at(plan, step), batch);
    plan->count++;
    return true;
}

static const BatchStage *find_stage(const BatchPlan *plan, int64_t step)
{
    const BatchStage *stage = &plan->stages[plan->count - 1];
    while (stage > plan->stages && stage->step > step)
        stage--;
    return stage;
}

BatchPlace batch_plan_at(const BatchPlan *plan, int64_t step)
{
    const BatchStage *stage = find_stage(plan, step);
    int64_t n = step - stage->step;
    BatchPlace place = { .epoch = stage->epoch, .batch = stage->batch };
    if (n < stage->first_epoch)
        place.position = stage->position + n * stage->batch;
    else {
        n -= stage->first_epoch;
        place.epoch += 1 + n / stage->per_epoch;
        place.position = n % stage->per_epoch * stage->batch;
    }
    int64_t left = plan->epoch_samples - place.position;
    place.size = left < stage->batch ? (int)left : stage->batch;
    return place;
}

int64_t batch_plan_samples(const BatchPlan *plan, int64_t step)
{
    BatchPlace place = batch_plan_at(plan, step);
    return place.epoch * plan->epoch_samples + place.position;
}

/* Epochs, samples or steps done before a step. */
static double amount(const BatchPlan *plan, int64_t step, SpanUnit unit)
{
    BatchPlace place = batch_plan_at(plan, step);
    if (unit == SPAN_STEPS)
        return (double)step;
    if (unit == SPAN_SAMPLES)
        return (double)batch_plan_samples(plan, step);
    return (double)place.epoch + (double)place.position / (double)plan->epoch_samples;
}

/* From epochs since the epoch in which the stage begins to steps since it began. */
static double steps_of_epochs(const BatchPlan *plan, const BatchStage *stage, double epochs)
{
    double missed = (double)stage->position / (double)plan->epoch_samples;
    if (stage->position == 0)
        return epochs * (double)stage->per_epoch;
    if (epochs < 1)
        return (epochs - missed) * (double)plan->epoch_samples / stage->batch;
    return (double)stage->first_epoch + (epochs - 1) * (double)stage->per_epoch;
}

int64_t batch_plan_step(const BatchPlan *plan, Span moment)
{
    const BatchStage *stage = &plan->stages[plan->count - 1];
    while (stage > plan->stages && amount(plan, stage->step, moment.unit) > moment.value)
        stage--;
    double steps = moment.value;
    if (moment.unit == SPAN_EPOCHS)
        steps = steps_of_epochs(plan, stage, moment.value - (double)stage->epoch);
    else if (moment.unit == SPAN_SAMPLES)
        steps = (moment.value - (double)stage->samples) / stage->batch;
    if (moment.unit != SPAN_STEPS)
        steps += (double)stage->step;
    steps = floor(steps + 0.5);
    if (steps < 1)
        return moment.value > 0 ? 1 : 0;
    return steps < 4e18 ? (int64_t)steps : INT64_MAX / 2;
}

int64_t batch_plan_span(const BatchPlan *plan, int64_t from, Span span)
{
    if (span.value <= 0)
        return 0;
    if (plan->count == 1)
        return span_steps(span, plan->stages[0].per_epoch, plan->stages[0].batch);
    span.value += amount(plan, from, span.unit);
    int64_t steps = batch_plan_step(plan, span) - from;
    return steps > 1 ? steps : 1;
}

int64_t batch_plan_time(const BatchPlan *plan, int64_t step)
{
    BatchPlace place = batch_plan_at(plan, step);
    const BatchStage *first = plan->stages;
    return place.epoch * first->per_epoch + place.position / first->batch;
}

bool batch_plan_due(const BatchPlan *plan, int64_t done, Span every)
{
    const BatchStage *first = plan->stages;
    int64_t period = span_steps(every, first->per_epoch, first->batch);
    if (period == 0 || done == 0)
        return false;
    if (every.unit == SPAN_STEPS)
        return done % period == 0;
    return batch_plan_time(plan, done) / period != batch_plan_time(plan, done - 1) / period;
}
