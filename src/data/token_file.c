/* Token streams, and the files that hold them; see tokens.h and docs/formats.md. */
#include "file.h"
#include "lockstep/text.h"
#include "lockstep/tokenizer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define MAX_TABLE ((size_t)1 << 30) /* bytes */
#define MAX_TOKENS ((uint64_t)1 << 48)

static const char magic[8] = "lstokens"; /* without the final zero */

/* The first 64 bytes of a file, little-endian as the machine is. */
typedef struct Header {
    char magic[8];
    uint32_t version, width; /* bytes of a token: 2 or 4 */
    uint64_t count;          /* tokens */
    uint32_t vocabulary, tokenizer;
    uint64_t table_bytes;
    uint64_t digest; /* XXH3 of tokens, of table and of what stands before it, see chain */
    uint64_t zeros[2];
} Header;
_Static_assert(sizeof(Header) == 64, "the header is 64 bytes");

/* ---- streams ---- */

void tokens_begin(TokenStream *stream, uint32_t vocabulary, size_t expected)
{
    expect(vocabulary > 0 && vocabulary <= TOKENS_MAX_VOCABULARY);
    *stream = (TokenStream){ .vocabulary = vocabulary, .capacity = expected ? expected : 1 };
    if (vocabulary <= 65536)
        stream->narrow = mem_array(uint16_t, stream->capacity);
    else
        stream->wide = mem_array(uint32_t, stream->capacity);
}

void tokens_free(TokenStream *stream)
{
    mem_free(stream->narrow);
    mem_free(stream->wide);
    *stream = (TokenStream){ 0 };
}

int tokens_width(const TokenStream *stream)
{
    return stream->narrow ? 2 : 4;
}

const void *tokens_data(const TokenStream *stream)
{
    return stream->narrow ? (const void *)stream->narrow : stream->wide;
}

/* ---- writing ---- */

static uint64_t chain(const Header *header, const uint8_t *table, const void *tokens)
{
    uint64_t digest = XXH3_64bits(header, offsetof(Header, digest));
    digest = XXH3_64bits_withSeed(table, header->table_bytes, digest);
    return XXH3_64bits_withSeed(tokens, header->count * header->width, digest);
}

static size_t padding(const Header *header)
{
    return (8 - header->table_bytes % 8) % 8;
}

static bool write_parts(FILE *out, const Header *header, const TokenFile *file)
{
    static const char zeros[8];
    size_t bytes = header->count * header->width;
    return fwrite(header, 1, sizeof *header, out) == sizeof *header &&
           fwrite(file->table, 1, file->table_bytes, out) == file->table_bytes &&
           fwrite(zeros, 1, padding(header), out) == padding(header) &&
           fwrite(tokens_data(&file->stream), 1, bytes, out) == bytes && fflush(out) == 0 &&
           fsync(fileno(out)) == 0;
}

bool token_file_write(const char *path, const TokenFile *file, Err *err)
{
    Header header = { .version = 1,
                      .width = (uint32_t)tokens_width(&file->stream),
                      .count = file->stream.count,
                      .vocabulary = file->stream.vocabulary,
                      .tokenizer = file->tokenizer,
                      .table_bytes = file->table_bytes };
    memcpy(header.magic, magic, sizeof magic);
    header.digest = chain(&header, file->table, tokens_data(&file->stream));
    char temporary[FILE_PATH];
    if (snprintf(temporary, sizeof temporary, "%s.tmp", path) >= FILE_PATH)
        return err_set(err, "a file name of more than %d bytes", FILE_PATH - 5);
    FILE *out = fopen(temporary, "wb");
    bool ok = out && write_parts(out, &header, file);
    int error = errno;
    if (out && fclose(out) != 0 && ok) {
        ok = false;
        error = errno;
    }
    if (ok && rename(temporary, path) != 0) {
        ok = false;
        error = errno;
    }
    if (!ok && out)
        unlink(temporary);
    return ok || err_set(err, "%s: cannot write: %s", path, strerror(error));
}

/* ---- reading ---- */

static bool check_header(const char *path, const Header *header, Err *err)
{
    if (memcmp(header->magic, magic, sizeof magic) != 0)
        return err_set(err, "%s: not a token file: it does not begin with \"lstokens\"", path);
    if (header->version != 1)
        return err_set(err, "%s: version %u of the format, 1 expected", path, header->version);
    if (header->vocabulary < 1 || header->vocabulary > TOKENS_MAX_VOCABULARY)
        return err_set(err, "%s: vocabulary of %u, 1 .. %d expected", path, header->vocabulary,
                       TOKENS_MAX_VOCABULARY);
    uint32_t width = header->vocabulary <= 65536 ? 2 : 4;
    if (header->width != width)
        return err_set(err, "%s: %u bytes a token, %u expected for a vocabulary of %u", path,
                       header->width, width, header->vocabulary);
    if (header->count < 1 || header->count > MAX_TOKENS)
        return err_set(err, "%s: %llu tokens, 1 .. 2^48 expected", path,
                       (unsigned long long)header->count);
    if (header->tokenizer != 0 && !tokenizer_numbered(header->tokenizer))
        return err_set(err, "%s: tokenizer number %u is not known", path, header->tokenizer);
    if (header->table_bytes > MAX_TABLE)
        return err_set(err, "%s: a table of %llu bytes, at most %zu expected", path,
                       (unsigned long long)header->table_bytes, MAX_TABLE);
    if (header->zeros[0] != 0 || header->zeros[1] != 0)
        return err_set(err, "%s: bytes 48 .. 63 are not zero", path);
    return true;
}

