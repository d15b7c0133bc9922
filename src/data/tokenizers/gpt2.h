/* Parts of the GPT-2 tokenizer that live in files of their own. */
#ifndef LOCKSTEP_DATA_GPT2_H
#define LOCKSTEP_DATA_GPT2_H

#include "lockstep/error.h"

#include <stddef.h>
#include <stdint.h>

/* The end of the word that begins at text[at], at < n, by GPT-2's pattern. text[0..n) is UTF-8. */
size_t gpt2_word_end(const uint8_t *classes, const uint8_t *text, size_t n, size_t at);

/* The vocabulary: bytes, merged pairs, end of text. */
typedef struct Merges {
    uint32_t byte_token[256];
    uint32_t count; /* tokens but the end of text */
    size_t *start;  /* (count + 1) where a token's text begins in `text` */
    uint8_t *text;
    uint64_t *pair;   /* (slots) left token << 32 | right token; hash table, open addressing */
    uint32_t *result; /* (slots) the token they merge to; 0: the slot is free */
    uint32_t slot_bits;
} Merges;

/* Reads the text of a vocab.bpe. After an error too: gpt2_merges_free. Messages name the line. */
bool gpt2_merges_read(Merges *merges, const uint8_t *table, size_t bytes, Err *err);
void gpt2_merges_free(Merges *merges);

/* The token that the two merge to, or 0 if they do not. (No pair merges to a byte's token.) */
uint32_t gpt2_merge(const Merges *merges, uint32_t left, uint32_t right);

#endif
