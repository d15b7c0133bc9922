/* One head of attention over one sequence (Vaswani et al. 2017), forward and backward, in blocks
 * that stay in the cache (Dao 2023, FlashAttention-2): the T x T scores are never stored, and
 * backward computes them again from the saved logarithms of their sums. See docs/attention.md. */
#ifndef LOCKSTEP_NN_ATTENTION_H
#define LOCKSTEP_NN_ATTENTION_H

#include "lockstep/cpu.h"
#include "lockstep/random.h"

#include <stdbool.h>
#include <stddef.h>

/* Which probabilities are dropped: number key * ceil64(T) + query of the head's words. */
typedef struct AttentionDropout {
    double p; /* 0: none */
    RandomKey key;
    uint64_t first_word; /* of the head, a multiple of 4 */
} AttentionDropout;

typedef struct AttentionHead {
    int T, D;               /* positions; floats of a query, key or value */
    bool causal;            /* a query sees keys up to its own place */
    const float *q, *k, *v; /* (T, D) */
    size_t row;             /* floats from a position of q, k, v to the next */
    size_t next;            /* floats from q, k, v to those of the head that follows; 0: none */
    const bool *hidden;     /* (T): keys that nobody sees; or NULL */
    AttentionDropout dropout;
    float *scratch; /* attention_scratch floats, 64-byte aligned */
} AttentionHead;

#define attention_scratch ISA_NAME(attention_scratch)
size_t attention_scratch(int T, int D);

/* Words of dropout that a head may look at; a multiple of 4. */
#define attention_words ISA_NAME(attention_words)
uint64_t attention_words(int T);

/* out = softmax(q k^T / sqrt(D)) v, a query that sees no key gives 0.
 * out (T, D) with out_row floats from a position to the next;
 * logsum (T): log2 of the sum of exp of the query's scores, for backward. */
#define attention_forward ISA_NAME(attention_forward)
void attention_forward(const AttentionHead *head, float *out, size_t out_row, float *logsum);

typedef struct AttentionGradient {
    const float *out, *dout;  /* (T, D) */
    size_t out_row, next_out; /* floats to the next position, and to the next head */
    const float *logsum;      /* (T), from forward */
    float *dq, *dk, *dv;      /* (T, D), head->row floats from a position to the next */
} AttentionGradient;

#define attention_backward ISA_NAME(attention_backward)
void attention_backward(const AttentionHead *head, const AttentionGradient *gradient);

#endif