static bool wrong_size(const char *path, uint64_t count, int width, const char *found, Err *err)
{
    return err_set(err, "%s: %llu bytes expected for %llu tokens of %d bytes, found %s", path,
                   (unsigned long long)count * (unsigned)width, (unsigned long long)count, width,
                   found);
}

static bool take_table(FileReader *reader, const char *path, const Header *header, TokenFile *file,
                       Err *err)
{
    static const uint8_t zeros[8];
    uint8_t gap[8];
    size_t got, got_gap;
    if (!file_take_new(reader, header->table_bytes, &file->table, &got, err) ||
        !file_take(reader, gap, padding(header), &got_gap, err))
        return false;
    file->table_bytes = got;
    if (got < header->table_bytes || got_gap < padding(header))
        return err_set(err, "%s: the file ends inside its table of %llu bytes", path,
                       (unsigned long long)header->table_bytes);
    return memcmp(gap, zeros, padding(header)) == 0 ||
           err_set(err, "%s: the bytes behind the table are not zero", path);
}

/* `count` tokens, then the end of the file. */
static bool take_tokens(FileReader *reader, const char *path, uint64_t count, int width,
                        TokenStream *stream, Err *err)
{
    uint8_t *data;
    size_t got, rest;
    bool exact;
    char found[32] = "more";
    if (!file_take_new(reader, count * (unsigned)width, &data, &got, err))
        return false;
    stream->count = stream->capacity = count;
    stream->narrow = width == 2 ? (uint16_t *)(void *)data : NULL;
    stream->wide = width == 2 ? NULL : (uint32_t *)(void *)data;
    if (got == count * (unsigned)width && !file_rest(reader, &rest, &exact, err))
        return false;
    if (got == count * (unsigned)width && rest == 0)
        return true;
    if (got < count * (unsigned)width)
        snprintf(found, sizeof found, "%zu", got);
    else if (exact)
        snprintf(found, sizeof found, "%zu", got + rest);
    return wrong_size(path, count, width, found, err);
}

static bool check_range(const char *path, const TokenStream *stream, Err *err)
{
    for (size_t i = 0; i < stream->count; i++)
        if (token_at(stream, i) >= stream->vocabulary)
            return err_set(err, "%s: token %u at index %zu, 0 .. %u expected", path,
                           token_at(stream, i), i, stream->vocabulary - 1);
    return true;
}

static bool read_parts(FileReader *reader, const char *path, TokenFile *file, Err *err)
{
    Header header;
    size_t got;
    if (!file_take(reader, &header, sizeof header, &got, err))
        return false;
    if (got < sizeof magic || (got < sizeof header && memcmp(&header, magic, sizeof magic) == 0))
        return err_set(err, "%s: the file ends inside its header of 64 bytes", path);
    if (got < sizeof header)
        memset((char *)&header + got, 0, sizeof header - got);
    file->tokenizer = header.tokenizer;
    file->stream.vocabulary = header.vocabulary;
    if (!check_header(path, &header, err) || !take_table(reader, path, &header, file, err) ||
        !take_tokens(reader, path, header.count, (int)header.width, &file->stream, err))
        return false;
    uint64_t digest = chain(&header, file->table, tokens_data(&file->stream));
    if (digest != header.digest)
        return err_set(err, "%s: damaged: its digest is %016llx, the header says %016llx", path,
                       (unsigned long long)digest, (unsigned long long)header.digest);
    return check_range(path, &file->stream, err);
}

bool token_file_read(const char *path, TokenFile *file, Err *err)
{
    *file = (TokenFile){ 0 };
    FileReader *reader = file_open(path, err);
    bool ok = reader && read_parts(reader, path, file, err);
    file_close(reader);
    return ok;
}

void token_file_free(TokenFile *file)
{
    tokens_free(&file->stream);
    mem_free(file->table);
    *file = (TokenFile){ 0 };
}

static bool read_bare(FileReader *reader, const char *path, int width, size_t skip,
                      TokenStream *stream, Err *err)
{
    uint8_t *front, *data;
    size_t got;
    if (!file_take_new(reader, skip, &front, &got, err))
        return false;
    mem_free(front);
    if (got < skip)
        return err_set(err, "%s: %zu bytes to skip, found %zu", path, skip, got);
    if (!file_take_new(reader, MAX_TOKENS * (unsigned)width, &data, &got, err))
        return false;
    stream->count = stream->capacity = got / (unsigned)width;
    stream->narrow = width == 2 ? (uint16_t *)(void *)data : NULL;
    stream->wide = width == 2 ? NULL : (uint32_t *)(void *)data;
    if (got == 0 || got % (unsigned)width != 0)
        return err_set(err, "%s: %zu bytes of tokens, a multiple of %d expected", path, got, width);
    return check_range(path, stream, err);
}

bool tokens_read_bare(const char *path, int width, size_t skip, uint32_t vocabulary,
                      TokenStream *stream, Err *err)
{
    *stream = (TokenStream){ .vocabulary = vocabulary };
    FileReader *reader = file_open(path, err);
    bool ok = reader && read_bare(reader, path, width, skip, stream, err);
    file_close(reader);
    return ok;
}
