/* Transposing 16 x 16 floats in registers: between weights as the tensor holds them, taps next to
 * each other, and as kernels want them, 16 output channels next to each other. */
#ifndef LOCKSTEP_NN_TURN_H
#define LOCKSTEP_NN_TURN_H

#include "../image.h"

/* Lane l of the two results of exchanging the `s` upper lanes of each 2 s with those of a second
 * vector (lanes VECTOR and on). */
#define TURN_LOW(l, s) ((l) & (s) ? VECTOR + (l) - (s) : (l))
#define TURN_HIGH(l, s) ((l) & (s) ? VECTOR + (l) : (l) + (s))
#define TURN_4(F, l, s) F(l, s), F((l) + 1, s), F((l) + 2, s), F((l) + 3, s)
#if VECTOR == 16
#define TURN_LANES(F, s) TURN_4(F, 0, s), TURN_4(F, 4, s), TURN_4(F, 8, s), TURN_4(F, 12, s)
#elif VECTOR == 8
#define TURN_LANES(F, s) TURN_4(F, 0, s), TURN_4(F, 4, s)
#else
#define TURN_LANES(F, s) TURN_4(F, 0, s)
#endif

/* Exchanges the off-diagonal s x s blocks of each 2 s x 2 s block on the diagonal. */
#define TURN_STAGE(rows, s)                                                                        \
    _Pragma("GCC unroll 16") for (int k = 0; k < VECTOR; k++) if (!(k & (s)))                      \
    {                                                                                              \
        const Vector low = rows[k], high = rows[k + (s)];                                          \
        rows[k] = __builtin_shufflevector(low, high, TURN_LANES(TURN_LOW, s));                     \
        rows[k + (s)] = __builtin_shufflevector(low, high, TURN_LANES(TURN_HIGH, s));              \
    }

/* to[j * to_row + i] = from[i * from_row + j] for i, j < 16 */
static inline void turn_block(const float *from, size_t from_row, float *to, size_t to_row)
{
    for (size_t i = 0; i < CHANNEL_BLOCK; i += VECTOR)
        for (size_t j = 0; j < CHANNEL_BLOCK; j += VECTOR) {
            Vector rows[VECTOR];
#pragma GCC unroll 16
            for (size_t k = 0; k < VECTOR; k++)
                rows[k] = vector_load(from + (i + k) * from_row + j);
#if VECTOR == 16
            TURN_STAGE(rows, 8)
#endif
#if VECTOR >= 8
            TURN_STAGE(rows, 4)
#endif
            TURN_STAGE(rows, 2)
            TURN_STAGE(rows, 1)
#pragma GCC unroll 16
            for (size_t k = 0; k < VECTOR; k++)
                vector_store(to + (j + k) * to_row + i, rows[k]);
        }
}

#endif
