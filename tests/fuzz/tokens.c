/* Token files, those of `lockstep tokenize` and bare ones, and the way back to text. With the flag
 * the header's count and digest are made right, so that what is behind them is reached. */
#include "fuzz.h"

#include "lockstep/memory.h"
#include "lockstep/tokenize.h"
#include "lockstep/tokens.h"

#include <string.h>
#include <xxhash.h>

enum { MEND = 1, BARE_16 = 2, BARE_32 = 4 };

#define HEADER ((size_t)64)
#define WIDTH_AT 12
#define COUNT_AT 16
#define TABLE_AT 32
#define DIGEST_AT 40

static FuzzFile file;

static void start(void)
{
    file = fuzz_file();
}

static void mend(uint8_t *data, size_t bytes)
{
    uint32_t width;
    uint64_t table, count;
    memcpy(&width, data + WIDTH_AT, sizeof width);
    memcpy(&table, data + TABLE_AT, sizeof table);
    size_t room = bytes - HEADER;
    if ((width != 2 && width != 4) || table > room)
        return;
    size_t gap = (8 - table % 8) % 8;
    gap = gap < room - table ? gap : room - table;
    count = (room - table - gap) / width;
    memcpy(data + COUNT_AT, &count, sizeof count);
    uint64_t digest = XXH3_64bits(data, DIGEST_AT);
    digest = XXH3_64bits_withSeed(data + HEADER, table, digest);
    digest = XXH3_64bits_withSeed(data + HEADER + table + gap, count * width, digest);
    memcpy(data + DIGEST_AT, &digest, sizeof digest);
}

static void check_range(const TokenStream *stream)
{
    for (size_t i = 0; i < stream->count; i++)
        expect(token_at(stream, i) < stream->vocabulary);
}

static void read_bare(int width, size_t skip)
{
    TokenStream stream;
    Err err = { .text = "" };
    if (fuzz_told(tokens_read_bare(file.path, width, skip, 1000, &stream, &err), &err))
        check_range(&stream);
    tokens_free(&stream);
}

static void read_file(void)
{
    TokenFile tokens;
    Err err = { .text = "" };
    const char *inputs[1] = { file.path };
    const TokenizeRequest request = {
        .inputs = inputs, .count = 1, .out = "/dev/null", .force = true
    };
    int code;
    bool ok = fuzz_told(token_file_read(file.path, &tokens, &err), &err);
    if (ok)
        check_range(&tokens.stream);
    token_file_free(&tokens);
    if (ok)
        fuzz_told(tokenize_decode(&request, &code, &err), &err);
}

static void run(const uint8_t *data, size_t bytes)
{
    uint8_t flags = fuzz_byte(&data, &bytes);
    uint8_t *copy = mem_alloc(bytes);
    if (bytes > 0)
        memcpy(copy, data, bytes);
    if (flags & MEND && bytes >= HEADER)
        mend(copy, bytes);
    fuzz_fill(&file, copy, bytes);
    mem_free(copy);
    if (flags & BARE_16)
        read_bare(2, flags >> 3);
    else if (flags & BARE_32)
        read_bare(4, flags >> 3);
    else
        read_file();
}

const FuzzTarget fuzz_tokens = { .name = "tokens", .start = start, .run = run };
