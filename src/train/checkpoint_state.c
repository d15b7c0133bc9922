/* state.json: where a run stands. Numbers that have to come back with the same bits are text, as
 * they may be nan. The last line is the XXH3 of everything before it, so no bit of the file can
 * change unseen. */
#include "checkpoint_parts.h"
#include "run_parts.h"

#include "lockstep/bf16.h"
#include "lockstep/cpu.h"
#include "lockstep/memory.h"
#include "lockstep/version.h"

#include <gnu/libc-version.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#define STATE_MAX ((size_t)64 << 20) /* bytes */
#define FORMAT "lockstep checkpoint"
#define FORMAT_VERSION 1

/* ---- writing ---- */

void state_identity(const Trainer *t, Identity identity[IDENTITIES])
{
    bool bf16 = t->settings->compute.precision == PRECISION_BF16;
    const Identity lines[IDENTITIES] = { { .key = "isa" },
                                         { .key = "blas_core" },
                                         { .key = "matrix_products" },
                                         { .key = "train_data" },
                                         { .key = "test_data" } };
    memcpy(identity, lines, sizeof lines);
    snprintf(identity[0].value, sizeof identity[0].value, "%s", cpu_isa_name(cpu_isa()));
    snprintf(identity[1].value, sizeof identity[1].value, "%s", cpu_blas_core());
    snprintf(identity[2].value, sizeof identity[2].value, "%s", bf16 ? bf16_kernel() : "fp32");
    snprintf(identity[3].value, sizeof identity[3].value, "%016llx",
             (unsigned long long)t->loader.train.digest);
    snprintf(identity[4].value, sizeof identity[4].value, "%016llx",
             (unsigned long long)t->loader.test.digest);
}

static void set_hex(json_t *object, const char *key, uint64_t value)
{
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)value);
    json_object_set_new(object, key, json_string(text));
}

static void set_number(json_t *object, const char *key, double value)
{
    char text[TEXT_NUMBER_SIZE];
    json_object_set_new(object, key, json_string(text_number(text, value)));
}

static void set_integer(json_t *object, const char *key, int64_t value)
{
    json_object_set_new(object, key, json_integer(value));
}

static json_t *history_value(const History *history)
{
    json_t *value = json_object();
    set_number(value, "seconds", history->seconds);
    set_number(value, "evaluating", history->evaluating);
    set_number(value, "test_loss", history->test_loss);
    set_number(value, "test_accuracy", history->test_accuracy);
    set_number(value, "best_loss", history->best_loss);
    set_number(value, "best_accuracy", history->best_accuracy);
    set_integer(value, "resumes", history->resumes);
    set_number(value, "target_accuracy", history->target_accuracy);
    set_number(value, "target_loss", history->target_loss);
    set_integer(value, "target_step", history->target_step);
    set_integer(value, "target_samples", history->target_samples);
    set_number(value, "target_seconds", history->target_seconds);
    json_object_set_new(value, "owes_eval", json_boolean(history->owes_eval));
    return value;
}

static json_t *recovery_value(const Recovery *recovery)
{
    json_t *value = json_object(), *passed = json_array();
    set_integer(value, "skipped", recovery->skipped);
    set_integer(value, "in_row", recovery->in_row);
    set_integer(value, "rollbacks", recovery->rollbacks);
    set_integer(value, "from", recovery->from);
    set_integer(value, "to", recovery->to);
    set_number(value, "lr_factor", recovery->lr_factor);
    for (int64_t i = 0; i < recovery->rollbacks; i++) {
        json_t *range = json_object();
        set_integer(range, "first", recovery->passed[i].first);
        set_integer(range, "count", recovery->passed[i].count);
        json_array_append_new(passed, range);
    }
    json_object_set_new(value, "passed", passed);
    return value;
}

static json_t *tally_value(const Tally *tally)
{
    json_t *value = json_object();
    set_number(value, "loss", tally->loss);
    set_number(value, "correct", tally->correct);
    set_number(value, "count", tally->count);
    return value;
}

static json_t *identity_value(const Trainer *t)
{
    Identity identity[IDENTITIES];
    json_t *value = json_object();
    state_identity(t, identity);
    for (int i = 0; i < IDENTITIES; i++)
        json_object_set_new(value, identity[i].key, json_string(identity[i].value));
    return value;
}

static json_t *config_value(const Config *config)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *memory = open_memstream(&text, &bytes);
    expect(memory);
    config_print(config, memory, false);
    expect(fclose(memory) == 0);
    json_t *value = json_stringn(text, bytes);
    free(text);
    expect(value); /* a config is UTF-8 */
    return value;
}

