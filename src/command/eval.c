/* lockstep eval: a run's weights on its test set. */
#include "command.h"
#include "lockstep/checkpoint.h"
#include "lockstep/log.h"

#include <math.h>
#include <stdio.h>

static const char usage[] = "usage: lockstep eval RUN [KEY=VALUE ...]\n"
                            "\n"
                            "Loads RUN/config.yaml and RUN/ckpt/final.safetensors, evaluates "
                            "on the test set (every sample\n"
                            "exactly once) and prints loss and accuracy.\n"
                            "\n"
                            "  --checkpoint WHICH   latest, best, step-N, a checkpoint's "
                            "folder or a safetensors file\n"
                            "\n"
                            "Of a checkpoint those weights are tested that training tests there: "
                            "the average, if the\n"
                            "optimizer keeps one. A file's weights are tested as they are.\n";

static const Flag flags[] = {
    { "--checkpoint", true },
    { NULL, false },
};

/* What the test set says of the weights of this step. */
static void say_tally(const Trainer *trainer, Tally tally, int64_t step)
{
    double loss = tally.loss / tally.count;
    if (trainer_per_token(trainer))
        log_out(
            "test loss %.6f, perplexity %.6g, test accuracy %.4f (%.0f of %.0f tokens), step %lld",
            loss, exp(loss), tally.correct / tally.count, tally.correct, tally.count,
            (long long)step);
    else if (trainer->model.loss.type->wants_labels)
        log_out("test loss %.6f, test accuracy %.4f (%.0f of %.0f samples), step %lld", loss,
                tally.correct / tally.count, tally.correct, tally.count, (long long)step);
    else
        log_out("test loss %.9g over %.0f samples, step %lld", loss, tally.count, (long long)step);
}

static int evaluate(Comm *comm, const Line *line)
{
    if (line->count < 2)
        die_all(EXIT_USAGE, "eval: which run folder? for example: lockstep eval runs/fashion_cnn");
    Settings settings = { 0 };
    Trainer trainer;
    int64_t step = -1;
    Err err;
    const char *which = line_value(line, "--checkpoint");
    char path[4096];
    snprintf(path, sizeof path, "%s/config.yaml", line->words[1]);
    command_settings(comm, path, line->words + 2, line->count - 2, &settings);
    command_trainer(&trainer, &settings, comm);
    if (!checkpoint_weights(&trainer, line->words[1], which ? which : "final", &step, &err))
        die_all(EXIT_CHECKPOINT, "%s", err.text);
    say_tally(&trainer, trainer_test(&trainer), step);
    trainer_free(&trainer);
    settings_free(&settings);
    return EXIT_OK;
}

extern const Command command_eval;
const Command command_eval = {
    .name = "eval",
    .summary = "  eval RUN [KEY=VALUE ...]       test a run's weights again\n",
    .usage = usage,
    .flags = flags,
    .run = evaluate,
};
