/* What `lockstep plan` prints: tables, CSV or JSON. */
#include "parts.h"

#include "../bench/bench_parts.h"

#include "lockstep/log.h"
#include "lockstep/text.h"

#include <stdio.h>

/* Columns of CSV and JSON. */
static const struct Column {
    const char *name;
    size_t offset;
    double unit;
} columns[] = {
    { "batch", offsetof(Forecast, samples), 1 },
    { "step_ms", offsetof(Forecast, step), 1e3 },
    { "efficiency_percent", offsetof(Forecast, efficiency), 100 },
    { "samples_per_second", offsetof(Forecast, rate), 1 },
    { "load_ms", offsetof(Forecast, load), 1e3 },
    { "forward_ms", offsetof(Forecast, forward), 1e3 },
    { "backward_ms", offsetof(Forecast, backward), 1e3 },
    { "fold_ms", offsetof(Forecast, fold), 1e3 },
    { "helping_ms", offsetof(Forecast, helping), 1e3 },
    { "exposed_ms", offsetof(Forecast, exposed), 1e3 },
    { "hidden_ms", offsetof(Forecast, hidden), 1e3 },
    { "reports_ms", offsetof(Forecast, reports), 1e3 },
    { "update_ms", offsetof(Forecast, update), 1e3 },
    { "wait_ms", offsetof(Forecast, wait), 1e3 },
    { "formula_ms", offsetof(Forecast, formula), 1e3 },
    { "memory_bytes_per_host", offsetof(Forecast, memory), 1 },
    { "sent_bytes_per_host", offsetof(Forecast, sent), 1 },
};
enum { COLUMNS = sizeof columns / sizeof *columns };

static double value(const Forecast *row, const struct Column *column)
{
    return *(const double *)(const void *)((const char *)row + column->offset) * column->unit;
}

static void print_csv(const ForecastPlan *plan, const Forecast *rows)
{
    char line[1024] = "ranks,hosts";
    for (int c = 0; c < COLUMNS; c++)
        text_append(line, sizeof line, ",%s", columns[c].name);
    log_out("%s", line);
    for (int i = 0; i < plan->count; i++) {
        snprintf(line, sizeof line, "%d,%d", rows[i].ranks, rows[i].hosts);
        for (int c = 0; c < COLUMNS; c++)
            text_append(line, sizeof line, rows[i].possible ? ",%.6g" : ",",
                        value(&rows[i], &columns[c]));
        log_out("%s", line);
    }
}

static void print_json(const ForecastPlan *plan, const Trainer *t, const Forecast *rows)
{
    json_t *list = json_array();
    for (int i = 0; i < plan->count; i++) {
        json_t *row = json_pack("{s:i, s:i, s:b}", "ranks", rows[i].ranks, "hosts", rows[i].hosts,
                                "possible", rows[i].possible);
        for (int c = 0; c < COLUMNS && rows[i].possible; c++)
            json_object_set_new(row, columns[c].name, json_real(value(&rows[i], &columns[c])));
        json_array_append_new(list, row);
    }
    bench_print_json(
        json_pack("{s:s, s:s, s:s, s:i, s:i, s:o}", "name", t->settings->name, "network",
                  plan->network_text, "scaling", plan->strong ? "strong" : "weak", "ranks_per_host",
                  plan->ranks_per_host, "measured_ranks", comm_size(t->comm), "rows", list));
}

static void print_rates(const ForecastPlan *plan, const Forecast *rows)
{
    log_out("%6s %6s %9s %10s %11s %11s %9s %9s %11s %11s", "ranks", "hosts", "batch", "step ms",
            "efficiency", "samples/s", "formula", "differs", "memory/host", "sent/host");
    for (int i = 0; i < plan->count; i++) {
        const Forecast *row = &rows[i];
        char memory[32], sent[32];
        if (!row->possible) {
            log_out("%6d %6d  more ranks than lanes: train.lanes bounds them", row->ranks,
                    row->hosts);
            continue;
        }
        log_out("%6d %6d %9.0f %10.3f %9.1f %% %11.1f %9.3f %7.1f %% %11s %11s", row->ranks,
                row->hosts, row->samples, 1e3 * row->step, 100 * row->efficiency, row->rate,
                1e3 * row->formula, 100 * (row->formula / row->step - 1),
                text_bytes(memory, sizeof memory, row->memory),
                text_bytes(sent, sizeof sent, row->sent));
    }
}

static void print_parts(const ForecastPlan *plan, const Forecast *rows)
{
    log_out("%s", "");
    log_out("%6s %9s %9s %9s %9s %9s %9s %9s %9s %9s   %s", "ms", "load", "forward", "backward",
            "fold", "helping", "exposed", "reports", "update", "waiting", "hidden");
    for (int i = 0; i < plan->count; i++) {
        const Forecast *row = &rows[i];
        if (row->possible)
            log_out("%6d %9.3f %9.3f %9.3f %9.3f %9.3f %9.3f %9.3f %9.3f %9.3f   %.3f", row->ranks,
                    1e3 * row->load, 1e3 * row->forward, 1e3 * row->backward, 1e3 * row->fold,
                    1e3 * row->helping, 1e3 * row->exposed, 1e3 * row->reports, 1e3 * row->update,
                    1e3 * row->wait, 1e3 * row->hidden);
    }
}

static void print_table(const ForecastPlan *plan, const Trainer *t, const StepProfile *profile,
                        const Forecast *rows)
{
    const Network *network = &plan->network;
    log_out("%s: %s scaling, %d rank(s) a host, between hosts %s", t->settings->name,
            plan->strong ? "strong" : "weak", plan->ranks_per_host, plan->network_text);
    log_out("(%.3g us, %.3g us a message, %.3g Gbit/s each way, %.3g GB/s through a core; 0: no "
            "limit); %.3g million parameters in %d bucket(s)",
            1e6 * network->latency, 1e6 * network->overhead, 8e-9 * network->bytes_per_second,
            1e-9 * network->core_bytes_per_second, 1e-6 * (double)profile->floats,
            profile->buckets);
    if (plan->compute > 0)
        log_out("compute as given; %.3g GB/s of memory for a core",
                1e-9 * network->memory_bytes_per_second);
    else
        log_out("compute as measured on %d rank(s) of this host; %.3g GB/s of memory for a core",
                comm_size(t->comm), 1e-9 * profile->memory_rate);
    log_out("%s", "");
    print_rates(plan, rows);
    print_parts(plan, rows);
}

void forecast_print(const ForecastPlan *plan, const Trainer *t, const StepProfile *profile,
                    const Forecast *rows, const ForecastRequest *request)
{
    if (request->json)
        print_json(plan, t, rows);
    else if (request->csv)
        print_csv(plan, rows);
    else
        print_table(plan, t, profile, rows);
}
