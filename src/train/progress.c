/* Progress for the person who waits: one updating line on a terminal, plain lines in a log file. */
#include "run_parts.h"

#include "lockstep/clock.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LINE_SIZE 512
#define BAR_MAX 30
#define BAR_MIN 8
#define BAR_FRAME 4 /* two blanks, two brackets */
#define UPDATE_SECONDS 0.1

struct Progress {
    ProgressView view;
    Span plain_every;
    bool silent, updating; /* updating: one line on a terminal */
    bool drawn;            /* the cursor stands behind a progress line */
    int drawn_columns;
    double next_update; /* seconds */
    double best;        /* accuracy so far, or -1 */
    double best_loss;   /* so far */
};

/* ---- the line ---- */

/* "0.2317", "12.3", "1.23e+06": enough to watch, never wide. */
static void append_number(char *line, size_t size, const char *name, double value)
{
    text_append(line, size, "  %s %.4g", name, value);
}

static void append_eta(char *line, size_t size, const ProgressView *view, const StepRecord *record)
{
    char text[48];
    if (record->step <= 0 || record->step >= view->steps)
        return;
    double per_step = record->seconds / (double)record->step;
    double left = per_step * (double)(view->steps - record->step);
    text_append(line, size, "  ETA %s", text_seconds(text, sizeof text, left));
}

/* What follows the epoch, most wanted first; the line takes what fits. The bar takes what is
 * left. */
enum Part {
    PART_LOSS,
    PART_REDUCTION,
    PART_ETA,
    PART_BAR,
    PART_ACCURACY,
    PART_RATE,
    PART_TOKENS,
    PART_COMM,
    PART_LR,
    PART_COUNT
};

static void part_text(enum Part part, const ProgressView *view, const StepRecord *record,
                      char *text, size_t size)
{
    char number[32];
    text[0] = '\0';
    if (part == PART_LOSS)
        append_number(text, size, "loss", record->loss);
    else if (part == PART_ACCURACY && record->accuracy >= 0)
        text_append(text, size, view->width ? "  acc %.4f" : "  accuracy %.4f", record->accuracy);
    else if (part == PART_REDUCTION && record->reduction && strcmp(record->reduction, "tree") != 0)
        text_append(text, size, "  reduce %s", record->reduction);
    else if (part == PART_ETA)
        append_eta(text, size, view, record);
    else if (part == PART_RATE && isfinite(record->samples_per_second))
        text_append(text, size, view->width ? "  %s sa/s" : "  %s samples/s",
                    text_count(number, sizeof number, llround(record->samples_per_second)));
    else if (part == PART_TOKENS && record->tokens_per_second > 0)
        text_append(text, size, view->width ? "  %s tok/s" : "  %s tokens/s",
                    text_count(number, sizeof number, llround(record->tokens_per_second)));
    else if (part == PART_COMM && record->comm > 0)
        text_append(text, size, "  comm %.0f %%", 100 * record->comm);
    else if (part == PART_LR)
        append_number(text, size, "lr", record->lr);
    else if (part == PART_BAR)
        text_append(text, size, "%*s", BAR_MIN + BAR_FRAME, ""); /* the room it needs */
}

static int64_t epochs_in(const ProgressView *view)
{
    return view->steps > 0 ? batch_plan_at(&view->plan, view->steps - 1).epoch + 1 : 0;
}

/* The epoch that a step belongs to, 1-based, and the part of it that is done. */
static int64_t epoch_of(const ProgressView *view, int64_t step, double *done)
{
    int64_t before = step > 0 ? batch_plan_at(&view->plan, step - 1).epoch : 0;
    Span first = { (double)before, SPAN_EPOCHS }, next = { (double)before + 1, SPAN_EPOCHS };
    int64_t begin = batch_plan_step(&view->plan, first), end = batch_plan_step(&view->plan, next);
    if (end > view->steps && view->steps > begin)
        end = view->steps; /* a run that stops inside its last epoch */
    *done = (double)(step - begin) / (double)(end - begin);
    return before + 1;
}

static void append_bar(char *line, size_t size, double done, int columns, bool color)
{
    char bar[BAR_MAX + 1];
    int full = (int)(fmin(fmax(done, 0.0), 1.0) * columns + 0.5);
    for (int i = 0; i < columns; i++)
        bar[i] = i < full ? '=' : i == full ? '>' : ' ';
    bar[columns] = '\0';
    text_append(line, size, color ? "  [\033[32m%s\033[0m]" : "  [%s]", bar);
}

/* The order on the line; which parts are there was decided by importance. */
static void append_parts(char *line, size_t size, const ProgressView *view,
                         const StepRecord *record, unsigned parts)
{
    static const enum Part order[] = { PART_LOSS,   PART_ACCURACY, PART_LR,  PART_RATE,
                                       PART_TOKENS, PART_COMM,     PART_ETA, PART_REDUCTION };
    char text[96];
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (parts & 1u << order[i]) {
            part_text(order[i], view, record, text, sizeof text);
            text_append(line, size, "%s", text);
        }
}

static void plain_line(const ProgressView *view, const StepRecord *record, char *line, size_t size)
{
    snprintf(line, size, "step %lld/%lld  epoch %.2f", (long long)record->step,
             (long long)view->steps, record->epoch);
    append_parts(line, size, view, record, ~0u);
}

