/* What commands about an experiment begin with: its settings, and a trainer. */
#include "command.h"
#include "lockstep/memory.h"

#include <signal.h>
#include <string.h>

extern char **environ;

char *command_read(Comm *comm, const char *path, size_t *bytes)
{
    char *text = NULL;
    Err err;
    bool ok = comm_rank(comm) != 0 || config_file(path, &text, bytes, &err);
    if (!comm_all_ok(comm, ok, &err))
        die_all(EXIT_USAGE, "%s", err.text);
    comm_broadcast_text(comm, &text, bytes);
    return text;
}

char *command_environment(Comm *comm, char *list[COMMAND_MAX_VARIABLES])
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
        if (count == COMMAND_MAX_VARIABLES - 1)
            die_all(EXIT_USAGE, "environment: more than %d LOCKSTEP_ variables", count);
        list[count++] = text + at;
    }
    list[count] = NULL;
    return text;
}

void command_settings(Comm *comm, const char *path, const char *const *overrides, int count,
                      Settings *settings)
{
    Err err;
    size_t bytes, known_count;
    char *variables[COMMAND_MAX_VARIABLES];
    char *text = command_read(comm, path, &bytes);
    char *environment = command_environment(comm, variables);
    char **known = settings_paths(&known_count);
    bool ok = config_parse(&settings->config, path, text, bytes, &err) &&
              config_environment(&settings->config, variables, (const char *const *)known,
                                 known_count, NULL, &err);
    for (int i = 0; ok && i < count; i++)
        ok = config_override(&settings->config, overrides[i], &err);
    ok = ok && settings_read(settings, &err) && settings_apply_compute(settings, &err);
    settings_paths_free(known);
    mem_free(environment);
    mem_free(text);
    if (!comm_all_ok(comm, ok, &err)) /* a host may lack a kernel level that others have */
        die_all(EXIT_USAGE, "%s", err.text);
}

void command_trainer(Trainer *trainer, Settings *settings, Comm *comm)
{
    Err err;
    int code;
    if (!trainer_init(trainer, settings, comm, &code, &err))
        die_all(code, "%s", err.text);
}

void command_catch_signals(void)
{
    signal(SIGINT, trainer_request_stop);
    signal(SIGTERM, trainer_request_stop);
    signal(SIGUSR1, trainer_request_stop); /* mpirun hands on only this one */
}
