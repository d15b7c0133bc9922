/* `bench comm`: every collective by size, beside MPI_Allreduce and memcpy; and the table that
 * comm.table reads. */
#include "bench_parts.h"
#include "comm_parts.h"

#include "lockstep/bench.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/settings.h"
#include "lockstep/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

typedef struct BenchOptions {
    double min_bytes, max_bytes, factor;
    double latency_us, overhead_us, gbit, memory_gb; /* of the network that is assumed */
} BenchOptions;

static const Option bench_options[] = {
    { "min_bytes", OPTION_FLOAT, OPTION_AT(BenchOptions, min_bytes), 64, 1e12, NULL, "1024",
      "the smallest size" },
    { "max_bytes", OPTION_FLOAT, OPTION_AT(BenchOptions, max_bytes), 64, 1e12, NULL, "16777216",
      "the largest size" },
    { "factor", OPTION_FLOAT, OPTION_AT(BenchOptions, factor), 1.1, 1e6, NULL, "4",
      "from size to size" },
    { "latency_us", OPTION_FLOAT, OPTION_AT(BenchOptions, latency_us), 0, 1e6, NULL, "0",
      "with gbit: simulate every row on such a network; 0: that of comm.inject_delay_us" },
    { "gbit", OPTION_FLOAT, OPTION_AT(BenchOptions, gbit), 0, 1e6, NULL, "0",
      "see latency_us; 0: that of comm.inject_gbit" },
    { "overhead_us", OPTION_FLOAT, OPTION_AT(BenchOptions, overhead_us), 0, 1e6, NULL, "5",
      "of that network: microseconds that a message costs its sender" },
    { "memory_gb", OPTION_FLOAT, OPTION_AT(BenchOptions, memory_gb), 0, 1e6, NULL, "10",
      "of its members: GB/s of additions and copies" },
    OPTION_END,
};

static void report(const CommBench *bench, const CommRow *row)
{
    char size[32];
    double rate = row->median > 0 ? 1e-9 * (double)row->bytes / row->median : 0;
    char simulated[64] = "";
    if (row->simulated > 0)
        snprintf(simulated, sizeof simulated, "%11.1f %7.1f", 1e6 * row->simulated,
                 100 * (row->simulated / row->median - 1));
    if (bench->rows)
        json_array_append_new(
            bench->rows,
            json_pack("{s:s, s:s, s:i, s:I, s:f, s:f, s:f, s:i, s:f, s:f, s:f}", "what", row->what,
                      "algorithm", row->algorithm, "members", row->members, "bytes",
                      (json_int_t)row->bytes, "min_us", 1e6 * row->min, "median_us",
                      1e6 * row->median, "max_us", 1e6 * row->max, "repeats", row->repeats,
                      "algbw_gb_per_second", rate, "busbw_gb_per_second", rate * row->bus_factor,
                      "simulated_us", 1e6 * row->simulated));
    else if (!bench->silent)
        log_out("  %10s  %-14s %-14s %11.1f %11.1f %11.1f %9.3f %9.3f %s",
                text_bytes(size, sizeof size, (double)row->bytes), row->what, row->algorithm,
                1e6 * row->min, 1e6 * row->median, 1e6 * row->max, rate, rate * row->bus_factor,
                simulated);
}

static double simulate_row(const CommBench *bench, const CollectiveAlgorithm *algorithm,
                           CollectiveKind kind, size_t bytes)
{
    double ready = 0;
    SimulatedStep step = { .members = comm_size(bench->comm),
                           .buckets = 1,
                           .bucket_floats = bytes / sizeof(float),
                           .ready = &ready,
                           .reduce = kind == COLLECTIVE_ALL_GATHER ? NULL : algorithm,
                           .gather = kind == COLLECTIVE_REDUCE_SCATTER ? NULL : algorithm };
    return simulate(&step, &bench->network).seconds;
}

/* The network that rows are simulated on: what is asked for, else what is injected. */
static void assume_network(CommBench *bench, const BenchOptions *options,
                           const CommSettings *settings)
{
    double delay = settings->inject_delay_us + settings->inject_jitter_us / 2;
    double latency = options->latency_us > 0 ? options->latency_us : delay;
    double gbit = options->gbit > 0 ? options->gbit : settings->inject_gbit;
    bench->simulates = latency > 0 || gbit > 0;
    bench->network = (Network){ .latency = 1e-6 * latency,
                                .overhead = 1e-6 * options->overhead_us,
                                .bytes_per_second = gbit / 8e-9,
                                .memory_bytes_per_second = 1e9 * options->memory_gb };
}

/* All algorithms at one size; fastest[kind] gets their names, rank 0's opinion. */
static bool measure_size(CommBench *bench, size_t bytes, const char *fastest[COLLECTIVE_KINDS],
                         Err *err)
{
    int count;
    CommRow row;
    const CollectiveAlgorithm *const *all = collective_all(&count);
    for (CollectiveKind kind = 0; kind < COLLECTIVE_KINDS; kind++) {
        double best = 0;
        for (int i = 0; i < count; i++) {
            if (!comm_measure(bench, all[i], kind, bytes, &row, err))
                return false;
            if (bench->simulates && comm_rank(bench->comm) == 0)
                row.simulated = simulate_row(bench, all[i], kind, bytes);
            report(bench, &row);
            if (i == 0 || row.median < best) {
                best = row.median;
                fastest[kind] = all[i]->name;
            }
        }
    }
    return true;
}

