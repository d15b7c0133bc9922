/* GPT-2's tokenizer (Radford et al. 2019): text is cut into words (gpt2_words.c), and inside a
 * word neighbouring tokens, at first single bytes, are merged, the earliest pair of the vocabulary
 * first and the leftmost of equals, until no pair is in the vocabulary (Sennrich et al. 2016).
 *
 * Pairs wait in a heap, so a word of n bytes takes O(n log n) however long it is. Words seen lately
 * are copied from where they were written: most words of a text are repetitions.
 *
 * <|endoftext|> in the text is one token, the last of the vocabulary. */
#include "gpt2.h"
#include "lockstep/tokenizer.h"
#include "unicode.h"

#include <string.h>
#include <xxhash.h>

#define CACHE_BITS 15
#define CACHE_LONGEST 64 /* bytes */
#define POSITION_BITS 40 /* of a heap entry; token numbers have 24 */

static const char end_of_text[] = "<|endoftext|>";
#define END_BYTES (sizeof end_of_text - 1)

typedef struct Gpt2 {
    Merges merges;
    uint8_t *classes;
} Gpt2;

/* A word encoded before. */
typedef struct Seen {
    size_t word, first; /* byte in the text, its first token in the output */
    uint32_t bytes, count;
} Seen;

/* The word in work: token[i] is what begins at its byte i, if anything does. */
typedef struct Work {
    const Merges *merges;
    Seen *cache;
    uint32_t *token;       /* (capacity) */
    size_t *next, *before; /* (capacity) first bytes of the neighbours; bytes: none */
    bool *gone;            /* (capacity) merged into the token before */
    uint64_t *heap;        /* (3 capacity) result << POSITION_BITS | left byte; the least first */
    size_t heap_count, capacity, bytes;
} Work;

static void free_word(Work *work)
{
    mem_free(work->token);
    mem_free(work->next);
    mem_free(work->before);
    mem_free(work->gone);
    mem_free(work->heap);
}

static void reserve(Work *work, size_t bytes)
{
    if (bytes <= work->capacity)
        return;
    free_word(work);
    size_t n = work->capacity = 2 * bytes;
    work->token = mem_array(uint32_t, n);
    work->next = mem_array(size_t, n);
    work->before = mem_array(size_t, n);
    work->gone = mem_array(bool, n);
    work->heap = mem_array(uint64_t, 3 * n); /* n - 1 at first, two more for each merge */
}

