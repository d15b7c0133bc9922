/* The program: subcommands, their options, and the way from a command line to a trained network. */
#include "lockstep/bench.h"
#include "lockstep/bf16.h"
#include "lockstep/checkpoint.h"
#include "lockstep/comm.h"
#include "lockstep/cpu.h"
#include "lockstep/diff.h"
#include "lockstep/list.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/precision.h"
#include "lockstep/run.h"
#include "lockstep/settings.h"
#include "lockstep/text.h"
#include "lockstep/tokenize.h"
#include "lockstep/trainer.h"
#include "lockstep/version.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WORDS 256

/* A command line taken apart: `--flags` and the other words in order. */
typedef struct Line {
    int argc;
    char **argv;
    bool force, dry_run, print_config, lanes, json, markdown, help, version;
    bool decode, resume;
    const char *tokenizer, *vocab, *validation, *out, *filter, *seconds, *allow_change, *checkpoint,
        *format, *postmortem, *tune; /* borrowed; NULL: not given */
    const char *words[MAX_WORDS];    /* borrowed */
    int count;
} Line;

extern char **environ;

static const char usage[] =
    "usage: lockstep COMMAND [OPTION ...] [ARGUMENT ...]\n"
    "       mpirun -n RANKS lockstep train CONFIG [KEY=VALUE ...]\n"
    "\n"
    "  train CONFIG [KEY=VALUE ...]   train the network that a YAML file describes\n"
    "  eval RUN [KEY=VALUE ...]       test a run's weights again\n"
    "  ckpt list|show|verify RUN      checkpoints of a run; export and import weights\n"
    "  doctor --postmortem RUN        where each rank of a run was last\n"
    "  bench step CONFIG [KEY=VALUE]  where the time of a training step goes\n"
    "  bench kernels                  rates of the kernels by themselves, on one core\n"
    "  bench comm [KEY=VALUE]         collectives between ranks or hosts, by size\n"
    "  bench simulate [KEY=VALUE]     weak scaling on a network that is not there\n"
    "  tokenize TEXT ... --out PREFIX turn text into token files, and back\n"
    "  diff RUN_A RUN_B               first step and quantity in which two runs differ\n"
    "  list [KIND [NAME]]             layers, losses, optimizers, schedules, datasets, ... and "
    "options\n"
    "  help [COMMAND]                 this text, or a command's\n"
    "\n"
    "  -h, --help      -V, --version      -q, --quiet      -v, --verbose\n";

static const char usage_train[] =
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
    "  --force          replace an existing run folder\n"
    "  --resume         go on from the run's newest valid checkpoint, on any number of ranks\n"
    "  --allow-change=OPTION[,OPTION]  resume although these settings have changed\n"
    "  -q, --quiet      only warnings and errors        -v, --verbose   more\n"
    "\n"
    "Exit codes: 0 completed or interrupted, 2 command line or config, 3 data, 4 files of a run,\n"
    "5 diverged, 6 a rank was lost or stood still, 7 ranks disagree.\n";

static const char usage_eval[] = "usage: lockstep eval RUN [KEY=VALUE ...]\n"
                                 "\n"
                                 "Loads RUN/config.yaml and RUN/ckpt/final.safetensors, evaluates "
                                 "on the test set (every sample\n"
                                 "exactly once) and prints loss and accuracy.\n"
                                 "\n"
                                 "  --checkpoint WHICH   latest, best, step-N, a checkpoint's "
                                 "folder or a safetensors file\n";

static const char usage_doctor[] =
    "usage: lockstep doctor --postmortem RUN\n"
    "\n"
    "Where each rank of a run was last: host, pid, and the last places in its steps. The file that "
    "says\n"
    "so (RUN/watch.bin) survives ranks that were killed.\n";

