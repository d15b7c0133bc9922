/* The progress line: its text, that it never exceeds the terminal, how often it is drawn, and what
 * a log file gets instead. A pseudo-terminal stands for the person. */
#include "support.h"

#include "../../src/train/run_parts.h"
#include "lockstep/log.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const StepRecord example = { .step = 150,
                                    .epoch = 1.5,
                                    .samples = 19200,
                                    .seconds = 30,
                                    .loss = 0.43218,
                                    .accuracy = 0.87654,
                                    .lr = 0.0125,
                                    .grad_norm = 1.5,
                                    .clip_factor = 1,
                                    .samples_per_second = 12345.6,
                                    .comm = 0.034 };

static const EvalRecord evaluation = {
    .step = 200, .epoch = 2, .seconds = 12.5, .loss = 0.3, .accuracy = 0.9, .count = 10000
};

static const char *line_for(int width, StepRecord record)
{
    static char line[512];
    ProgressView view = { .steps = 1000, .plan = batch_plan(100, 1), .width = width };
    progress_line(&view, &record, line, sizeof line);
    return line;
}

/* ---- the text ---- */

START_TEST(test_plain_line)
{
    StepRecord regression = example;
    ck_assert_str_eq(line_for(0, example),
                     "step 150/1000  epoch 1.50  loss 0.4322  accuracy 0.8765  "
                     "lr 0.0125  12,346 samples/s  comm 3 %  ETA 2 min 50 s");
    regression.accuracy = -1;
    regression.comm = 0; /* one rank */
    regression.step = 1000;
    ck_assert_str_eq(line_for(0, regression),
                     "step 1000/1000  epoch 1.50  loss 0.4322  lr 0.0125  12,346 samples/s");
}
END_TEST

START_TEST(test_line_at_widths)
{
    ck_assert_str_eq(line_for(120, example),
                     "epoch 2/10  [===============>              ]  loss 0.4322  acc 0.8765  lr "
                     "0.0125  12,346 sa/s  comm 3 %  ETA 2 min 50 s");
    ck_assert_str_eq(
        line_for(79, example),
        "epoch 2/10  [======>    ]  loss 0.4322  acc 0.8765  12,346 sa/s  ETA 2 min 50 s");
    ck_assert_str_eq(line_for(53, example),
                     "epoch 2/10  [=====>    ]  loss 0.4322  ETA 2 min 50 s");
    ck_assert_str_eq(line_for(40, example), "epoch 2/10  loss 0.4322  ETA 2 min 50 s");
    ck_assert_str_eq(line_for(30, example), "epoch 2/10  loss 0.4322");
    ck_assert_str_eq(line_for(10, example), "epoch 2/10");
    ck_assert_str_eq(line_for(4, example), "epoc");
}
END_TEST

/* Tokens a second stand beside samples, and give way where the line is short. */
START_TEST(test_tokens)
{
    StepRecord language = example;
    language.samples_per_second = 17.4;
    language.tokens_per_second = 4454.4;
    ck_assert_str_eq(line_for(0, language),
                     "step 150/1000  epoch 1.50  loss 0.4322  accuracy 0.8765  lr 0.0125  "
                     "17 samples/s  4,454 tokens/s  comm 3 %  ETA 2 min 50 s");
    ck_assert_str_eq(line_for(85, language), "epoch 2/10  [====>   ]  loss 0.4322  acc 0.8765  "
                                             "17 sa/s  4,454 tok/s  ETA 2 min 50 s");
    ck_assert_str_eq(line_for(72, language), "epoch 2/10  [====>   ]  loss 0.4322  acc 0.8765  "
                                             "17 sa/s  ETA 2 min 50 s");
}
END_TEST

