/* lockstep report: one page about runs or a study. */
#include "lockstep/report.h"
#include "command.h"
#include "lockstep/log.h"

#include <string.h>

static const char usage[] =
    "usage: lockstep report RUN|STUDY [RUN ...] [--against REFERENCE] [--target accuracy=0.9]\n"
    "                       [--out FILE.html] [--pictures FOLDER]\n"
    "\n"
    "One HTML page that needs nothing else, and a table beside it (.csv). RUN: a run folder, or a\n"
    "folder of runs. STUDY: a study folder, or its trials.csv. Default: report.html in that "
    "folder;\n"
    "several runs: in the current folder.\n"
    "\n"
    "--against REFERENCE  did this slow convergence? Tests the runs or the arms of the study "
    "against\n"
    "                     those of REFERENCE (may be given several times). Exit code 1: slower.\n"
    "--target WHAT        accuracy=NUMBER or loss=NUMBER: compare runs by their steps to it\n"
    "--pictures FOLDER    the pictures as files too (SVG)\n"
    "\n"
    "Pictures are made by gnuplot (Debian package gnuplot-nox).\n";

static const Flag flags[] = {
    { "--against", true },  { "--target", true }, { "--out", true },
    { "--pictures", true }, { NULL, false },
};

/* Every value of a flag that may be given several times. */
static int all_values(const Line *line, const char *flag, const char *values[LINE_MAX_WORDS])
{
    int count = 0;
    for (int i = 0; i < line->flag_count; i++)
        if (strcmp(line->flags[i].name, flag) == 0)
            values[count++] = line->flags[i].value;
    return count;
}

static int report(Comm *comm, const Line *line)
{
    (void)comm;
    Err err;
    const char *against[LINE_MAX_WORDS], *target = line_value(line, "--target");
    bool slower = false;
    ReportRequest request = { .paths = line->words + 1,
                              .count = line->count - 1,
                              .against = against,
                              .against_count = all_values(line, "--against", against),
                              .out = line_value(line, "--out"),
                              .pictures = line_value(line, "--pictures") };
    if (request.count < 1)
        die_all(EXIT_USAGE, "report: which runs or study? for example: lockstep report runs/a");
    if (target && !report_target(target, &request.target, &err))
        die_all(EXIT_USAGE, "report: %s", err.text);
    if (log_get_rank() == 0 && !report_write(&request, &slower, &err))
        die_all(EXIT_CHECKPOINT, "report: %s", err.text);
    return slower ? 1 : EXIT_OK;
}

extern const Command command_report;
const Command command_report = {
    .name = "report",
    .summary = "  report RUN|STUDY [...]         one page with curves, tables, verdict\n",
    .usage = usage,
    .flags = flags,
    .run = report,
};
