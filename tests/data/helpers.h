/* What the data tests share: small data sets in temporary folders, and a loader made from YAML
 * text. */
#ifndef LOCKSTEP_TESTS_DATA_HELPERS_H
#define LOCKSTEP_TESTS_DATA_HELPERS_H

#include "lockstep/loader.h"
#include "lockstep/memory.h"
#include "support.h"

#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

typedef struct Fixture {
    Config config;
    Lanes lanes;
    Loader loader;
    Err err;
    bool ok;
} Fixture;

/* `yaml` is the text of the whole config; its `data` section is read. */
static inline bool fixture_open(Fixture *f, const char *yaml, uint64_t seed, int batch, int lanes)
{
    memset(f, 0, sizeof *f);
    ck_assert_msg(config_parse(&f->config, "test.yaml", yaml, strlen(yaml), &f->err), "%s",
                  f->err.text);
    ck_assert(lanes_init(&f->lanes, batch, lanes, 0, 1, &f->err));
    ConfigNode *data = config_section(f->config.root, "data");
    f->ok = loader_init(&f->loader, &f->config, data, seed, &f->lanes, &f->err);
    return f->ok;
}

static inline void fixture_close(Fixture *f)
{
    if (f->ok)
        loader_free(&f->loader);
    config_free(&f->config);
}

/* The loader must come up. */
static inline void fixture_must(Fixture *f, const char *yaml, uint64_t seed, int batch, int lanes)
{
    ck_assert_msg(fixture_open(f, yaml, seed, batch, lanes), "%s", f->err.text);
}

/* An IDX file in memory: header and body; returns its length. */
static inline size_t idx_bytes(uint8_t *out, int ndim, const uint32_t *dim, const uint8_t *body,
                               size_t bytes)
{
    size_t at = 0;
    uint32_t words[6] = { 0x800u + (uint32_t)ndim };
    for (int i = 0; i < ndim; i++)
        words[1 + i] = dim[i];
    for (int i = 0; i <= ndim; i++)
        for (int shift = 24; shift >= 0; shift -= 8)
            out[at++] = (uint8_t)(words[i] >> shift);
    if (bytes)
        memcpy(out + at, body, bytes);
    return at + bytes;
}

/* data -> gzip, by zlib at its best level; out has room for 2 n + 1000 bytes. */
static inline size_t gzip_bytes(uint8_t *out, const uint8_t *data, size_t n)
{
    z_stream stream = { 0 };
    ck_assert_int_eq(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    uint8_t *copy = malloc(n + 1);
    memcpy(copy, data, n);
    stream.next_in = copy;
    stream.avail_in = (uInt)n;
    stream.next_out = out;
    stream.avail_out = (uInt)(2 * n + 1000);
    ck_assert_int_eq(deflate(&stream, Z_FINISH), Z_STREAM_END);
    size_t bytes = stream.total_out;
    deflateEnd(&stream);
    free(copy);
    return bytes;
}

static inline size_t xz_bytes(uint8_t *out, const uint8_t *data, size_t n)
{
    size_t bytes = 0;
    ck_assert_int_eq(
        lzma_easy_buffer_encode(6, LZMA_CHECK_CRC64, NULL, data, n, out, &bytes, 2 * n + 1000),
        LZMA_OK);
    return bytes;
}

/* A repeatable byte pattern without symmetry. */
static inline uint8_t pattern(size_t i)
{
    return (uint8_t)((i * 2654435761u) >> 13);
}

/* Four plain IDX files with `train` and `test` samples of (H, W), labels i mod classes. */
static inline void write_idx_set(const char *folder, uint32_t train, uint32_t test, uint32_t height,
                                 uint32_t width, int classes)
{
    static const char *const names[2][2] = {
        { "train-images-idx3-ubyte", "train-labels-idx1-ubyte" },
        { "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte" }
    };
    uint32_t counts[2] = { train, test };
    char path[TEST_PATH];
    for (int split = 0; split < 2; split++) {
        size_t n = (size_t)counts[split] * height * width;
        uint8_t *body = malloc(n), *out = malloc(n + counts[split] + 64);
        for (size_t i = 0; i < n; i++)
            body[i] = pattern(i + (size_t)split * 77);
        uint32_t dim[3] = { counts[split], height, width };
        size_t bytes = idx_bytes(out, 3, dim, body, n);
        write_bytes(join_path(path, folder, names[split][0]), out, bytes);
        uint8_t *labels = malloc(counts[split]);
        for (size_t i = 0; i < counts[split]; i++)
            labels[i] = (uint8_t)(i % (size_t)classes);
        bytes = idx_bytes(out, 1, dim, labels, counts[split]);
        write_bytes(join_path(path, folder, names[split][1]), out, bytes);
        free(labels);
        free(body);
        free(out);
    }
}

#endif
