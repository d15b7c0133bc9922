/* Characters (Unicode code points) as tokens, numbered in the order of their code points: what
 * char-rnn and nanoGPT do with Tiny Shakespeare. The table is the characters themselves, each once,
 * in order, as UTF-8. */
#include "lockstep/text.h"
#include "lockstep/tokenizer.h"

#include <string.h>

#define CODES ((size_t)0x110000)
#define UNKNOWN UINT32_MAX

typedef struct Alphabet {
    uint32_t *code;      /* (vocabulary) ascending */
    size_t *start;       /* (vocabulary + 1) byte in the table */
    uint32_t ascii[128]; /* token of a code below 128, or UNKNOWN */
} Alphabet;

/* Code points are UTF-8 that was checked before, so every text_utf8 here succeeds. */
static uint32_t take_code(const uint8_t *text, size_t n, size_t *at)
{
    uint32_t code = text[*at];
    *at += code < 128 ? 1 : text_utf8((const char *)text + *at, n - *at, &code);
    return code;
}

/* code as UTF-8 into out; returns its length. */
static size_t put_code(uint32_t code, uint8_t out[4])
{
    static const uint8_t mark[5] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    size_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, code >>= 6)
        out[i] = (uint8_t)(0x80 | (code & 0x3f));
    out[0] = (uint8_t)(mark[length] | code);
    return length;
}

static bool learn(const TokenizerSource *source, uint8_t **table, size_t *bytes, Err *err)
{
    (void)err;
    uint8_t *seen = mem_alloc(CODES);
    size_t count = 0;
    for (size_t at = 0; at < source->bytes;) {
        uint8_t *mark = &seen[take_code(source->text, source->bytes, &at)];
        count += !*mark;
        *mark = 1;
    }
    *table = mem_alloc(4 * count);
    *bytes = 0;
    for (uint32_t code = 0; code < CODES; code++)
        if (seen[code])
            *bytes += put_code(code, *table + *bytes);
    mem_free(seen);
    return true;
}

/* Characters of the table, which must be UTF-8; 0 if it is not. */
static size_t count_codes(const Tokenizer *t)
{
    size_t count = 0, length;
    uint32_t code;
    for (size_t at = 0; at < t->table_bytes; at += length, count++) {
        length = text_utf8((const char *)t->table + at, t->table_bytes - at, &code);
        if (length == 0)
            return 0;
    }
    return count;
}

static bool open_alphabet(Tokenizer *t, Err *err)
{
    size_t count = count_codes(t), at = 0;
    if (count == 0)
        return err_set(err, "the table of characters is empty or not UTF-8");
    Alphabet *alphabet = t->state = mem_new(Alphabet);
    alphabet->code = mem_array(uint32_t, count);
    alphabet->start = mem_array(size_t, count + 1);
    memset(alphabet->ascii, 0xff, sizeof alphabet->ascii);
    for (size_t i = 0; i < count; i++) {
        alphabet->start[i] = at;
        uint32_t code = take_code(t->table, t->table_bytes, &at);
        if (i > 0 && code <= alphabet->code[i - 1])
            return err_set(err, "the table of characters is not in order: U+%04X after U+%04X",
                           code, alphabet->code[i - 1]);
        alphabet->code[i] = code;
        if (code < 128)
            alphabet->ascii[code] = (uint32_t)i;
    }
    alphabet->start[count] = at;
    t->vocabulary = (uint32_t)count;
    return true;
}

static void close_alphabet(Tokenizer *t)
{
    Alphabet *alphabet = t->state;
    if (!alphabet)
        return;
    mem_free(alphabet->code);
    mem_free(alphabet->start);
    mem_free(alphabet);
}

static uint32_t find_code(const Alphabet *alphabet, uint32_t count, uint32_t code)
{
    if (code < 128)
        return alphabet->ascii[code];
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (alphabet->code[middle] < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && alphabet->code[low] == code ? low : UNKNOWN;
}

static size_t encode(const Tokenizer *t, const uint8_t *text, size_t n, TokenStream *out)
{
    for (size_t at = 0; at < n;) {
        size_t start = at;
        uint32_t token = find_code(t->state, t->vocabulary, take_code(text, n, &at));
        if (token == UNKNOWN)
            return start;
        tokens_add(out, token);
    }
    return n;
}

static const uint8_t *piece(const Tokenizer *t, uint32_t token, size_t *bytes)
{
    const Alphabet *alphabet = t->state;
    *bytes = alphabet->start[token + 1] - alphabet->start[token];
    return t->table + alphabet->start[token];
}

const TokenizerType tokenizer_char = {
    .name = "char",
    .help = "each character of the training text a token, in the order of code points",
    .source = "Karpathy 2015",
    .number = 2,
    .utf8 = true,
    .learn = learn,
    .open = open_alphabet,
    .close = close_alphabet,
    .encode = encode,
    .piece = piece,
};