static const char usage_ckpt[] =
    "usage: lockstep ckpt list RUN\n"
    "       lockstep ckpt show|verify RUN [WHICH]\n"
    "       lockstep ckpt export RUN [WHICH] --out PLACE [--format npy|safetensors]\n"
    "       lockstep ckpt import FILE --out PLACE\n"
    "\n"
    "Checkpoints of a run folder. WHICH: latest (default), best or step-N; verify takes all of "
    "them "
    "if\n"
    "none is named.\n"
    "  list     step, size, time, digest of each\n"
    "  show     where the run stood, every tensor with shape and digest\n"
    "  verify   reads everything and compares all digests\n"
    "  export   the weights under their plain names: a safetensors file, or a folder of .npy "
    "files\n"
    "  import   a safetensors file of F64, F16 or BF16 tensors as F32, for train.weights=PLACE\n"
    "\n"
    "  --force  replace what is at PLACE\n"
    "\n"
    "Exit codes: 0 done, all valid; 2 command line, 4 damaged or not there.\n";

static const char usage_bench[] =
    "usage: lockstep bench step CONFIG [KEY=VALUE ...]\n"
    "       lockstep bench kernels [--filter TEXT]\n"
    "       mpirun -n RANKS lockstep bench comm [KEY=VALUE] [--tune FILE]\n"
    "       lockstep bench simulate [KEY=VALUE]\n"
    "\n"
    "step: trains the network of CONFIG for a few seconds and prints the time of each layer, "
    "forward\n"
    "and backward, its rate against the measured peak of a core or the bandwidth of its memory, "
    "the\n"
    "time of each phase of a step, the exposed reduction, and the memory of a rank.\n"
    "kernels: times matrix products, convolutions, layers, losses, optimizers, functions, random\n"
    "numbers and digests by themselves on one core (rank 0), median, minimum and maximum, against "
    "the\n"
    "measured limits at every level of instructions and memory.\n"
    "comm: latency and bandwidth of every collective algorithm between hosts (on one host: "
    "between\n"
    "ranks) by size, checked, beside MPI_Allreduce and memcpy. KEY: min_bytes, max_bytes, factor, "
    "or\n"
    "an option of the section comm, such as comm.virtual_hosts=4 comm.inject_gbit=1.\n"
    "simulate: a training step on up to 4,096 members, event by event, with and without overlap, "
    "and\n"
    "by a formula. KEY: parameters, compute_ms, gbit, latency_us, bucket_mb, max_members, ...\n"
    "Nothing is written, but by --tune.\n"
    "\n"
    "  --tune FILE      comm: write which algorithms are fastest to FILE, for comm.table\n"
    "  --filter TEXT    kernels, comm: only those whose group or name contains TEXT\n"
    "  --seconds S      how long to measure: a step bench (3), each kernel (0.1), each row (0.1)\n"
    "  --json           one JSON object instead of a table\n";

static const char usage_diff[] = "usage: lockstep diff RUN_A RUN_B\n"
                                 "\n"
                                 "Compares two run folders step by step, bit for bit. Exit code 0: "
                                 "the same trajectory, 1: not.\n";

static const char usage_list[] =
    "usage: lockstep list [KIND [NAME]] [--markdown]\n"
    "\n"
    "KIND: layers, losses, initializers, optimizers, schedules, datasets, augmentations,\n"
    "collectives, config.\n"
    "With NAME: formula, source, options with types, ranges and defaults. --markdown prints the "
    "whole\n"
    "option reference (docs/options.md).\n";

static const char usage_tokenize[] =
    "usage: lockstep tokenize TEXT ... --tokenizer NAME --out PREFIX\n"
    "       lockstep tokenize --decode FILE ... [--out TEXT]\n"
    "\n"
    "Turns text files, one after the other, into PREFIX.train.tokens and "
    "PREFIX.validation.tokens,\n"
    "for `data: {type: tokens}`. TEXT may be plain, gzip or xz.\n"
    "\n"
    "  --tokenizer NAME       byte; char: the text's characters; gpt2: byte-level BPE\n"
    "  --vocab FILE           gpt2: the merges, a vocab.bpe\n"
    "  --validation FRACTION  of the text, its end (default 0.1; 0: no validation file)\n"
    "  --out PREFIX           where the token files go; with --decode: a file instead of the\n"
    "                         standard output\n"
    "  --decode               token files back to their text\n"
    "  --force                replace existing files\n"
    "\n"
    "Exit codes: 0 done, 2 command line, 3 data.\n";

/* Flags with a value, `--out PREFIX` or `--out=PREFIX`; returns the words it took, 0 if it is
 * none. */
