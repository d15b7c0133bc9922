/* lockstep bench: where the time goes. */
#include "lockstep/bench.h"
#include "command.h"
#include "lockstep/cpu.h"
#include "lockstep/log.h"
#include "lockstep/text.h"

#include <string.h>

static const char usage[] =
    "usage: lockstep bench step CONFIG [KEY=VALUE ...]\n"
    "       mpirun -n RANKS lockstep bench reduce CONFIG [KEY=VALUE ...]\n"
    "       lockstep bench kernels [--filter TEXT]\n"
    "       mpirun -n RANKS lockstep bench comm [KEY=VALUE] [--tune FILE]\n"
    "       lockstep bench simulate [KEY=VALUE]\n"
    "\n"
    "step: trains the network of CONFIG for a few seconds and prints the time of each layer, "
    "forward\n"
    "and backward, its rate against the measured peak of a core or the bandwidth of its memory, "
    "the\n"
    "time of each phase of a step, the exposed reduction, and the memory of a rank.\n"
    "reduce: steps with the sum over the fixed tree, in the order of ranks and by MPI_Allreduce "
    "in\n"
    "turns, on one host: what the tree costs.\n"
    "kernels: times matrix products, convolutions, layers, losses, optimizers, functions, random\n"
    "numbers and digests by themselves on one core (rank 0), median, minimum and maximum, against "
    "the\n"
    "measured limits at every level of instructions and memory.\n"
    "comm: latency and bandwidth of every collective algorithm between hosts (on one host: "
    "between\n"
    "ranks) by size, checked, beside MPI_Allreduce and memcpy. KEY: min_bytes, max_bytes, factor, "
    "or\n"
    "an option of the section comm, such as comm.virtual_hosts=4 comm.inject_gbit=1.\n"
    "simulate: a training step on up to 4,096 members, event by event, with and without overlap, "
    "and\n"
    "by a formula. KEY: parameters, compute_ms, gbit, latency_us, bucket_mb, max_members, ...\n"
    "Nothing is written, but by --tune.\n"
    "\n"
    "  --tune FILE      comm: write which algorithms are fastest to FILE, for comm.table\n"
    "  --filter TEXT    kernels, comm: only those whose group or name contains TEXT\n"
    "  --seconds S      how long to measure: step, reduce (3), each kernel (0.1), each row (0.1)\n"
    "  --json           one JSON object instead of a table\n";

static const Flag flags[] = {
    { "--filter", true }, { "--seconds", true }, { "--tune", true },
    { "--json", false },  { NULL, false },
};

static double bench_seconds(const Line *line, double otherwise)
{
    const char *text = line_value(line, "--seconds");
    double seconds = otherwise;
    if (text && (!text_to_double(text, &seconds) || seconds <= 0))
        die_all(EXIT_USAGE, "bench: --seconds %s: a number above 0 is wanted", text);
    return seconds;
}

static int time_kernels(Comm *comm, const Line *line)
{
    Err err;
    if (line->count > 2)
        die_all(EXIT_USAGE, "bench kernels: takes no configuration, found \"%s\"", line->words[2]);
    bool ok = cpu_blas_setup("auto", &err) &&
              bench_kernels(line_value(line, "--filter"), bench_seconds(line, 0.1),
                            line_has(line, "--json"), &err);
    if (!comm_all_ok(comm, ok, &err))
        die_all(EXIT_USAGE, "%s", err.text);
    return EXIT_OK;
}

static int time_comm(Comm *comm, const Line *line)
{
    Err err;
    CommBenchRequest request = { .words = line->words + 2,
                                 .count = line->count - 2,
                                 .tune = line_value(line, "--tune"),
                                 .filter = line_value(line, "--filter"),
                                 .seconds = bench_seconds(line, 0.1),
                                 .json = line_has(line, "--json") };
    if (!bench_comm(comm, &request, &err))
        die_all(EXIT_USAGE, "%s", err.text);
    return EXIT_OK;
}

static int simulate_scaling(Comm *comm, const Line *line)
{
    Err err;
    bool ok = bench_simulate(line->words + 2, line->count - 2, line_has(line, "--json"), &err);
    if (!comm_all_ok(comm, ok, &err))
        die_all(EXIT_USAGE, "%s", err.text);
    return EXIT_OK;
}

/* Sums of other orders are there on one host only. */
static void check_host(const Trainer *trainer)
{
    const Settings *s = trainer->settings;
    bool plain = s->train.reduce == REDUCE_TREE && s->comm.wire == WIRE_FP32 &&
                 !trainer->compression.type && !trainer->local;
    if (trainer->group != trainer->comm || !plain)
        die_all(EXIT_USAGE, "bench reduce: ranks on one host and plain sums are wanted, without "
                            "train.reduce, train.local, comm.wire and comm.compress");
}

static int time_steps(Comm *comm, const Line *line, bool reduce)
{
    double seconds = bench_seconds(line, 3);
    bool json = line_has(line, "--json");
    Settings settings = { 0 };
    Trainer trainer;
    command_settings(comm, line->words[2], line->words + 3, line->count - 3, &settings);
    command_trainer(&trainer, &settings, comm);
    if (reduce)
        check_host(&trainer);
    bool ok = reduce ? bench_reduce(&trainer, seconds, json) : bench_step(&trainer, seconds, json);
    if (!ok)
        log_warn("training diverged, so nothing was measured: try a smaller optimizer.lr");
    trainer_free(&trainer);
    settings_free(&settings);
    return ok ? EXIT_OK : EXIT_DIVERGED;
}

static int bench(Comm *comm, const Line *line)
{
    if (line->count > 1 && strcmp(line->words[1], "simulate") == 0)
        return simulate_scaling(comm, line);
    if (line->count > 1 && strcmp(line->words[1], "comm") == 0)
        return time_comm(comm, line);
    if (line->count > 1 && strcmp(line->words[1], "kernels") == 0)
        return time_kernels(comm, line);
    bool reduce = line->count > 1 && strcmp(line->words[1], "reduce") == 0;
    if (line->count < 3 || (!reduce && strcmp(line->words[1], "step") != 0))
        die_all(EXIT_USAGE,
                "bench: what? for example: lockstep bench step configs/fashion_cnn.yaml");
    return time_steps(comm, line, reduce);
}

extern const Command command_bench;
const Command command_bench = {
    .name = "bench",
    .summary = "  bench step CONFIG [KEY=VALUE]  where the time of a training step goes\n"
               "  bench reduce CONFIG [KEY=VALUE] what the fixed order of the sum costs\n"
               "  bench kernels                  rates of the kernels by themselves, on one core\n"
               "  bench comm [KEY=VALUE]         collectives between ranks or hosts, by size\n"
               "  bench simulate [KEY=VALUE]     weak scaling on a network that is not there\n",
    .usage = usage,
    .flags = flags,
    .run = bench,
};
