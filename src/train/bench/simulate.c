/* `bench simulate`: weak scaling of a training step on a network that one can only imagine, with
 * and without overlap, by events and by formula. */
#include "bench_parts.h"

#include "lockstep/bench.h"
#include "lockstep/config.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/simulate.h"

#include <math.h>
#include <string.h>

typedef struct SimulateOptions {
    double parameters, compute_ms, forward_share, bucket_mb, update_bytes;
    double gbit, latency_us, overhead_us, memory_gb, nap_us;
    int min_members, max_members;
    char *reduce, *gather;
} SimulateOptions;

static const Option simulate_options[] = {
    { "parameters", OPTION_FLOAT, OPTION_AT(SimulateOptions, parameters), 1, 1e12, NULL, "25.6e6",
      "of the network, 4 bytes each" },
    { "compute_ms", OPTION_FLOAT, OPTION_AT(SimulateOptions, compute_ms), 0, 1e9, NULL, "100",
      "milliseconds of forward and backward" },
    { "forward_share", OPTION_FLOAT, OPTION_AT(SimulateOptions, forward_share), 0, 1, NULL,
      "0.3333333", "of that; gradients come evenly through the rest" },
    { "bucket_mb", OPTION_FLOAT, OPTION_AT(SimulateOptions, bucket_mb), 1e-3, 1e6, NULL, "4",
      "megabytes (10^6 bytes) of gradient that travel together" },
    { "update_bytes", OPTION_FLOAT, OPTION_AT(SimulateOptions, update_bytes), 0, 1e3, NULL, "28",
      "memory traffic of the optimizer, bytes a parameter (AdamW: 28)" },
    { "gbit", OPTION_FLOAT, OPTION_AT(SimulateOptions, gbit), 0, 1e6, NULL, "100",
      "Gbit/s of a network card, each way; 0: no limit" },
    { "latency_us", OPTION_FLOAT, OPTION_AT(SimulateOptions, latency_us), 0, 1e6, NULL, "5",
      "microseconds that a message is under way" },
    { "overhead_us", OPTION_FLOAT, OPTION_AT(SimulateOptions, overhead_us), 0, 1e6, NULL, "1",
      "microseconds that a message costs its sender" },
    { "memory_gb", OPTION_FLOAT, OPTION_AT(SimulateOptions, memory_gb), 0, 1e6, NULL, "50",
      "GB/s of a member's memory for additions and updates; 0: no limit" },
    { "nap_us", OPTION_FLOAT, OPTION_AT(SimulateOptions, nap_us), 0, 1e6, NULL, "0",
      "microseconds between two looks for messages while a member computes; 0: it notices all" },
    { "min_members", OPTION_INT, OPTION_AT(SimulateOptions, min_members), 1, 65536, NULL, "1",
      "members, doubled up to max_members" },
    { "max_members", OPTION_INT, OPTION_AT(SimulateOptions, max_members), 1, 65536, NULL, "4096",
      "the most members" },
    { "reduce", OPTION_STRING, OPTION_AT(SimulateOptions, reduce), 0, 0, NULL, "halving",
      "algorithm of the reduce-scatter" },
    { "gather", OPTION_STRING, OPTION_AT(SimulateOptions, gather), 0, 0, NULL, "halving",
      "algorithm of the all-gather" },
    OPTION_END,
};

typedef struct Simulated {
    int members;
    double overlap, alone, formula; /* seconds of a step: overlapped, not, overlapped by formula
                                       (0: it is for other algorithms) */
    double card, messages;          /* seconds of the busiest card; a member's */
} Simulated;

/* Gradients in order of backward; `ready` has room for the buckets. */
static void fill_ready(double *ready, int buckets, const SimulateOptions *options, bool overlap)
{
    double compute = 1e-3 * options->compute_ms;
    for (int k = 0; k < buckets; k++) {
        double backward = overlap ? (k + 1.0) / buckets : 1;
        ready[k] = compute * (options->forward_share + (1 - options->forward_share) * backward);
    }
}