static void heap_push(Work *work, uint64_t entry)
{
    uint64_t *heap = work->heap;
    size_t i = work->heap_count++;
    for (; i > 0 && heap[(i - 1) / 2] > entry; i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = entry;
}

static uint64_t heap_pop(Work *work)
{
    uint64_t *heap = work->heap, least = heap[0];
    size_t n = --work->heap_count, i = 0;
    uint64_t entry = heap[n];
    for (size_t child = 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= entry)
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = entry;
    return least;
}

static uint32_t pair_result(const Work *work, size_t left)
{
    size_t right = work->next[left];
    return right < work->bytes ? gpt2_merge(work->merges, work->token[left], work->token[right])
                               : 0;
}

static void push_pair(Work *work, size_t left)
{
    uint32_t result = pair_result(work, left);
    if (result > 0)
        heap_push(work, (uint64_t)result << POSITION_BITS | left);
}

static void begin_word(Work *work, const uint8_t *word, size_t bytes)
{
    reserve(work, bytes);
    work->bytes = bytes;
    work->heap_count = 0;
    for (size_t i = 0; i < bytes; i++) {
        work->token[i] = work->merges->byte_token[word[i]];
        work->next[i] = i + 1;
        work->before[i] = i > 0 ? i - 1 : bytes;
        work->gone[i] = false;
    }
    for (size_t i = 0; i + 1 < bytes; i++)
        push_pair(work, i);
}

/* Entries of pairs that are no more are passed over: the pair there now has another result. */
static void merge_word(Work *work)
{
    while (work->heap_count > 0) {
        uint64_t entry = heap_pop(work);
        size_t left = entry & (((uint64_t)1 << POSITION_BITS) - 1);
        uint32_t result = (uint32_t)(entry >> POSITION_BITS);
        if (work->gone[left] || pair_result(work, left) != result)
            continue;
        size_t right = work->next[left], after = work->next[right];
        work->token[left] = result;
        work->next[left] = after;
        work->gone[right] = true;
        if (after < work->bytes)
            work->before[after] = left;
        push_pair(work, left);
        if (work->before[left] < work->bytes)
            push_pair(work, work->before[left]);
    }
}

static void encode_word(Work *work, const uint8_t *text, size_t at, size_t bytes, TokenStream *out)
{
    Seen *seen = NULL;
    if (bytes <= CACHE_LONGEST) {
        seen = &work->cache[XXH3_64bits(text + at, bytes) >> (64 - CACHE_BITS)];
        if (seen->bytes == bytes && memcmp(text + seen->word, text + at, bytes) == 0) {
            for (size_t i = 0; i < seen->count; i++)
                tokens_add(out, token_at(out, seen->first + i));
            return;
        }
    }
    size_t first = out->count;
    begin_word(work, text + at, bytes);
    merge_word(work);
    for (size_t i = 0; i < bytes; i = work->next[i])
        tokens_add(out, work->token[i]);
    if (seen)
        *seen = (Seen){ .word = at,
                        .first = first,
                        .bytes = (uint32_t)bytes,
                        .count = (uint32_t)(out->count - first) };
}

static size_t encode(const Tokenizer *t, const uint8_t *text, size_t n, TokenStream *out)
{
    const Gpt2 *gpt2 = t->state;
    Work work = { .merges = &gpt2->merges, .cache = mem_array(Seen, (size_t)1 << CACHE_BITS) };
    for (size_t at = 0; at < n;) {
        const uint8_t *mark = memmem(text + at, n - at, end_of_text, END_BYTES);
        size_t stop = mark ? (size_t)(mark - text) : n;
        while (at < stop) {
            size_t end = gpt2_word_end(gpt2->classes, text, stop, at);
            encode_word(&work, text, at, end - at, out);
            at = end;
        }
        if (mark) {
            tokens_add(out, gpt2->merges.count);
            at = stop + END_BYTES;
        }
    }
    free_word(&work);
    mem_free(work.cache);
    return n;
}

static bool learn(const TokenizerSource *source, uint8_t **table, size_t *bytes, Err *err)
{
    return tokenizer_read_text(source->vocab, false, table, bytes, err);
}

static bool open_merges(Tokenizer *t, Err *err)
{
    Gpt2 *gpt2 = t->state = mem_new(Gpt2);
    gpt2->classes = unicode_classes();
    if (!gpt2_merges_read(&gpt2->merges, t->table, t->table_bytes, err))
        return false;
    t->vocabulary = gpt2->merges.count + 1;
    return true;
}

static void close_merges(Tokenizer *t)
{
    Gpt2 *gpt2 = t->state;
    if (!gpt2)
        return;
    gpt2_merges_free(&gpt2->merges);
    mem_free(gpt2->classes);
    mem_free(gpt2);
}

static const uint8_t *piece(const Tokenizer *t, uint32_t token, size_t *bytes)
{
    const Merges *merges = &((const Gpt2 *)t->state)->merges;
    if (token == merges->count) {
        *bytes = END_BYTES;
        return (const uint8_t *)end_of_text;
    }
    *bytes = merges->start[token + 1] - merges->start[token];
    return merges->text + merges->start[token];
}

const TokenizerType tokenizer_gpt2 = {
    .name = "gpt2",
    .help = "byte-level BPE by the merges of a vocab.bpe; 50,257 tokens with GPT-2's own",
    .source = "Radford et al. 2019",
    .number = 3,
    .utf8 = true,
    .vocab = true,
    .learn = learn,
    .open = open_merges,
    .close = close_merges,
    .encode = encode,
    .piece = piece,
};
