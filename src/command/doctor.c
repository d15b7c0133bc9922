/* lockstep doctor: what training will find here; and what a run leaves behind for whoever looks for
 * its end. */
#include "lockstep/doctor.h"
#include "command.h"

#include "lockstep/text.h"

static const char usage[] =
    "usage: lockstep doctor [--json]\n"
    "       mpirun -n RANKS lockstep doctor [--json]\n"
    "       lockstep doctor --postmortem RUN\n"
    "\n"
    "Looks at every host with the ranks that mpirun starts, as `train` would find them: binding, "
    "CPU,\n"
    "kernels, memory, MPI; measures shared memory and messages for a second or two; names known "
    "traps\n"
    "with what helps (docs/doctor.md).\n"
    "\n"
    "  --seconds S        how long to measure (1)\n"
    "  --json             one JSON object instead of a page\n"
    "  --postmortem RUN   where each rank of a run was last: host, pid, and the last places in "
    "its\n"
    "                     steps, from RUN/watch.bin, which survives ranks that were killed\n"
    "\n"
    "Exit codes: 0 training can work (there may be warnings), 2 command line, 4 no such run, 6 "
    "ranks do\n"
    "not reach each other, 7 ranks differ in what has to be equal.\n";

static const Flag flags[] = {
    { "--postmortem", true },
    { "--seconds", true },
    { "--json", false },
    { NULL, false },
};

/* Rank 0 does it; the others wait for its answer. */
static int look_back(Comm *comm, const char *run)
{
    struct {
        bool ok;
        Err err;
    } answer = { .ok = true };
    if (comm_rank(comm) == 0)
        answer.ok = trainer_postmortem(run, &answer.err);
    comm_broadcast(comm, &answer, sizeof answer, 0);
    if (!answer.ok)
        die_all(EXIT_CHECKPOINT, "%s", answer.err.text);
    return EXIT_OK;
}

static int doctor(Comm *comm, const Line *line)
{
    const char *run = line_value(line, "--postmortem"), *text = line_value(line, "--seconds");
    bool json = line_has(line, "--json");
    double seconds = 1;
    if (line->count > 1)
        die_all(EXIT_USAGE, "doctor: takes no arguments, found \"%s\"", line->words[1]);
    if (run && (json || text))
        die_all(EXIT_USAGE, "doctor: --postmortem goes with no other option");
    if (text && (!text_to_double(text, &seconds) || seconds <= 0))
        die_all(EXIT_USAGE, "doctor: --seconds %s: a number above 0 is wanted", text);
    return run ? look_back(comm, run) : doctor_examine(comm, seconds, json);
}

extern const Command command_doctor;
const Command command_doctor = {
    .name = "doctor",
    .summary = "  doctor                         hosts, binding, kernels, links, known traps\n"
               "  doctor --postmortem RUN        where each rank of a run was last\n",
    .usage = usage,
    .flags = flags,
    .run = doctor,
};
