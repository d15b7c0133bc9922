/* The three products of a linear map, by the kernels of its precision. */
#include "lockstep/linear.h"
#include "lockstep/bf16.h"
#include "lockstep/memory.h"

void linear_init(Linear *linear, int features, int units, Precision precision, bool data_gradient)
{
    *linear = (Linear){ .features = features, .units = units, .precision = precision };
    if (precision != PRECISION_BF16)
        return;
    linear->forward = mem_array(uint16_t, bf16_numbers(units, features));
    if (data_gradient)
        linear->backward = mem_array(uint16_t, bf16_numbers(features, units));
}

void linear_free(Linear *linear)
{
    mem_free(linear->forward);
    mem_free(linear->backward);
    *linear = (Linear){ 0 };
}

size_t linear_bytes(const Linear *linear)
{
    size_t numbers = linear->forward ? bf16_numbers(linear->units, linear->features) : 0;
    numbers += linear->backward ? bf16_numbers(linear->features, linear->units) : 0;
    return numbers * sizeof(uint16_t);
}

/* In fp32, is dW made as its turned self, x^T dy? The left operand is read in pieces of 6 floats
 * from rows that are far apart, unless it is packed: better from the narrower array. */
static bool turns_gradient(int features, int units, int rows)
{
    enum { NARROW = 256 };
    return features < units && features <= NARROW && rows > MATMUL_DEPTH;
}

/* Floats of the turned dW, whole cache lines. */
static size_t turned_floats(int features, int units)
{
    return ((size_t)features * (size_t)units + 15) / 16 * 16;
}

/* The weight gradient in bf16 has two operands that are packed for it, the others one. */
size_t linear_scratch(int features, int units, Precision precision, int rows)
{
    if (precision != PRECISION_BF16) {
        size_t plain = matmul_scratch(units, rows), turned = 0;
        if (turns_gradient(features, units, rows))
            turned = turned_floats(features, units) + matmul_scratch(features, rows);
        return turned > plain ? turned : plain;
    }
    size_t x = bf16_numbers(rows, features), dy = bf16_numbers(rows, units);
    size_t both = bf16_numbers(units, rows) + bf16_numbers(features, rows);
    size_t most = x > dy ? x : dy;
    return (most > both ? most : both) / 2;
}

void linear_weights(Linear *linear, const float *w)
{
    linear->w = w;
    size_t features = (size_t)linear->features;
    if (linear->forward)
        bf16_pack(BF16_RIGHT,
                  &(Bf16Source){
                      .lines = linear->units, .depth = linear->features, .x = w, .step = features },
                  linear->forward);
    if (linear->backward)
        bf16_pack(BF16_RIGHT,
                  &(Bf16Source){ .lines = linear->features,
                                 .depth = linear->units,
                                 .x = w,
                                 .step = features,
                                 .turned = true },
                  linear->backward);
}

/* c (rows, columns) = a (rows, depth) times a packed operand of W */
static void multiply_bf16(int rows, int columns, int depth, const float *a, const uint16_t *b,
                          const ProductEnd *end, float *c, float *scratch)
{
    uint16_t *packed = (uint16_t *)(void *)scratch;
    bf16_pack(BF16_LEFT,
              &(Bf16Source){ .lines = rows, .depth = depth, .x = a, .step = (size_t)depth },
              packed);
    bf16_multiply(&(Bf16Product){ .M = rows,
                                  .N = columns,
                                  .K = depth,
                                  .a = packed,
                                  .b = b,
                                  .c = c,
                                  .c_step = (size_t)columns,
                                  .end = *end });
}

void linear_forward(const Linear *linear, int rows, const float *x, const ProductEnd *end, float *y,
                    float *scratch)
{
    int F = linear->features, units = linear->units;
    if (linear->precision == PRECISION_BF16) {
        multiply_bf16(rows, units, F, x, linear->forward, end, y, scratch);
        return;
    }
    matmul(&(Matmul){ .M = rows,
                      .N = units,
                      .K = F,
                      .a = x,
                      .a_step = (size_t)F,
                      .b = linear->w,
                      .b_step = (size_t)F,
                      .b_turned = true,
                      .c = y,
                      .c_step = (size_t)units,
                      .end = *end },
           scratch);
}

void linear_data_gradient(const Linear *linear, int rows, const float *dy, float *dx,
                          float *scratch)
{
    int F = linear->features, units = linear->units;
    if (linear->precision == PRECISION_BF16) {
        multiply_bf16(rows, F, units, dy, linear->backward, &(ProductEnd){ 0 }, dx, scratch);
        return;
    }
    matmul(&(Matmul){ .M = rows,
                      .N = F,
                      .K = units,
                      .a = dy,
                      .a_step = (size_t)units,
                      .b = linear->w,
                      .b_step = (size_t)F,
                      .c = dx,
                      .c_step = (size_t)F },
           scratch);
}

static void weight_gradient_bf16(const Linear *linear, int rows, const float *x, const float *dy,
                                 bool add, float *dw, float *scratch)
{
    int F = linear->features, units = linear->units;
    uint16_t *left = (uint16_t *)(void *)scratch, *right = left + bf16_numbers(units, rows);
    bf16_pack(BF16_LEFT,
              &(Bf16Source){
                  .lines = units, .depth = rows, .x = dy, .step = (size_t)units, .turned = true },
              left);
    bf16_pack(BF16_RIGHT,
              &(Bf16Source){ .lines = F, .depth = rows, .x = x, .step = (size_t)F, .turned = true },
              right);
    bf16_multiply(&(Bf16Product){ .M = units,
                                  .N = F,
                                  .K = rows,
                                  .a = left,
                                  .b = right,
                                  .c = dw,
                                  .c_step = (size_t)F,
                                  .end = { .add = add } });
}

/* turned (features, units) = x^T dy, and then dw (units, features) */
static void weight_gradient_turned(const Linear *linear, int rows, const float *x, const float *dy,
                                   bool add, float *dw, float *scratch)
{
    int F = linear->features, units = linear->units;
    float *turned = scratch;
    matmul(&(Matmul){ .M = F,
                      .N = units,
                      .K = rows,
                      .a = x,
                      .a_step = (size_t)F,
                      .a_turned = true,
                      .b = dy,
                      .b_step = (size_t)units,
                      .c = turned,
                      .c_step = (size_t)units },
           scratch + turned_floats(F, units));
    matmul_turn(units, F, turned, add, dw);
}

void linear_weight_gradient(const Linear *linear, int rows, const float *x, const float *dy,
                            bool add, float *dw, float *scratch)
{
    int F = linear->features, units = linear->units;
    if (linear->precision == PRECISION_BF16) {
        weight_gradient_bf16(linear, rows, x, dy, add, dw, scratch);
        return;
    }
    if (turns_gradient(F, units, rows)) {
        weight_gradient_turned(linear, rows, x, dy, add, dw, scratch);
        return;
    }
    matmul(&(Matmul){ .M = units,
                      .N = F,
                      .K = rows,
                      .a = dy,
                      .a_step = (size_t)units,
                      .a_turned = true,
                      .b = x,
                      .b_step = (size_t)F,
                      .c = dw,
                      .c_step = (size_t)F,
                      .end = { .add = add } },
           scratch);
}
