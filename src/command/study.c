/* lockstep study: many runs that answer one question. */
#include "lockstep/study.h"
#include "command.h"
#include "lockstep/memory.h"

static const char usage[] =
    "usage: lockstep study STUDY.yaml [KEY=VALUE ...]\n"
    "\n"
    "Trains every trial of a study that is not done and writes studies/NAME/trials.csv. The ranks "
    "of\n"
    "the job are split into groups of `ranks`; each trains one trial at a time. The same command "
    "goes\n"
    "on with what was interrupted; several jobs may work on one study. KEY=VALUE overrides an "
    "option\n"
    "of STUDY.yaml. docs/studies.md\n"
    "\n"
    "  --dry-run        print the trials and what they cost; train nothing\n"
    "  --status         print where the trials stand\n"
    "  --retry          train those that failed (not: diverged) once more\n"
    "  -q, --quiet      only warnings and errors        -v, --verbose   what `train` says, too\n"
    "\n"
    "Exit codes: 0 done or interrupted, 2 command line or study, 4 files of the study. A trial "
    "that\n"
    "fails or diverges is a row of the table.\n";

static const Flag flags[] = {
    { "--dry-run", false },
    { "--status", false },
    { "--retry", false },
    { NULL, false },
};

/* What one process can tell. */
static void print(const Study *study, Comm *comm, bool plan)
{
    Comm *alone = comm_split(comm, comm_rank(comm) == 0 ? 0 : 1);
    if (comm_rank(comm) == 0 && plan)
        study_print_plan(study, alone);
    else if (comm_rank(comm) == 0)
        study_print_status(study);
    comm_free(alone);
}

static int act(Study *study, Comm *comm, const Line *line)
{
    Err err;
    if (line_has(line, "--dry-run") || line_has(line, "--status")) {
        print(study, comm, line_has(line, "--dry-run"));
        return EXIT_OK;
    }
    bool ok =
        !line_has(line, "--retry") || comm_rank(comm) != 0 || study_forget_failed(study, &err);
    if (!comm_all_ok(comm, ok, &err))
        die_all(EXIT_CHECKPOINT, "%s", err.text);
    command_catch_signals();
    int code = study_run(study, comm, line->argc, line->argv, &err);
    if (err.text[0])
        die_all(code, "%s", err.text);
    return code;
}

static int run(Comm *comm, const Line *line)
{
    Study study;
    Err err;
    size_t bytes;
    char *variables[COMMAND_MAX_VARIABLES];
    if (line->count < 2)
        die_all(EXIT_USAGE, "study: which study? for example: lockstep study "
                            "configs/studies/tiny.yaml");
    char *text = command_read(comm, line->words[1], &bytes);
    if (!study_read(&study, line->words[1], text, bytes, line->words + 2, line->count - 2, &err))
        die_all(EXIT_USAGE, "%s", err.text);
    mem_free(text);
    char *base = command_read(comm, study.base, &study.bytes);
    char *environment = command_environment(comm, variables);
    study.text = base;
    study.environment = variables;
    if (!study_plan(&study, &err))
        die_all(EXIT_USAGE, "%s", err.text);
    int code = act(&study, comm, line);
    study_free(&study);
    mem_free(environment);
    mem_free(base);
    return code;
}

extern const Command command_study;
const Command command_study = {
    .name = "study",
    .summary = "  study STUDY [KEY=VALUE ...]    train the trials of a scaling study\n",
    .usage = usage,
    .flags = flags,
    .run = run,
};
