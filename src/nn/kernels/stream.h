/* Stores past the caches, for results that are larger than they are: a plain store would read each
 * line from memory before it overwrites it, and push out what is still needed. */
#ifndef LOCKSTEP_NN_STREAM_H
#define LOCKSTEP_NN_STREAM_H

#include "../image.h"

#if defined __AVX__
#include <immintrin.h>
#endif

/* What is larger is not found in the L2 cache later. */
#define CACHE_FLOATS (1 << 20)

/* A plain store unless `stream`. `to` is aligned to the vector. */
static inline void vector_put(float *to, Vector value, bool stream)
{
#if defined __AVX512F__
    if (stream) {
        _mm512_stream_ps(to, (__m512)value);
        return;
    }
#elif defined __AVX__
    if (stream) {
        _mm256_stream_ps(to, (__m256)value);
        return;
    }
#endif
    (void)stream;
    vector_store(to, value);
}

#endif
