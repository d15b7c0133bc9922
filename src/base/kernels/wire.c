/* Rounding to 16 bits, sums of rounded numbers, and packing (wire.h). bf16 is integer arithmetic on
 * the bits of floats; fp16 is that too where the level has no instructions for it, with the same
 * result. */
#include "wire.h"
#include "lockstep/vector.h"

#include <string.h>

typedef Vector Floats;
typedef uint32_t Bits __attribute__((vector_size(VECTOR * sizeof(uint32_t))));
typedef uint16_t Halves __attribute__((vector_size(VECTOR * sizeof(uint16_t))));

#define SIGN 0x80000000u
#define INFINITE 0x7f800000u
#define QUIET 0x00400000u /* of a NaN */
#define HALF_MAX 65504.0f

static inline Bits choose(Bits mask, Bits yes, Bits no)
{
    return (yes & mask) | (no & ~mask);
}

static inline Halves load_halves(const uint16_t *x)
{
    Halves halves;
    memcpy(&halves, x, sizeof halves);
    return halves;
}

static inline void store_halves(uint16_t *x, Halves halves)
{
    memcpy(x, &halves, sizeof halves);
}

/* ---- bf16 ---- */

static inline Floats round_bf16(Floats x)
{
    Bits b = (Bits)x, nan = (Bits)((b & ~SIGN) > INFINITE);
    Bits rounded = b + 0x7fff + (b >> 16 & 1);
    return (Floats)(choose(nan, b | QUIET, rounded) & 0xffff0000u);
}

/* ---- fp16 ---- */

#if defined __AVX512F__
static inline Halves narrow(Floats x)
{
    return (Halves)_mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT);
}

static inline Floats widen(Halves x)
{
    return (Floats)_mm512_cvtph_ps((__m256i)x);
}
#elif defined __F16C__
static inline Halves narrow(Floats x)
{
    return (Halves)_mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT);
}

static inline Floats widen(Halves x)
{
    return (Floats)_mm256_cvtph_ps((__m128i)x);
}
#else
#define HALF_NORMAL 0x38800000u   /* 2^-14: below, halves are multiples of 2^-24 */
#define HALF_BIAS (112u << 23)    /* of exponents: 127 - 15 */
#define HALF_DENORMAL 0x0.01p-16f /* 2^-24 */

/* x up to 65504 or not finite. Adding 0.75 puts a float's last bit at 2^-24. */
static inline Halves narrow(Floats x)
{
    Bits size = (Bits)x & ~SIGN, sign = (Bits)x >> 16 & 0x8000;
    Bits normal = (size + 0xfff + (size >> 13 & 1) - HALF_BIAS) >> 13;
    Bits small = (Bits)((Floats)size + 0.75f) - (Bits)((Floats){ 0 } + 0.75f);
    Bits special = 0x7c00 | ((Bits)(size > INFINITE) & 0x200);
    Bits finite = choose((Bits)(size < HALF_NORMAL), small, normal);
    return __builtin_convertvector(sign | choose((Bits)(size < INFINITE), finite, special), Halves);
}

static inline Floats widen(Halves x)
{
    Bits half = __builtin_convertvector(x, Bits);
    Bits size = half & 0x7fff, sign = (half & 0x8000) << 16;
    Floats small = __builtin_convertvector(size, Floats) * HALF_DENORMAL;
    Bits normal = (size << 13) + HALF_BIAS, special = size << 13 | INFINITE;
    Bits finite = choose((Bits)(size < 0x400), (Bits)small, normal);
    return (Floats)(sign | choose((Bits)(size < 0x7c00), finite, special));
}
#endif

/* What is finite stays so. */
static inline Halves scaled_half(Floats x, float scale)
{
    Bits finite = (Bits)(((Bits)x & ~SIGN) < INFINITE);
    Floats scaled = x * scale;
    Bits size = (Bits)scaled & ~SIGN, sign = (Bits)scaled & SIGN;
    Bits most = (Bits)((Floats){ 0 } + HALF_MAX);
    Bits clamped = choose((Bits)(size > most), most, size) | sign;
    return narrow((Floats)choose(finite, clamped, (Bits)scaled));
}

static inline Floats round_fp16(Floats x, float scale, float back)
{
    return widen(scaled_half(x, scale)) * back;
}

/* ---- whole vectors: n is a multiple of VECTOR ---- */

