/* One bit a value: its sign, and one size for the whole tensor. Without error feedback this need
 * not converge; with it the rate is that of SGD. */
#include "lockstep/compress.h"

#include <math.h>
#include <string.h>

typedef struct Code {
    float scale;
    uint32_t bits[]; /* bit i % 32 of word i / 32: value i is negative */
} Code;

static size_t bytes(const void *options, size_t n)
{
    (void)options;
    return sizeof(Code) + (n + 31) / 32 * sizeof(uint32_t);
}

/* mean |m|, in 16 sums that do not depend on how the compiler groups them. */
static float mean_size(const float *m, size_t n)
{
    double sums[16] = { 0 };
    for (size_t i = 0; i + 16 <= n; i += 16)
        for (size_t k = 0; k < 16; k++)
            sums[k] += (double)fabsf(m[i + k]);
    for (size_t i = n / 16 * 16; i < n; i++)
        sums[i % 16] += (double)fabsf(m[i]);
    for (size_t k = 1; k < 16; k++)
        sums[0] += sums[k];
    return (float)(sums[0] / (double)n);
}

static void encode(const void *options, size_t n, float *m, void *code)
{
    Code *c = code;
    (void)options;
    c->scale = mean_size(m, n);
    for (size_t first = 0; first < n; first += 32) {
        uint32_t word = 0;
        size_t count = n - first < 32 ? n - first : 32;
        for (size_t k = 0; k < count; k++) {
            bool negative = m[first + k] < 0;
            word |= (uint32_t)negative << k;
            m[first + k] -= negative ? -c->scale : c->scale;
        }
        c->bits[first / 32] = word;
    }
}

static void decode(const void *options, size_t size, const void *code, size_t first, size_t n,
                   float *y)
{
    const Code *c = code;
    (void)options;
    (void)size;
    uint32_t scale;
    memcpy(&scale, &c->scale, sizeof scale);
    for (size_t k = 0; k < n; k++) {
        size_t i = first + k;
        uint32_t value = scale ^ (c->bits[i / 32] >> i % 32 & 1) << 31;
        memcpy(&y[k], &value, sizeof value);
    }
}

static const Option options[] = {
    OPTION_END,
};

extern const Compressor compressor_sign;
const Compressor compressor_sign = {
    .name = "sign",
    .help = "one bit a value, and the mean size of each tensor's values",
    .formula = "sent = mean |m| sign(m)        of each tensor; sign(0) = 1",
    .source = "Karimireddy et al. 2019; Seide et al. 2014",
    .options = options,
    .bytes = bytes,
    .encode = encode,
    .decode = decode,
};