static Simulated simulate_members(const SimulateOptions *options, int members)
{
    Network network = { .latency = 1e-6 * options->latency_us,
                        .overhead = 1e-6 * options->overhead_us,
                        .bytes_per_second = options->gbit / 8e-9,
                        .memory_bytes_per_second = 1e9 * options->memory_gb };
    int buckets = (int)ceil(options->parameters * 4e-6 / options->bucket_mb);
    double *ready = mem_array(double, buckets);
    SimulatedStep step = { .members = members,
                           .buckets = buckets,
                           .bucket_floats = (size_t)(options->parameters / buckets),
                           .ready = ready,
                           .reduce = collective_find(options->reduce),
                           .gather = collective_find(options->gather),
                           .update_bytes = options->update_bytes,
                           .busy = 1e-3 * options->compute_ms,
                           .nap = 1e-6 * options->nap_us };
    fill_ready(ready, buckets, options, false);
    SimulatedResult alone = simulate(&step, &network);
    fill_ready(ready, buckets, options, true);
    SimulatedResult overlap = simulate(&step, &network);
    bool halving = strcmp(options->reduce, "halving") == 0 && step.gather == step.reduce;
    Simulated result = { .members = members,
                         .overlap = overlap.seconds,
                         .alone = alone.seconds,
                         .formula = halving ? simulate_formula(&step, &network) : 0,
                         .card = overlap.card,
                         .messages = overlap.messages / members };
    mem_free(ready);
    return result;
}

static void report(const SimulateOptions *options, const Simulated *row, json_t *rows)
{
    double compute = 1e-3 * options->compute_ms;
    double error = row->formula > 0 ? 100 * (row->formula / row->overlap - 1) : 0;
    if (rows)
        json_array_append_new(
            rows, json_pack("{s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "members",
                            row->members, "overlap_ms", 1e3 * row->overlap, "efficiency_percent",
                            100 * compute / row->overlap, "alone_ms", 1e3 * row->alone,
                            "alone_efficiency_percent", 100 * compute / row->alone, "formula_ms",
                            1e3 * row->formula, "formula_error_percent", error, "card_ms",
                            1e3 * row->card, "messages", row->messages));
    else
        log_out("%8d %11.3f %8.2f %11.3f %8.2f %11.3f %8.2f %9.3f %9.0f", row->members,
                1e3 * row->overlap, 100 * compute / row->overlap, 1e3 * row->alone,
                100 * compute / row->alone, 1e3 * row->formula, error, 1e3 * row->card,
                row->messages);
}

static bool check_algorithm(const char *name, Err *err)
{
    return collective_find(name) ||
           err_set(err,
                   "bench simulate: \"%s\": no such algorithm; see `lockstep list collectives`",
                   name);
}

static bool run(const SimulateOptions *options, bool json, Err *err)
{
    if (!check_algorithm(options->reduce, err) || !check_algorithm(options->gather, err))
        return false;
    json_t *rows = json ? json_array() : NULL;
    if (!json)
        log_out("%8s %11s %8s %11s %8s %11s %8s %9s %9s", "members", "overlap ms", "eff %",
                "alone ms", "eff %", "formula ms", "error %", "card ms", "messages");
    for (int members = options->min_members; members <= options->max_members; members *= 2) {
        Simulated row = simulate_members(options, members);
        report(options, &row, rows);
    }
    if (json)
        bench_print_json(json_pack("{s:o}", "rows", rows));
    return true;
}

bool bench_simulate(const char *const *words, int count, bool json, Err *err)
{
    Config config = { 0 };
    SimulateOptions values = { 0 };
    bool ok = config_parse(&config, "bench simulate", "{}", 2, err);
    for (int i = 0; ok && i < count; i++)
        ok = config_override(&config, words[i], err);
    ok = ok && options_read(&config, config.root, simulate_options, NULL, &values, err);
    if (ok && log_get_rank() == 0)
        ok = run(&values, json, err);
    options_free(simulate_options, &values);
    config_free(&config);
    return ok;
}
