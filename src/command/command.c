/* The list of subcommands, and the way to one of them, to its usage or to the program's. */
#include "command.h"
#include "lockstep/cpu.h"
#include "lockstep/log.h"
#include "lockstep/text.h"
#include "lockstep/version.h"

#include <stdio.h>
#include <string.h>

#define COMMAND(name) extern const Command command_##name;
#include "commands.def"
#undef COMMAND
static const Command *const commands[] = {
#define COMMAND(name) &command_##name,
#include "commands.def"
#undef COMMAND
};
enum { COMMANDS = sizeof commands / sizeof *commands };

const Command *const *command_all(int *count)
{
    *count = COMMANDS;
    return commands;
}

static const Command *find_command(const char *name)
{
    const char *names[COMMANDS];
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
        names[i] = commands[i]->name;
    }
    const char *nearest = text_nearest(name, names, COMMANDS);
    die_all(EXIT_USAGE, "unknown command \"%s\"%s%s%s; see `lockstep --help`", name,
            nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
}

/* The program's usage. */
static void write_usage(char *text, size_t size)
{
    snprintf(text, size,
             "usage: lockstep COMMAND [OPTION ...] [ARGUMENT ...]\n"
             "       mpirun -n RANKS lockstep train CONFIG [KEY=VALUE ...]\n"
             "\n");
    for (size_t i = 0; i < COMMANDS; i++)
        text_append(text, size, "%s", commands[i]->summary);
    text_append(text, size,
                "  help [COMMAND]                 this text, or a command's\n"
                "\n"
                "  -h, --help      -V, --version      -q, --quiet      -v, --verbose\n");
}

static void say_version(void)
{
    log_out("lockstep %s (%s)\n%s\nISA level %s on %s\nOpenBLAS core %s\n%s %s", version_string(),
            version_git(), comm_library(), cpu_isa_name(cpu_isa()), cpu_model(), cpu_blas_core(),
            version_compiler(), version_flags());
}

int command_run(Comm *comm, const Line *line)
{
    char usage[8192];
    write_usage(usage, sizeof usage);
    bool asks = line->count > 0 && strcmp(line->words[0], "help") == 0;
    const char *name = line->count > asks ? line->words[asks] : NULL;
    if (line_has(line, "--version")) {
        say_version();
        return EXIT_OK;
    }
    if (asks || line_has(line, "--help")) {
        const char *text = name ? find_command(name)->usage : usage;
        log_out("%.*s", (int)strlen(text) - 1, text); /* log_out ends the line */
        return EXIT_OK;
    }
    if (!name)
        die_all(EXIT_USAGE, "no command given\n\n%s", usage);
    const Command *command = find_command(name);
    line_check(line, command);
    return command->run(comm, line);
}
