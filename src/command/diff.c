/* lockstep diff: two runs, bit for bit. */
#include "lockstep/diff.h"
#include "command.h"
#include "lockstep/log.h"

static const char usage[] = "usage: lockstep diff RUN_A RUN_B\n"
                            "\n"
                            "Compares two run folders step by step, bit for bit. Exit code 0: "
                            "the same trajectory, 1: not.\n";

static const Flag flags[] = {
    { NULL, false },
};

static int diff(Comm *comm, const Line *line)
{
    (void)comm;
    if (line->count != 3)
        die_all(EXIT_USAGE,
                "diff: which two run folders? for example: lockstep diff runs/a runs/b");
    return log_get_rank() == 0 ? diff_runs(line->words[1], line->words[2]) : EXIT_OK;
}

extern const Command command_diff;
const Command command_diff = {
    .name = "diff",
    .summary =
        "  diff RUN_A RUN_B               first step and quantity in which two runs differ\n",
    .usage = usage,
    .flags = flags,
    .run = diff,
};
