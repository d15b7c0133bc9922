/* Reading safetensors files whatever they hold. The file may come from anywhere or be damaged:
 * everything in the header is checked against the file's size before it is used. */
#include "checkpoint_parts.h"

#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define HEADER_MAX ((uint64_t)100 << 20) /* bytes; the limit of the safetensors library */

static const struct {
    const char *name;
    size_t bytes;
} types[] = {
    { "F32", 4 }, { "F64", 8 }, { "F16", 2 },  { "BF16", 2 }, { "I64", 8 },
    { "I32", 4 }, { "I16", 2 }, { "I8", 1 },   { "U64", 8 },  { "U32", 4 },
    { "U16", 2 }, { "U8", 1 },  { "BOOL", 1 },
};

size_t tensor_type_bytes(const char *type)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, type) == 0)
            return types[i].bytes;
    return 0;
}

static bool read_at(int fd, void *out, uint64_t bytes, uint64_t offset, Err *err)
{
    char *next = out;
    while (bytes > 0) {
        ssize_t got = pread(fd, next, bytes < (1u << 30) ? bytes : 1u << 30, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return err_set(err, "cannot read %llu bytes at %llu: %s", (unsigned long long)bytes,
                           (unsigned long long)offset, got < 0 ? strerror(errno) : "end of file");
        next += got;
        bytes -= (uint64_t)got;
        offset += (uint64_t)got;
    }
    return true;
}

/* ---- the header ---- */

static bool read_header(TensorFile *file, Err *err)
{
    uint64_t length;
    json_error_t where;
    if (file->bytes < sizeof length)
        return err_set(err, "%llu bytes found: too short for a safetensors file",
                       (unsigned long long)file->bytes);
    if (!read_at(file->fd, &length, sizeof length, 0, err))
        return false;
    uint64_t room = file->bytes - sizeof length;
    if (length > room || length > HEADER_MAX)
        return err_set(err,
                       "header of %llu bytes announced, %llu bytes follow (at most %llu are read): "
                       "not a safetensors file, or cut off",
                       (unsigned long long)length, (unsigned long long)room,
                       (unsigned long long)HEADER_MAX);
    char *text = mem_alloc(sizeof length + (size_t)length);
    bool ok = read_at(file->fd, text, sizeof length + length, 0, err);
    if (ok) {
        file->header_digest = XXH3_64bits(text, sizeof length + (size_t)length);
        file->header =
            json_loadb(text + sizeof length, (size_t)length, JSON_REJECT_DUPLICATES, &where);
        if (!file->header)
            ok = err_set(err, "header is not JSON: %s (byte %d)", where.text, where.position);
        else if (!json_is_object(file->header))
            ok = err_set(err, "header is not a JSON object");
    }
    mem_free(text);
    file->data_start = sizeof length + length;
    return ok;
}

static bool read_shape(TensorEntry *entry, const json_t *shape, Err *err)
{
    size_t ndim = json_array_size(shape);
    if (!json_is_array(shape) || ndim > TENSOR_MAX_DIMS)
        return err_set(err, "shape is not a list of at most %d numbers", TENSOR_MAX_DIMS);
    entry->ndim = (int)ndim;
    entry->total = 1;
    for (size_t i = 0; i < ndim; i++) {
        const json_t *number = json_array_get(shape, i);
        if (!json_is_integer(number) || json_integer_value(number) < 0)
            return err_set(err, "shape[%zu] is not a whole number", i);
        entry->shape[i] = json_integer_value(number);
        if (__builtin_mul_overflow(entry->total, (uint64_t)entry->shape[i], &entry->total) ||
            entry->total > INT64_MAX / 8)
            return err_set(err, "shape with too many elements");
    }
    return true;
}

static bool read_offsets(const TensorFile *file, TensorEntry *entry, const json_t *offsets,
                         Err *err)
{
    const json_t *first = json_array_get(offsets, 0), *second = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(second))
        return err_set(err, "data_offsets is not a pair of whole numbers");
    json_int_t begin = json_integer_value(first), end = json_integer_value(second);
    uint64_t room = file->bytes - file->data_start;
    if (begin < 0 || end < begin || (uint64_t)end > room)
        return err_set(err, "data_offsets [%lld, %lld] do not lie in the %llu bytes of data",
                       (long long)begin, (long long)end, (unsigned long long)room);
    if ((uint64_t)(end - begin) != entry->total * entry->item)
        return err_set(err, "%lld bytes found by data_offsets [%lld, %lld], %llu expected",
                       (long long)(end - begin), (long long)begin, (long long)end,
                       (unsigned long long)(entry->total * entry->item));
    entry->begin = (uint64_t)begin;
    entry->end = (uint64_t)end;
    return true;
}

