/* metrics.jsonl, one JSON object a line, and metrics.csv, the same records as a table. Each record
 * is one write to each file, so a run that is killed keeps every line it has logged. */
#include "run_parts.h"

#include "lockstep/memory.h"
#include "lockstep/version.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LINE_SIZE 2048

static const char csv_header[] = "event,step,epoch,samples,time_s,loss,accuracy,lr,grad_norm,clip,"
                                 "samples_per_second,comm,count,digest,trajectory\n";

static const char probes_header[] = "step,tensor,quantity,value\n";

bool metrics_close(Metrics *metrics, Err *err)
{
    Output *const files[] = { &metrics->jsonl, &metrics->csv, &metrics->probes };
    bool ok = true;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        Err later;
        if (!output_close(files[i], &later) && ok)
            ok = err_set(err, "%s", later.text);
    }
    return ok;
}

/* The file behind its first `keep` bytes; a new one gets its header. */
static bool open_table(Output *output, const char *folder, const char *name, int64_t keep,
                       const char *header, Err *err)
{
    if (!output_resume(output, folder, name, keep, err))
        return false;
    if (keep == 0)
        output_write(output, header, strlen(header), 0);
    return true;
}

bool metrics_open(Metrics *metrics, const char *folder, bool probes, Err *err)
{
    Err later;
    *metrics = (Metrics){ 0 };
    bool ok =
        output_open(&metrics->jsonl, folder, "metrics.jsonl", err) &&
        open_table(&metrics->csv, folder, "metrics.csv", 0, csv_header, err) &&
        (!probes || open_table(&metrics->probes, folder, "probes.csv", 0, probes_header, err));
    if (!ok)
        metrics_close(metrics, &later);
    return ok;
}

/* ---- going on ---- */

/* Does the run keep this line of metrics.jsonl when it goes on from `step`, after so many
 * rollbacks? */
static bool keeps_json(const char *line, int64_t step, int64_t rollbacks)
{
    json_t *record = json_loads(line, 0, NULL);
    const char *event = json_string_value(json_object_get(record, "event"));
    bool kept = event && strcmp(event, "end") != 0 &&
                json_integer_value(json_object_get(record, "step")) <= step &&
                json_integer_value(json_object_get(record, "rollbacks")) <= rollbacks;
    json_decref(record);
    return kept;
}

/* "step,40,...": the header has no number there. */
static bool keeps_csv(const char *line, int64_t step, int64_t rollbacks)
{
    (void)rollbacks;
    const char *comma = strchr(line, ',');
    return comma && strtoll(comma + 1, NULL, 10) <= step;
}

/* Bytes of the whole lines before the first that is not kept; 0 if there is no file. */
static int64_t kept_bytes(const char *folder, const char *name, int64_t step, int64_t rollbacks,
                          bool (*keeps)(const char *line, int64_t step, int64_t rollbacks))
{
    char *path = path_join(folder, name), *line = NULL;
    size_t size = 0;
    int64_t bytes = 0;
    ssize_t length;
    FILE *file = fopen(path, "re");
    while (file && (length = getline(&line, &size, file)) > 0 && line[length - 1] == '\n' &&
           keeps(line, step, rollbacks))
        bytes += length;
    if (file)
        fclose(file);
    free(line);
    mem_free(path);
    return bytes;
}

/* "40,dense.weight,...": that of the header is 0. */
static bool keeps_probe(const char *line, int64_t step, int64_t rollbacks)
{
    (void)rollbacks;
    return strtoll(line, NULL, 10) <= step;
}

bool metrics_resume(Metrics *metrics, const char *folder, bool probes, int64_t step,
                    int64_t rollbacks, Err *err)
{
    Err later;
    int64_t jsonl = kept_bytes(folder, "metrics.jsonl", step, rollbacks, keeps_json);
    int64_t csv = kept_bytes(folder, "metrics.csv", step, rollbacks, keeps_csv);
    int64_t rows = kept_bytes(folder, "probes.csv", step, rollbacks, keeps_probe);
    *metrics = (Metrics){ 0 };
    bool ok = output_resume(&metrics->jsonl, folder, "metrics.jsonl", jsonl, err) &&
              open_table(&metrics->csv, folder, "metrics.csv", csv, csv_header, err) &&
              ((!probes && rows == 0) ||
               open_table(&metrics->probes, folder, "probes.csv", rows, probes_header, err));
    if (!ok)
        metrics_close(metrics, &later);
    return ok;
}

