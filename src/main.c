/* The program: what its command line says (src/command), on every rank. */
#include "command/command.h"
#include "lockstep/cpu.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    Comm *comm = comm_init(&argc, &argv);
    Line line;
    Err err;
    if (!cpu_is_supported(&err))
        die(EXIT_USAGE, "%s", err.text);
    line_parse(&line, argc, argv);
    int code = command_run(comm, &line);
    fflush(NULL);
    comm_free(comm);
    return code;
}
