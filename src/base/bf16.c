/* Products of bfloat16 operands in blocks of 32 x 32 results, and which kernels compute them. */
#include "lockstep/bf16.h"
#include "lockstep/cpu.h"

#include <string.h>

#define SIDE 32                   /* rows and columns of a block: 2 x 2 tiles */
#define LEFT_NUMBERS (512 * 1024) /* of A in a row block: it stays in the second cache */

extern const Bf16Kernels bf16_portable_v2;
#ifdef __x86_64__
extern const Bf16Kernels bf16_portable_v3, bf16_portable_v4, bf16_avx512, bf16_amx;
bool bf16_has_avx512(void);
bool bf16_has_amx(void);
#endif

static const Bf16Kernels *in_use; /* NULL: not chosen yet */

static const Bf16Kernels *portable(void)
{
#ifdef __x86_64__
    if (cpu_isa() == ISA_V4)
        return &bf16_portable_v4;
    if (cpu_isa() == ISA_V3)
        return &bf16_portable_v3;
#endif
    return &bf16_portable_v2;
}

/* NULL: not to be had. */
static const Bf16Kernels *find(const char *name)
{
#ifdef __x86_64__
    bool any = strcmp(name, "auto") == 0 && cpu_isa() == ISA_V4;
    if ((any || strcmp(name, "amx") == 0) && bf16_has_amx())
        return &bf16_amx;
    if ((any || strcmp(name, "avx512") == 0) && bf16_has_avx512())
        return &bf16_avx512;
#endif
    return strcmp(name, "auto") == 0 || strcmp(name, "portable") == 0 ? portable() : NULL;
}

bool bf16_set_kernel(const char *name, Err *err)
{
    const Bf16Kernels *found = find(name);
    if (!found)
        return err_set(err, "compute.bf16_kernel: this CPU or operating system lacks %s", name);
    in_use = found;
    return true;
}

static const Bf16Kernels *kernels_in_use(void)
{
    if (!in_use)
        in_use = find("auto");
    return in_use;
}

const char *bf16_kernel(void)
{
    return kernels_in_use()->name;
}

static int tiles_of(int length, int tile)
{
    return (length + tile - 1) / tile;
}

size_t bf16_numbers(int lines, int depth)
{
    return (size_t)tiles_of(lines, BF16_LINES) * (size_t)tiles_of(depth, BF16_DEPTH) * BF16_TILE;
}

void bf16_pack(Bf16Side side, const Bf16Source *source, uint16_t *to)
{
    kernels_in_use()->pack(side, source, to);
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* The block of C at (row, column). */
static void multiply_block(const Bf16Product *p, int row, int column)
{
    float sums[SIDE * SIDE] __attribute__((aligned(64)));
    const int rows = least(SIDE, p->M - row), columns = least(SIDE, p->N - column);
    const int depth = tiles_of(p->K, BF16_DEPTH);
    const size_t line_tiles = (size_t)depth * BF16_TILE;
    const uint16_t *a = p->a + (size_t)(row / BF16_LINES) * line_tiles;
    const uint16_t *b = p->b + (size_t)(column / BF16_LINES) * line_tiles;
    const Epilogue *end = &p->end;
    bool direct = rows == SIDE && columns == SIDE && !end->add && !end->bias && !end->before &&
                  end->activation == ACTIVATION_NONE;
    float *c = p->c + (size_t)row * p->c_step + column;
    kernels_in_use()->block(tiles_of(rows, BF16_LINES), tiles_of(columns, BF16_LINES), depth, a, b,
                            direct ? c : sums, direct ? p->c_step : SIDE);
    if (!direct)
        matmul_kernels()->finish(end, &(MatmulBlock){ .rows = rows,
                                                      .columns = columns,
                                                      .first_row = row,
                                                      .first_column = column,
                                                      .sums = sums,
                                                      .sums_step = SIDE,
                                                      .c = p->c,
                                                      .c_step = p->c_step });
}

/* Fetches the block's lines of C for writing. */
static void fetch_block(const Bf16Product *p, int row, int column)
{
    for (int i = row; i < least(row + SIDE, p->M); i++)
        for (int j = column; j < least(column + SIDE, p->N); j += 16)
            __builtin_prefetch(p->c + (size_t)i * p->c_step + j, 1);
}

void bf16_multiply(const Bf16Product *p)
{
    const Bf16Kernels *kernels = kernels_in_use();
    int height = LEFT_NUMBERS / p->K / SIDE * SIDE;
    height = height < 2 * SIDE ? 2 * SIDE : height;
    if (kernels->begin)
        kernels->begin();
    for (int first = 0; first < p->M; first += height)
        for (int column = 0; column < p->N; column += SIDE)
            for (int row = first; row < least(first + height, p->M); row += SIDE) {
                fetch_block(p, row, column);
                multiply_block(p, row, column);
            }
    if (kernels->end)
        kernels->end();
}
