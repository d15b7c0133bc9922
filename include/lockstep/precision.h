/* In which numbers matrix products are computed. Weights, gradients, optimizer state and sums are
 * float always. */
#ifndef LOCKSTEP_PRECISION_H
#define LOCKSTEP_PRECISION_H

typedef enum Precision {
    PRECISION_FP32,
    PRECISION_BF16, /* operands rounded to bfloat16 (8 bits of significand), products added up in
                       float */
} Precision;

#endif
