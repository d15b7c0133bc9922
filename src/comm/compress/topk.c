/* The largest values of each tensor, exactly, with their places. */
#include "lockstep/compress.h"
#include "lockstep/cpu.h"

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

/* From `first` on, the first run of up to RUN values in which one is not below `least`, or n: most
 * are. Its end is *end. */
#define RUN 64
static size_t next_run(const float *m, size_t first, size_t n, uint32_t least, size_t *end)
{
    for (; first < n; first = *end) {
        int32_t largest = 0;
        *end = first + RUN < n ? first + RUN : n;
        for (size_t i = first; i < *end; i++) {
            int32_t bits = (int32_t)size_bits(&m[i]);
            largest = bits > largest ? bits : largest;
        }
        if ((uint32_t)largest >= least)
            break;
    }
    return first;
}

#define DIGIT 11 /* bits; 31 in three digits, the last of 9 */

/* Of the values whose upper bits are those of `prefix`, counts each next digit. */
static void count_digits(const float *m, size_t first, size_t n, uint32_t prefix, int shift,
                         int width, size_t counts[1 << DIGIT])
{
    for (size_t i = first; i < n; i++) {
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
        memset(counts, 0, sizeof counts);
        for (size_t at = 0, end = n; (at = next_run(m, at, n, prefix, &end)) < n; at = end)
            count_digits(m, at, end, prefix, shifts[i], widths[i], counts);
        uint32_t digit = (1u << widths[i]) - 1;
        while (counts[digit] < k)
            k -= counts[digit--];
        prefix |= digit << shifts[i];
    }
    *ties = k;
    return prefix;
}

/* Those of values [first, n) that are sent, from `used` on. Of equal sizes the first. */
static size_t take(float *m, size_t first, size_t n, uint32_t least, size_t *ties, Code *c,
                   size_t used)
{
    for (size_t i = first; i < n && used < c->count; i++) {
        uint32_t bits = size_bits(&m[i]);
        if (bits < least || (bits == least && *ties == 0))
            continue;
        *ties -= bits == least;
        c->words[used] = (uint32_t)i;
        memcpy(&c->words[c->count + used++], &m[i], sizeof *m);
        m[i] = 0;
    }
    return used;
}

static void encode(const void *options, size_t n, float *m, void *code)
{
    Code *c = code;
    size_t k = kept(options, n), ties, used = 0;
    uint32_t least = threshold(m, n, k, &ties);
    c->count = (uint32_t)k;
    c->pad = 0;
    for (size_t at = 0, end = n; (at = next_run(m, at, n, least, &end)) < n; at = end)
        used = take(m, at, end, least, &ties, c, used);
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

extern const Compressor ISA_NAME(compressor_topk);
const Compressor ISA_NAME(compressor_topk) = {
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