static void add_bf16(float *y, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i += VECTOR)
        vector_store(y + i,
                     round_bf16(round_bf16(vector_load(a + i)) + round_bf16(vector_load(b + i))));
}

static void add_fp16(float scale, float *y, const float *a, const float *b, size_t n)
{
    float back = 1 / scale;
    for (size_t i = 0; i < n; i += VECTOR) {
        Floats left = round_fp16(vector_load(a + i), scale, back);
        Floats right = round_fp16(vector_load(b + i), scale, back);
        vector_store(y + i, round_fp16(left + right, scale, back));
    }
}

static void add_whole(const Wire *wire, float *y, const float *a, const float *b, size_t n)
{
    if (wire->type == WIRE_BF16)
        add_bf16(y, a, b, n);
    else
        add_fp16(wire->scale, y, a, b, n);
}

static void round_whole(const Wire *wire, float *y, const float *x, size_t n)
{
    float back = 1 / wire->scale;
    for (size_t i = 0; i < n; i += VECTOR) {
        Floats value = vector_load(x + i);
        vector_store(y + i, wire->type == WIRE_BF16 ? round_bf16(value)
                                                    : round_fp16(value, wire->scale, back));
    }
}

static void pack_whole(const Wire *wire, uint16_t *to, const float *from, size_t n)
{
    if (wire->type == WIRE_BF16)
        for (size_t i = 0; i < n; i += VECTOR) {
            Bits bits = (Bits)round_bf16(vector_load(from + i)) >> 16;
            store_halves(to + i, __builtin_convertvector(bits, Halves));
        }
    else
        for (size_t i = 0; i < n; i += VECTOR)
            store_halves(to + i, scaled_half(vector_load(from + i), wire->scale));
}

static void unpack_whole(const Wire *wire, float *to, const uint16_t *from, size_t n)
{
    float back = 1 / wire->scale;
    if (wire->type == WIRE_BF16)
        for (size_t i = 0; i < n; i += VECTOR) {
            Bits bits = __builtin_convertvector(load_halves(from + i), Bits);
            vector_store(to + i, (Floats)(bits << 16));
        }
    else
        for (size_t i = 0; i < n; i += VECTOR)
            vector_store(to + i, widen(load_halves(from + i)) * back);
}

/* ---- any n: what is left goes through a vector with zeros behind it ---- */

void ISA_NAME(wire_add)(const Wire *wire, float *y, const float *a, const float *b, size_t n)
{
    size_t whole = n / VECTOR * VECTOR, rest = n - whole;
    float left[VECTOR] = { 0 }, right[VECTOR] = { 0 };
    add_whole(wire, y, a, b, whole);
    if (rest == 0)
        return;
    memcpy(left, a + whole, rest * sizeof *left);
    memcpy(right, b + whole, rest * sizeof *right);
    add_whole(wire, left, left, right, VECTOR);
    memcpy(y + whole, left, rest * sizeof *left);
}

void ISA_NAME(wire_round)(const Wire *wire, float *y, const float *x, size_t n)
{
    size_t whole = n / VECTOR * VECTOR, rest = n - whole;
    float last[VECTOR] = { 0 };
    round_whole(wire, y, x, whole);
    memcpy(last, x + whole, rest * sizeof *last);
    round_whole(wire, last, last, VECTOR);
    memcpy(y + whole, last, rest * sizeof *last);
}

void ISA_NAME(wire_pack)(const Wire *wire, uint16_t *to, const float *from, size_t n)
{
    size_t whole = n / VECTOR * VECTOR, rest = n - whole;
    float last[VECTOR] = { 0 };
    uint16_t packed[VECTOR];
    pack_whole(wire, to, from, whole);
    memcpy(last, from + whole, rest * sizeof *last);
    pack_whole(wire, packed, last, VECTOR);
    memcpy(to + whole, packed, rest * sizeof *packed);
}

void ISA_NAME(wire_unpack)(const Wire *wire, float *to, const uint16_t *from, size_t n)
{
    size_t whole = n / VECTOR * VECTOR, rest = n - whole;
    uint16_t last[VECTOR] = { 0 };
    float values[VECTOR];
    unpack_whole(wire, to, from, whole);
    memcpy(last, from + whole, rest * sizeof *last);
    unpack_whole(wire, values, last, VECTOR);
    memcpy(to + whole, values, rest * sizeof *values);
}