double perplexity(double loss)
{
    return exp(loss);
}

double bits_per_token(double loss)
{
    return loss / 0.69314718055994530942;
}

static double or_nothing(double accuracy)
{
    return accuracy < 0 ? (double)NAN : accuracy;
}

static void write_json(Metrics *metrics, JsonText *json)
{
    json_finish(json);
    expect(!json->full);
    output_write(&metrics->jsonl, json->text, json->used, 1);
}

void metrics_start(Metrics *metrics, const char *name)
{
    char line[LINE_SIZE], time_now[32];
    JsonText json;
    json_start(&json, line, sizeof line, false);
    json_add_text(&json, "event", "start");
    json_add_text(&json, "name", strlen(name) < LINE_SIZE / 8 ? name : "");
    json_add_text(&json, "version", version_string());
    json_add_text(&json, "time", time_text(time_now, sizeof time_now, time(NULL)));
    write_json(metrics, &json);
}

void metrics_resumed(Metrics *metrics, int64_t step, int64_t resumes, int ranks)
{
    char line[LINE_SIZE], time_now[32];
    JsonText json;
    json_start(&json, line, sizeof line, false);
    json_add_text(&json, "event", "resume");
    json_add_integer(&json, "step", step);
    json_add_integer(&json, "resumes", resumes);
    json_add_integer(&json, "ranks", ranks);
    json_add_text(&json, "version", version_string());
    json_add_text(&json, "time", time_text(time_now, sizeof time_now, time(NULL)));
    write_json(metrics, &json);
}

void metrics_rollback(Metrics *metrics, const RollbackRecord *record)
{
    char line[LINE_SIZE];
    JsonText json;
    json_start(&json, line, sizeof line, false);
    json_add_text(&json, "event", "rollback");
    json_add_integer(&json, "step", record->to);
    json_add_integer(&json, "from", record->from);
    json_add_number(&json, "loss", record->loss);
    json_add_number(&json, "grad_norm", record->grad_norm);
    json_add_integer(&json, "rollbacks", record->rollbacks);
    json_add_number(&json, "lr_factor", record->lr_factor);
    json_add_integer(&json, "passed", record->passed);
    write_json(metrics, &json);
}

void metrics_checkpoint(Metrics *metrics, const CheckpointRecord *record)
{
    char line[LINE_SIZE];
    JsonText json;
    json_start(&json, line, sizeof line, false);
    json_add_text(&json, "event", "checkpoint");
    json_add_integer(&json, "step", record->step);
    json_add_integer(&json, "bytes", record->bytes);
    json_add_fixed(&json, "pause_s", record->pause, 6);
    json_add_fixed(&json, "write_s", record->seconds, 6);
    json_add_fixed(&json, "mb_per_s", 1e-6 * (double)record->bytes / record->seconds, 1);
    write_json(metrics, &json);
}

static void step_json(Metrics *metrics, const StepRecord *record)
{
    char line[LINE_SIZE];
    JsonText json;
    json_start(&json, line, sizeof line, false);
    json_add_text(&json, "event", "step");
    json_add_integer(&json, "step", record->step);
    json_add_fixed(&json, "epoch", record->epoch, 6);
    json_add_integer(&json, "samples", record->samples);
    if (record->skipped)
        json_add_integer(&json, "skipped", 1);
    json_add_fixed(&json, "time_s", record->seconds, 6);
    json_add_number(&json, "loss", record->loss);
    json_add_number(&json, "accuracy", or_nothing(record->accuracy));
    json_add_number(&json, "lr", record->lr);
    json_add_number(&json, "grad_norm", record->grad_norm);
    json_add_number(&json, "clip", record->clip_factor);
    json_add_fixed(&json, "samples_per_second", record->samples_per_second, 1);
    if (record->tokens_per_second > 0)
        json_add_fixed(&json, "tokens_per_second", record->tokens_per_second, 1);
    json_add_fixed(&json, "comm", record->comm, 4);
    json_add_hex(&json, "digest", record->digest);
    json_add_hex(&json, "trajectory", record->trajectory);
    json_add_hex(&json, "loss_bits", double_bits(record->loss));
    write_json(metrics, &json);
}