static unsigned choose_parts(const ProgressView *view, const StepRecord *record, int *free_columns)
{
    char text[96];
    unsigned parts = 0;
    for (enum Part part = 0; part < PART_COUNT; part++) {
        part_text(part, view, record, text, sizeof text);
        int columns = (int)strlen(text);
        if (columns > *free_columns)
            continue;
        *free_columns -= columns;
        parts |= 1u << part;
    }
    return parts;
}

void progress_line(const ProgressView *view, const StepRecord *record, char *line, size_t size)
{
    if (view->width == 0) {
        plain_line(view, record, line, size);
        return;
    }
    double done;
    int64_t epoch = epoch_of(view, record->step, &done);
    snprintf(line, size, "epoch %lld/%lld", (long long)epoch, (long long)epochs_in(view));
    if (strlen(line) > (size_t)view->width)
        line[view->width] = '\0';
    int free_columns = view->width - (int)strlen(line);
    unsigned parts = choose_parts(view, record, &free_columns);
    int bar = BAR_MIN + free_columns < BAR_MAX ? BAR_MIN + free_columns : BAR_MAX;
    if (parts & 1u << PART_BAR)
        append_bar(line, size, done, bar, view->color);
    append_parts(line, size, view, record, parts);
}

/* ---- where it goes ---- */

static int terminal_width(void)
{
    struct winsize window;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_col == 0)
        return 79;
    return window.ws_col - 1; /* the last column would wrap */
}

Progress *progress_new(int64_t steps, const BatchPlan *plan, Span plain_every)
{
    const char *term = getenv("TERM");
    Progress *progress = mem_new(Progress);
    progress->view = (ProgressView){ .steps = steps, .plan = *plan };
    progress->plain_every = plain_every;
    progress->silent = log_get_rank() != 0 || log_get_level() == LOG_QUIET;
    /* A carriage return is all that the line needs; NO_COLOR forbids the colour only. */
    progress->updating = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    progress->view.color = progress->updating && log_is_terminal(STDERR_FILENO);
    progress->best = -1;
    progress->best_loss = (double)INFINITY;
    return progress;
}

/* Columns, not bytes: the colour of the bar takes none. */
static int columns_of(const char *line)
{
    int columns = 0;
    for (const char *next = line; *next; next++)
        if (*next == '\033')
            next += strcspn(next, "m");
        else
            columns++;
    return columns;
}

/* Blanks wipe what is left of a longer line before; works on every terminal. */
static void draw(Progress *progress, const char *line)
{
    int columns = columns_of(line);
    int blanks = progress->drawn_columns > columns ? progress->drawn_columns - columns : 0;
    fprintf(stderr, "\r%s%*s", line, blanks, "");
    fflush(stderr);
    progress->drawn = true;
    progress->drawn_columns = columns;
}

static void wipe(Progress *progress)
{
    if (!progress->drawn)
        return;
    fprintf(stderr, "\r%*s\r", progress->drawn_columns, "");
    progress->drawn = false;
    progress->drawn_columns = 0;
}

static void update(Progress *progress, const StepRecord *record)
{
    char line[LINE_SIZE];
    double now = clock_seconds();
    if (now < progress->next_update && record->step != progress->view.steps)
        return;
    progress->next_update = now + UPDATE_SECONDS;
    progress->view.width = terminal_width();
    progress_line(&progress->view, record, line, sizeof line);
    draw(progress, line);
}

void progress_step(Progress *progress, const StepRecord *record)
{
    char line[LINE_SIZE];
    if (progress->silent)
        return;
    if (progress->updating) {
        update(progress, record);
        return;
    }
    bool due = progress->plain_every.value > 0 &&
               (batch_plan_due(&progress->view.plan, record->step, progress->plain_every) ||
                record->step == progress->view.steps);
    if (!due)
        return;
    progress_line(&progress->view, record, line, sizeof line);
    log_info("%s", line);
}

/* What tells how good the network is: accuracy, for a language model perplexity; and the best so
 * far. */
static void append_quality(Progress *progress, const EvalRecord *record, char *line, size_t size)
{
    progress->best = fmax(progress->best, record->accuracy);
    progress->best_loss = fmin(progress->best_loss, record->loss);
    if (record->per_token)
        text_append(line, size, "  perplexity %.4g  %.4g bits/token", perplexity(record->loss),
                    bits_per_token(record->loss));
    if (record->accuracy >= 0)
        text_append(line, size, "  test accuracy %.4f", record->accuracy);
    if (record->per_token)
        text_append(line, size, "  best loss %.4g", progress->best_loss);
    else if (record->accuracy >= 0)
        text_append(line, size, "  best %.4f", progress->best);
}

void progress_eval(Progress *progress, const EvalRecord *record)
{
    char line[LINE_SIZE] = "", text[48];
    if (progress->silent)
        return;
    wipe(progress);
    text_append(line, sizeof line, "step %lld/%lld  epoch %.2f  test loss %.4g",
                (long long)record->step, (long long)progress->view.steps, record->epoch,
                record->loss);
    append_quality(progress, record, line, sizeof line);
    text_append(line, sizeof line, "  after %s", text_seconds(text, sizeof text, record->seconds));
    log_info("%s", line);
}

void progress_free(Progress *progress)
{
    if (progress->drawn)
        fputc('\n', stderr);
    mem_free(progress);
}
