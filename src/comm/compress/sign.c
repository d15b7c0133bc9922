/* One bit a value: its sign, and one size for the whole tensor. Without error feedback this need
 * not converge; with it the rate is that of SGD. */
#include "lockstep/compress.h"
#include "lockstep/cpu.h"
#include "lockstep/vector.h"

#include <math.h>
#include <string.h>

typedef uint32_t Bits __attribute__((vector_size(VECTOR * sizeof(uint32_t))));

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

/* One bit for each of VECTOR values: its sign. */
static uint32_t sign_bits(Vector x)
{
#if defined __AVX512F__
    return _mm512_movepi32_mask((__m512i)x);
#elif defined __AVX__
    return (uint32_t)_mm256_movemask_ps((__m256)x);
#elif defined __x86_64__
    return (uint32_t)_mm_movemask_ps((__m128)x);
#else
    uint32_t bits = 0;
    for (int i = 0; i < VECTOR; i++)
        bits |= (uint32_t)(signbit(x[i]) != 0) << i;
    return bits;
#endif
}

/* The values of VECTOR bits. */
static Vector values(float scale, uint32_t bits)
{
    Bits places, word = (Bits){ 0 } + bits;
    for (uint32_t i = 0; i < VECTOR; i++)
        places[i] = i;
    return (Vector)((Bits)SPREAD(scale) ^ (word >> places & 1) << 31);
}

/* A word of bits for 32 values. */
static uint32_t encode_word(float scale, float m[32])
{
    uint32_t word = 0;
    for (size_t k = 0; k < 32; k += VECTOR) {
        Vector x = vector_load(m + k);
        uint32_t bits = sign_bits(x);
        word |= bits << k;
        vector_store(m + k, x - values(scale, bits));
    }
    return word;
}

static void encode(const void *options, size_t n, float *m, void *code)
{
    Code *c = code;
    float last[32] = { 0 };
    size_t whole = n / 32 * 32;
    (void)options;
    c->scale = mean_size(m, n);
    for (size_t first = 0; first < whole; first += 32)
        c->bits[first / 32] = encode_word(c->scale, m + first);
    if (whole == n)
        return;
    memcpy(last, m + whole, (n - whole) * sizeof *m);
    c->bits[whole / 32] = encode_word(c->scale, last);
    memcpy(m + whole, last, (n - whole) * sizeof *m);
}

static float value(const Code *c, size_t i)
{
    return c->bits[i / 32] >> i % 32 & 1 ? -c->scale : c->scale;
}

static void decode(const void *options, size_t size, const void *code, size_t first, size_t n,
                   float *y)
{
    const Code *c = code;
    size_t k = 0;
    (void)options;
    (void)size;
    for (; k < n && (first + k) % VECTOR != 0; k++)
        y[k] = value(c, first + k);
    for (; k + VECTOR <= n; k += VECTOR)
        vector_store(y + k, values(c->scale, c->bits[(first + k) / 32] >> (first + k) % 32));
    for (; k < n; k++)
        y[k] = value(c, first + k);
}

static const Option options[] = {
    OPTION_END,
};

extern const Compressor ISA_NAME(compressor_sign);
const Compressor ISA_NAME(compressor_sign) = {
    .name = "sign",
    .help = "one bit a value, and the mean size of each tensor's values",
    .formula = "sent = mean |m| sign(m)        of each tensor; by the sign bit of m",
    .source = "Karimireddy et al. 2019; Seide et al. 2014",
    .options = options,
    .bytes = bytes,
    .encode = encode,
    .decode = decode,
};
