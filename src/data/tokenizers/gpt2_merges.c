/* The merges of a byte-level BPE vocabulary (Sennrich et al. 2016, Radford et al. 2019), in the
 * form of GPT-2's vocab.bpe: a first line "#version: ...", then a pair of tokens a line, the most
 * frequent first. In the file a byte is written as a printable character: itself, or U+0100 and
 * following for those that do not print.
 *
 * Token numbers are GPT-2's: the 256 bytes, printing ones first; the merges in the order of the
 * file; the end of text. */
#include "gpt2.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"
#include "lockstep/tokens.h"

#include <string.h>
#include <xxhash.h>

#define CODES 0x144 /* code points that stand for bytes are below */
#define NO_BYTE 0xffff
#define MAX_TOKEN 4096 /* bytes */

/* What reading works with: tokens by their text, lines. */
typedef struct Reader {
    Merges *merges;
    const uint8_t *at, *end;
    uint32_t line;        /* 1-based */
    uint16_t byte[CODES]; /* code point -> byte, or NO_BYTE */
    uint32_t *slots;      /* token + 1 by the hash of its text; 0: free */
    size_t slot_mask;
    uint8_t word[2 * MAX_TOKEN]; /* the line's two tokens */
} Reader;

static bool prints(int byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

static uint32_t *find_slot(const Reader *reader, const uint8_t *text, size_t bytes)
{
    const Merges *merges = reader->merges;
    size_t slot = XXH3_64bits(text, bytes) & reader->slot_mask;
    for (;; slot = (slot + 1) & reader->slot_mask) {
        uint32_t token = reader->slots[slot];
        if (token == 0)
            return &reader->slots[slot];
        size_t start = merges->start[token - 1], length = merges->start[token] - start;
        if (length == bytes && memcmp(merges->text + start, text, bytes) == 0)
            return &reader->slots[slot];
    }
}

static void add_token(Reader *reader, const uint8_t *text, size_t bytes)
{
    Merges *merges = reader->merges;
    uint32_t *slot = find_slot(reader, text, bytes);
    memcpy(merges->text + merges->start[merges->count], text, bytes);
    merges->start[merges->count + 1] = merges->start[merges->count] + bytes;
    *slot = ++merges->count;
}

static void add_bytes(Reader *reader)
{
    memset(reader->byte, 0xff, sizeof reader->byte);
    uint16_t code = 256;
    for (int pass = 0; pass < 2; pass++)
        for (int byte = 0; byte < 256; byte++) {
            if (prints(byte) == (pass == 1))
                continue;
            uint8_t text = (uint8_t)byte;
            reader->byte[pass == 0 ? byte : code++] = text;
            reader->merges->byte_token[byte] = reader->merges->count;
            add_token(reader, &text, 1);
        }
}

static bool bad_line(const Reader *reader, Err *err)
{
    return err_set(err, "line %u: two tokens with a blank between them expected", reader->line);
}

/* One token of a line, up to `stop`, into `out` as bytes. */
static bool take_token(Reader *reader, uint8_t stop, uint8_t *out, size_t *bytes, Err *err)
{
    *bytes = 0;
    while (reader->at < reader->end && *reader->at != stop) {
        uint32_t code = CODES;
        size_t length =
            text_utf8((const char *)reader->at, (size_t)(reader->end - reader->at), &code);
        if (*reader->at == ' ' || *reader->at == '\n')
            return bad_line(reader, err);
        if (length == 0 || code >= CODES || reader->byte[code] == NO_BYTE)
            return err_set(err, "line %u: a character that stands for no byte", reader->line);
        if (*bytes == MAX_TOKEN)
            return err_set(err, "line %u: a token of more than %d bytes", reader->line, MAX_TOKEN);
        out[(*bytes)++] = (uint8_t)reader->byte[code];
        reader->at += length;
    }
    if (*bytes == 0 || reader->at == reader->end)
        return bad_line(reader, err);
    reader->at++;
    return true;
}

static bool known_token(const Reader *reader, const uint8_t *text, size_t bytes, const char *which,
                        uint32_t *token, Err *err)
{
    uint32_t slot = *find_slot(reader, text, bytes);
    *token = slot - 1;
    return slot > 0 ||
           err_set(err, "line %u: its %s token is neither a byte nor made by a line before",
                   reader->line, which);
}

/* Slots are at most half full, so there is always a free one. */
static size_t pair_slot(const Merges *merges, uint64_t pair)
{
    size_t mask = ((size_t)1 << merges->slot_bits) - 1;
    size_t slot = pair * 0x9e3779b97f4a7c15u >> (64 - merges->slot_bits);
    while (merges->result[slot] != 0 && merges->pair[slot] != pair)
        slot = (slot + 1) & mask;
    return slot;
}

static bool take_line(Reader *reader, Err *err)
{
    Merges *merges = reader->merges;
    size_t a, b;
    uint32_t left, right;
    if (!take_token(reader, ' ', reader->word, &a, err) ||
        !take_token(reader, '\n', reader->word + a, &b, err) ||
        !known_token(reader, reader->word, a, "first", &left, err) ||
        !known_token(reader, reader->word + a, b, "second", &right, err))
        return false;
    if (*find_slot(reader, reader->word, a + b) > 0)
        return err_set(err, "line %u: makes a token that is there already", reader->line);
    uint64_t pair = (uint64_t)left << 32 | right;
    size_t slot = pair_slot(merges, pair);
    merges->pair[slot] = pair;
    merges->result[slot] = merges->count;
    add_token(reader, reader->word, a + b);
    return true;
}

/* Memory for as many tokens as there are lines; a merge's text is no longer than its line. */
static bool allocate(Reader *reader, size_t bytes, Err *err)
{
    Merges *merges = reader->merges;
    size_t lines = 0, slots = 1024;
    for (const uint8_t *c = reader->at; c < reader->end; c++)
        lines += *c == '\n';
    if (lines > TOKENS_MAX_VOCABULARY / 2)
        return err_set(err, "%zu lines, at most %d merges are supported", lines,
                       TOKENS_MAX_VOCABULARY / 2);
    for (merges->slot_bits = 10; slots < 2 * (lines + 256); merges->slot_bits++)
        slots *= 2;
    merges->start = mem_array(size_t, lines + 257);
    merges->text = mem_alloc(256 + bytes);
    merges->pair = mem_array(uint64_t, slots);
    merges->result = mem_array(uint32_t, slots);
    reader->slots = mem_array(uint32_t, slots);
    reader->slot_mask = slots - 1;
    return true;
}

bool gpt2_merges_read(Merges *merges, const uint8_t *table, size_t bytes, Err *err)
{
    static const char version[] = "#version";
    *merges = (Merges){ 0 };
    Reader *reader = mem_new(Reader);
    *reader = (Reader){ .merges = merges, .at = table, .end = table + bytes, .line = 1 };
    bool ok = bytes > 0 && table[bytes - 1] == '\n';
    if (!ok)
        err_set(err, "the last line does not end: the file is cut off");
    ok = ok && allocate(reader, bytes, err);
    if (ok) {
        add_bytes(reader);
        if (bytes > sizeof version && memcmp(table, version, sizeof version - 1) == 0) {
            const uint8_t *stop = memchr(table, '\n', bytes);
            reader->at = stop + 1;
            reader->line++;
        }
    }
    for (; ok && reader->at < reader->end; reader->line++)
        ok = take_line(reader, err);
    mem_free(reader->slots);
    mem_free(reader);
    return ok;
}

void gpt2_merges_free(Merges *merges)
{
    mem_free(merges->start);
    mem_free(merges->text);
    mem_free(merges->pair);
    mem_free(merges->result);
    *merges = (Merges){ 0 };
}

uint32_t gpt2_merge(const Merges *merges, uint32_t left, uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    size_t slot = pair_slot(merges, pair);
    return merges->result[slot];
}
