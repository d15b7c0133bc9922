/* Weights out of a checkpoint for other programs, and weights of other programs as this one reads
 * them. */
#include "ckpt_parts.h"
#include "run_parts.h"

#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- values ---- */

static float from_half(uint16_t half)
{
    int exponent = half >> 10 & 31;
    float fraction = (float)(half & 1023), sign = half & 0x8000 ? -1.0f : 1.0f;
    if (exponent == 31)
        return sign * (fraction != 0 ? NAN : INFINITY);
    if (exponent == 0)
        return sign * ldexpf(fraction, -24);
    return sign * ldexpf(1024 + fraction, exponent - 25);
}

static float from_bf16(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float value_at(const char *type, const void *data, size_t index)
{
    if (strcmp(type, "F32") == 0)
        return ((const float *)data)[index];
    if (strcmp(type, "F64") == 0)
        return (float)((const double *)data)[index];
    uint16_t half = ((const uint16_t *)data)[index];
    return strcmp(type, "F16") == 0 ? from_half(half) : from_bf16(half);
}

static bool is_float(const char *type)
{
    return strcmp(type, "F32") == 0 || strcmp(type, "F64") == 0 || strcmp(type, "F16") == 0 ||
           strcmp(type, "BF16") == 0;
}

/* A whole tensor as floats, mem_alloc'ed; NULL after an error. */
static float *read_floats(const TensorFile *file, const TensorEntry *entry, Err *err)
{
    if (!is_float(entry->type)) {
        err_set(err, "%s: tensor %.100s: %s found, F32, F64, F16 or BF16 wanted", file->path,
                entry->name, entry->type);
        return NULL;
    }
    void *data = mem_alloc((size_t)(entry->total * entry->item));
    float *values = NULL;
    if (tensor_file_read(file, entry, 0, entry->total, data, err)) {
        values = mem_array(float, entry->total);
        for (size_t i = 0; i < entry->total; i++)
            values[i] = value_at(entry->type, data, i);
    }
    mem_free(data);
    return values;
}

/* ---- safetensors ---- */

static json_t *entry_value(const TensorEntry *entry, json_int_t *end)
{
    json_t *shape = json_array();
    for (int i = 0; i < entry->ndim; i++)
        json_array_append_new(shape, json_integer(entry->shape[i]));
    json_int_t begin = *end;
    *end += (json_int_t)(entry->total * sizeof(float));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape", shape, "data_offsets", begin,
                     *end);
}

static bool write_header(FILE *out, const TensorFile *file)
{
    json_t *header = json_object();
    json_int_t end = 0;
    for (size_t i = 0; i < file->count; i++)
        json_object_set_new(header, file->entries[i].name, entry_value(&file->entries[i], &end));
    char *text = json_dumps(header, JSON_COMPACT);
    json_decref(header);
    expect(text);
    size_t length = strlen(text);
    uint64_t padded = (length + 7) / 8 * 8;
    bool ok = fwrite(&padded, sizeof padded, 1, out) == 1 && fwrite(text, length, 1, out) == 1 &&
              fprintf(out, "%*s", (int)(padded - length), "") >= 0;
    free(text);
    return ok;
}

static bool cannot_write(const char *path, Err *err)
{
    return err_set(err, "%s: cannot write: %s", path, strerror(errno));
}

static bool write_values(FILE *out, const char *path, const TensorFile *file,
                         const TensorEntry *entry, Err *err)
{
    float *values = read_floats(file, entry, err);
    if (!values)
        return false;
    bool ok = fwrite(values, sizeof *values, entry->total, out) == entry->total;
    if (!ok)
        cannot_write(path, err);
    mem_free(values);
    return ok;
}

/* The tensors of `file` as F32, whole or not at all. */
static bool write_safetensors(const TensorFile *file, const char *path, Err *err)
{
    char temporary[CHECKPOINT_PATH];
    snprintf(temporary, sizeof temporary, "%.4000s.tmp", path);
    FILE *out = fopen(temporary, "wbe");
    if (!out)
        return cannot_write(path, err);
    bool ok = write_header(out, file) || cannot_write(path, err);
    for (size_t i = 0; ok && i < file->count; i++)
        ok = write_values(out, path, file, &file->entries[i], err);
    if (ok && (fflush(out) != 0 || fsync(fileno(out)) != 0))
        ok = cannot_write(path, err);
    if (fclose(out) != 0 && ok)
        ok = cannot_write(path, err);
    if (ok && rename(temporary, path) != 0)
        ok = cannot_write(path, err);
    if (!ok)
        unlink(temporary);
    return ok;
}

