/* `bench kernels`: runs the groups of kernels, keeps those that are asked for, reports each. */
#include "bench_parts.h"

#include "lockstep/bench.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/random.h"
#include "lockstep/text.h"

#include <stdio.h>
#include <string.h>

#define PATTERN ((size_t)1 << 16) /* floats */

struct KernelBench {
    const char *filter; /* or NULL */
    double seconds;     /* per row */
    json_t *rows;       /* NULL: a table */
    Limits limits;
    bool counting; /* nothing is measured yet */
    int wanted;
    char group[32], name[96]; /* of the kernel in hand */
    char printed[32];         /* the group whose heading was printed last */
};

static void (*const groups[])(KernelBench *bench) = { kernels_products, kernels_layers,
                                                      kernels_losses, kernels_updates,
                                                      kernels_arrays };

bool kernel_wanted(KernelBench *bench, const char *group, const char *name)
{
    if (bench->filter && !strcasestr(group, bench->filter) && !strcasestr(name, bench->filter))
        return false;
    bench->wanted++;
    snprintf(bench->group, sizeof bench->group, "%s", group);
    snprintf(bench->name, sizeof bench->name, "%s", name);
    return !bench->counting;
}

bool kernel_named(const KernelBench *bench, const char *text)
{
    return bench->filter && strcasestr(bench->filter, text);
}

float *kernel_numbers(size_t n)
{
    float *x = mem_array(float, n);
    size_t have = n < PATTERN ? n : PATTERN;
    random_fill_normal(random_key(1, RANDOM_TEST, 0, 0), 0, x, have);
    for (size_t i = have; i < n; i += have)
        memcpy(x + i, x, (n - i < have ? n - i : have) * sizeof *x);
    return x;
}

/* A row of the report: the work's rates, 0 where they do not apply. */
typedef struct KernelRates {
    double flops, bytes, elements; /* a second */
    double peak_percent, bandwidth_percent;
    const char *memory; /* whose bandwidth */
} KernelRates;

static KernelRates rates_of(const KernelBench *bench, const KernelWork *work, double seconds)
{
    size_t footprint = work->footprint ? work->footprint : (size_t)work->bytes;
    const MemoryLimit *memory =
        work->memory ? work->memory : limits_memory(&bench->limits, footprint);
    double calls = seconds > 0 ? 1 / seconds : 0; /* a second */
    KernelRates rates = { .flops = work->flops * calls,
                          .bytes = work->bytes * calls,
                          .elements = work->elements * calls,
                          .memory = memory->name };
    rates.peak_percent = 100 * rates.flops / limits_peak(&bench->limits);
    rates.bandwidth_percent = 100 * rates.bytes / limits_bandwidth(memory, work->in_place);
    return rates;
}

static void print_row(KernelBench *bench, const char *name, const Timing *time,
                      const KernelWork *work, const KernelRates *rates)
{
    char text[128] = "";
    if (strcmp(bench->printed, bench->group) != 0)
        log_out("\n%-60s %9s %9s %9s", bench->group, "median ms", "min", "max");
    memcpy(bench->printed, bench->group, sizeof bench->printed);
    if (work->flops > 0)
        text_append(text, sizeof text, "%8.1f GFLOP/s %4.0f %% of peak", 1e-9 * rates->flops,
                    rates->peak_percent);
    if (work->bytes > 0)
        text_append(text, sizeof text, "%8.1f GB/s    %4.0f %% of %s", 1e-9 * rates->bytes,
                    rates->bandwidth_percent, rates->memory);
    if (work->elements > 0 && work->nanoseconds)
        text_append(text, sizeof text, "  %.3f ns a parameter", 1e9 / rates->elements);
    else if (work->elements > 0)
        text_append(text, sizeof text, "  %.3f Gelem/s", 1e-9 * rates->elements);
    log_out("  %-58s %9.4f %9.4f %9.4f  %s", name, 1e3 * time->median, 1e3 * time->min,
            1e3 * time->max, text);
}

static void add_real(json_t *row, bool applies, const char *key, double value)
{
    if (applies)
        json_object_set_new(row, key, json_real(value));
}

static void add_row(KernelBench *bench, const char *name, const Timing *time,
                    const KernelWork *work, const KernelRates *rates)
{
    json_t *row = json_pack("{s:s, s:s, s:f, s:f, s:f, s:i}", "group", bench->group, "kernel", name,
                            "median_ms", 1e3 * time->median, "min_ms", 1e3 * time->min, "max_ms",
                            1e3 * time->max, "repeats", time->repeats);
    add_real(row, work->flops > 0, "gflops", 1e-9 * rates->flops);
    add_real(row, work->flops > 0, "peak_percent", rates->peak_percent);
    add_real(row, work->bytes > 0, "gb_per_second", 1e-9 * rates->bytes);
    add_real(row, work->bytes > 0, "bandwidth_percent", rates->bandwidth_percent);
    if (work->bytes > 0)
        json_object_set_new(row, "bandwidth_of", json_string(rates->memory));
    add_real(row, work->elements > 0, "gelements_per_second", 1e-9 * rates->elements);
    json_array_append_new(bench->rows, row);
}

void kernel_measure(KernelBench *bench, const char *part, const KernelWork *work,
                    void (*run)(void *), void (*less)(void *), void *context)
{
    char name[160];
    snprintf(name, sizeof name, "%s%s%s", bench->name, *part ? " " : "", part);
    Timing time = bench_time(bench->seconds, run, less, context);
    KernelRates rates = rates_of(bench, work, time.median);
    if (bench->rows)
        add_row(bench, name, &time, work, &rates);
    else
        print_row(bench, name, &time, work, &rates);
}

static void run_groups(KernelBench *bench)
{
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        groups[i](bench);
}

static void report(KernelBench *bench)
{
    limits_measure(&bench->limits);
    if (!bench->rows) {
        log_out("%s, %s, OpenBLAS %s", cpu_model(), cpu_isa_name(cpu_isa()), cpu_blas_core());
        limits_print(&bench->limits);
    }
    run_groups(bench);
    if (bench->rows)
        bench_print_json(json_pack("{s:s, s:s, s:s, s:o, s:O}", "cpu", cpu_model(), "isa",
                                   cpu_isa_name(cpu_isa()), "blas_core", cpu_blas_core(), "limits",
                                   limits_json(&bench->limits), "kernels", bench->rows));
}

bool bench_kernels(const char *filter, double seconds, bool json, Err *err)
{
    KernelBench bench = { .filter = filter, .seconds = seconds, .counting = true };
    run_groups(&bench);
    if (bench.wanted == 0)
        return err_set(err,
                       "bench kernels: no kernel's name contains \"%s\"; without --filter all "
                       "are shown",
                       filter);
    if (log_get_rank() != 0)
        return true;
    bench.counting = false;
    bench.rows = json ? json_array() : NULL;
    report(&bench);
    json_decref(bench.rows);
    return true;
}
