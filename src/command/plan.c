/* lockstep plan: how a training step would scale. */
#include "command.h"
#include "lockstep/forecast.h"
#include "lockstep/text.h"

static const char usage[] =
    "usage: lockstep plan CONFIG [KEY=VALUE ...] [--ranks 1,2,4] [--ranks-per-host N]\n"
    "                     [--network NAME|KEY=VALUE,...] [--scaling weak|strong]\n"
    "\n"
    "Predicts the step of CONFIG on a cluster that is not there: time, efficiency, samples a "
    "second,\n"
    "where the time goes, memory and traffic of a host. Computing is measured on the ranks of "
    "this\n"
    "job (one, or mpirun's on one host) for a few seconds; what travels between hosts is "
    "simulated,\n"
    "and estimated by a formula beside it. docs/scaling.md says what is assumed.\n"
    "\n"
    "  --ranks LIST         rank counts (1,2,4,...,4096)\n"
    "  --ranks-per-host N   as many as this job has, unless said otherwise\n"
    "  --network NETWORK    1gbit-ethernet, 10gbit-ethernet, 25gbit-ethernet, 100gbit-ethernet,\n"
    "                       100gbit-roce (the default), 100gbit-infiniband, 200gbit-infiniband; "
    "or\n"
    "                       latency_us=5,overhead_us=1,gbit=100,core_gb=0,memory_gb=50; or both\n"
    "  --scaling weak       the batch grows with the ranks (the default)\n"
    "            strong     the batch stays, and train.lanes is the most ranks\n"
    "  --compute-ms MS      forward and backward of the config's batch on this job's ranks, "
    "instead\n"
    "                       of measuring\n"
    "  --seconds S          how long to measure (3)\n"
    "  --json, --csv        for programs\n";

static const Flag flags[] = {
    { "--ranks", true },   { "--ranks-per-host", true }, { "--network", true },
    { "--scaling", true }, { "--compute-ms", true },     { "--seconds", true },
    { "--json", false },   { "--csv", false },           { NULL, false },
};

static int run(Comm *comm, const Line *line)
{
    const char *seconds = line_value(line, "--seconds");
    ForecastRequest request = { .ranks = line_value(line, "--ranks"),
                                .ranks_per_host = line_value(line, "--ranks-per-host"),
                                .network = line_value(line, "--network"),
                                .scaling = line_value(line, "--scaling"),
                                .compute_ms = line_value(line, "--compute-ms"),
                                .seconds = 3,
                                .json = line_has(line, "--json"),
                                .csv = line_has(line, "--csv") };
    Settings settings = { 0 };
    ForecastPlan plan;
    Trainer trainer;
    Err err;
    if (line->count < 2)
        die_all(EXIT_USAGE, "plan: for which configuration? for example: lockstep plan "
                            "configs/fashion_cnn.yaml");
    if (seconds && (!text_to_double(seconds, &request.seconds) || !(request.seconds > 0)))
        die_all(EXIT_USAGE, "plan: --seconds %s: a number above 0 is wanted", seconds);
    command_settings(comm, line->words[1], line->words + 2, line->count - 2, &settings);
    if (!forecast_prepare(&request, comm, &settings, &plan, &err))
        die_all(EXIT_USAGE, "%s", err.text);
    command_trainer(&trainer, &settings, comm);
    if (!forecast_run(&trainer, &plan, &request, &err))
        die_all(EXIT_USAGE, "%s", err.text);
    trainer_free(&trainer);
    settings_free(&settings);
    return EXIT_OK;
}

extern const Command command_plan;
const Command command_plan = {
    .name = "plan",
    .summary = "  plan CONFIG [KEY=VALUE]        how a step would scale on a cluster, predicted\n",
    .usage = usage,
    .flags = flags,
    .run = run,
};
