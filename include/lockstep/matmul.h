/* Matrix products of our own, row-major: C (M, N) = A (M, K) B (K, N), then bias and activation. */
#ifndef LOCKSTEP_MATMUL_H
#define LOCKSTEP_MATMUL_H

#include <stdbool.h>
#include <stddef.h>

typedef enum Activation {
    ACTIVATION_NONE,
    ACTIVATION_RELU,
    ACTIVATION_GELU,
    ACTIVATION_GELU_TANH,
} Activation;

typedef struct Epilogue {
    const float *bias; /* (N), or NULL */
    Activation activation;
    float *before; /* (M, N), rows c_step apart: what the activation sees; or NULL */
} Epilogue;

typedef struct Matmul {
    int M, N, K;
    const float *a;
    size_t a_step; /* floats from a stored row of A to the next */
    bool a_turned; /* stored as (K, M) */
    const float *b;
    size_t b_step;
    bool b_turned; /* stored as (N, K) */
    float *c;
    size_t c_step;
    bool add; /* C += */
    Epilogue end;
} Matmul;

void matmul(const Matmul *m);
#endif