static int parse_value(Line *line, char *const *argv)
{
    struct {
        const char *name, **value;
    } flags[] = {
        { "--tokenizer", &line->tokenizer },
        { "--vocab", &line->vocab },
        { "--validation", &line->validation },
        { "--out", &line->out },
        { "--filter", &line->filter },
        { "--seconds", &line->seconds },
        { "--allow-change", &line->allow_change },
        { "--checkpoint", &line->checkpoint },
        { "--format", &line->format },
        { "--postmortem", &line->postmortem },
        { "--tune", &line->tune },
    };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        size_t length = strlen(flags[i].name);
        if (strncmp(argv[0], flags[i].name, length) != 0)
            continue;
        if (argv[0][length] == '=') {
            *flags[i].value = argv[0] + length + 1;
            return 1;
        }
        if (argv[0][length] != '\0')
            continue;
        if (!argv[1] || strncmp(argv[1], "--", 2) == 0)
            die_all(EXIT_USAGE, "%s: a value is wanted; see `lockstep --help`", argv[0]);
        *flags[i].value = argv[1];
        return 2;
    }
    return 0;
}

/* Words that begin with "-": flags, wherever they stand. "--" ends them. */
static void parse_flag(Line *line, const char *word)
{
    static const char *const known[] = {
        "--force",    "--dry-run",    "--print-config", "--lanes",        "--json",
        "--markdown", "--help",       "--version",      "--quiet",        "--verbose",
        "--decode",   "--tokenizer",  "--vocab",        "--validation",   "--out",
        "--filter",   "--seconds",    "--resume",       "--allow-change", "--checkpoint",
        "--format",   "--postmortem", "--tune",
    };
    if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0)
        line->help = true;
    else if (strcmp(word, "-V") == 0 || strcmp(word, "--version") == 0)
        line->version = true;
    else if (strcmp(word, "-q") == 0 || strcmp(word, "--quiet") == 0)
        log_set_level(LOG_QUIET);
    else if (strcmp(word, "-v") == 0 || strcmp(word, "--verbose") == 0)
        log_set_level(LOG_VERBOSE);
    else if (strcmp(word, "--force") == 0)
        line->force = true;
    else if (strcmp(word, "--resume") == 0)
        line->resume = true;
    else if (strcmp(word, "--dry-run") == 0)
        line->dry_run = true;
    else if (strcmp(word, "--print-config") == 0)
        line->print_config = true;
    else if (strcmp(word, "--lanes") == 0)
        line->lanes = true;
    else if (strcmp(word, "--json") == 0)
        line->json = true;
    else if (strcmp(word, "--markdown") == 0)
        line->markdown = true;
    else if (strcmp(word, "--decode") == 0)
        line->decode = true;
    else {
        const char *nearest = text_nearest(word, known, sizeof known / sizeof *known);
        die_all(EXIT_USAGE, "unknown option \"%s\"%s%s%s; see `lockstep --help`", word,
                nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
    }
}

static void parse_line(Line *line, int argc, char **argv)
{
    *line = (Line){ .argc = argc, .argv = argv };
    bool flags = true;
    for (int i = 1; i < argc; i++) {
        int taken = flags ? parse_value(line, argv + i) : 0; /* argv ends with NULL */
        if (taken > 0)
            i += taken - 1;
        else if (flags && strcmp(argv[i], "--") == 0)
            flags = false;
        else if (flags && argv[i][0] == '-' && argv[i][1])
            parse_flag(line, argv[i]);
        else if (line->count == MAX_WORDS)
            die_all(EXIT_USAGE, "more than %d arguments", MAX_WORDS);
        else
            line->words[line->count++] = argv[i];
    }
}

/* Rank 0 reads the config file; everybody gets it. Caller frees. */
static char *read_on_rank_0(Comm *comm, const char *path, size_t *bytes)
{
    char *text = NULL;
    Err err;
    bool ok = comm_rank(comm) != 0 || config_file(path, &text, bytes, &err);
    if (!comm_all_ok(comm, ok, &err))
        die_all(EXIT_USAGE, "%s", err.text);
    comm_broadcast_text(comm, &text, bytes);
    return text;
}

/* The LOCKSTEP_* variables of rank 0's environment, the same on every rank: mpirun hands variables
 * to other hosts only when told to. `buffer` is owned by the caller, `list` ends with NULL. */
