/* lockstep train: from a configuration to a run folder. */
#include "command.h"
#include "lockstep/log.h"
#include "lockstep/session.h"
#include "lockstep/text.h"

#include <math.h>
#include <stdio.h>

static const char usage[] =
    "usage: lockstep train CONFIG [KEY=VALUE ...]\n"
    "\n"
    "Trains the network of CONFIG and writes runs/NAME/. KEY=VALUE overrides any option:\n"
    "  lockstep train configs/fashion_cnn.yaml optimizer.lr=0.05 train.epochs=2 name=try1\n"
    "Precedence: command line > LOCKSTEP_* environment (LOCKSTEP_OPTIMIZER_LR) > file > default.\n"
    "\n"
    "  --dry-run        print layers, shapes, FLOPs, bytes and memory; train nothing\n"
    "  --print-config   print the resolved configuration with the origin of every value\n"
    "  --lanes          print the number of lanes, the most ranks that can share the run, and "
    "stop\n"
    "  --folder         print the run's folder, and stop\n"
    "  --force          replace an existing run folder\n"
    "  --resume         go on from the run's newest valid checkpoint, on any number of ranks\n"
    "  --allow-change=OPTION[,OPTION]  resume although these settings have changed\n"
    "  -q, --quiet      only warnings and errors        -v, --verbose   more\n"
    "\n"
    "Exit codes: 0 completed or interrupted, 2 command line or config, 3 data, 4 files of a run,\n"
    "5 diverged, 6 a rank was lost or stood still, 7 ranks disagree.\n";

static const Flag flags[] = {
    { "--dry-run", false },     { "--print-config", false },
    { "--lanes", false },       { "--folder", false },
    { "--force", false },       { "--resume", false },
    { "--allow-change", true }, { NULL, false },
};

static void say_result(const Summary *result, const char *folder)
{
    char seconds[64], line[256] = "";
    text_seconds(seconds, sizeof seconds, result->seconds);
    if (result->test_accuracy >= 0)
        text_append(line, sizeof line, "test accuracy %.4f, ", result->test_accuracy);
    text_append(line, sizeof line, "test loss %.5g", result->test_loss);
    if (result->per_token)
        text_append(line, sizeof line, ", perplexity %.5g", exp(result->test_loss));
    text_append(line, sizeof line, "; %lld steps in %s, %.0f samples/s", (long long)result->steps,
                seconds, result->samples_per_second);
    if (result->target_step > 0)
        text_append(line, sizeof line, "; target met after %lld steps",
                    (long long)result->target_step);
    if (result->diverged_step >= 0)
        log_warn("diverged in step %lld: the loss or the gradient is not finite",
                 (long long)result->diverged_step);
    log_info("%s: %s", result->status, line);
    log_info("digest %016llx  trajectory %016llx  %s/", (unsigned long long)result->digest,
             (unsigned long long)result->trajectory, folder);
}

static int train_run(Trainer *trainer, const Settings *settings, const Line *line)
{
    char folder[4096];
    Session session = { .force = line_has(line, "--force"),
                        .allow_change = line_value(line, "--allow-change"),
                        .argc = line->argc,
                        .argv = line->argv };
    Summary result;
    Err err;
    snprintf(folder, sizeof folder, "%s/%s", settings->folder, settings->name);
    command_catch_signals();
    int code = session_run(trainer, &session, &result, &err);
    if (result.status)
        say_result(&result, folder);
    if (err.text[0])
        die_all(code, "%s", err.text);
    if (!result.status)
        log_info("%s has ended without a checkpoint: nothing to do; --force makes it anew", folder);
    return code;
}

static int train(Comm *comm, const Line *line)
{
    if (line->count < 2)
        die_all(EXIT_USAGE, "train: which configuration? for example: lockstep train "
                            "configs/fashion_cnn.yaml");
    Settings settings = { 0 };
    Trainer trainer;
    command_settings(comm, line->words[1], line->words + 2, line->count - 2, &settings);
    if (line_has(line, "--lanes") || line_has(line, "--folder")) {
        if (line_has(line, "--lanes"))
            log_out("%d", settings.train.lanes);
        else
            log_out("%s/%s", settings.folder, settings.name);
        settings_free(&settings);
        return EXIT_OK;
    }
    settings.dry_run = line_has(line, "--dry-run") || line_has(line, "--print-config");
    if (line_has(line, "--resume"))
        settings.checkpoint.resume = RESUME_ALWAYS;
    if (line_has(line, "--force") && settings.checkpoint.resume != RESUME_NEVER)
        die_all(EXIT_USAGE, "train: --force replaces the run that --resume is to go on with");
    command_trainer(&trainer, &settings, comm);
    int code = EXIT_OK;
    if (line_has(line, "--print-config") && comm_rank(comm) == 0)
        config_print(&settings.config, stdout, true);
    else if (line_has(line, "--dry-run"))
        trainer_plan(&trainer);
    if (!settings.dry_run)
        code = train_run(&trainer, &settings, line);
    trainer_free(&trainer);
    settings_free(&settings);
    return code;
}

extern const Command command_train;
const Command command_train = {
    .name = "train",
    .summary = "  train CONFIG [KEY=VALUE ...]   train the network that a YAML file describes\n",
    .usage = usage,
    .flags = flags,
    .run = train,
};
