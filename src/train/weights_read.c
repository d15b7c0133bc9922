/* Reading weights from a safetensors file that may come from anywhere: every length, offset, type
 * and shape is checked against the layout and the file's size before it is used. */
#include "lockstep/weights.h"

#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define HEADER_MAX ((uint64_t)100 << 20) /* bytes; the limit of the safetensors library */

/* Where a tensor's data are, bytes from the start of the data. */
typedef struct Extent {
    int tensor;
    uint64_t begin, end;
} Extent;

typedef struct Reader {
    FILE *file;
    const Layout *layout; /* borrowed */
    uint64_t data_start, data_bytes;
    json_t *header;
    Extent *extents; /* by tensor index, later by begin */
} Reader;

static bool read_header(Reader *reader, uint64_t file_bytes, Err *err)
{
    uint64_t length;
    json_error_t where;
    if (file_bytes < sizeof length || fread(&length, sizeof length, 1, reader->file) != 1)
        return err_set(err, "%llu bytes found: too short for a safetensors file",
                       (unsigned long long)file_bytes);
    uint64_t room = file_bytes - sizeof length;
    if (length > room || length > HEADER_MAX)
        return err_set(err,
                       "header of %llu bytes announced, %llu bytes follow (at most %llu are read): "
                       "not a safetensors file, or cut off",
                       (unsigned long long)length, (unsigned long long)room,
                       (unsigned long long)HEADER_MAX);
    char *text = mem_alloc((size_t)length);
    bool whole = length == 0 || fread(text, (size_t)length, 1, reader->file) == 1;
    if (whole)
        reader->header = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &where);
    mem_free(text);
    if (!whole)
        return err_set(err, "cannot read the header");
    if (!reader->header)
        return err_set(err, "header is not JSON: %s (byte %d)", where.text, where.position);
    reader->data_start = sizeof length + length;
    reader->data_bytes = room - length;
    return json_is_object(reader->header) || err_set(err, "header is not a JSON object");
}

static const char *metadata_text(const Reader *reader, const char *key)
{
    return json_string_value(json_object_get(json_object_get(reader->header, "__metadata__"), key));
}

static bool check_metadata(const Reader *reader, Err *err)
{
    json_t *value, *metadata = json_object_get(reader->header, "__metadata__");
    const char *key;
    if (metadata && !json_is_object(metadata))
        return err_set(err, "__metadata__ is not an object of strings");
    json_object_foreach (metadata, key, value)
        if (!json_is_string(value))
            return err_set(err, "__metadata__.%.60s is not a string", key);
    return true;
}

static void append_shape(char *text, size_t size, int ndim, const json_int_t *shape)
{
    for (int i = 0; i < ndim; i++)
        text_append(text, size, i ? ", %lld" : "(%lld", (long long)shape[i]);
    text_append(text, size, ndim ? ")" : "()");
}

static bool check_shape(const LayoutTensor *tensor, const json_t *value, Err *err)
{
    json_int_t found[8], wanted[LAYOUT_MAX_DIMS];
    char found_text[192] = "", wanted_text[96] = "";
    size_t ndim = json_array_size(value);
    if (!json_is_array(value) || ndim > sizeof found / sizeof *found)
        return err_set(err, "shape is not a list of at most 8 numbers");
    bool same = ndim == (size_t)tensor->ndim;
    for (size_t i = 0; i < ndim; i++) {
        const json_t *number = json_array_get(value, i);
        if (!json_is_integer(number) || json_integer_value(number) < 0)
            return err_set(err, "shape[%zu] is not a whole number", i);
        found[i] = json_integer_value(number);
        same = same && found[i] == tensor->shape[i];
    }
    if (same)
        return true;
    for (int i = 0; i < tensor->ndim; i++)
        wanted[i] = tensor->shape[i];
    append_shape(found_text, sizeof found_text, (int)ndim, found);
    append_shape(wanted_text, sizeof wanted_text, tensor->ndim, wanted);
    return err_set(err, "shape %s found, %s expected", found_text, wanted_text);
}

static bool check_offsets(const Reader *reader, const LayoutTensor *tensor, const json_t *value,
                          Extent *extent, Err *err)
{
    const json_t *first = json_array_get(value, 0), *second = json_array_get(value, 1);
    if (json_array_size(value) != 2 || !json_is_integer(first) || !json_is_integer(second))
        return err_set(err, "data_offsets is not a pair of whole numbers");
    json_int_t begin = json_integer_value(first), end = json_integer_value(second);
    if (begin < 0 || end < begin || (uint64_t)end > reader->data_bytes)
        return err_set(err, "data_offsets [%lld, %lld] do not lie in the %llu bytes of data",
                       (long long)begin, (long long)end, (unsigned long long)reader->data_bytes);
    uint64_t wanted = tensor->n * sizeof(float);
    if ((uint64_t)(end - begin) != wanted)
        return err_set(err, "%lld bytes found by data_offsets [%lld, %lld], %llu expected",
                       (long long)(end - begin), (long long)begin, (long long)end,
                       (unsigned long long)wanted);
    extent->begin = (uint64_t)begin;
    extent->end = (uint64_t)end;
    return true;
}

