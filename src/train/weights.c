/* Writing weights as safetensors, and their digest. The reader, which trusts nothing, is in
 * weights_read.c. */
#include "lockstep/weights.h"

#include "lockstep/memory.h"
#include "lockstep/version.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file is little-endian");

uint64_t weights_digest(const Layout *layout, const float *arena)
{
    uint64_t *digests = mem_array(uint64_t, layout->blocks);
    layout_block_digests(layout, layout_slice(layout, 0, 1), arena, digests);
    uint64_t digest = layout_digest(layout, digests);
    mem_free(digests);
    return digest;
}

static json_t *metadata_value(int64_t step, uint64_t digest)
{
    char step_text[24], digest_text[17];
    snprintf(step_text, sizeof step_text, "%lld", (long long)step);
    snprintf(digest_text, sizeof digest_text, "%016llx", (unsigned long long)digest);
    return json_pack("{s:s, s:s, s:s, s:s}", "format", "lockstep", "step", step_text, "digest",
                     digest_text, "version", version_string());
}

/* *end: bytes of data so far; moved behind this tensor. */
static json_t *tensor_value(const LayoutTensor *tensor, json_int_t *end)
{
    json_t *shape = json_array();
    for (int i = 0; i < tensor->ndim; i++)
        json_array_append_new(shape, json_integer(tensor->shape[i]));
    json_int_t begin = *end;
    *end += (json_int_t)(tensor->n * sizeof(float));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape", shape, "data_offsets", begin,
                     *end);
}

/* The JSON header, padded with blanks so that the data start at a multiple of 8; freed with
 * free. */
static char *header_text(const Layout *layout, const float *arena, int64_t step, size_t *bytes)
{
    json_t *header = json_object();
    json_int_t end = 0;
    json_object_set_new(header, "__metadata__",
                        metadata_value(step, weights_digest(layout, arena)));
    for (int i = 0; i < layout->count; i++) {
        const LayoutTensor *tensor = &layout->tensors[i];
        json_object_set_new(header, tensor->name, tensor_value(tensor, &end));
    }
    char *text = json_dumps(header, JSON_COMPACT);
    json_decref(header);
    expect(text);
    size_t length = strlen(text);
    *bytes = (length + 7) / 8 * 8;
    text = realloc(text, *bytes + 1);
    expect(text);
    memset(text + length, ' ', *bytes - length);
    return text;
}

static bool write_file(FILE *file, const Layout *layout, const float *arena, int64_t step)
{
    size_t bytes;
    char *header = header_text(layout, arena, step, &bytes);
    uint64_t length = bytes;
    bool ok = fwrite(&length, sizeof length, 1, file) == 1 && fwrite(header, bytes, 1, file) == 1;
    free(header);
    for (int i = 0; ok && i < layout->count; i++) {
        const LayoutTensor *tensor = &layout->tensors[i];
        ok = fwrite(arena + tensor->offset, sizeof(float), tensor->n, file) == tensor->n;
    }
    return ok && fflush(file) == 0 && fsync(fileno(file)) == 0;
}

bool weights_write(const char *path, const Layout *layout, const float *arena, int64_t step,
                   Err *err)
{
    size_t size = strlen(path) + 5;
    char *temporary = mem_alloc(size);
    snprintf(temporary, size, "%s.tmp", path);
    FILE *file = fopen(temporary, "wbe");
    bool ok = file && write_file(file, layout, arena, step);
    int error = errno;
    if (file && fclose(file) != 0 && ok) {
        ok = false;
        error = errno;
    }
    if (ok && rename(temporary, path) != 0) {
        ok = false;
        error = errno;
    }
    if (!ok) {
        unlink(temporary);
        err_set(err, "%s: cannot write: %s", path, strerror(error));
    }
    mem_free(temporary);
    return ok;
}
