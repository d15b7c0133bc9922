/* Streams of tokens, in memory and in the token files that `lockstep tokenize` writes
 * (docs/formats.md). A token takes two bytes if the vocabulary allows it, else four, and is held
 * once. Nothing here is collective. */
#ifndef LOCKSTEP_TOKENS_H
#define LOCKSTEP_TOKENS_H

#include "lockstep/error.h"
#include "lockstep/memory.h"

#include <stddef.h>
#include <stdint.h>

#define TOKENS_MAX_VOCABULARY (1 << 24)

typedef struct TokenStream {
    uint16_t *narrow; /* (count), or NULL: the vocabulary has more than 65,536 */
    uint32_t *wide;   /* (count), or NULL; never both */
    size_t count, capacity;
    uint32_t vocabulary; /* all tokens are in 0 .. vocabulary-1 */
} TokenStream;

/* An empty stream with room for `expected` tokens; tokens_free in the end. */
void tokens_begin(TokenStream *stream, uint32_t vocabulary, size_t expected);
void tokens_free(TokenStream *stream);

static inline void tokens_add(TokenStream *stream, uint32_t token)
{
    if (stream->narrow) {
        if (stream->count == stream->capacity)
            mem_grow(&stream->narrow, stream->count, &stream->capacity, sizeof *stream->narrow);
        stream->narrow[stream->count++] = (uint16_t)token;
    } else {
        if (stream->count == stream->capacity)
            mem_grow(&stream->wide, stream->count, &stream->capacity, sizeof *stream->wide);
        stream->wide[stream->count++] = token;
    }
}

static inline uint32_t token_at(const TokenStream *stream, size_t index)
{
    return stream->narrow ? stream->narrow[index] : stream->wide[index];
}

/* Bytes of a token, and the tokens as bytes. */
int tokens_width(const TokenStream *stream);
const void *tokens_data(const TokenStream *stream);

/* A token file: a stream and what made it. */
typedef struct TokenFile {
    TokenStream stream;
    uint32_t tokenizer; /* TokenizerType.number; 0: not said */
    uint8_t *table; /* of the tokenizer (tokenizer.h); owned by a file that was read, borrowed by
                           one that is written */
    size_t table_bytes;
} TokenFile;

/* Writes FILE.tmp, syncs and renames it: under its name the file is whole or not there. */
bool token_file_write(const char *path, const TokenFile *file, Err *err);

/* Reads a file, plain, gzip or xz. Errors: anything in the header, the lengths, the digest or a
 * token that is not as it should be. token_file_free afterwards, after an error too. */
bool token_file_read(const char *path, TokenFile *file, Err *err);
void token_file_free(TokenFile *file);

/* Reads a file of bare tokens of `width` bytes after `skip` bytes of anything: nanoGPT's have none,
 * llm.c's 1,024. tokens_free afterwards, after an error too. */
bool tokens_read_bare(const char *path, int width, size_t skip, uint32_t vocabulary,
                      TokenStream *stream, Err *err);

#endif
