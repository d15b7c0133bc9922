/* Multiply-adds. Compilers may not join a product and a sum by themselves (-ffp-contract=off),
 * because they do it here and not there: one row of a product would have other bits alone than
 * among eight, and every compiler its own. Where speed or accuracy wants a fused one, it is written
 * as such; `a * b + c` is always rounded twice.
 *
 * FUSED: the level has an instruction that rounds a b + c once (x86-64-v3, v4, ARM). Elsewhere
 * `fused` rounds twice instead of calling libm's fmaf, which is a hundred times slower. */
#ifndef LOCKSTEP_FUSED_H
#define LOCKSTEP_FUSED_H

#if defined __FMA__ || defined __FP_FAST_FMAF || defined __ARM_FEATURE_FMA
#define FUSED 1
#else
#define FUSED 0
#endif

/* a b + c; in a loop it becomes vector code. */
static inline __attribute__((always_inline, unused)) float fused(float a, float b, float c)
{
    return FUSED ? __builtin_fmaf(a, b, c) : a * b + c;
}

#endif