static char *environment_of_rank_0(Comm *comm, char *list[MAX_WORDS])
{
    char *text = NULL;
    size_t bytes = 0, capacity = 0;
    if (comm_rank(comm) == 0) {
        for (char **variable = environ; *variable; variable++) {
            if (strncmp(*variable, "LOCKSTEP_", 9) != 0)
                continue;
            for (const char *c = *variable;; c++) {
                mem_grow(&text, bytes, &capacity, 1);
                text[bytes++] = *c;
                if (!*c)
                    break;
            }
        }
        if (!text)
            text = mem_alloc(1);
    }
    comm_broadcast_text(comm, &text, &bytes);
    int count = 0;
    for (size_t at = 0; at < bytes && text[at]; at += strlen(text + at) + 1) {
        if (count == MAX_WORDS - 1)
            die_all(EXIT_USAGE, "environment: more than %d LOCKSTEP_ variables", count);
        list[count++] = text + at;
    }
    list[count] = NULL;
    return text;
}

/* File, environment and command line become settings; every rank sees the same errors. */
static void load_settings(Comm *comm, const char *path, const char *const *overrides, int count,
                          Settings *settings)
{
    Err err;
    size_t bytes, known_count;
    char *variables[MAX_WORDS];
    char *text = read_on_rank_0(comm, path, &bytes);
    char *environment = environment_of_rank_0(comm, variables);
    char **known = settings_paths(&known_count);
    bool ok = config_parse(&settings->config, path, text, bytes, &err) &&
              config_environment(&settings->config, variables, (const char *const *)known,
                                 known_count, NULL, &err);
    for (int i = 0; ok && i < count; i++)
        ok = config_override(&settings->config, overrides[i], &err);
    ok = ok && settings_read(settings, &err) && cpu_set_isa(settings->compute.isa, &err) &&
         cpu_blas_setup(settings->compute.blas_core, &err) &&
         (settings->compute.precision != PRECISION_BF16 ||
          bf16_set_kernel(settings_bf16_kernel(settings), &err));
    settings_paths_free(known);
    mem_free(environment);
    mem_free(text);
    if (!comm_all_ok(comm, ok, &err)) /* a host may lack a kernel level that others have */
        die_all(EXIT_USAGE, "%s", err.text);
}

static void build_trainer(Trainer *trainer, Settings *settings, Comm *comm)
{
    Err err;
    int code;
    if (!trainer_init(trainer, settings, comm, &code, &err))
        die_all(code, "%s", err.text);
}

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
    if (result->diverged_step >= 0)
        log_warn("diverged in step %lld: the loss or the gradient is not finite",
                 (long long)result->diverged_step);
    log_info("%s: %s", result->status, line);
    log_info("digest %016llx  trajectory %016llx  %s/", (unsigned long long)result->digest,
             (unsigned long long)result->trajectory, folder);
}

static void lock_run(Trainer *trainer, const Settings *settings, int *lock)
{
    Err err;
    if (!run_lock(trainer->comm, settings, lock, &err))
        die_all(EXIT_CHECKPOINT, "%s", err.text);
}

/* The run folder, new or where an earlier session has left it; NULL: there is nothing to do. */
static Run *open_run(Trainer *trainer, const Settings *settings, const Line *line, int *lock)
{
    Err err = { .text = "" };
    char folder[4096];
    ResumeOutcome outcome = RESUME_FRESH;
    bool resume = settings->checkpoint.resume != RESUME_NEVER;
    snprintf(folder, sizeof folder, "%s/%s", settings->folder, settings->name);
    if (resume || line->force)
        lock_run(trainer, settings, lock);
    if (resume)
        outcome = checkpoint_resume(trainer, folder, line->allow_change, &err);
    if (outcome == RESUME_FAILED)
        die_all(EXIT_CHECKPOINT, "%s", err.text);
    if (outcome == RESUME_ENDED)
        return NULL;
    /* Replaced without being asked for: a run that was killed before its first checkpoint. */
    Run *run = outcome == RESUME_FRESH
                   ? run_open(trainer->comm, settings, line->force || resume, &err)
                   : run_resume(trainer->comm, settings, trainer->step, trainer->history.resumes,
                                trainer->recovery.rollbacks, &err);
    if (!run)
        die_all(outcome == RESUME_FRESH ? EXIT_USAGE : EXIT_CHECKPOINT, "%s", err.text);
    lock_run(trainer, settings, lock); /* now that the folder is there */
    return run;
}

