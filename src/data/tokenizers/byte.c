/* Bytes as tokens: any file is text, 256 tokens, nothing to learn. */
#include "lockstep/tokenizer.h"

static bool open_bytes(Tokenizer *t, Err *err)
{
    if (t->table_bytes > 0)
        return err_set(err, "the byte tokenizer has no table, found one of %zu bytes",
                       t->table_bytes);
    t->vocabulary = 256;
    uint8_t *all = t->state = mem_alloc(256);
    for (int i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    return true;
}

static void close_bytes(Tokenizer *t)
{
    mem_free(t->state);
}

static size_t encode(const Tokenizer *t, const uint8_t *text, size_t n, TokenStream *out)
{
    (void)t;
    for (size_t i = 0; i < n; i++)
        tokens_add(out, text[i]);
    return n;
}

static const uint8_t *piece(const Tokenizer *t, uint32_t token, size_t *bytes)
{
    *bytes = 1;
    return (const uint8_t *)t->state + token;
}

const TokenizerType tokenizer_byte = {
    .name = "byte",
    .help = "each byte a token; 256 tokens",
    .number = 1,
    .open = open_bytes,
    .close = close_bytes,
    .encode = encode,
    .piece = piece,
};
