/* What a page says of runs: the verdict, what went wrong, the table of results. */
#include "parts.h"

#include "lockstep/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

/* The last finite value of a column; NAN. */
static double last_of(const Frame *frame, const char *name)
{
    const double *values = frame_column(frame, name);
    double last = (double)NAN;
    for (size_t i = 0; values && i < frame->rows; i++)
        if (isfinite(values[i]))
            last = values[i];
    return last;
}

static double first_of(double a, double b)
{
    return isnan(a) ? b : a;
}

/* The summary's word, or of a run that has not ended the last record's. */
static double accuracy_of(const RunData *run)
{
    return first_of(run_number(run, "test_accuracy"), last_of(&run->evals, "accuracy"));
}

static double loss_of(const RunData *run)
{
    return first_of(run_number(run, "test_loss"), last_of(&run->evals, "loss"));
}

static double steps_of(const RunData *run)
{
    return first_of(run_number(run, "steps"), last_of(&run->steps, "step"));
}

static const char *status_of(const RunData *run)
{
    const char *status = run_text(run, "status");
    return status[0] ? status : "not ended";
}

static bool is_status(const RunData *run, const char *status)
{
    return strcmp(status_of(run), status) == 0;
}

/* "accuracy 0.9231 (loss 0.231)" or "loss 1.47"; "" without a test. */
static char *result_text(const RunData *run, char *buffer, size_t size)
{
    double accuracy = accuracy_of(run), loss = loss_of(run);
    buffer[0] = '\0';
    if (!isnan(accuracy))
        text_append(buffer, size, "accuracy %.4f", accuracy);
    if (!isnan(loss))
        text_append(buffer, size, isnan(accuracy) ? "loss %.4f" : " (loss %.4f)", loss);
    return buffer;
}

/* ---- the verdict ---- */

static void say_length(Page *text, const RunData *run)
{
    char steps[SHORT_SIZE], seconds[32], batch[SHORT_SIZE];
    double epochs = first_of(run_number(run, "epochs"), last_of(&run->steps, "epoch"));
    double time = first_of(run_number(run, "seconds"), last_of(&run->steps, "time_s"));
    page_add(text, "%s steps", short_text(steps, steps_of(run)));
    if (!isnan(run_batch(run)))
        page_add(text, " at batch %s", short_text(batch, run_batch(run)));
    if (!isnan(epochs))
        page_add(text, ", %.4g epochs", epochs);
    if (!isnan(time))
        page_add(text, ", %s", text_seconds(seconds, sizeof seconds, time));
    if (!isnan(run_number(run, "ranks")))
        page_add(text, " on %.0f rank%s", run_number(run, "ranks"),
                 run_number(run, "ranks") == 1 ? "" : "s");
}

static void one_verdict(Page *text, const RunData *run)
{
    char result[128];
    result_text(run, result, sizeof result);
    if (is_status(run, "diverged"))
        page_add(text, "Diverged after ");
    else if (is_status(run, "not ended"))
        page_add(text, result[0] ? "Not ended; so far test %s after " : "Not ended; so far%s ",
                 result);
    else if (result[0])
        page_add(text, "Test %s after ", result);
    say_length(text, run);
    page_add(text, ".");
}

/* Is a better than b? By accuracy if both have one, else by loss. */
static bool is_better(const RunData *a, const RunData *b)
{
    if (!isnan(accuracy_of(a)) && !isnan(accuracy_of(b)))
        return accuracy_of(a) > accuracy_of(b);
    return loss_of(a) < loss_of(b) || (isnan(loss_of(b)) && !isnan(loss_of(a)));
}

void run_verdict(Page *text, const RunData *runs, size_t count)
{
    char best_text[128], worst_text[128];
    if (count == 1) {
        one_verdict(text, runs);
        return;
    }
    const RunData *best = NULL, *worst = NULL;
    size_t diverged = 0;
    for (size_t i = 0; i < count; i++) {
        diverged += is_status(&runs[i], "diverged");
        if (is_status(&runs[i], "diverged") ||
            (isnan(accuracy_of(&runs[i])) && isnan(loss_of(&runs[i]))))
            continue;
        best = !best || is_better(&runs[i], best) ? &runs[i] : best;
        worst = !worst || is_better(worst, &runs[i]) ? &runs[i] : worst;
    }
    page_add(text, "%zu runs", count);
    if (best && best == worst)
        page_add(text, ": test %s", result_text(best, best_text, sizeof best_text));
    else if (best) {
        page_add(text, ": best is %s with test %s, last %s with %s", best->name,
                 result_text(best, best_text, sizeof best_text), worst->name,
                 result_text(worst, worst_text, sizeof worst_text));
    }
    if (diverged > 0)
        page_add(text, "; %zu diverged", diverged);
    page_add(text, ".");
}

/* ---- warnings ---- */

