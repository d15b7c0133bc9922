/* bfloat16 products by AMX: a register holds a tile of 1 KiB, and one instruction adds the product
 * of a left and a right tile, 16 x 16 x 32 multiply-adds, to a tile of C. */
#include "lockstep/bf16.h"

#ifdef __x86_64__

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TARGET __attribute__((target("amx-tile,amx-bf16")))

extern const Bf16Kernels bf16_avx512;
bool bf16_has_avx512(void);

/* The CPU has it, and Linux (5.16) lets this process use the registers, which it does not save
 * unless asked. */
bool bf16_has_amx(void);
bool bf16_has_amx(void)
{
    enum { ASK_PERMISSION = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM, arch_prctl(2) */
    unsigned a, b, c, d;
    return bf16_has_avx512() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & 1u << 22) &&
           (d & 1u << 24) && syscall(SYS_arch_prctl, ASK_PERMISSION, TILE_DATA) == 0;
}

/* LDTILECFG: all eight registers hold 16 rows of 64 bytes. Constant, because gcc 12 believes that
 * the instruction reads 8 bytes only and would leave out assignments to the others. */
TARGET static void begin(void)
{
    static const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {
        .palette = 1,
        .row_bytes = { 64, 64, 64, 64, 64, 64, 64, 64 },
        .rows = { 16, 16, 16, 16, 16, 16, 16, 16 },
    };
    _tile_loadconfig(&config);
}

TARGET static void end(void)
{
    _tile_release();
}

/* Registers: 0 1 / 2 3 the tiles of C, 4 5 those of A, 6 7 those of B. A product takes 16 cycles,
 * and 52 until the next may add to the same tile of C. */
TARGET static inline __attribute__((always_inline)) void multiply(const int left, const int right,
                                                                  int depth, const uint16_t *a,
                                                                  const uint16_t *b, float *sums,
                                                                  size_t step)
{
    const size_t lines = (size_t)depth * BF16_TILE, row_bytes = step * sizeof *sums;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t t = 0; t < lines; t += BF16_TILE) {
        _tile_loadd(4, a + t, 64);
        _tile_loadd(6, b + t, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (right > 1) {
            _tile_loadd(7, b + lines + t, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (left > 1) {
            _tile_loadd(5, a + lines + t, 64);
            _tile_dpbf16ps(2, 5, 6);
        }
        if (left > 1 && right > 1)
            _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, row_bytes);
    if (right > 1)
        _tile_stored(1, sums + 16, row_bytes);
    if (left > 1)
        _tile_stored(2, sums + 16 * step, row_bytes);
    if (left > 1 && right > 1)
        _tile_stored(3, sums + 16 * step + 16, row_bytes);
}

TARGET static void block(int left, int right, int depth, const uint16_t *a, const uint16_t *b,
                         float *sums, size_t step)
{
    if (left > 1 && right > 1)
        multiply(2, 2, depth, a, b, sums, step);
    else if (left > 1)
        multiply(2, 1, depth, a, b, sums, step);
    else if (right > 1)
        multiply(1, 2, depth, a, b, sums, step);
    else
        multiply(1, 1, depth, a, b, sums, step);
}

static void pack(Bf16Side side, const Bf16Source *source, uint16_t *to)
{
    bf16_avx512.pack(side, source, to);
}

extern const Bf16Kernels bf16_amx;
const Bf16Kernels bf16_amx = {
    .name = "amx",
    .pack = pack,
    .begin = begin,
    .end = end,
    .block = block,
};

#endif
