/* What a probed step leaves: an event in metrics.jsonl and rows of probes.csv. */
#include "run_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define EVENT_SIZE 4096
#define ROWS_SIZE 16384 /* bytes that are written at once */
#define ROW_SIZE 512

static void write_event(Metrics *metrics, const ProbeRecord *record)
{
    char line[EVENT_SIZE];
    JsonText json;
    json_start(&json, line, sizeof line, false);
    json_add_text(&json, "event", "probe");
    json_add_integer(&json, "step", record->step);
    json_add_fixed(&json, "epoch", record->epoch, 6);
    json_add_integer(&json, "samples", record->samples);
    for (int i = 0; i < record->value_count; i++)
        json_add_number(&json, record->values[i].key, record->values[i].value);
    json_finish(&json);
    expect(!json.full);
    output_write(&metrics->jsonl, json.text, json.used, 1);
}

/* Nine digits are more than a float has; what is not known is empty. Names of tensors hold nothing
 * that a table would take for its own. */
static int row_text(char row[ROW_SIZE], int64_t step, const ProbeRow *found)
{
    char value[TEXT_NUMBER_SIZE] = "";
    if (isfinite(found->value))
        snprintf(value, sizeof value, "%.9g", found->value);
    int length = snprintf(row, ROW_SIZE, "%lld,%s,%s,%s\n", (long long)step, found->tensor,
                          found->quantity, value);
    expect(length > 0 && length < ROW_SIZE);
    return length;
}

static void write_rows(Metrics *metrics, const ProbeRecord *record)
{
    char text[ROWS_SIZE], row[ROW_SIZE];
    size_t used = 0;
    int64_t rows = 0;
    for (int i = 0; i < record->row_count; i++, rows++) {
        size_t length = (size_t)row_text(row, record->step, &record->rows[i]);
        if (used + length > sizeof text) {
            output_write(&metrics->probes, text, used, rows);
            used = 0;
            rows = 0;
        }
        memcpy(text + used, row, length);
        used += length;
    }
    output_write(&metrics->probes, text, used, rows);
}

void metrics_probe(Metrics *metrics, const ProbeRecord *record)
{
    write_event(metrics, record);
    if (record->row_count > 0)
        write_rows(metrics, record);
}