static void catch_signals(void)
{
    signal(SIGINT, trainer_request_stop);
    signal(SIGTERM, trainer_request_stop);
    signal(SIGUSR1, trainer_request_stop); /* mpirun hands on only this one */
}

static int train_run(Trainer *trainer, const Settings *settings, const Line *line)
{
    Comm *comm = trainer->comm;
    Summary result;
    Err err;
    int lock = -1;
    RunFacts facts = { .train_data = trainer->loader.train.digest,
                       .test_data = trainer->loader.test.digest,
                       .initial = trainer->digest };
    Run *run = open_run(trainer, settings, line, &lock);
    if (!run) {
        log_info("%s/%s has ended without a checkpoint: nothing to do; --force makes it anew",
                 settings->folder, settings->name);
        run_unlock(lock);
        return EXIT_OK;
    }
    catch_signals();
    facts.resumes = trainer->history.resumes;
    facts.resumed_step = trainer->step;
    run_write_config(run, settings);
    run_write_meta(run, line->argc, line->argv, comm, &facts);
    trainer_banner(trainer, run_folder(run));
    int code = trainer_run(trainer, run, &result);
    trainer_write_timeline(trainer);
    run_write_summary(run, &result);
    if (code == EXIT_OK)
        run_write_weights(run, &trainer->model.layout, trainer_final_weights(trainer),
                          trainer->step);
    say_result(&result, run_folder(run));
    bool ok = comm_all_ok(comm, run_close(run, &err), &err);
    run_unlock(lock);
    if (!ok)
        die_all(EXIT_CHECKPOINT, "%s", err.text);
    return code;
}

static int train(Comm *comm, const Line *line)
{
    if (line->count < 2)
        die_all(EXIT_USAGE, "train: which configuration? for example: lockstep train "
                            "configs/fashion_cnn.yaml");
    Settings settings = { 0 };
    Trainer trainer;
    load_settings(comm, line->words[1], line->words + 2, line->count - 2, &settings);
    if (line->lanes) {
        log_out("%d", settings.train.lanes);
        settings_free(&settings);
        return EXIT_OK;
    }
    settings.dry_run = line->dry_run || line->print_config;
    if (line->resume)
        settings.checkpoint.resume = RESUME_ALWAYS;
    if (line->force && settings.checkpoint.resume != RESUME_NEVER)
        die_all(EXIT_USAGE, "train: --force replaces the run that --resume is to go on with");
    build_trainer(&trainer, &settings, comm);
    int code = EXIT_OK;
    if (line->print_config && comm_rank(comm) == 0)
        config_print(&settings.config, stdout, true);
    else if (line->dry_run)
        trainer_plan(&trainer);
    if (!settings.dry_run)
        code = train_run(&trainer, &settings, line);
    trainer_free(&trainer);
    settings_free(&settings);
    return code;
}

static int evaluate(Comm *comm, const Line *line)
{
    if (line->count < 2)
        die_all(EXIT_USAGE, "eval: which run folder? for example: lockstep eval runs/fashion_cnn");
    Settings settings = { 0 };
    Trainer trainer;
    int64_t step = -1;
    Err err;
    char path[4096];
    snprintf(path, sizeof path, "%s/config.yaml", line->words[1]);
    load_settings(comm, path, line->words + 2, line->count - 2, &settings);
    build_trainer(&trainer, &settings, comm);
    bool ok = comm_rank(comm) != 0 ||
              checkpoint_weights(&trainer, line->words[1],
                                 line->checkpoint ? line->checkpoint : "final", &step, &err);
    if (!comm_all_ok(comm, ok, &err))
        die_all(EXIT_CHECKPOINT, "%s", err.text);
    trainer_send_weights(&trainer);
    Tally tally = trainer_test(&trainer);
    double loss = tally.loss / tally.count;
    if (trainer_per_token(&trainer))
        log_out(
            "test loss %.6f, perplexity %.6g, test accuracy %.4f (%.0f of %.0f tokens), step %lld",
            loss, exp(loss), tally.correct / tally.count, tally.correct, tally.count,
            (long long)step);
    else if (trainer.model.loss.type->wants_labels)
        log_out("test loss %.6f, test accuracy %.4f (%.0f of %.0f samples), step %lld", loss,
                tally.correct / tally.count, tally.correct, tally.count, (long long)step);
    else
        log_out("test loss %.9g over %.0f samples, step %lld", loss, tally.count, (long long)step);
    trainer_free(&trainer);
    settings_free(&settings);
    return EXIT_OK;
}

