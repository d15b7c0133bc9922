/* A matrix as the product of two thin ones, found by one step of power iteration (low_rank.c). */
#include "lockstep/compress.h"
#include "lockstep/cpu.h"

typedef struct PowerOptions {
    int rank;
} PowerOptions;

static int rank_of(const void *options)
{
    const PowerOptions *o = options;
    return o->rank;
}

static const Option options[] = {
    { "rank", OPTION_INT, OPTION_AT(PowerOptions, rank), 1, 64, NULL, "4",
      "columns of the thin matrices" },
    OPTION_END,
};

extern const Compressor ISA_NAME(compressor_powersgd);
const Compressor ISA_NAME(compressor_powersgd) = {
    .name = "powersgd",
    .help =
        "each tensor, seen as a matrix of shape[0] rows, as a product of thin ones; those whose "
        "thin ones are no smaller, and vectors, travel whole",
    .formula =
        "P = orthonormal(sum of m Q over lanes),  Q = sum of m^T P over lanes\n"
        "sum of what is sent = P Q^T,  error = m - P (m^T P)^T;  Q is kept for the next step",
    .source = "Vogels et al. 2019, Algorithms 1 and 2",
    .options = options,
    .options_bytes = sizeof(PowerOptions),
    .rank = rank_of,
};