static bool read_entry(const TensorFile *file, TensorEntry *entry, const json_t *value, Err *err)
{
    entry->type = json_string_value(json_object_get(value, "dtype"));
    entry->item = entry->type ? tensor_type_bytes(entry->type) : 0;
    bool ok = true;
    if (entry->item == 0)
        ok = err_set(err, "dtype %.20s is not known", entry->type ? entry->type : "(none)");
    return (ok && read_shape(entry, json_object_get(value, "shape"), err) &&
            read_offsets(file, entry, json_object_get(value, "data_offsets"), err)) ||
           err_prefix(err, "tensor %.100s: ", entry->name);
}

static int by_begin(const void *left, const void *right)
{
    const TensorEntry *a = left, *b = right;
    if (a->begin != b->begin)
        return a->begin < b->begin ? -1 : 1;
    return (a->end > b->end) - (a->end < b->end);
}

/* No byte twice, none left over. */
static bool check_tiling(const TensorFile *file, Err *err)
{
    uint64_t end = 0, room = file->bytes - file->data_start;
    for (size_t i = 0; i < file->count; i++) {
        const TensorEntry *entry = &file->entries[i];
        if (entry->begin != end)
            return err_set(err, "tensor %.100s: data begin at byte %llu, %llu expected: tensors %s",
                           entry->name, (unsigned long long)entry->begin, (unsigned long long)end,
                           entry->begin < end ? "overlap" : "leave a gap");
        end = entry->end;
    }
    if (end != room)
        return err_set(err, "%llu bytes of data found, %llu expected", (unsigned long long)room,
                       (unsigned long long)end);
    return true;
}

static bool read_entries(TensorFile *file, Err *err)
{
    const char *name;
    json_t *value;
    file->entries = mem_array(TensorEntry, json_object_size(file->header));
    json_object_foreach (file->header, name, value) {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        TensorEntry *entry = &file->entries[file->count++];
        entry->name = name;
        if (!read_entry(file, entry, value, err))
            return false;
    }
    if (file->count > 0)
        qsort(file->entries, file->count, sizeof *file->entries, by_begin);
    return check_tiling(file, err);
}

/* ---- the module's functions ---- */

bool tensor_file_open(TensorFile *file, const char *path, Err *err)
{
    struct stat status;
    *file = (TensorFile){ .fd = open(path, O_RDONLY | O_CLOEXEC) };
    if (file->fd < 0)
        return err_set(err, "%s: %s", path, strerror(errno));
    file->path = mem_string(path);
    bool ok = fstat(file->fd, &status) == 0 && S_ISREG(status.st_mode);
    if (!ok)
        err_set(err, "not a regular file");
    file->bytes = ok ? (uint64_t)status.st_size : 0;
    if (ok && read_header(file, err) && read_entries(file, err))
        return true;
    tensor_file_close(file);
    return err_prefix(err, "%s: ", path);
}

void tensor_file_close(TensorFile *file)
{
    if (!file->path)
        return;
    close(file->fd);
    json_decref(file->header);
    mem_free(file->entries);
    mem_free(file->path);
    *file = (TensorFile){ .fd = -1 };
}

const TensorEntry *tensor_file_find(const TensorFile *file, const char *name)
{
    for (size_t i = 0; i < file->count; i++)
        if (strcmp(file->entries[i].name, name) == 0)
            return &file->entries[i];
    return NULL;
}

bool tensor_file_read(const TensorFile *file, const TensorEntry *entry, uint64_t first,
                      uint64_t count, void *out, Err *err)
{
    expect(first <= entry->total && count <= entry->total - first);
    return read_at(file->fd, out, count * entry->item,
                   file->data_start + entry->begin + first * entry->item, err) ||
           err_prefix(err, "%s: tensor %.100s: ", file->path, entry->name);
}

uint64_t tensor_digest(const void *data, size_t item, uint64_t first, uint64_t count)
{
    const char *next = data;
    uint64_t digest = 0;
    expect(first % DIGEST_RUN == 0);
    for (uint64_t run = first / DIGEST_RUN; count > 0; run++) {
        uint64_t n = count < DIGEST_RUN ? count : DIGEST_RUN;
        digest ^= XXH3_64bits_withSeed(next, n * item, run);
        next += n * item;
        count -= n;
    }
    return digest;
}

bool tensor_file_digest(const TensorFile *file, const TensorEntry *entry, uint64_t *digest,
                        Err *err)
{
    const uint64_t part = 64 * DIGEST_RUN; /* elements */
    char *buffer = mem_alloc((size_t)part * entry->item);
    bool ok = true;
    *digest = 0;
    for (uint64_t first = 0; ok && first < entry->total; first += part) {
        uint64_t n = entry->total - first < part ? entry->total - first : part;
        ok = tensor_file_read(file, entry, first, n, buffer, err);
        if (ok)
            *digest ^= tensor_digest(buffer, entry->item, first, n);
    }
    mem_free(buffer);
    return ok;
}
