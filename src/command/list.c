/* lockstep list: what can stand in a configuration. */
#include "lockstep/list.h"
#include "command.h"

#include <string.h>

static const char usage[] =
    "usage: lockstep list [KIND [NAME]] [--markdown]\n"
    "\n"
    "KIND: layers, losses, initializers, optimizers, schedules, datasets, augmentations,\n"
    "collectives, config.\n"
    "With NAME: formula, source, options with types, ranges and defaults. --markdown prints the "
    "whole\n"
    "option reference (docs/options.md), after `optimizers` the table of their costs\n"
    "(docs/optimizers.md).\n";

static const Flag flags[] = {
    { "--markdown", false },
    { NULL, false },
};

static int list(Comm *comm, const Line *line)
{
    (void)comm;
    Err err;
    const char *kind = line->count > 1 ? line->words[1] : NULL;
    if (line_has(line, "--markdown") && kind && strcmp(kind, "optimizers") == 0) {
        list_optimizer_costs();
        return EXIT_OK;
    }
    if (line_has(line, "--markdown")) {
        list_markdown();
        return EXIT_OK;
    }
    if (!list_print(kind, line->count > 2 ? line->words[2] : NULL, &err))
        die_all(EXIT_USAGE, "list: %s", err.text);
    return EXIT_OK;
}

extern const Command command_list;
const Command command_list = {
    .name = "list",
    .summary = "  list [KIND [NAME]]             layers, losses, optimizers, schedules, datasets, "
               "... and options\n",
    .usage = usage,
    .flags = flags,
    .run = list,
};
