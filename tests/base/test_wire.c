/* Rounding to 16 bits at every ISA level, against the definition: the nearest of all the format's
 * numbers, the even one of two. */
#include "support.h"

#include "lockstep/kernels.h"

#include <math.h>
#include <string.h>

#define COUNT 4099 /* no multiple of a vector's length */

static const Wire wires[] = {
    { WIRE_BF16, 1 }, { WIRE_FP16, 1 }, { WIRE_FP16, 1024 }, { WIRE_FP16, 0x1p-30f }
};
enum { WIRES = sizeof wires / sizeof *wires };

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Finite x >= 0 to a multiple of its last place in a format of so many bits. */
static double nearest(double x, int precision, int smallest, double largest)
{
    int exponent;
    frexp(x, &exponent); /* x < 2^exponent */
    int last = exponent - precision > smallest ? exponent - precision : smallest;
    double scaled = ldexp(x, -last), whole = floor(scaled), rest = scaled - whole;
    bool up = rest > 0.5 || (rest >= 0.5 && fmod(whole, 2) > 0);
    double rounded = ldexp(whole + (up ? 1 : 0), last);
    return rounded > largest ? largest : rounded;
}

static float wanted(const Wire *wire, float x)
{
    double size = fabs((double)x), scale = (double)wire->scale;
    if (!isfinite(x))
        return x;
    size = wire->type == WIRE_BF16 ? nearest(size, 8, -133, INFINITY)
                                   : nearest(size * scale, 11, -24, 65504) / scale;
    return (float)copysign(size, (double)x);
}

/* All exponents, many mantissas, ties, the ends of every range. */
static void fill(float *x)
{
    RandomKey key = random_key(5, RANDOM_TEST, 0, 0);
    static const uint32_t special[] = {
        0,          1,          0x00400000, 0x7f7fffff, 0x7f800000,
        0x7fc00000, 0x7f800001, 0x38800000, 0x387fffff, 0x33000000,
        0x33000001, 0x477fe000, 0x477ff000, 0x477fefff, 0x47800000
    };
    enum { SPECIAL = sizeof special / sizeof *special };
    for (size_t i = 0; i < COUNT; i++) {
        uint32_t bits = random_word(key, i);
        if (i % 3 == 1)
            bits &= 0xffff8000u; /* ties of bf16 */
        if (i % 3 == 2)
            bits = (bits & 0x8ffff000u) | 0x30000000u; /* ties of fp16 near its smallest */
        x[i] = float_of(i < 2 * SPECIAL ? special[i / 2] | (i % 2 ? 0x80000000u : 0) : bits);
    }
}

static bool is_same(float a, float b)
{
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

static void check_level(const Wire *wire)
{
    float x[COUNT], y[COUNT], sums[COUNT], back[COUNT];
    uint16_t packed[COUNT];
    fill(x);
    kernels()->wire_round(wire, y, x, COUNT);
    kernels()->wire_pack(wire, packed, x, COUNT);
    kernels()->wire_unpack(wire, back, packed, COUNT);
    kernels()->wire_add(wire, sums, x, x + 1, COUNT - 1);
    for (size_t i = 0; i < COUNT; i++) {
        ck_assert_msg(is_same(y[i], wanted(wire, x[i])), "%a gives %a, not %a", (double)x[i],
                      (double)y[i], (double)wanted(wire, x[i]));
        ck_assert_msg(is_same(back[i], y[i]), "%a travels as %a", (double)y[i], (double)back[i]);
        if (i + 1 < COUNT)
            ck_assert(is_same(sums[i], wanted(wire, y[i] + wanted(wire, x[i + 1]))));
    }
    for (size_t cut = 0; cut < 40; cut++) { /* from anywhere, to anywhere, in place */
        memcpy(back, x, sizeof x);
        kernels()->wire_add(wire, back + cut, back + cut, x + 1 + cut, 3 * cut);
        for (size_t i = 0; i < 3 * cut; i++)
            ck_assert(is_same(back[cut + i], sums[cut + i]));
        ck_assert(is_same(back[4 * cut], x[4 * cut]));
    }
}

START_TEST(test_levels)
{
    Isa before = cpu_isa();
    for (Isa isa = ISA_V2; isa <= before; isa++) {
        Err err;
        const char *const names[] = { "v2", "v3", "v4" };
        ck_assert(cpu_set_isa(names[isa], &err));
        for (int i = 0; i < WIRES; i++)
            check_level(&wires[i]);
    }
}
END_TEST

/* Every bit pattern is the one its number is packed to. */
START_TEST(test_all_patterns)
{
    for (int k = 0; k < WIRES; k++)
        for (uint32_t i = 0; i < 65536; i++) {
            uint16_t pattern = (uint16_t)i, again;
            float x;
            kernels()->wire_unpack(&wires[k], &x, &pattern, 1);
            kernels()->wire_pack(&wires[k], &again, &x, 1);
            ck_assert_msg(isnan(x) || again == pattern, "%x comes back as %x", i, (unsigned)again);
        }
}
END_TEST

START_TEST(test_scale)
{
    float start = ldexpf(1, WIRE_START_EXPONENT);
    ck_assert(is_same(wire_next_scale(start, 1.5), 512));
    ck_assert(is_same(wire_next_scale(start, 0.2), 4096));
    ck_assert(is_same(wire_next_scale(start, 0), start));
    ck_assert(is_same(wire_next_scale(start, NAN), start));
    ck_assert(is_same(wire_next_scale(start, INFINITY), start));
    ck_assert(is_same(wire_next_scale(start, 1e300), 0x1p-40f));
    ck_assert(is_same(wire_next_scale(start, 1e-300), 0x1p40f));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("wire");
    add_test(suite, test_levels);
    add_test(suite, test_all_patterns);
    add_test(suite, test_scale);
    return run_suite(suite);
}