static double bench_seconds(const Line *line, double otherwise)
{
    double seconds = otherwise;
    if (line->seconds && (!text_to_double(line->seconds, &seconds) || seconds <= 0))
        die_all(EXIT_USAGE, "bench: --seconds %s: a number above 0 is wanted", line->seconds);
    return seconds;
}

static int time_kernels(Comm *comm, const Line *line)
{
    Err err;
    if (line->count > 2)
        die_all(EXIT_USAGE, "bench kernels: takes no configuration, found \"%s\"", line->words[2]);
    bool ok = cpu_blas_setup("auto", &err) &&
              bench_kernels(line->filter, bench_seconds(line, 0.1), line->json, &err);
    if (!comm_all_ok(comm, ok, &err))
        die_all(EXIT_USAGE, "%s", err.text);
    return EXIT_OK;
}

static int time_comm(Comm *comm, const Line *line)
{
    Err err;
    CommBenchRequest request = { .words = line->words + 2,
                                 .count = line->count - 2,
                                 .tune = line->tune,
                                 .filter = line->filter,
                                 .seconds = bench_seconds(line, 0.1),
                                 .json = line->json };
    if (!bench_comm(comm, &request, &err))
        die_all(EXIT_USAGE, "%s", err.text);
    return EXIT_OK;
}

static int simulate_scaling(Comm *comm, const Line *line)
{
    Err err;
    bool ok = bench_simulate(line->words + 2, line->count - 2, line->json, &err);
    if (!comm_all_ok(comm, ok, &err))
        die_all(EXIT_USAGE, "%s", err.text);
    return EXIT_OK;
}

static int bench(Comm *comm, const Line *line)
{
    if (line->count > 1 && strcmp(line->words[1], "simulate") == 0)
        return simulate_scaling(comm, line);
    if (line->count > 1 && strcmp(line->words[1], "comm") == 0)
        return time_comm(comm, line);
    if (line->count > 1 && strcmp(line->words[1], "kernels") == 0)
        return time_kernels(comm, line);
    if (line->count < 3 || strcmp(line->words[1], "step") != 0)
        die_all(EXIT_USAGE,
                "bench: what? for example: lockstep bench step configs/fashion_cnn.yaml");
    double seconds = bench_seconds(line, 3);
    Settings settings = { 0 };
    Trainer trainer;
    load_settings(comm, line->words[2], line->words + 3, line->count - 3, &settings);
    build_trainer(&trainer, &settings, comm);
    bool ok = bench_step(&trainer, seconds, line->json);
    if (!ok)
        log_warn("training diverged, so nothing was measured: try a smaller optimizer.lr");
    trainer_free(&trainer);
    settings_free(&settings);
    return ok ? EXIT_OK : EXIT_DIVERGED;
}

static int diff(Comm *comm, const Line *line)
{
    (void)comm;
    if (line->count != 3)
        die_all(EXIT_USAGE,
                "diff: which two run folders? for example: lockstep diff runs/a runs/b");
    return log_get_rank() == 0 ? diff_runs(line->words[1], line->words[2]) : EXIT_OK;
}

static int list(Comm *comm, const Line *line)
{
    (void)comm;
    Err err;
    if (line->markdown) {
        list_markdown();
        return EXIT_OK;
    }
    if (!list_print(line->count > 1 ? line->words[1] : NULL,
                    line->count > 2 ? line->words[2] : NULL, &err))
        die_all(EXIT_USAGE, "list: %s", err.text);
    return EXIT_OK;
}

