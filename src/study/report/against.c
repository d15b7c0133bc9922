/* Did a change slow convergence? Seeds of a reference against seeds of something new, in the manner
 * of MLPerf's reference convergence points: one-sided tests of the means (two_samples). */
#include "parts.h"

#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LEVEL 0.05

/* A growing list of values; `never` counts those that do not exist. */
typedef struct Values {
    double *values;
    size_t count, capacity;
    int never;
} Values;

static void add_value(Values *values, double value)
{
    if (!isfinite(value)) {
        values->never++;
        return;
    }
    mem_grow(&values->values, values->count, &values->capacity, sizeof *values->values);
    values->values[values->count++] = value;
}

/* Values of which larger is worse; frees both. */
static void add_contrast(Contrasts *contrasts, const char *arm, const char *measure, Values *a,
                         Values *b)
{
    mem_grow(&contrasts->list, contrasts->count, &contrasts->capacity, sizeof *contrasts->list);
    contrasts->list[contrasts->count++] =
        (Contrast){ .arm = mem_string(arm),
                    .measure = mem_string(measure),
                    .test = two_samples(a->values, (int)a->count, b->values, (int)b->count),
                    .a_never = a->never,
                    .b_never = b->never };
    mem_free(a->values);
    mem_free(b->values);
}

/* ---- runs ---- */

/* Steps to the target, else the final error (1 - accuracy), else the final loss. */
typedef enum Measure { MEASURE_STEPS, MEASURE_ERROR, MEASURE_LOSS } Measure;

static bool have_accuracy(const Source *source)
{
    for (size_t i = 0; i < source->run_count; i++)
        if (!isnan(run_number(&source->runs[i], "test_accuracy")))
            return true;
    return false;
}

static Values run_values(const Source *source, Measure measure, const ReportTarget *target)
{
    Values values = { 0 };
    for (size_t i = 0; i < source->run_count; i++) {
        const RunData *run = &source->runs[i];
        bool completed = strcmp(run_text(run, "status"), "completed") == 0;
        if (measure == MEASURE_STEPS)
            add_value(&values, run_steps_to(run, target->accuracy, target->value));
        else if (!completed)
            add_value(&values, (double)INFINITY);
        else if (measure == MEASURE_ERROR)
            add_value(&values, 1 - run_number(run, "test_accuracy"));
        else
            add_value(&values, run_number(run, "test_loss"));
    }
    return values;
}

static void compare_runs(Contrasts *contrasts, const Source *fresh, const Source *reference,
                         const ReportTarget *target)
{
    char name[64];
    Measure measure = target->set                                        ? MEASURE_STEPS
                      : have_accuracy(fresh) && have_accuracy(reference) ? MEASURE_ERROR
                                                                         : MEASURE_LOSS;
    snprintf(name, sizeof name, "steps to %s %g", target->accuracy ? "accuracy" : "loss",
             target->value);
    Values a = run_values(reference, measure, target), b = run_values(fresh, measure, target);
    add_contrast(contrasts, "",
                 measure == MEASURE_STEPS   ? name
                 : measure == MEASURE_ERROR ? "test error (1 - accuracy)"
                                            : "test loss",
                 &a, &b);
}

/* ---- studies ---- */

static Values arm_values(const Analysis *analysis, const Arm *arm)
{
    Values values = { 0 };
    const Setting *best = &analysis->settings[arm->best];
    for (int i = best->first; i < best->first + best->count; i++) {
        double score = trial_score(analysis, &analysis->table->trials[analysis->order[i]]);
        add_value(&values, analysis->question.goal == GOAL_ACCURACY ? 1 + score : score);
    }
    return values;
}

static const Arm *same_arm(const Analysis *analysis, const char *name)
{
    char other[512];
    for (int i = 0; i < analysis->arm_count; i++)
        if (strcmp(arm_name(analysis, &analysis->arms[i], other, sizeof other), name) == 0)
            return &analysis->arms[i];
    return NULL;
}

static bool compare_studies(Contrasts *contrasts, const Analysis *fresh, const Analysis *reference,
                            Err *err)
{
    static const char *const measures[] = { [GOAL_STEPS] = "steps to target",
                                            [GOAL_LOSS] = "test loss",
                                            [GOAL_ACCURACY] = "test error (1 - accuracy)" };
    if (fresh->question.goal != reference->question.goal ||
        strcmp(fresh->question.target, reference->question.target) != 0)
        return err_set(err, "the two studies have different targets: \"%s\" and \"%s\"",
                       reference->question.target, fresh->question.target);
    for (int i = 0; i < fresh->arm_count; i++) {
        char name[512], measure[128];
        arm_name(fresh, &fresh->arms[i], name, sizeof name);
        const Arm *other = same_arm(reference, name);
        if (!other)
            continue;
        Values a = arm_values(reference, other), b = arm_values(fresh, &fresh->arms[i]);
        snprintf(measure, sizeof measure, "%s%s%s", measures[fresh->question.goal],
                 fresh->question.target[0] ? " " : "", fresh->question.target);
        add_contrast(contrasts, name, measure, &a, &b);
    }
    return contrasts->count > 0 || err_set(err, "the two studies have no arm in common");
}

