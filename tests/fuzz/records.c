/* metrics.jsonl of two runs compared as `lockstep diff` does, and taken up again by a run that goes
 * on. The first byte says where the input is cut in two. */
#include "fuzz.h"

#include "../../src/train/diff_parts.h"
#include "../../src/train/run_parts.h"

#include <stdlib.h>
#include <sys/stat.h>

static FuzzFile jsonl, csv;

static void start(void)
{
    jsonl = fuzz_file();
    csv = fuzz_file();
    fuzz_link(&jsonl, "metrics.jsonl");
    fuzz_link(&csv, "metrics.csv");
}

/* Pairs of neighbours of one file. */
static void compare_records(void)
{
    Records records;
    Err err = { .text = "" };
    json_t *before = NULL;
    expect(records_open(&records, fuzz_folder(), &err));
    while (fuzz_told(records_next(&records, &err), &err) && records.record) {
        if (before)
            records_compare(before, records.record, true);
        expect(records_compare(records.record, records.record, false) == 0);
        json_decref(before);
        before = json_incref(records.record);
    }
    json_decref(before);
    records_close(&records);
}

/* Only whole records stay. */
static void resume(int64_t step)
{
    Metrics metrics;
    Err err = { .text = "" };
    struct stat status;
    expect(fuzz_told(metrics_resume(&metrics, fuzz_folder(), false, step, 0, &err), &err));
    expect(output_close(&metrics.jsonl, &err) && output_close(&metrics.csv, &err));
    expect(fstat(csv.fd, &status) == 0 && status.st_size > 0);
    compare_records();
}

static void run(const uint8_t *data, size_t bytes)
{
    size_t cut = fuzz_byte(&data, &bytes) * bytes / 255;
    fuzz_fill(&jsonl, data, cut);
    fuzz_fill(&csv, data + cut, bytes - cut);
    compare_records();
    resume((int64_t)(bytes % 8));
}

const FuzzTarget fuzz_records = { .name = "records", .start = start, .run = run };