/* Rank 0 does it; the others wait for its answer. */
static int tokenize(Comm *comm, const Line *line)
{
    struct {
        bool ok;
        int code;
        Err err;
    } answer = { .code = EXIT_USAGE };
    TokenizeRequest request = { .inputs = line->words + 1,
                                .count = line->count - 1,
                                .tokenizer = line->tokenizer,
                                .vocab = line->vocab,
                                .out = line->out,
                                .validation = 0.1,
                                .force = line->force };
    answer.ok =
        !line->validation || text_to_double(line->validation, &request.validation) ||
        err_set(&answer.err, "tokenize: --validation %s: a number is wanted", line->validation);
    if (answer.ok && comm_rank(comm) == 0)
        answer.ok = line->decode ? tokenize_decode(&request, &answer.code, &answer.err)
                                 : tokenize_encode(&request, &answer.code, &answer.err);
    comm_broadcast(comm, &answer, sizeof answer, 0);
    if (!answer.ok)
        die_all(answer.code, "%s", answer.err.text);
    return EXIT_OK;
}

/* Rank 0 does it; the others wait for its answer. */
static int doctor(Comm *comm, const Line *line)
{
    struct {
        bool ok;
        Err err;
    } answer = { .ok = true };
    if (!line->postmortem || line->count > 1)
        die_all(EXIT_USAGE, "doctor: --postmortem RUN is wanted");
    if (comm_rank(comm) == 0)
        answer.ok = trainer_postmortem(line->postmortem, &answer.err);
    comm_broadcast(comm, &answer, sizeof answer, 0);
    if (!answer.ok)
        die_all(EXIT_CHECKPOINT, "%s", answer.err.text);
    return EXIT_OK;
}

/* Rank 0 does it; the others wait for its answer. */
static int ckpt(Comm *comm, const Line *line)
{
    struct {
        int code;
        Err err;
    } answer = { .code = EXIT_OK };
    CkptRequest request = { .words = line->words + 1,
                            .count = line->count - 1,
                            .out = line->out,
                            .format = line->format,
                            .force = line->force };
    if (comm_rank(comm) == 0)
        answer.code = ckpt_command(&request, &answer.err);
    comm_broadcast(comm, &answer, sizeof answer, 0);
    if (answer.code != EXIT_OK)
        die_all(answer.code, "%s", answer.err.text);
    return EXIT_OK;
}

static const struct Command {
    const char *name, *usage;
    int (*run)(Comm *comm, const Line *line);
} commands[] = {
    { "train", usage_train, train },
    { "eval", usage_eval, evaluate },
    { "ckpt", usage_ckpt, ckpt },
    { "doctor", usage_doctor, doctor },
    { "bench", usage_bench, bench },
    { "diff", usage_diff, diff },
    { "tokenize", usage_tokenize, tokenize },
    { "list", usage_list, list },
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static const struct Command *find_command(const char *name)
{
    const char *names[COMMANDS];
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
        names[i] = commands[i].name;
    }
    const char *nearest = text_nearest(name, names, COMMANDS);
    die_all(EXIT_USAGE, "unknown command \"%s\"%s%s%s; see `lockstep --help`", name,
            nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
}

static int run_line(Comm *comm, Line *line)
{
    if (line->version) {
        log_out("lockstep %s (%s)\n%s\nISA level %s on %s\nOpenBLAS core %s\n%s %s",
                version_string(), version_git(), comm_library(), cpu_isa_name(cpu_isa()),
                cpu_model(), cpu_blas_core(), version_compiler(), version_flags());
        return EXIT_OK;
    }
    bool help = line->help || (line->count > 0 && strcmp(line->words[0], "help") == 0);
    int word = line->count > 0 && strcmp(line->words[0], "help") == 0 ? 1 : 0;
    if (help) {
        const struct Command *about = line->count > word ? find_command(line->words[word]) : NULL;
        const char *text = about ? about->usage : usage;
        log_out("%.*s", (int)strlen(text) - 1, text); /* log_out ends the line */
        return EXIT_OK;
    }
    if (line->count == 0)
        die_all(EXIT_USAGE, "no command given\n\n%s", usage);
    return find_command(line->words[0])->run(comm, line);
}

int main(int argc, char **argv)
{
    Comm *comm = comm_init(&argc, &argv);
    Line line;
    Err err;
    if (!cpu_is_supported(&err))
        die(EXIT_USAGE, "%s", err.text);
    parse_line(&line, argc, argv);
    int code = run_line(comm, &line);
    fflush(NULL);
    comm_free(comm);
    return code;
}