/* "" where accuracy means nothing. */
static char *accuracy_text(char buffer[TEXT_NUMBER_SIZE], double accuracy)
{
    if (accuracy < 0)
        return strcpy(buffer, "");
    return text_number(buffer, accuracy);
}

static void write_csv(Metrics *metrics, const char *line, int length)
{
    expect(length > 0 && length < LINE_SIZE);
    output_write(&metrics->csv, line, (size_t)length, 1);
}

static void step_csv(Metrics *metrics, const StepRecord *record)
{
    char line[LINE_SIZE], loss[TEXT_NUMBER_SIZE], accuracy[TEXT_NUMBER_SIZE], lr[TEXT_NUMBER_SIZE];
    char grad_norm[TEXT_NUMBER_SIZE], clip[TEXT_NUMBER_SIZE];
    int length = snprintf(
        line, sizeof line, "step,%lld,%.6f,%lld,%.6f,%s,%s,%s,%s,%s,%.1f,%.4f,,%016llx,%016llx\n",
        (long long)record->step, record->epoch, (long long)record->samples, record->seconds,
        text_number(loss, record->loss), accuracy_text(accuracy, record->accuracy),
        text_number(lr, record->lr), text_number(grad_norm, record->grad_norm),
        text_number(clip, record->clip_factor), record->samples_per_second, record->comm,
        (unsigned long long)record->digest, (unsigned long long)record->trajectory);
    write_csv(metrics, line, length);
}

void metrics_step(Metrics *metrics, const StepRecord *record)
{
    step_json(metrics, record);
    step_csv(metrics, record);
}

static void eval_json(Metrics *metrics, const EvalRecord *record)
{
    char line[LINE_SIZE];
    JsonText json;
    json_start(&json, line, sizeof line, false);
    json_add_text(&json, "event", "eval");
    json_add_integer(&json, "step", record->step);
    json_add_fixed(&json, "epoch", record->epoch, 6);
    json_add_integer(&json, "samples", record->samples);
    json_add_fixed(&json, "time_s", record->seconds, 6);
    json_add_number(&json, "loss", record->loss);
    json_add_number(&json, "accuracy", or_nothing(record->accuracy));
    if (record->per_token) {
        json_add_number(&json, "perplexity", perplexity(record->loss));
        json_add_number(&json, "bits_per_token", bits_per_token(record->loss));
    }
    json_add_integer(&json, "count", record->count);
    json_add_hex(&json, "loss_bits", double_bits(record->loss));
    write_json(metrics, &json);
}

void metrics_eval(Metrics *metrics, const EvalRecord *record)
{
    char line[LINE_SIZE], loss[TEXT_NUMBER_SIZE], accuracy[TEXT_NUMBER_SIZE];
    eval_json(metrics, record);
    int length = snprintf(line, sizeof line, "eval,%lld,%.6f,%lld,%.6f,%s,%s,,,,,,%lld,,\n",
                          (long long)record->step, record->epoch, (long long)record->samples,
                          record->seconds, text_number(loss, record->loss),
                          accuracy_text(accuracy, record->accuracy), (long long)record->count);
    write_csv(metrics, line, length);
}

void metrics_end(Metrics *metrics, const Summary *summary)
{
    char line[LINE_SIZE];
    JsonText json;
    json_start(&json, line, sizeof line, false);
    json_add_text(&json, "event", "end");
    json_add_text(&json, "status", summary->status);
    json_add_integer(&json, "step", summary->steps);
    json_add_fixed(&json, "epoch", summary->epochs, 6);
    json_add_integer(&json, "samples", summary->samples);
    json_add_fixed(&json, "time_s", summary->seconds, 6);
    json_add_hex(&json, "digest", summary->digest);
    json_add_hex(&json, "trajectory", summary->trajectory);
    write_json(metrics, &json);
}
