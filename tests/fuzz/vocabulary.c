/* Tables of tokenizers: GPT-2's merges and lists of characters. A text that a tokenizer takes comes
 * back from its tokens as it was. */
#include "fuzz.h"

#include "lockstep/memory.h"
#include "lockstep/text.h"
#include "lockstep/tokenizer.h"

#include <string.h>

/* How much of the text is UTF-8. */
static size_t utf8_part(const uint8_t *text, size_t bytes)
{
    uint32_t code;
    size_t at = 0, length;
    while (at < bytes && (length = text_utf8((const char *)text + at, bytes - at, &code)) > 0)
        at += length;
    return at;
}

static void there_and_back(const Tokenizer *t, const uint8_t *text, size_t bytes)
{
    TokenStream stream;
    Err err = { .text = "" };
    size_t at = 0;
    tokens_begin(&stream, t->vocabulary, bytes);
    bool ok = fuzz_told(tokenizer_encode(t, "text", text, bytes, &stream, &err), &err);
    for (size_t i = 0; i < stream.count; i++) {
        size_t length;
        uint32_t token = token_at(&stream, i);
        expect(token < t->vocabulary);
        const uint8_t *piece = t->type->piece(t, token, &length);
        expect(length <= bytes - at && memcmp(piece, text + at, length) == 0);
        at += length;
    }
    expect(!ok || at == bytes);
    tokens_free(&stream);
}

/* The first byte says which tokenizer, the second how much of the rest is text. */
static void run(const uint8_t *data, size_t bytes)
{
    Tokenizer t;
    Err err = { .text = "" };
    const TokenizerType *type = tokenizer_find(fuzz_byte(&data, &bytes) % 2 == 0 ? "gpt2" : "char");
    size_t text_bytes = fuzz_byte(&data, &bytes);
    text_bytes = text_bytes < bytes ? text_bytes : bytes;
    const uint8_t *table = data + text_bytes;
    size_t table_bytes = bytes - text_bytes;
    if (!fuzz_told(tokenizer_init_table(&t, type, table, table_bytes, "vocabulary", &err), &err))
        return;
    uint8_t *text = (uint8_t *)fuzz_text(data, text_bytes);
    there_and_back(&t, text, utf8_part(text, text_bytes));
    there_and_back(&t, t.table, utf8_part(t.table, t.table_bytes));
    tokenizer_free(&t);
    mem_free(text);
}

const FuzzTarget fuzz_vocabulary = { .name = "vocabulary", .run = run };