static bool check_tensor(const Reader *reader, int index, Err *err)
{
    const LayoutTensor *tensor = &reader->layout->tensors[index];
    const json_t *entry = json_object_get(reader->header, tensor->name);
    if (!entry)
        return err_set(err, "tensor %s is missing", tensor->name);
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    bool ok = true;
    if (!type)
        ok = err_set(err, "no dtype");
    else if (strcmp(type, "F32") != 0)
        ok = err_set(err, "dtype %.20s found, F32 expected", type);
    reader->extents[index].tensor = index;
    ok = ok && check_shape(tensor, json_object_get(entry, "shape"), err) &&
         check_offsets(reader, tensor, json_object_get(entry, "data_offsets"),
                       &reader->extents[index], err);
    return ok || err_prefix(err, "tensor %s: ", tensor->name);
}

static bool check_no_others(const Reader *reader, Err *err)
{
    const char *name;
    json_t *value;
    char quoted[96];
    json_object_foreach (reader->header, name, value)
        if (strcmp(name, "__metadata__") != 0 && layout_find(reader->layout, name) < 0)
            return err_set(err, "tensor %s is not in the network",
                           text_quoted(quoted, sizeof quoted, name));
    return true;
}

static int by_begin(const void *left, const void *right)
{
    const Extent *a = left, *b = right;
    return (a->begin > b->begin) - (a->begin < b->begin);
}

/* The format wants the tensors side by side: no byte twice, none left over. */
static bool check_tiling(Reader *reader, Err *err)
{
    uint64_t end = 0;
    int count = reader->layout->count;
    qsort(reader->extents, (size_t)count, sizeof *reader->extents, by_begin);
    for (int i = 0; i < count; i++) {
        const Extent *extent = &reader->extents[i];
        if (extent->begin != end)
            return err_set(err, "tensor %s: data begin at byte %llu, %llu expected: tensors %s",
                           reader->layout->tensors[extent->tensor].name,
                           (unsigned long long)extent->begin, (unsigned long long)end,
                           extent->begin < end ? "overlap" : "leave a gap");
        end = extent->end;
    }
    if (end != reader->data_bytes)
        return err_set(err, "%llu bytes of data found, %llu expected",
                       (unsigned long long)reader->data_bytes, (unsigned long long)end);
    return true;
}

static bool check_header(Reader *reader, Err *err)
{
    for (int i = 0; i < reader->layout->count; i++)
        if (!check_tensor(reader, i, err))
            return false;
    return check_no_others(reader, err) && check_metadata(reader, err) && check_tiling(reader, err);
}

static bool read_data(const Reader *reader, float *arena, Err *err)
{
    for (int i = 0; i < reader->layout->count; i++) {
        const Extent *extent = &reader->extents[i];
        const LayoutTensor *tensor = &reader->layout->tensors[extent->tensor];
        off_t start = (off_t)(reader->data_start + extent->begin);
        if (fseeko(reader->file, start, SEEK_SET) != 0 ||
            fread(arena + tensor->offset, sizeof(float), tensor->n, reader->file) != tensor->n)
            return err_set(err, "tensor %s: cannot read %zu bytes", tensor->name,
                           tensor->n * sizeof(float));
    }
    return true;
}

/* Files of other programs record no digest. */
static bool check_digest(const Reader *reader, const float *arena, WeightsInfo *info, Err *err)
{
    char found[17];
    const char *step = metadata_text(reader, "step"), *wanted = metadata_text(reader, "digest");
    uint64_t digest = weights_digest(reader->layout, arena);
    snprintf(found, sizeof found, "%016llx", (unsigned long long)digest);
    if (wanted && strcmp(wanted, found) != 0)
        return err_set(err, "digest %s of the tensors, but %.40s is recorded: the file is damaged",
                       found, wanted);
    if (!info)
        return true;
    *info = (WeightsInfo){ .step = -1, .digest = digest };
    if (step && !text_to_int(step, &info->step))
        return err_set(err, "__metadata__.step is '%.40s', not a whole number", step);
    return true;
}

bool weights_read(const char *path, const Layout *layout, float *arena, WeightsInfo *info, Err *err)
{
    struct stat status;
    Reader reader = { .file = fopen(path, "rbe"), .layout = layout };
    if (!reader.file)
        return err_set(err, "%s: %s", path, strerror(errno));
    reader.extents = mem_array(Extent, layout->count);
    bool ok = fstat(fileno(reader.file), &status) == 0 && S_ISREG(status.st_mode);
    if (!ok)
        err_set(err, "not a regular file");
    ok = ok && read_header(&reader, (uint64_t)status.st_size, err) && check_header(&reader, err) &&
         read_data(&reader, arena, err) && check_digest(&reader, arena, info, err);
    json_decref(reader.header);
    mem_free(reader.extents);
    fclose(reader.file);
    return ok || err_prefix(err, "%s: ", path);
}