bool contrasts_make(Contrasts *contrasts, const Source *fresh, const Source *reference,
                    const ReportTarget *target, Err *err)
{
    *contrasts = (Contrasts){ 0 };
    if (!fresh->study != !reference->study)
        return err_set(err, "a study can be compared with a study only, and runs with runs");
    if (fresh->study)
        return compare_studies(contrasts, &fresh->study->analysis, &reference->study->analysis,
                               err);
    compare_runs(contrasts, fresh, reference, target);
    return true;
}

void contrasts_free(Contrasts *contrasts)
{
    for (size_t i = 0; i < contrasts->count; i++) {
        mem_free(contrasts->list[i].arm);
        mem_free(contrasts->list[i].measure);
    }
    mem_free(contrasts->list);
    *contrasts = (Contrasts){ 0 };
}

/* ---- words ---- */

static char *p_text(char *buffer, size_t size, double p)
{
    if (isnan(p))
        snprintf(buffer, size, "-");
    else if (p < 0.0001)
        snprintf(buffer, size, "below 0.0001");
    else
        snprintf(buffer, size, "%.2g", p);
    return buffer;
}

/* They are in no mean, so a mean may hide them. */
static void say_never(const Contrast *contrast, char *buffer, size_t size)
{
    if (contrast->a_never + contrast->b_never > 0)
        text_append(buffer, size, "; %d of %d never got there, of the reference %d of %d",
                    contrast->b_never, contrast->b_never + contrast->test.b.count,
                    contrast->a_never, contrast->a_never + contrast->test.a.count);
}

/* The larger p of the two tests: Welch's may be fooled by few values that lie close together, the
 * permutation test has no p below 1 / the number of deals. NAN if one of them cannot tell. */
static double p_of(const TwoSamples *test)
{
    bool both = !isnan(test->p_welch) && !isnan(test->p_permutation);
    return both ? fmax(test->p_permutation, test->p_welch) : (double)NAN;
}

bool contrasts_slower(const Contrasts *contrasts)
{
    bool slower = false;
    for (size_t i = 0; i < contrasts->count; i++)
        slower = slower || p_of(&contrasts->list[i].test) < LEVEL;
    return slower;
}

char *contrast_text(const Contrast *contrast, char *buffer, size_t size)
{
    const TwoSamples *test = &contrast->test;
    char p[32], mean_a[SHORT_SIZE], mean_b[SHORT_SIZE];
    buffer[0] = '\0';
    if (contrast->arm[0])
        text_append(buffer, size, "%s: ", contrast->arm);
    if (test->a.count < 2 || test->b.count < 2) {
        text_append(buffer, size,
                    "cannot tell: %d value%s against %d of the reference (%s); at least two of "
                    "each are needed",
                    test->b.count, test->b.count == 1 ? "" : "s", test->a.count, contrast->measure);
        say_never(contrast, buffer, size);
        return buffer;
    }
    double larger = p_of(test);
    bool worse = larger < LEVEL;
    text_append(buffer, size, "%s: mean %s %s against %s, %+.1f %% (95 %%: %+.1f to %+.1f), p %s",
                worse ? "slower" : "no slowdown seen", contrast->measure,
                short_text(mean_b, test->b.mean), short_text(mean_a, test->a.mean),
                100 * test->change, 100 * test->change_low, 100 * test->change_high,
                p_text(p, sizeof p, larger));
    say_never(contrast, buffer, size);
    if (!worse)
        text_append(buffer, size, "; such samples would show %+.1f %% four times out of five",
                    100 * test->detectable);
    return buffer;
}

void contrasts_put(const Contrasts *contrasts, Page *page)
{
    page_head(page, "Against the reference");
    page_add(page,
             "<p>Is the new mean larger than the reference's? One-sided tests; slower if both "
             "p are below 0.05. Trials that never got there are not in the means.</p>\n");
    page_table(page,
               "arm|measure|#reference mean|#sd|#n|#never|#new mean|#sd|#n|#never|#change|#95 "
               "%|#p (Welch)|#p (permutation)");
    for (size_t i = 0; i < contrasts->count; i++) {
        const Contrast *contrast = &contrasts->list[i];
        const TwoSamples *test = &contrast->test;
        char a[SHORT_SIZE], b[SHORT_SIZE], sd_a[SHORT_SIZE], sd_b[SHORT_SIZE], p[2][32];
        page_row(page, NULL);
        page_word(page, contrast->arm);
        page_word(page, contrast->measure);
        page_number(page, "%s", short_text(a, test->a.mean));
        page_number(page, "%s", short_text(sd_a, test->a.deviation));
        page_number(page, "%d", test->a.count);
        page_number(page, "%d", contrast->a_never);
        page_number(page, "%s", short_text(b, test->b.mean));
        page_number(page, "%s", short_text(sd_b, test->b.deviation));
        page_number(page, "%d", test->b.count);
        page_number(page, "%d", contrast->b_never);
        page_number(page, isnan(test->change) ? "-" : "%+.1f %%", 100 * test->change);
        if (isnan(test->change_low))
            page_number(page, "-");
        else
            page_number(page, "%+.1f to %+.1f %%", 100 * test->change_low, 100 * test->change_high);
        page_number(page, "%s", p_text(p[0], sizeof p[0], test->p_welch));
        page_number(page, "%s%s", test->exact ? "" : "about ",
                    p_text(p[1], sizeof p[1], test->p_permutation));
    }
    page_table_end(page);
}
