/* Reads .npy files; nothing in them is trusted. */
#include "npy.h"

#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PREFIX = 10, HEADER_MAX = 4096 };
#define FILE_MAX ((size_t)1 << 30)

typedef enum Element { F4, F8, I4 } Element;

static const struct {
    const char *descr;
    size_t bytes;
} elements[] = { [F4] = { "'<f4'", 4 }, [F8] = { "'<f8'", 8 }, [I4] = { "'<i4'", 4 } };

/* What follows "'key':" in the header's dictionary, blanks skipped; NULL if there is none. */
static const char *header_value(const char *header, const char *key)
{
    const char *place = strstr(header, key);
    return place ? place + strlen(key) + strspn(place + strlen(key), " ") : NULL;
}

static bool read_shape(const char *text, Npy *npy)
{
    if (*text++ != '(')
        return false;
    npy->count = 1;
    for (;;) {
        text += strspn(text, " ,");
        if (*text == ')')
            return npy->ndim > 0;
        char *end;
        unsigned long long dimension = strtoull(text, &end, 10);
        if (end == text || *text == '-' || npy->ndim == NPY_MAX_DIMS || dimension > FILE_MAX ||
            npy->count * dimension > FILE_MAX)
            return false;
        npy->shape[npy->ndim++] = (size_t)dimension;
        npy->count *= (size_t)dimension;
        text = end;
    }
}

static bool read_header(const char *path, const char *header, Npy *npy, Element *element, Err *err)
{
    const char *descr = header_value(header, "'descr':");
    const char *order = header_value(header, "'fortran_order':");
    const char *shape = header_value(header, "'shape':");
    if (!descr || !order || !shape)
        return err_set(err, "%s: the header lacks descr, fortran_order or shape", path);
    for (*element = F4; *element <= I4; ++*element)
        if (strncmp(descr, elements[*element].descr, 5) == 0)
            break;
    if (*element > I4)
        return err_set(err, "%s: <f4, <f8 or <i4 wanted, found %.8s", path, descr);
    if (strncmp(order, "False", 5) != 0)
        return err_set(err, "%s: Fortran order is not read", path);
    if (!read_shape(shape, npy))
        return err_set(err, "%s: cannot use the shape %.40s", path, shape);
    npy->is_integer = *element == I4;
    return true;
}

static double element_value(const char *bytes, Element element)
{
    float single;
    double value;
    int32_t integer;
    switch (element) {
    case F4:
        memcpy(&single, bytes, sizeof single);
        return (double)single;
    case F8:
        memcpy(&value, bytes, sizeof value);
        return value;
    case I4:
    default:
        memcpy(&integer, bytes, sizeof integer);
        return integer;
    }
}

static bool read_values(const char *path, FILE *file, size_t data_bytes, Npy *npy, Err *err)
{
    unsigned char prefix[PREFIX];
    char header[HEADER_MAX + 1];
    if (fread(prefix, 1, PREFIX, file) != PREFIX || memcmp(prefix, "\x93NUMPY\x01\x00", 8) != 0)
        return err_set(err, "%s: not an .npy file of version 1.0", path);
    size_t length = prefix[8] + ((size_t)prefix[9] << 8);
    if (length > HEADER_MAX || fread(header, 1, length, file) != length)
        return err_set(err, "%s: the header is cut off", path);
    header[length] = 0;
    Element element = F4;
    if (!read_header(path, header, npy, &element, err))
        return false;
    size_t bytes = elements[element].bytes * npy->count;
    if (data_bytes != PREFIX + length + bytes)
        return err_set(err, "%s: %zu bytes of data expected, found %zu", path, bytes,
                       data_bytes < PREFIX + length ? 0 : data_bytes - PREFIX - length);
    char *raw = mem_alloc(bytes);
    npy->values = mem_array(double, npy->count);
    bool whole = fread(raw, 1, bytes, file) == bytes;
    for (size_t i = 0; i < npy->count; i++)
        npy->values[i] = element_value(raw + i * elements[element].bytes, element);
    mem_free(raw);
    return whole ? true : err_set(err, "%s: cannot be read", path);
}

bool npy_read(const char *path, Npy *npy, Err *err)
{
    *npy = (Npy){ 0 };
    FILE *file = fopen(path, "rb");
    if (!file)
        return err_set(err, "%s: cannot be opened", path);
    long bytes = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    rewind(file);
    bool ok = bytes >= 0 && (size_t)bytes <= FILE_MAX
                  ? read_values(path, file, (size_t)bytes, npy, err)
                  : err_set(err, "%s: cannot be read, or larger than %zu bytes", path, FILE_MAX);
    fclose(file);
    if (!ok)
        npy_free(npy);
    return ok;
}

void npy_free(Npy *npy)
{
    mem_free(npy->values);
    *npy = (Npy){ 0 };
}

char *npy_shape(const Npy *npy, char *buffer, size_t size)
{
    snprintf(buffer, size, "(");
    for (int i = 0; i < npy->ndim; i++)
        text_append(buffer, size, "%s%zu", i ? ", " : "", npy->shape[i]);
    text_append(buffer, size, ")");
    return buffer;
}