static json_t *file_value(const Pieces *pieces, int file, const uint64_t *digests,
                          const char *header, size_t header_bytes)
{
    json_t *value = json_object(), *tensors = json_object();
    json_object_set_new(value, "name", json_string(checkpoint_files[file]));
    set_integer(value, "bytes", (int64_t)(header_bytes + pieces->data_bytes[file]));
    set_hex(value, "header", XXH3_64bits(header, header_bytes));
    for (size_t i = 0; i < pieces->count; i++)
        if (pieces->piece[i].file == file)
            set_hex(tensors, pieces->piece[i].name, digests[i]);
    json_object_set_new(value, "tensors", tensors);
    return value;
}

static json_t *progress_value(const Trainer *t, int64_t number)
{
    BatchPlace place = batch_plan_at(&t->loader.plan, t->step);
    json_t *value = json_object();
    set_integer(value, "number", number);
    set_integer(value, "step", t->step);
    set_integer(value, "steps", t->steps);
    set_integer(value, "samples", t->samples);
    set_integer(value, "epoch", place.epoch);
    set_integer(value, "sample_in_epoch", place.position);
    set_hex(value, "digest", t->digest);
    set_hex(value, "trajectory", t->trajectory);
    json_object_set_new(value, "epoch_tally", tally_value(&t->epoch_tally));
    json_object_set_new(value, "history", history_value(&t->history));
    json_object_set_new(value, "recovery", recovery_value(&t->recovery));
    return value;
}

static void set_text(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, json_string(text));
}

/* ",\n  "checksum": "..."\n}\n" */
#define TAIL_SIZE 64
static size_t checksum_tail(char tail[TAIL_SIZE], const char *text, size_t bytes)
{
    return (size_t)snprintf(tail, TAIL_SIZE, ",\n  \"checksum\": \"%016llx\"\n}\n",
                            (unsigned long long)XXH3_64bits(text, bytes));
}

json_t *state_root(const Trainer *t, int64_t number)
{
    char time_now[32];
    json_t *root = json_object();
    set_text(root, "format", FORMAT);
    set_integer(root, "format_version", FORMAT_VERSION);
    set_text(root, "version", version_string());
    set_text(root, "git", version_git());
    set_text(root, "c_library", gnu_get_libc_version());
    set_text(root, "time", time_text(time_now, sizeof time_now, time(NULL)));
    set_integer(root, "ranks", comm_size(t->comm));
    json_object_set_new(root, "progress", progress_value(t, number));
    json_object_set_new(root, "identity", identity_value(t));
    json_object_set_new(root, "config", config_value(&t->settings->config));
    return root;
}

char *state_text(json_t *root, const Pieces *pieces, const uint64_t *digests, char *const headers[],
                 const size_t *header_bytes, size_t *bytes)
{
    char tail[TAIL_SIZE];
    json_t *files = json_array();
    for (int file = 0; file < CHECKPOINT_FILES; file++)
        json_array_append_new(files,
                              file_value(pieces, file, digests, headers[file], header_bytes[file]));
    json_object_set_new(root, "files", files);
    char *json = json_dumps(root, JSON_INDENT(2));
    expect(json);
    size_t length = strlen(json) - 2; /* without "\n}" */
    size_t tail_bytes = checksum_tail(tail, json, length);
    char *text = mem_alloc(length + tail_bytes + 1);
    memcpy(text, json, length);
    memcpy(text + length, tail, tail_bytes);
    free(json);
    *bytes = length + tail_bytes;
    return text;
}

/* ---- reading ---- */

bool state_hex(const json_t *object, const char *key, uint64_t *value)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
        return false;
    *value = strtoull(text, NULL, 16);
    return true;
}

static bool get_number(const json_t *object, const char *key, double *value)
{
    const char *text = json_string_value(json_object_get(object, key));
    char *end = NULL;
    if (text)
        *value = strtod(text, &end);
    return text && end != text && *end == '\0';
}

static bool get_integer(const json_t *object, const char *key, int64_t *value)
{
    const json_t *number = json_object_get(object, key);
    *value = json_integer_value(number);
    return json_is_integer(number) && *value >= 0;
}

/* Older checkpoints have none. */
static bool get_target(const json_t *value, History *history)
{
    return !json_object_get(value, "target_step") ||
           (get_number(value, "target_accuracy", &history->target_accuracy) &&
            get_number(value, "target_loss", &history->target_loss) &&
            get_integer(value, "target_step", &history->target_step) &&
            get_integer(value, "target_samples", &history->target_samples) &&
            get_number(value, "target_seconds", &history->target_seconds));
}

static bool get_history(const json_t *value, History *history)
{
    history->owes_eval = json_is_true(json_object_get(value, "owes_eval"));
    return get_target(value, history) && get_number(value, "seconds", &history->seconds) &&
           get_number(value, "evaluating", &history->evaluating) &&
           get_number(value, "test_loss", &history->test_loss) &&
           get_number(value, "test_accuracy", &history->test_accuracy) &&
           get_number(value, "best_loss", &history->best_loss) &&
           get_number(value, "best_accuracy", &history->best_accuracy) &&
           get_integer(value, "resumes", &history->resumes);
}