static void warn(Page *page, const RunData *run, size_t count, const char *text)
{
    page_add(page, "<li><b>Warning:</b> ");
    if (count > 1) {
        page_text(page, run->name);
        page_add(page, ": ");
    }
    page_text(page, text);
    page_add(page, "</li>\n");
}

void run_warnings(Page *page, const RunData *runs, size_t count)
{
    char text[160], number[SHORT_SIZE];
    for (size_t i = 0; i < count; i++) {
        const RunData *run = &runs[i];
        if (is_status(run, "diverged")) {
            snprintf(text, sizeof text, "the loss was not finite any more in step %s",
                     short_text(number, run_number(run, "diverged_step")));
            warn(page, run, count, text);
        }
        if (is_status(run, "not ended"))
            warn(page, run, count,
                 run->cut ? "no summary.json, and the last record is cut: it was killed, or goes on"
                          : "no summary.json: it was killed, or goes on");
        if (is_status(run, "interrupted"))
            warn(page, run, count, "it was interrupted before its end");
        if (run->rollbacks > 0) {
            snprintf(text, sizeof text, "%d rollback%s after losses that were not finite",
                     run->rollbacks, run->rollbacks == 1 ? "" : "s");
            warn(page, run, count, text);
        }
    }
}

/* ---- tables ---- */

typedef struct Field {
    const char *head, *name;
    double (*value)(const RunData *run); /* NULL: the summary's number */
    int digits;                          /* behind the point; -1: short_text */
} Field;

static double seconds_of(const RunData *run)
{
    return first_of(run_number(run, "seconds"), last_of(&run->steps, "time_s"));
}

static double epochs_of(const RunData *run)
{
    return first_of(run_number(run, "epochs"), last_of(&run->steps, "epoch"));
}

static const Field fields[] = {
    { "batch", "batch", run_batch, 0 },
    { "steps", "steps", steps_of, 0 },
    { "epochs", "epochs", epochs_of, -1 },
    { "seconds", "seconds", seconds_of, -1 },
    { "ranks", "ranks", NULL, 0 },
    { "samples/s", "samples_per_second", NULL, -1 },
    { "test accuracy", "test_accuracy", accuracy_of, 4 },
    { "best accuracy", "best_accuracy", NULL, 4 },
    { "test loss", "test_loss", loss_of, 4 },
    { "training loss", "train_loss", NULL, 4 },
};
enum { FIELDS = sizeof fields / sizeof *fields };

static double field_value(const Field *field, const RunData *run)
{
    return field->value ? field->value(run) : run_number(run, field->name);
}

static bool field_used(const Field *field, const RunData *runs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isnan(field_value(field, &runs[i])))
            return true;
    return false;
}

static void field_cell(Page *page, const Field *field, const RunData *run)
{
    char text[SHORT_SIZE];
    double value = field_value(field, run);
    if (isnan(value))
        page_number(page, "%s", "");
    else if (field->digits <= 0 || fabs(value) >= 1e5)
        page_number(page, "%s", short_text(text, value));
    else
        page_number(page, "%.*f", field->digits, value);
}

void run_tables(Page *page, const RunData *runs, size_t count)
{
    char heads[512] = "run|status|optimizer";
    page_head(page, count == 1 ? "Result" : "Results");
    for (int i = 0; i < FIELDS; i++)
        if (field_used(&fields[i], runs, count))
            text_append(heads, sizeof heads, "|#%s", fields[i].head);
    text_append(heads, sizeof heads, "|digest");
    page_table(page, heads);
    for (size_t i = 0; i < count; i++) {
        page_row(page, is_status(&runs[i], "completed") ? NULL : "bad");
        page_word(page, runs[i].name);
        page_word(page, status_of(&runs[i]));
        page_word(page, run_text(&runs[i], "optimizer"));
        for (int j = 0; j < FIELDS; j++)
            if (field_used(&fields[j], runs, count))
                field_cell(page, &fields[j], &runs[i]);
        page_word(page, run_text(&runs[i], "digest"));
    }
    page_table_end(page);
}

void run_csv(Page *csv, const RunData *runs, size_t count)
{
    page_add(csv, "run,status,optimizer");
    for (int i = 0; i < FIELDS; i++)
        page_add(csv, ",%s", fields[i].name);
    page_add(csv, ",digest,trajectory\n");
    for (size_t i = 0; i < count; i++) {
        page_csv(csv, runs[i].folder, true);
        page_csv(csv, status_of(&runs[i]), false);
        page_csv(csv, run_text(&runs[i], "optimizer"), false);
        for (int j = 0; j < FIELDS; j++) {
            char number[TEXT_NUMBER_SIZE];
            double value = field_value(&fields[j], &runs[i]);
            page_csv(csv, isnan(value) ? "" : text_number(number, value), false);
        }
        page_csv(csv, run_text(&runs[i], "digest"), false);
        page_csv(csv, run_text(&runs[i], "trajectory"), false);
        page_add(csv, "\n");
    }
}