START_TEST(test_epochs)
{
    static const struct {
        int64_t step;
        const char *line;
    } cases[] = { { 1, "epoch 1/10  [>       ]" },
                  { 99, "epoch 1/10  [========]" },
                  { 100, "epoch 1/10  [========]" },
                  { 101, "epoch 2/10  [>       ]" },
                  { 1000, "epoch 10/10  [========]" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        StepRecord record = { .step = cases[i].step, .accuracy = -1 };
        const char *line = line_for(70, record);
        char epoch[16];
        size_t length = strcspn(cases[i].line, "[");
        snprintf(epoch, sizeof epoch, "%.*s", (int)length, cases[i].line);
        ck_assert_int_eq(strncmp(line, epoch, length), 0);
        const char *bar = strchr(line, '['), *end = strchr(line, ']');
        ck_assert(bar && end);
        ck_assert_int_eq(strcspn(bar, ">") < (size_t)(end - bar) && strspn(bar + 1, "=") == 0,
                         cases[i].line[length + 1] == '>');
    }
}
END_TEST

/* Numbers of every size, at every width. */
START_TEST(test_never_wider_than_the_terminal)
{
    static const double values[] = { 0, 0.1, 123456789.123, 1e300, 1e-300, -5 };
    for (int width = 1; width < 200; width++)
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            StepRecord record = { .step = 77,
                                  .seconds = values[i] < 1e15 ? values[i] : 1e15,
                                  .loss = values[i],
                                  .accuracy = 0.5,
                                  .lr = values[i],
                                  .samples_per_second = values[i] < 1e15 ? values[i] : 1e15 };
            ck_assert_uint_le(strlen(line_for(width, record)), (size_t)width);
        }
}
END_TEST

/* ---- a log file ---- */

static char folder[TEST_PATH], path[TEST_PATH];
static int saved;

static void redirect(int to)
{
    fflush(stderr);
    saved = dup(STDERR_FILENO);
    ck_assert_int_ge(dup2(to, STDERR_FILENO), 0);
}

static void restore(void)
{
    fflush(stderr);
    ck_assert_int_ge(dup2(saved, STDERR_FILENO), 0);
    close(saved);
}

/* What 200 steps of 1000, with an evaluation at the end, leave in a log file; freed with free. */
static char *logged(int64_t plain_every)
{
    temp_create(folder);
    int fd = open(join_path(path, folder, "log"), O_CREAT | O_WRONLY, 0666);
    redirect(fd);
    BatchPlan plan = batch_plan(100, 1);
    Progress *progress = progress_new(1000, &plan, (Span){ (double)plain_every, SPAN_STEPS });
    for (int64_t step = 1; step <= 200; step++) {
        StepRecord record = example;
        record.step = step;
        progress_step(progress, &record);
    }
    progress_eval(progress, &evaluation);
    progress_free(progress);
    restore();
    close(fd);
    char *text = read_text(path);
    temp_remove(folder);
    return text;
}

#define EVALUATION                                                                                 \
    "step 200/1000  epoch 2.00  test loss 0.3  test accuracy 0.9000  best 0.9000  after 12.5 s\n"

START_TEST(test_log_file)
{
    char *text = logged(100);
    ck_assert_str_eq(text,
                     "step 100/1000  epoch 1.50  loss 0.4322  accuracy 0.8765  lr 0.0125  12,346 "
                     "samples/s  comm 3 %  ETA 4 min 30 s\n"
                     "step 200/1000  epoch 1.50  loss 0.4322  accuracy 0.8765  lr 0.0125  12,346 "
                     "samples/s  comm 3 %  ETA 2 min 00 s\n" EVALUATION);
    free(text);
    text = logged(0);
    ck_assert_str_eq(text, EVALUATION);
    free(text);
}
END_TEST

/* A language model: perplexity is e^loss, and the best is the smallest loss. */
START_TEST(test_perplexity)
{
    EvalRecord language = evaluation;
    language.per_token = true;
    temp_create(folder);
    int fd = open(join_path(path, folder, "log"), O_CREAT | O_WRONLY, 0666);
    redirect(fd);
    BatchPlan plan = batch_plan(100, 1);
    Progress *progress = progress_new(1000, &plan, (Span){ 0, SPAN_STEPS });
    progress_eval(progress, &language);
    language.loss = 2;
    progress_eval(progress, &language);
    progress_free(progress);
    restore();
    close(fd);
    char *text = read_text(path);
    ck_assert_str_eq(text, "step 200/1000  epoch 2.00  test loss 0.3  perplexity 1.35  0.4328 "
                           "bits/token  test accuracy 0.9000  best loss 0.3  after 12.5 s\n"
                           "step 200/1000  epoch 2.00  test loss 2  perplexity 7.389  2.885 "
                           "bits/token  test accuracy 0.9000  best loss 0.3  after 12.5 s\n");
    free(text);
    temp_remove(folder);
}
END_TEST

