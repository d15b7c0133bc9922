/* metrics.jsonl read back line by line, and the comparison of two of its records. A file may be
 * that of a killed run: an unfinished last line counts as not there. */
#include "diff_parts.h"
#include "run_parts.h"

#include "lockstep/log.h"
#include "lockstep/memory.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 65536

/* What is compared, in the order in which a step computes it. */
typedef struct Quantity {
    const char *name, *key;
} Quantity;

static const Quantity quantities[] = {
    { "loss", "loss" },        { "accuracy", "accuracy" },       { "samples", "samples" },
    { "count", "count" },      { "gradient norm", "grad_norm" }, { "clip factor", "clip" },
    { "learning rate", "lr" }, { "parameters", "digest" },       { "trajectory", "trajectory" },
};

bool records_open(Records *records, const char *folder, Err *err)
{
    *records = (Records){ .path = path_join(folder, "metrics.jsonl") };
    records->file = fopen(records->path, "re");
    if (records->file)
        return true;
    err_set(err, "%s: not a run folder: metrics.jsonl: %s", folder, strerror(errno));
    records_close(records);
    return false;
}

void records_close(Records *records)
{
    if (records->file)
        fclose(records->file);
    json_decref(records->record);
    mem_free(records->path);
    *records = (Records){ 0 };
}

/* False at the end of the file and after an error, which is in err. */
static bool read_line(Records *records, char *line, bool *failed, Err *err)
{
    *failed = false;
    if (!fgets(line, LINE_MAX_BYTES, records->file)) {
        if (ferror(records->file))
            *failed = !err_set(err, "%s: %s", records->path, strerror(errno));
        return false;
    }
    records->line++;
    if (strchr(line, '\n'))
        return true;
    if (strlen(line) + 1 >= LINE_MAX_BYTES)
        *failed = !err_set(err, "%s:%ld: line longer than %d bytes", records->path, records->line,
                           LINE_MAX_BYTES);
    return false;
}

/* Takes `value` as the record in hand if it is a step or an evaluation. */
static bool take(Records *records, json_t *value, Err *err)
{
    const char *event = json_string_value(json_object_get(value, "event"));
    const json_t *step = json_object_get(value, "step");
    bool eval = event && strcmp(event, "eval") == 0;
    if (!event)
        return err_set(err, "%s:%ld: no \"event\"", records->path, records->line);
    if (!eval && strcmp(event, "step") != 0)
        return true;
    if (!json_is_integer(step))
        return err_set(err, "%s:%ld: no \"step\"", records->path, records->line);
    records->step = json_integer_value(step);
    records->eval = eval;
    if (records->step < records->last_step)
        return err_set(err, "%s:%ld: step %lld after step %lld", records->path, records->line,
                       (long long)records->step, (long long)records->last_step);
    records->last_step = records->step;
    records->record = json_incref(value);
    return true;
}

bool records_next(Records *records, Err *err)
{
    char line[LINE_MAX_BYTES];
    bool failed = false;
    json_decref(records->record);
    records->record = NULL;
    while (!failed && !records->record && read_line(records, line, &failed, err)) {
        json_error_t where;
        json_t *value = json_loads(line, JSON_REJECT_DUPLICATES, &where);
        if (!value)
            return err_set(err, "%s:%ld: not JSON: %s", records->path, records->line, where.text);
        failed = !take(records, value, err);
        json_decref(value);
    }
    return !failed;
}

char *value_text(char buffer[VALUE_SIZE], const json_t *value)
{
    if (json_is_string(value))
        snprintf(buffer, VALUE_SIZE, "%s", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(buffer, VALUE_SIZE, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        text_number(buffer, json_real_value(value));
    else
        snprintf(buffer, VALUE_SIZE, "none");
    return buffer;
}

static bool same_value(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return double_bits(json_number_value(a)) == double_bits(json_number_value(b));
    return (!a && !b) || (a && b && json_equal(a, b));
}

/* The bits tell a nan from an inf and -0 from 0, which the number in the file does not. */
static bool bits_of(const json_t *record, double *value)
{
    const char *text = json_string_value(json_object_get(record, "loss_bits"));
    if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
        return false;
    uint64_t bits = strtoull(text, NULL, 16);
    memcpy(value, &bits, sizeof *value);
    return true;
}

bool records_same(const json_t *a, const json_t *b, const char *key)
{
    double loss_a, loss_b;
    if (strcmp(key, "loss") == 0 && bits_of(a, &loss_a) && bits_of(b, &loss_b))
        return double_bits(loss_a) == double_bits(loss_b);
    return same_value(json_object_get(a, key), json_object_get(b, key));
}

/* Doubles in their order as integers: neighbours differ by one, and -0 is next to 0. */
static uint64_t place_of(double value)
{
    uint64_t bits = double_bits(value);
    return bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
}

static void print_loss(double a, double b)
{
    char text_a[TEXT_NUMBER_SIZE], text_b[TEXT_NUMBER_SIZE], distance[48] = "";
    if (isfinite(a) && isfinite(b)) {
        uint64_t place_a = place_of(a), place_b = place_of(b);
        snprintf(distance, sizeof distance, ", %llu ulp apart",
                 (unsigned long long)(place_a > place_b ? place_a - place_b : place_b - place_a));
    }
    log_out("  %-14s A %-24s B %-24s (bits %016llx, %016llx%s)", "loss", text_number(text_a, a),
            text_number(text_b, b), (unsigned long long)double_bits(a),
            (unsigned long long)double_bits(b), distance);
}

static void print_quantity(const Quantity *quantity, const json_t *a, const json_t *b)
{
    char text_a[VALUE_SIZE], text_b[VALUE_SIZE];
    double loss_a, loss_b;
    if (strcmp(quantity->key, "loss") == 0 && bits_of(a, &loss_a) && bits_of(b, &loss_b)) {
        print_loss(loss_a, loss_b);
        return;
    }
    log_out("  %-14s A %-24s B %s", quantity->name,
            value_text(text_a, json_object_get(a, quantity->key)),
            value_text(text_b, json_object_get(b, quantity->key)));
}

int records_compare(const json_t *a, const json_t *b, bool print)
{
    int differ = 0;
    for (size_t i = 0; i < sizeof quantities / sizeof *quantities; i++) {
        if (records_same(a, b, quantities[i].key))
            continue;
        differ++;
        if (print)
            print_quantity(&quantities[i], a, b);
    }
    return differ;
}
