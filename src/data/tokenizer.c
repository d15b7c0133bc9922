/* The list of tokenizers, and what all of them need. */
#include "lockstep/tokenizer.h"
#include "lockstep/dataset.h"
#include "lockstep/text.h"

#include <string.h>

#define MAX_TEXT ((size_t)1 << 40) /* bytes of a file; also the longest word of gpt2 */

#define TOKENIZER(name) extern const TokenizerType tokenizer_##name;
#include "tokenizers.def"
#undef TOKENIZER

static const TokenizerType *const types[] = {
#define TOKENIZER(name) &tokenizer_##name,
#include "tokenizers.def"
#undef TOKENIZER
};

#define TYPES (sizeof types / sizeof *types)

const TokenizerType *const *tokenizer_all(int *count)
{
    *count = (int)TYPES;
    return types;
}

const TokenizerType *tokenizer_find(const char *name)
{
    for (size_t i = 0; i < TYPES; i++)
        if (strcmp(types[i]->name, name) == 0)
            return types[i];
    return NULL;
}

const TokenizerType *tokenizer_numbered(uint32_t number)
{
    for (size_t i = 0; i < TYPES; i++)
        if (types[i]->number == number)
            return types[i];
    return NULL;
}

/* t has type and table. */
static bool open_type(Tokenizer *t, const char *name, Err *err)
{
    if (t->type->open(t, err))
        return true;
    tokenizer_free(t);
    return err_prefix(err, "%s: ", name);
}

bool tokenizer_init(Tokenizer *t, const TokenizerType *type, const TokenizerSource *source,
                    Err *err)
{
    *t = (Tokenizer){ .type = type };
    if (type->learn && !type->learn(source, &t->table, &t->table_bytes, err))
        return false;
    return open_type(t, type->vocab ? source->vocab : type->name, err);
}

bool tokenizer_init_table(Tokenizer *t, const TokenizerType *type, const uint8_t *table,
                          size_t bytes, const char *name, Err *err)
{
    *t = (Tokenizer){ .type = type, .table = mem_alloc(bytes), .table_bytes = bytes };
    if (bytes > 0)
        memcpy(t->table, table, bytes);
    return open_type(t, name, err);
}

void tokenizer_free(Tokenizer *t)
{
    if (t->type && t->type->close)
        t->type->close(t);
    mem_free(t->table);
    *t = (Tokenizer){ 0 };
}

/* Line and column, in characters, both 1-based, of text[at]. */
static void find_place(const uint8_t *text, size_t at, size_t *line, size_t *column)
{
    *line = *column = 1;
    for (size_t i = 0; i < at; i++) {
        if (text[i] == '\n') {
            ++*line;
            *column = 1;
        } else if ((text[i] & 0xc0) != 0x80) {
            ++*column;
        }
    }
}

bool tokenizer_encode(const Tokenizer *t, const char *name, const uint8_t *text, size_t n,
                      TokenStream *out, Err *err)
{
    size_t done = t->type->encode(t, text, n, out), line, column;
    if (done == n)
        return true;
    uint32_t code = 0;
    text_utf8((const char *)text + done, n - done, &code);
    find_place(text, done, &line, &column);
    return err_set(err, "%s:%zu:%zu: character U+%04X is not among the %u of the training text",
                   name, line, column, code, t->vocabulary);
}

static bool check_utf8(const char *path, const uint8_t *text, size_t n, Err *err)
{
    for (size_t at = 0; at < n;) {
        uint32_t code;
        size_t length = text[at] < 128 ? 1 : text_utf8((const char *)text + at, n - at, &code);
        if (length == 0)
            return err_set(err, "%s: not UTF-8: byte 0x%02x at %zu; tokenizer byte takes any file",
                           path, text[at], at);
        at += length;
    }
    return true;
}

bool tokenizer_read_text(const char *path, bool utf8, uint8_t **text, size_t *bytes, Err *err)
{
    if (!file_read(path, MAX_TEXT, text, bytes, err))
        return false;
    if (!utf8 || check_utf8(path, *text, *bytes, err))
        return true;
    mem_free(*text);
    *text = NULL;
    return false;
}

size_t tokenizer_split(const TokenizerType *type, const uint8_t *text, size_t n, double validation)
{
    size_t cut = (size_t)((double)n * (1 - validation));
    while (type->utf8 && cut > 0 && cut < n && (text[cut] & 0xc0) == 0x80)
        cut--;
    return cut;
}
