/* The largest values of each tensor, exactly, with their places. */
#include "lockstep/compress.h"

#include <math.h>
#include <string.h>

typedef struct TopkOptions {
    double ratio;
} TopkOptions;

typedef struct Code {
    uint32_t count, pad;
    uint32_t words[]; /* (count) places, rising, then (count) values */
} Code;

static size_t kept(const void *options, size_t n)
{
    const TopkOptions *o = options;
    size_t k = (size_t)ceil(o->ratio * (double)n);
    return k < 1 ? 1 : k > n ? n : k;
}

static size_t bytes(const void *options, size_t n)
{
    return sizeof(Code) + 2 * kept(options, n) * sizeof(uint32_t);
}

/* Bits of |x|: they rise with it, not-a-number at the top. */
static uint32_t size_bits(const float *x)
{
    uint32_t bits;
    memcpy(&bits, x, sizeof bits);
    return bits & 0x7fffffffu;
}

#define DIGIT 11 /* bits; 31 in three digits, the last of 9 */

/* Of the values whose upper bits are those of `prefix`, counts each next digit. */
static void count_digits(const float *m, size_t n, uint32_t prefix, int shift, int width,
                         size_t counts[1 << DIGIT])
{
    memset(counts, 0, ((size_t)1 << DIGIT) * sizeof *counts);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = size_bits(&m[i]);
        if ((uint64_t)bits >> (shift + width) == (uint64_t)prefix >> (shift + width))
            counts[bits >> shift & ((1u << width) - 1)]++;
    }
}

/* The size of the k-th largest value, digit by digit from the top; *ties: how many of exactly that
 * size are among the k largest. */
static uint32_t threshold(const float *m, size_t n, size_t k, size_t *ties)
{
    static const int shifts[] = { 20, 9, 0 }, widths[] = { 11, 11, 9 };
    size_t counts[1 << DIGIT];
    uint32_t prefix = 0;
    for (int i = 0; i < 3; i++) {
        count_digits(m, n, prefix, shifts[i], widths[i], counts);
        uint32_t digit = (1u << widths[i]) - 1;
        while (counts[digit] < k)
            k -= counts[digit--];
        prefix |= digit << shifts[i];
    }
    *ties = k;
    return prefix;
}

/* Of equal sizes the first are taken. */
static void encode(const void *options, size_t n, float *m, void *code)
{
    Code *c = code;
    size_t k = kept(options, n), ties, used = 0;
    uint32_t least = threshold(m, n, k, &ties);
    c->count = (uint32_t)k;
    c->pad = 0;
    for (size_t i = 0; i < n && used < k; i++) {
        uint32_t bits = size_bits(&m[i]);
        if (bits < least || (bits == least && ties == 0))
            continue;
        ties -= bits == least;
        c->words[used] = (uint32_t)i;
        memcpy(&c->words[k + used++], &m[i], sizeof *m);
        m[i] = 0;
    }
}

/* The first of the places that is not below `value`. */
static size_t find_place(const Code *c, size_t value)
{
    size_t low = 0, high = c->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c->words[middle] < value)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void decode(const void *options, size_t size, const void *code, size_t first, size_t n,
                   float *y)
{
    const Code *c = code;
    (void)options;
    memset(y, 0, n * sizeof *y);
    for (size_t at = find_place(c, first); at < c->count && c->words[at] < first + n; at++)
        if (c->words[at] < size)
            memcpy(&y[c->words[at] - first], &c->words[c->count + at], sizeof *y);
}

static const Option options[] = {
    { "ratio", OPTION_FLOAT, OPTION_AT(TopkOptions, ratio), 1e-6, 1, NULL, "0.01",
      "the share of a tensor's values that travels, at least one" },
    OPTION_END,
};

extern const Compressor compressor_topk;
const Compressor compressor_topk = {
    .name = "topk",
    .help = "the largest values of each tensor, as they are, with their places",
    .formula = "sent = m where |m| is among the ceil(ratio n) largest of its tensor, the first of "
               "equal ones; else 0",
    .source = "Aji and Heafield 2017; Stich et al. 2018; Lin et al. 2018",
    .options = options,
    .options_bytes = sizeof(TopkOptions),
    .bytes = bytes,
    .encode = encode,
    .decode = decode,
};
