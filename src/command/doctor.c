/* lockstep doctor: what a run leaves behind for whoever looks for its end. */
#include "command.h"

static const char usage[] =
    "usage: lockstep doctor --postmortem RUN\n"
    "\n"
    "Where each rank of a run was last: host, pid, and the last places in its steps. The file that "
    "says\n"
    "so (RUN/watch.bin) survives ranks that were killed.\n";

static const Flag flags[] = {
    { "--postmortem", true },
    { NULL, false },
};

/* Rank 0 does it; the others wait for its answer. */
static int doctor(Comm *comm, const Line *line)
{
    struct {
        bool ok;
        Err err;
    } answer = { .ok = true };
    const char *run = line_value(line, "--postmortem");
    if (!run || line->count > 1)
        die_all(EXIT_USAGE, "doctor: --postmortem RUN is wanted");
    if (comm_rank(comm) == 0)
        answer.ok = trainer_postmortem(run, &answer.err);
    comm_broadcast(comm, &answer, sizeof answer, 0);
    if (!answer.ok)
        die_all(EXIT_CHECKPOINT, "%s", answer.err.text);
    return EXIT_OK;
}

extern const Command command_doctor;
const Command command_doctor = {
    .name = "doctor",
    .summary = "  doctor --postmortem RUN        where each rank of a run was last\n",
    .usage = usage,
    .flags = flags,
    .run = doctor,
};
