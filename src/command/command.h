/* Subcommands of the program: a file each, and a line in commands.def. A command says what it is
 * for and which flags it takes; its `run` does it and returns the exit code. */
#ifndef LOCKSTEP_COMMAND_COMMAND_H
#define LOCKSTEP_COMMAND_COMMAND_H

#include "lockstep/comm.h"
#include "lockstep/settings.h"
#include "lockstep/trainer.h"

#define LINE_MAX_WORDS 256

typedef struct Flag {
    const char *name; /* "--out" */
    bool has_value;   /* `--out PREFIX` or `--out=PREFIX` */
} Flag;

/* A command line taken apart: flags, wherever they stand, and the other words in order. Everything
 * is borrowed from argv. */
typedef struct Line {
    int argc;
    char **argv;
    const char *words[LINE_MAX_WORDS]; /* the command first */
    int count;
    struct LineFlag {
        const char *name, *value; /* the value, or NULL */
    } flags[LINE_MAX_WORDS];
    int flag_count;
} Line;

typedef struct Command {
    const char *name;
    const char *summary; /* its lines of the program's usage */
    const char *usage;
    const Flag *flags; /* end with a NULL name; beside those of every command */
    int (*run)(Comm *comm, const Line *line);
} Command;

/* All of commands.def, in its order. */
const Command *const *command_all(int *count);

/* Flags that nobody takes, and values that are missing, are fatal, once for all ranks; sets the
 * level of the log. */
void line_parse(Line *line, int argc, char **argv);

/* Fatal if a flag was given that is not the command's. */
void line_check(const Line *line, const Command *command);

bool line_has(const Line *line, const char *flag);
const char *line_value(const Line *line, const char *flag); /* NULL: not given */

/* Does what the line says; returns the exit code. */
int command_run(Comm *comm, const Line *line);

/* Rank 0 reads the file, everybody gets it; errors are fatal. Caller frees. Collective. */
char *command_read(Comm *comm, const char *path, size_t *bytes);

/* The LOCKSTEP_* variables of rank 0's environment, the same on every rank: mpirun hands variables
 * to other hosts only when told to. The text is the caller's, `list` points into it and ends with
 * NULL. Collective. */
#define COMMAND_MAX_VARIABLES 256
char *command_environment(Comm *comm, char *list[COMMAND_MAX_VARIABLES]);

/* File, environment and command line (`count` overrides) become settings, kernels are chosen; every
 * rank sees the same errors, which are fatal. Collective. */
void command_settings(Comm *comm, const char *path, const char *const *overrides, int count,
                      Settings *settings);

/* From now on INT, TERM and USR1 ask for an orderly end after the step in hand. */
void command_catch_signals(void);

/* trainer_init; errors are fatal. Collective. */
void command_trainer(Trainer *trainer, Settings *settings, Comm *comm);

#endif