/* Older checkpoints have none. */
static bool get_recovery(const json_t *value, Recovery *recovery)
{
    const json_t *passed = json_object_get(value, "passed");
    *recovery = (Recovery){ .lr_factor = 1 };
    if (!value)
        return true;
    bool ok = get_integer(value, "skipped", &recovery->skipped) &&
              get_integer(value, "in_row", &recovery->in_row) &&
              get_integer(value, "rollbacks", &recovery->rollbacks) &&
              get_integer(value, "from", &recovery->from) &&
              get_integer(value, "to", &recovery->to) &&
              get_number(value, "lr_factor", &recovery->lr_factor) &&
              recovery->rollbacks <= SETTINGS_MAX_ROLLBACKS &&
              json_array_size(passed) == (size_t)recovery->rollbacks;
    for (size_t i = 0; ok && i < (size_t)recovery->rollbacks; i++) {
        const json_t *range = json_array_get(passed, i);
        ok = get_integer(range, "first", &recovery->passed[i].first) &&
             get_integer(range, "count", &recovery->passed[i].count);
    }
    return ok;
}

static bool get_tally(const json_t *value, Tally *tally)
{
    return get_number(value, "loss", &tally->loss) &&
           get_number(value, "correct", &tally->correct) &&
           get_number(value, "count", &tally->count);
}

static bool get_progress(const json_t *value, CheckpointState *state)
{
    return get_integer(value, "number", &state->number) &&
           get_integer(value, "step", &state->step) &&
           get_integer(value, "samples", &state->samples) &&
           state_hex(value, "digest", &state->digest) &&
           state_hex(value, "trajectory", &state->trajectory) &&
           get_tally(json_object_get(value, "epoch_tally"), &state->epoch_tally) &&
           get_history(json_object_get(value, "history"), &state->history) &&
           get_recovery(json_object_get(value, "recovery"), &state->recovery);
}

static bool check_tail(const char *text, size_t bytes, Err *err)
{
    char tail[TAIL_SIZE];
    size_t length = checksum_tail(tail, text, 0); /* the same for every text */
    if (bytes <= length)
        return err_set(err, "%zu bytes found: cut off", bytes);
    checksum_tail(tail, text, bytes - length);
    return memcmp(text + bytes - length, tail, length) == 0 ||
           err_set(err, "the checksum in its last line is not that of the text: damaged, or cut "
                        "off");
}

static bool check_root(CheckpointState *state, Err *err)
{
    const json_t *root = state->root;
    const char *format = json_string_value(json_object_get(root, "format"));
    json_int_t version = json_integer_value(json_object_get(root, "format_version"));
    if (!format || strcmp(format, FORMAT) != 0)
        return err_set(err, "not the state of a checkpoint");
    if (version != FORMAT_VERSION)
        return err_set(err, "format version %lld found, this program reads %d", (long long)version,
                       FORMAT_VERSION);
    state->config = json_string_value(json_object_get(root, "config"));
    bool ok = state->config && json_is_array(json_object_get(root, "files")) &&
              json_is_object(json_object_get(root, "identity")) &&
              get_progress(json_object_get(root, "progress"), state);
    state->history.checkpoints = state->number;
    return ok || err_set(err, "a field is missing or of the wrong type");
}

bool state_parse(CheckpointState *state, const char *path, const char *text, size_t bytes, Err *err)
{
    json_error_t where;
    *state = (CheckpointState){ .root = NULL };
    bool ok = check_tail(text, bytes, err);
    if (ok) {
        state->root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &where);
        ok = state->root || err_set(err, "not JSON: %s", where.text);
    }
    if (ok && check_root(state, err))
        return true;
    state_free(state);
    return err_prefix(err, "%s: ", path);
}

void state_free(CheckpointState *state)
{
    json_decref(state->root);
    *state = (CheckpointState){ 0 };
}

bool state_read(CheckpointState *state, const char *folder, Err *err)
{
    char *text, *path = path_join(folder, "state.json");
    size_t bytes;
    *state = (CheckpointState){ .root = NULL };
    bool ok = file_text(path, STATE_MAX, &text, &bytes, err);
    if (ok) {
        ok = state_parse(state, path, text, bytes, err);
        mem_free(text);
    }
    mem_free(path);
    return ok;
}

const json_t *state_file(const CheckpointState *state, const char *name)
{
    size_t index;
    const json_t *file;
    json_array_foreach (json_object_get(state->root, "files"), index, file) {
        const char *found = json_string_value(json_object_get(file, "name"));
        if (found && strcmp(found, name) == 0)
            return file;
    }
    return NULL;
}
