/* Tokenizers: text to tokens and back. One file in src/data/tokenizers, one line in
 * src/data/tokenizers.def. Nothing here is collective. */
#ifndef LOCKSTEP_TOKENIZER_H
#define LOCKSTEP_TOKENIZER_H

#include "lockstep/tokens.h"

typedef struct Tokenizer Tokenizer;

/* What a tokenizer may be made from. */
typedef struct TokenizerSource {
    const char *vocab;   /* file that option `vocab` names, "" or NULL: none */
    const uint8_t *text; /* (bytes) the training text, UTF-8 if the type wants that */
    size_t bytes;
} TokenizerSource;

typedef struct TokenizerType {
    const char *name, *help, *source;
    uint32_t number; /* in token files: never renumber */
    bool utf8;       /* wants UTF-8 */
    bool vocab;      /* wants option `vocab` */
    /* The table (below) for a source; *table is mem_alloc'ed. NULL: this type needs none. */
    bool (*learn)(const TokenizerSource *source, uint8_t **table, size_t *bytes, Err *err);
    /* From t->table: vocabulary and state. After an error the caller still calls close. */
    bool (*open)(Tokenizer *t, Err *err);
    void (*close)(Tokenizer *t); /* NULL: nothing to do */
    /* Adds the tokens of text[0..n) to out. Returns n, or where an unknown character begins. */
    size_t (*encode)(const Tokenizer *t, const uint8_t *text, size_t n, TokenStream *out);
    /* The text of one token < vocabulary; borrowed. */
    const uint8_t *(*piece)(const Tokenizer *t, uint32_t token, size_t *bytes);
} TokenizerType;

/* The table is all that a type needs to know: nothing for byte, the characters for char, the file
 * of merges for gpt2. Token files carry it, so they can be turned back into text, and two streams
 * with the same type and table have the same vocabulary. */
struct Tokenizer {
    const TokenizerType *type;
    uint8_t *table; /* owned */
    size_t table_bytes;
    uint32_t vocabulary;
    void *state; /* the type's */
};

const TokenizerType *const *tokenizer_all(int *count);
const TokenizerType *tokenizer_find(const char *name);    /* NULL if there is none */
const TokenizerType *tokenizer_numbered(uint32_t number); /* NULL if there is none */

/* Learns the table from `source`. After an error nothing has to be freed. */
bool tokenizer_init(Tokenizer *t, const TokenizerType *type, const TokenizerSource *source,
                    Err *err);
/* With a table from a token file; it is copied. Messages begin with `name`. */
bool tokenizer_init_table(Tokenizer *t, const TokenizerType *type, const uint8_t *table,
                          size_t bytes, const char *name, Err *err);
void tokenizer_free(Tokenizer *t);

/* Adds the tokens of text[0..n) to out. Error: a character the vocabulary lacks; the message names
 * `name`, line and column. */
bool tokenizer_encode(const Tokenizer *t, const char *name, const uint8_t *text, size_t n,
                      TokenStream *out, Err *err);

/* A text file, plain, gzip or xz, whole; with `utf8` it must be UTF-8. *text is mem_alloc'ed. */
bool tokenizer_read_text(const char *path, bool utf8, uint8_t **text, size_t *bytes, Err *err);

/* Where text[0..n) is cut into training and validation part: after the first 1 - validation of its
 * bytes (Karpathy's split of Tiny Shakespeare), moved back to the start of a character. */
size_t tokenizer_split(const TokenizerType *type, const uint8_t *text, size_t n, double validation);

#endif
