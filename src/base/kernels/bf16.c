/* The portable bfloat16 kernels: numbers are rounded as integers, and multiplied as floats whose
 * upper half they are. What the fast families are tested against. */
#include "lockstep/bf16.h"
#include "lockstep/cpu.h"
#include "lockstep/vector.h"

#define ROWS 4 /* of C at a time */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

typedef uint32_t Words __attribute__((vector_size(VECTOR * sizeof(uint32_t))));
typedef uint32_t WordsAnywhere
    __attribute__((vector_size(VECTOR * sizeof(uint32_t)), aligned(4), may_alias));
typedef uint32_t Word __attribute__((aligned(4), may_alias));

typedef union Bits {
    float f;
    uint32_t u;
} Bits;

/* To nearest, ties to even. A denormal number gives 0 of its sign, NaN a quiet NaN. */
ALWAYS_INLINE uint16_t rounded(float x)
{
    const Bits bits = { .f = x };
    const uint32_t size = bits.u & 0x7fffffffu, sign = bits.u >> 16 & 0x8000u;
    uint32_t half = (bits.u + 0x7fffu + (bits.u >> 16 & 1u)) >> 16;
    half = size > 0x7f800000u ? (bits.u >> 16 | 0x40u) : half;
    return (uint16_t)(size < 0x00800000u ? sign : half);
}

static float number(const Bf16Source *source, int line, int k)
{
    if (line >= source->lines || k >= source->depth)
        return 0;
    return source->turned ? source->x[(size_t)k * source->step + (size_t)line]
                          : source->x[(size_t)line * source->step + (size_t)k];
}

static void pack(Bf16Side side, const Bf16Source *source, uint16_t *to)
{
    for (int line = 0; line < source->lines; line += BF16_LINES)
        for (int k = 0; k < source->depth; k += BF16_DEPTH, to += BF16_TILE)
            for (int i = 0; i < BF16_LINES; i++)
                for (int p = 0; p < BF16_DEPTH; p++) {
                    int left = i * BF16_DEPTH + p, right = p / 2 * BF16_DEPTH + 2 * i + p % 2;
                    to[side == BF16_LEFT ? left : right] = rounded(number(source, line + i, k + p));
                }
}

/* The lower and the upper bfloat16 of each word, as floats. */
ALWAYS_INLINE Vector lower(Words words)
{
    return (Vector)(words << 16);
}

ALWAYS_INLINE Vector upper(Words words)
{
    return (Vector)(words & 0xffff0000u);
}

#define EACH_ROW(M) M(0) M(1) M(2) M(3)
#define DECLARE(i) Vector s##i = { 0 };
#define MULTIPLY(i)                                                                                \
    {                                                                                              \
        const Bits low = { .u = row[i * 16] << 16 }, high = { .u = row[i * 16] & 0xffff0000u };    \
        s##i = vector_fused(SPREAD(low.f), b_low, s##i);                                           \
        s##i = vector_fused(SPREAD(high.f), b_high, s##i);                                         \
    }
#define STORE(i) vector_store(sums + (size_t)i * step, s##i);

/* ROWS rows and VECTOR columns of a tile of C. */
static void multiply_rows(int depth, const uint16_t *a, const uint16_t *b, float *sums, size_t step)
{
    EACH_ROW(DECLARE)
    for (int tile = 0; tile < depth; tile++, a += BF16_TILE, b += BF16_TILE)
        for (int pair = 0; pair < BF16_DEPTH / 2; pair++) {
            const Word *row = (const Word *)(const void *)a + pair;
            const Words words =
                *(const WordsAnywhere *)(const void *)(b + (size_t)pair * BF16_DEPTH);
            const Vector b_low = lower(words), b_high = upper(words);
            EACH_ROW(MULTIPLY)
        }
    EACH_ROW(STORE)
}

static void block(int left, int right, int depth, const uint16_t *a, const uint16_t *b, float *sums,
                  size_t step)
{
    const size_t lines = (size_t)depth * BF16_TILE;
    for (int i = 0; i < left * BF16_LINES; i += ROWS)
        for (int j = 0; j < right * BF16_LINES; j += VECTOR)
            multiply_rows(depth, a + (size_t)(i / BF16_LINES) * lines + i % BF16_LINES * BF16_DEPTH,
                          b + (size_t)(j / BF16_LINES) * lines + j % BF16_LINES * 2,
                          sums + (size_t)i * step + j, step);
}

extern const Bf16Kernels ISA_NAME(bf16_portable);
const Bf16Kernels ISA_NAME(bf16_portable) = {
    .name = "portable",
    .pack = pack,
    .block = block,
};