START_TEST(test_silence)
{
    log_set_level(LOG_QUIET);
    char *text = logged(10);
    log_set_level(LOG_NORMAL);
    ck_assert_str_eq(text, "");
    free(text);
    log_set_rank(1, 2);
    text = logged(10);
    log_set_rank(0, 1);
    ck_assert_str_eq(text, "");
    free(text);
}
END_TEST

/* ---- a terminal ---- */

static int open_terminal(int *terminal, int columns)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0)
        return -1;
    struct winsize window = { .ws_col = (unsigned short)columns, .ws_row = 24 };
    *terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
    if (*terminal >= 0)
        ioctl(*terminal, TIOCSWINSZ, &window);
    return *terminal < 0 ? -1 : master;
}

static size_t count_of(const char *text, char wanted)
{
    size_t count = 0;
    for (; *text; text++)
        count += *text == wanted;
    return count;
}

/* Everything that arrives before a pause of 0.2 s: the kernel hands it over in pieces. */
static void read_all(int master, char *shown, size_t size)
{
    struct pollfd wait = { .fd = master, .events = POLLIN };
    size_t used = 0;
    while (used + 1 < size && poll(&wait, 1, 200) > 0) {
        ssize_t length = read(master, shown + used, size - 1 - used);
        if (length <= 0)
            break;
        used += (size_t)length;
    }
    shown[used] = '\0';
}

/* What a terminal of 60 columns shows of 2000 fast steps. */
static bool show(char *shown, size_t size, const char *no_color)
{
    int terminal, master = open_terminal(&terminal, 60);
    if (master < 0)
        return false;
    setenv("TERM", "xterm", 1);
    setenv("NO_COLOR", no_color, 1);
    redirect(terminal);
    BatchPlan plan = batch_plan(1000, 1);
    Progress *progress = progress_new(2000, &plan, (Span){ 1, SPAN_STEPS });
    for (int64_t step = 1; step <= 2000; step++) {
        StepRecord record = example;
        record.step = step;
        record.accuracy = -1;
        progress_step(progress, &record);
    }
    progress_eval(progress, &evaluation);
    progress_step(progress, &(StepRecord){ .step = 2000, .accuracy = -1 });
    progress_free(progress);
    restore();
    read_all(master, shown, size);
    close(terminal);
    close(master);
    return true;
}

START_TEST(test_terminal)
{
    char shown[8192];
    if (!show(shown, sizeof shown, "1")) {
        fprintf(stderr, "skipped: no pseudo-terminals here\n");
        return;
    }
    /* Drawn at once, at step 2000, wiped for the evaluation, drawn again; at most ten times a
     * second in between (the loop takes milliseconds, ten leaves room for a machine that
     * stalls). */
    ck_assert_uint_ge(count_of(shown, '\r'), 4);
    ck_assert_uint_le(count_of(shown, '\r'), 7 + 10);
    ck_assert_int_eq(strncmp(shown, "\repoch 1/2  [>", 14), 0);
    ck_assert_ptr_nonnull(strstr(shown, "test accuracy 0.9000  best 0.9000  after 12.5 s\r\n"));
    ck_assert_str_eq(shown + strlen(shown) - 2, "\r\n");
    ck_assert_ptr_null(strchr(shown, '\033'));
    for (const char *line = strtok(shown, "\r\n"); line; line = strtok(NULL, "\r\n"))
        ck_assert(strlen(line) <= 59 || strstr(line, "test loss"));
    ck_assert(show(shown, sizeof shown, ""));
    ck_assert_ptr_nonnull(strstr(shown, "[\033[32m"));
    unsetenv("NO_COLOR");
    log_set_level(LOG_QUIET);
    ck_assert(show(shown, sizeof shown, ""));
    log_set_level(LOG_NORMAL);
    ck_assert_str_eq(shown, "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("progress");
    add_test(suite, test_plain_line);
    add_test(suite, test_line_at_widths);
    add_test(suite, test_tokens);
    add_test(suite, test_epochs);
    add_test(suite, test_never_wider_than_the_terminal);
    add_test(suite, test_log_file);
    add_test(suite, test_perplexity);
    add_test(suite, test_silence);
    add_test(suite, test_terminal);
    return run_suite(suite);
}
