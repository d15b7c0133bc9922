/* Windows on a stream of tokens; see windows.h. */
#include "lockstep/windows.h"
#include "lockstep/batch.h"
#include "lockstep/random.h"

__extension__ typedef unsigned __int128 Wide;

/* Last argument of the keys for RANDOM_ORDER: what is drawn. 0 is the order of samples. */
enum Draw { DRAW_ORDER, DRAW_WINDOW, DRAW_PHASE };

#define EVALUATION UINT64_MAX       /* in place of the epoch */
#define CHOICES ((uint64_t)1 << 60) /* index of words that random_permute does not use */

int windows_span(const Windows *windows)
{
    return windows->masks > 0 ? windows->length : windows->length + 1;
}

/* Tokens that can be the first of a window; 0 or less if there is none. */
static int64_t starts(const Windows *windows)
{
    return (int64_t)windows->tokens.count - windows_span(windows) + 1;
}

/* Blocks from any of the first T tokens on must be equally many, so that epochs are: the first
 * window's T starts and count - 1 windows after it. A stream shorter than two windows has one. */
int64_t windows_count(const Windows *windows)
{
    int64_t T = windows->length, first = starts(windows);
    if (first <= 0)
        return 0;
    if (!windows->blocks)
        return (first - 1) / T + 1;
    return first < T ? 1 : (first - T) / T + 1;
}

/* 0 .. n-1 from 64 bits of the stream; bias below n / 2^64. */
static int64_t draw(RandomKey key, int64_t index, int64_t n)
{
    uint32_t words[4];
    random_words(key, (uint64_t)index, words);
    uint64_t value = (uint64_t)words[0] << 32 | words[1];
    return (int64_t)((Wide)value * (uint64_t)n >> 64);
}

int64_t windows_start(const Windows *windows, uint64_t seed, int64_t epoch, int64_t position,
                      bool shuffle)
{
    int64_t T = windows->length, first = starts(windows);
    if (!shuffle)
        return position * T;
    uint64_t turn = (uint64_t)epoch;
    if (!windows->blocks)
        return draw(random_key(seed, RANDOM_ORDER, turn, DRAW_WINDOW), position, first);
    int64_t phases = first < T ? first : T;
    int64_t phase = draw(random_key(seed, RANDOM_ORDER, turn, DRAW_PHASE), 0, phases);
    RandomKey order = random_key(seed, RANDOM_ORDER, turn, DRAW_ORDER);
    uint64_t block = random_permute(order, (uint64_t)position, (uint64_t)windows_count(windows));
    return phase + (int64_t)block * T;
}

/* Copies the window's tokens; labels are the next ones, or all ignored. */
static void copy(const Windows *windows, int64_t start, int32_t *tokens, int32_t *labels)
{
    const TokenStream *stream = &windows->tokens;
    size_t T = (size_t)windows->length, first = (size_t)start;
    for (size_t i = 0; i < T; i++)
        tokens[i] = (int32_t)token_at(stream, first + i);
    for (size_t i = 0; i < T; i++)
        labels[i] = windows->masks > 0 ? LABEL_IGNORED : (int32_t)token_at(stream, first + i + 1);
}

/* What a masked position shows: Devlin et al. 2019, section 3.1. */
static int32_t masked_token(const uint32_t words[4], uint32_t vocabulary, int32_t token)
{
    const uint32_t tenth = UINT32_MAX / 10;
    if (words[0] < 8 * tenth)
        return (int32_t)vocabulary;
    return words[0] < 9 * tenth ? (int32_t)((uint64_t)words[1] * vocabulary >> 32) : token;
}

/* M different positions, drawn by the first M of a permutation. */
static void mask(const Windows *windows, RandomKey key, int32_t *tokens, int32_t *labels)
{
    for (uint64_t i = 0; i < (uint64_t)windows->masks; i++) {
        uint64_t at = random_permute(key, i, (uint64_t)windows->length);
        uint32_t words[4];
        random_words(key, CHOICES | i, words);
        labels[at] = tokens[at];
        tokens[at] = masked_token(words, windows->tokens.vocabulary, tokens[at]);
    }
}

void windows_fill(const Windows *windows, uint64_t seed, int64_t epoch, int64_t start,
                  int32_t *tokens, int32_t *labels)
{
    copy(windows, start, tokens, labels);
    if (windows->masks > 0)
        mask(windows, random_key(seed, RANDOM_MASK, (uint64_t)epoch, (uint64_t)start), tokens,
             labels);
}

int64_t windows_cover_count(const Windows *windows)
{
    int64_t T = windows->length, first = starts(windows);
    return first <= 0 ? 0 : (first - 1 + T - 1) / T + 1;
}

void windows_cover(const Windows *windows, uint64_t seed, int64_t index, int32_t *tokens,
                   int32_t *labels)
{
    int64_t T = windows->length, start = index * T, last = starts(windows) - 1;
    int64_t back = start > last ? start - last : 0; /* positions the window before has shown */
    copy(windows, start - back, tokens, labels);
    if (windows->masks > 0)
        mask(windows, random_key(seed, RANDOM_MASK, EVALUATION, (uint64_t)index), tokens, labels);
    for (int64_t i = 0; i < back; i++)
        labels[i] = LABEL_IGNORED;
}