/* ---- npy ---- */

/* NumPy's format 1.0: magic, header length, a Python literal, padded to 64 bytes; then the data. */
static bool write_npy(const char *path, const TensorEntry *entry, const float *values, Err *err)
{
    char shape[160] = "", header[384];
    for (int i = 0; i < entry->ndim; i++)
        text_append(shape, sizeof shape, "%lld,", (long long)entry->shape[i]);
    int length = snprintf(header, sizeof header,
                          "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }", shape);
    uint16_t padded = (uint16_t)((10 + length + 1 + 63) / 64 * 64 - 10);
    FILE *out = fopen(path, "wbe");
    bool ok = out && fwrite("\x93NUMPY\x01\x00", 8, 1, out) == 1 &&
              fwrite(&padded, sizeof padded, 1, out) == 1 &&
              fprintf(out, "%-*s\n", padded - 1, header) == padded &&
              fwrite(values, sizeof *values, entry->total, out) == entry->total;
    int error = errno;
    if (out && fclose(out) != 0 && ok) {
        ok = false;
        error = errno;
    }
    return ok || err_set(err, "%s: cannot write: %s", path, strerror(error));
}

static bool export_npy(const TensorFile *file, const char *folder, Err *err)
{
    bool ok = folder_make(folder, err);
    for (size_t i = 0; ok && i < file->count; i++) {
        const TensorEntry *entry = &file->entries[i];
        char path[CHECKPOINT_PATH];
        float *values = strchr(entry->name, '/') ? NULL : read_floats(file, entry, err);
        if (strchr(entry->name, '/'))
            err_set(err, "%s: tensor %.100s: its name cannot be that of a file", file->path,
                    entry->name);
        snprintf(path, sizeof path, "%.3800s/%.200s.npy", folder, entry->name);
        ok = values && write_npy(path, entry, values, err);
        mem_free(values);
    }
    return ok;
}

/* ---- the commands ---- */

static bool is_free(const CkptRequest *request, Err *err)
{
    if (!request->out)
        return err_set(err, "ckpt %s: --out PLACE is wanted", request->words[0]);
    return request->force || access(request->out, F_OK) != 0 ||
           err_set(err, "%s: is there already; --force replaces it", request->out);
}

/* npy, unless the format or the place's name says otherwise; -1: neither of the two. */
static int wants_safetensors(const CkptRequest *request, Err *err)
{
    size_t length = strlen(request->out);
    if (!request->format)
        return length > 12 && strcmp(request->out + length - 12, ".safetensors") == 0;
    if (strcmp(request->format, "npy") == 0 || strcmp(request->format, "safetensors") == 0)
        return strcmp(request->format, "safetensors") == 0;
    err_set(err, "ckpt export: --format %s: npy or safetensors is wanted", request->format);
    return -1;
}

int ckpt_export(const CkptRequest *request, Err *err)
{
    char folder[CHECKPOINT_PATH];
    CheckpointState state;
    TensorFile file;
    const char *what = request->count > 2 ? request->words[2] : "latest";
    int safetensors = is_free(request, err) ? wants_safetensors(request, err) : -1;
    if (safetensors < 0)
        return EXIT_USAGE;
    if (!ckpt_find(request->words[1], what, folder, err) || !checkpoint_verify(folder, &state, err))
        return EXIT_CHECKPOINT;
    char *path = path_join(folder, checkpoint_files[FILE_MODEL]);
    bool ok = tensor_file_open(&file, path, err);
    if (ok) {
        ok = safetensors ? write_safetensors(&file, request->out, err)
                         : export_npy(&file, request->out, err);
        if (ok)
            log_out("%s: %zu tensors of step %lld", request->out, file.count,
                    (long long)state.step);
        tensor_file_close(&file);
    }
    mem_free(path);
    state_free(&state);
    return ok ? EXIT_OK : EXIT_CHECKPOINT;
}

int ckpt_import(const CkptRequest *request, Err *err)
{
    TensorFile file;
    if (!is_free(request, err))
        return EXIT_USAGE;
    if (!tensor_file_open(&file, request->words[1], err))
        return EXIT_CHECKPOINT;
    bool ok = write_safetensors(&file, request->out, err);
    if (ok)
        log_out("%s: %zu tensors as F32; to start from them: lockstep train CONFIG "
                "train.weights=%s",
                request->out, file.count, request->out);
    tensor_file_close(&file);
    return ok ? EXIT_OK : EXIT_CHECKPOINT;
}
