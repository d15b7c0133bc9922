/* lockstep probe: what the loss looks like around a checkpoint's weights. */
#include "lockstep/probe.h"
#include "command.h"
#include "lockstep/text.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char usage[] =
    "usage: lockstep probe RUN|CONFIG [--checkpoint WHICH] PROBE [KEY=VALUE ...]\n"
    "       mpirun -n RANKS lockstep probe ...\n"
    "\n"
    "Looks at the loss around the weights of a run: `lockstep list probes` names the probes, "
    "`lockstep\n"
    "list probe hessian` a probe's options (docs/landscape.md). Prints what it finds and writes\n"
    "probe-NAME.json and, where there are rows, probe-NAME.csv into the run folder, whose own "
    "files\n"
    "stay as they are. Same bits for any number of ranks.\n"
    "\n"
    "  --checkpoint WHICH   init (where training begins), final, best, latest, a step, step-N, or "
    "a\n"
    "                       safetensors file; of a run folder final, of a config file init unless "
    "given\n"
    "  --out FOLDER         where the files go; must exist\n"
    "\n"
    "KEY without a dot is an option of the probe (samples=1000), with a dot one of the config\n"
    "(data.folder=...).\n";

static const Flag flags[] = {
    { "--checkpoint", true },
    { "--out", true },
    { NULL, false },
};

/* Rank 0 looks; a rank that sees another disk would differ. */
static bool is_folder(Comm *comm, const char *path)
{
    struct stat status;
    bool folder = comm_rank(comm) == 0 && stat(path, &status) == 0 && S_ISDIR(status.st_mode);
    comm_broadcast(comm, &folder, sizeof folder, 0);
    return folder;
}

/* The words behind the probe's name: its own options first, then the config's. */
static int sort_words(const char *const *words, int count, const char **sorted)
{
    int own = 0, at = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < count; i++) {
            bool dotted = memchr(words[i], '.', strcspn(words[i], "=")) != NULL;
            if (dotted == (pass == 1))
                sorted[at++] = words[i];
            own += pass == 0 && !dotted;
        }
    return own;
}

static void write_command(const Line *line, char *text, size_t size)
{
    snprintf(text, size, "lockstep");
    for (int i = 1; i < line->argc; i++)
        text_append(text, size, " %s", line->argv[i]);
}

static int probe(Comm *comm, const Line *line)
{
    Settings settings = { 0 };
    Trainer trainer;
    Err err;
    char path[4096], folder[4096], command[2048];
    const char *sorted[LINE_MAX_WORDS];
    if (line->count < 3)
        die_all(EXIT_USAGE, "probe: which run, and which probe? for example: lockstep probe "
                            "runs/fashion_cnn hessian");
    int words = line->count - 3, own = sort_words(line->words + 3, words, sorted);
    bool run = is_folder(comm, line->words[1]);
    const char *which = line_value(line, "--checkpoint"), *out = line_value(line, "--out");
    write_command(line, command, sizeof command);
    ProbeRequest request = { .name = line->words[2],
                             .assignments = sorted,
                             .count = own,
                             .checkpoint = which ? which
                                           : run ? "final"
                                                 : "init",
                             .command = command };
    if (!probe_check(&request, &err))
        die_all(EXIT_USAGE, "%s", err.text);
    if (out && !is_folder(comm, out))
        die_all(EXIT_USAGE, "probe: --out %s: there is no such folder", out);
    snprintf(path, sizeof path, run ? "%s/config.yaml" : "%s", line->words[1]);
    command_settings(comm, path, sorted + own, words - own, &settings);
    if (run)
        snprintf(folder, sizeof folder, "%s", line->words[1]);
    else
        snprintf(folder, sizeof folder, "%s/%s", settings.folder, settings.name);
    request.folder = folder;
    request.out = out ? out : is_folder(comm, folder) ? folder : NULL;
    command_trainer(&trainer, &settings, comm);
    int code = probe_run(&trainer, &request, &err);
    if (code != EXIT_OK)
        die_all(code, "%s", err.text);
    trainer_free(&trainer);
    settings_free(&settings);
    return EXIT_OK;
}

extern const Command command_probe;
const Command command_probe = {
    .name = "probe",
    .summary = "  probe RUN PROBE [KEY=VALUE ..] Hessian, noise, sharpness, surfaces of a "
               "checkpoint\n",
    .usage = usage,
    .flags = flags,
    .run = probe,
};
