/* Rounding to 16 bits, sums of rounded numbers, and packing (wire.h). Integer arithmetic on the
 * bits of floats, so levels without conversion instructions give the same. */
#include "wire.h"
#include "lockstep/vector.h"

#include <string.h>

typedef Vector Floats;
typedef uint32_t Bits __attribute__((vector_size(VECTOR * sizeof(uint32_t))));
typedef uint16_t Halves __attribute__((vector_size(VECTOR * sizeof(uint16_t))));

#define SIGN 0x80000000u
#define INFINITE 0x7f800000u
#define QUIET 0x00400000u         /* of a NaN */
#define HALF_MAX 0x477fe000u      /* 65504 */
#define HALF_NORMAL 0x38800000u   /* 2^-14: below, halves are multiples of 2^-24 */
#define HALF_BIAS (112u << 23)    /* of exponents: 127 - 15 */
#define HALF_DENORMAL 0x0.01p-16f /* 2^-24 */

static inline Bits choose(Bits mask, Bits yes, Bits no)
{
    return (yes & mask) | (no & ~mask);
}

/* Up to VECTOR floats from anywhere, zeros behind them. */
static inline Floats load(const float *x, size_t n)
{
    Floats value = { 0 };
    if (n >= VECTOR)
        memcpy(&value, x, sizeof value);
    else
        memcpy(&value, x, n * sizeof *x);
    return value;
}

static inline void store(float *x, Floats value, size_t n)
{
    if (n >= VECTOR)
        memcpy(x, &value, sizeof value);
    else
        memcpy(x, &value, n * sizeof *x);
}

static inline Floats round_bf16(Floats x)
{
    Bits b = (Bits)x, nan = (Bits)((b & ~SIGN) > INFINITE);
    Bits rounded = b + 0x7fff + (b >> 16 & 1);
    return (Floats)(choose(nan, b | QUIET, rounded) & 0xffff0000u);
}

/* x scaled already. Adding 0.75 puts a float's last bit at 2^-24. */
static inline Floats round_fp16(Floats x, Bits finite)
{
    Bits size = (Bits)x & ~SIGN, sign = (Bits)x & SIGN;
    Bits normal = (size + 0xfff + (size >> 13 & 1)) & ~0x1fffu;
    Bits small = (Bits)(((Floats)size + 0.75f) - 0.75f);
    Bits rounded = choose((Bits)(size < HALF_NORMAL), small, normal);
    rounded = choose((Bits)(rounded > HALF_MAX), (Bits){ 0 } + HALF_MAX, rounded);
    Bits nan = (Bits)(size > INFINITE);
    Bits special = choose(nan, (Bits){ 0 } + (INFINITE | QUIET), (Bits){ 0 } + INFINITE);
    return (Floats)(choose(finite, rounded, special) | sign);
}

static inline Bits is_finite(Floats x)
{
    return (Bits)(((Bits)x & ~SIGN) < INFINITE);
}

static inline Floats rounded_fp16(Floats x, float scale, float back)
{
    return round_fp16(x * scale, is_finite(x)) * back;
}

static void add_bf16(float *y, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i += VECTOR)
        store(y + i, round_bf16(round_bf16(load(a + i, n - i)) + round_bf16(load(b + i, n - i))),
              n - i);
}

static void add_fp16(float scale, float *y, const float *a, const float *b, size_t n)
{
    float back = 1 / scale;
    for (size_t i = 0; i < n; i += VECTOR) {
        Floats left = rounded_fp16(load(a + i, n - i), scale, back);
        Floats right = rounded_fp16(load(b + i, n - i), scale, back);
        store(y + i, rounded_fp16(left + right, scale, back), n - i);
    }
}

void ISA_NAME(wire_add)(const Wire *wire, float *y, const float *a, const float *b, size_t n)
{
    if (wire->type == WIRE_BF16)
        add_bf16(y, a, b, n);
    else
        add_fp16(wire->scale, y, a, b, n);
}

void ISA_NAME(wire_round)(const Wire *wire, float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += VECTOR) {
        Floats value = load(x + i, n - i);
        value = wire->type == WIRE_BF16 ? round_bf16(value)
                                        : rounded_fp16(value, wire->scale, 1 / wire->scale);
        store(y + i, value, n - i);
    }
}

/* The bits of a rounded fp16 number, in the lower halves. */
static inline Bits half_bits(Floats x)
{
    Bits size = (Bits)x & ~SIGN, sign = (Bits)x >> 16 & 0x8000;
    Bits normal = (size - HALF_BIAS) >> 13;
    /* The same addition as in round_fp16 has the multiple of 2^-24 in its last bits. */
    Bits small = (Bits)((Floats)size + 0.75f) & 0x3ff;
    Bits special = 0x7c00 | (size >> 13 & 0x200);
    Bits finite = choose((Bits)(size < HALF_NORMAL), small, normal);
    return sign | choose((Bits)(size < INFINITE), finite, special);
}

static inline Floats half_value(Bits half)
{
    Bits size = half & 0x7fff, sign = (half & 0x8000) << 16;
    Floats small = __builtin_convertvector(size, Floats) * HALF_DENORMAL;
    Bits normal = (size << 13) + HALF_BIAS, special = size << 13 | INFINITE;
    Bits finite = choose((Bits)(size < 0x400), (Bits)small, normal);
    return (Floats)(sign | choose((Bits)(size < 0x7c00), finite, special));
}

void ISA_NAME(wire_pack)(const Wire *wire, uint16_t *to, const float *from, size_t n)
{
    for (size_t i = 0; i < n; i += VECTOR) {
        Floats x = load(from + i, n - i);
        Bits bits = wire->type == WIRE_BF16 ? (Bits)round_bf16(x) >> 16
                                            : half_bits(round_fp16(x * wire->scale, is_finite(x)));
        Halves halves = __builtin_convertvector(bits, Halves);
        memcpy(to + i, &halves, n - i >= VECTOR ? sizeof halves : (n - i) * sizeof *to);
    }
}

void ISA_NAME(wire_unpack)(const Wire *wire, float *to, const uint16_t *from, size_t n)
{
    float back = 1 / wire->scale;
    for (size_t i = 0; i < n; i += VECTOR) {
        Halves halves = { 0 };
        memcpy(&halves, from + i, n - i >= VECTOR ? sizeof halves : (n - i) * sizeof *from);
        Bits bits = __builtin_convertvector(halves, Bits);
        Floats x = wire->type == WIRE_BF16 ? (Floats)(bits << 16) : half_value(bits) * back;
        store(to + i, x, n - i);
    }
}