static bool measure_all(CommBench *bench, const BenchOptions *sizes, Err *err)
{
    const char *fastest[COLLECTIVE_KINDS];
    CommRow row;
    for (double size = sizes->min_bytes; size <= sizes->max_bytes; size *= sizes->factor) {
        size_t bytes = (size_t)size;
        if (!measure_size(bench, bytes, fastest, err))
            return false;
        comm_measure_fast(bench, bytes, &row);
        report(bench, &row);
        comm_measure_copy(bench, bytes, &row);
        report(bench, &row);
    }
    return true;
}

/* ---- the table ---- */

static bool tune_members(CommBench *bench, const BenchOptions *sizes, FILE *file, Err *err)
{
    const char *fastest[COLLECTIVE_KINDS];
    for (double size = sizes->min_bytes; size <= sizes->max_bytes; size *= sizes->factor) {
        if (!measure_size(bench, (size_t)size, fastest, err))
            return false;
        for (CollectiveKind kind = 0; kind < COLLECTIVE_KINDS && file; kind++)
            fprintf(file, "%s %d %.0f %s\n", collective_kind_name(kind), comm_size(bench->comm),
                    size, fastest[kind]);
    }
    return true;
}

/* Every number of members that there can be, from two on. */
static bool tune(CommBench *bench, const BenchOptions *sizes, const char *path, Err *err)
{
    Comm *whole = bench->comm;
    FILE *file = comm_rank(whole) == 0 ? fopen(path, "w") : NULL;
    bool ok = comm_rank(whole) != 0 || file || err_set(err, "%s: %s", path, strerror(errno));
    if (!comm_all_ok(whole, ok, err))
        return false;
    if (file)
        fprintf(file, "# fastest algorithms, from lockstep bench comm --tune\n"
                      "# kind, members, bytes, algorithm\n");
    bench->silent = true;
    for (int members = 2; members <= comm_size(whole) && ok; members++) {
        bool in = comm_rank(whole) < members;
        bench->comm = comm_split(whole, in ? 0 : 1);
        ok = !in || tune_members(bench, sizes, file, err);
        comm_free(bench->comm);
        ok = comm_all_ok(whole, ok, err);
    }
    bench->comm = whole;
    if (file && (ferror(file) | fclose(file)) && ok)
        ok = err_set(err, "%s: cannot be written", path);
    ok = comm_all_ok(whole, ok, err);
    if (ok)
        log_info("%s: written; use it with comm.table=%s", path, path);
    return ok;
}

/* ---- the command ---- */

/* One member a host, as between hosts; on one host every rank is one. */
static bool is_member(const Comm *comm)
{
    int rank = comm_rank(comm);
    bool first = true;
    for (int other = 0; other < rank; other++)
        first &= comm_host_index(comm, other) != comm_host_index(comm, rank);
    return first || comm_hosts(comm) == 1;
}

static bool run_members(CommBench *bench, const BenchOptions *sizes,
                        const CommBenchRequest *request, Err *err)
{
    if (request->tune)
        return tune(bench, sizes, request->tune, err);
    if (!bench->rows)
        log_out("%d members, times in microseconds, rates in GB/s\n  %10s  %-14s %-14s %11s %11s "
                "%11s %9s %9s %s",
                comm_size(bench->comm), "bytes", "what", "algorithm", "min", "median", "max",
                "algbw", "busbw", bench->simulates ? "  simulated error %" : "");
    bool ok = measure_all(bench, sizes, err);
    if (ok && bench->rows)
        bench_print_json(json_pack("{s:i, s:s, s:O}", "members", comm_size(bench->comm), "library",
                                   comm_library(), "rows", bench->rows));
    return ok;
}

static bool read_words(Config *config, const CommBenchRequest *request, BenchOptions *sizes,
                       CommSettings *settings, Err *err)
{
    static const char *const other[] = { "comm", NULL };
    bool ok = config_parse(config, "bench comm", "{}", 2, err);
    for (int i = 0; ok && i < request->count; i++)
        ok = config_override(config, request->words[i], err);
    return ok && options_read(config, config->root, bench_options, other, sizes, err) &&
           settings_read_comm(config, settings, err);
}

bool bench_comm(Comm *comm, const CommBenchRequest *request, Err *err)
{
    Config config = { 0 };
    BenchOptions sizes;
    CommSettings settings = { 0 };
    bool ok = read_words(&config, request, &sizes, &settings, err);
    ok = ok && settings_apply_comm(&settings, comm, err);
    if (ok) {
        bool in = is_member(comm);
        CommBench bench = { .comm = comm_split(comm, in ? 0 : 1),
                            .seconds = request->seconds,
                            .rows = request->json ? json_array() : NULL };
        assume_network(&bench, &sizes, &settings);
        ok = !in || run_members(&bench, &sizes, request, err);
        json_decref(bench.rows);
        comm_free(bench.comm);
        ok = comm_all_ok(comm, ok, err);
    }
    settings_free_comm(&settings);
    config_free(&config);
    return ok;
}
