/* What the recurrent layers share: options, tensors, memory, and the walk through time. A layer
 * brings its cell, the arithmetic between the matrix products of one step; those products are
 *
 *   input      of all steps at once, before the first: X W_ih^T + b_ih
 *   recurrent  one a step, over the samples of the lane: h W_hh^T + b_hh
 *
 * Inside, time is the outermost dimension, (T, B, ...): the samples of a step are rows side by
 * side, and each weight gradient is one product over all T B rows. `reverse` is only the order in
 * which positions are taken. Private to src/nn. */
#ifndef LOCKSTEP_NN_RECURRENT_H
#define LOCKSTEP_NN_RECURRENT_H

#include "lockstep/layer.h"

#include <string.h>

/* One step: B samples, U units; gates are G rows of U side by side. No two arrays overlap. */
typedef struct RecurrentStep {
    size_t B, U;
    float *gates;           /* (B, G, U): the input product; forward leaves the gates' values */
    const float *recurrent; /* (B, G, U): the recurrent product; in forward */
    const float *h_before, *kept_before; /* (B, U): of the step before, or the start */
    float *h, *kept;                     /* (B, U): written by forward; kept: see RecurrentCell */

    const float *dh;   /* (B, U) */
    float *carry;      /* (B, U): from the step behind, to be left for the step before */
    float *dgates;     /* (B, G, U): to be written: the gradient of the input product */
    float *drecurrent; /* (B, G, U): to be written if the cell `splits`: of the recurrent one */
} RecurrentStep;

/* What a cell's backward leaves for the step before, beside the gradient through W_hh. */
typedef enum RecurrentCarry {
    CARRY_NOTHING,
    CARRY_HIDDEN, /* a part of the gradient of h */
    CARRY_KEPT,   /* the gradient of `kept`, a second state with a start of its own */
} RecurrentCarry;

typedef struct RecurrentCell {
    int gates;   /* G */
    bool keeps;  /* forward writes `kept`: a second state, or what backward wants to know */
    bool splits; /* the two products have different gradients */
    RecurrentCarry carry;

    /* Units [k, k + part) of sample b, part <= UNITS. */
    void (*forward)(const RecurrentStep *step, size_t b, size_t k, size_t part);
    void (*backward)(const RecurrentStep *step, size_t b, size_t k, size_t part);
} RecurrentCell;

/* Some units of a row, in registers: compilers do not see that a dozen arrays do not overlap. Units
 * beyond `part` are zeros. */
enum { UNITS = 16 };
typedef struct Units {
    float at[UNITS];
} Units;

static inline Units units_load(const float *x, size_t part)
{
    Units units = { { 0 } };
    if (part == UNITS)
        memcpy(units.at, x, sizeof units.at);
    else
        memcpy(units.at, x, part * sizeof *x);
    return units;
}

static inline void units_store(float *x, const Units *units, size_t part)
{
    if (part == UNITS)
        memcpy(x, units->at, sizeof units->at);
    else
        memcpy(x, units->at, part * sizeof *x);
}

typedef struct RecurrentOptions {
    int units, result, initial;
    bool bias, reverse;
    char *recurrent_init;
    const RecurrentCell *cell; /* not an option: set by recurrent_plan */
} RecurrentOptions;

/* Lines of an option table whose struct Type has RecurrentOptions as its first member, `base`. */
#define RECURRENT_OPTIONS(Type)                                                                    \
    {                                                                                              \
        "units", OPTION_INT, OPTION_AT(Type, base.units), 1, 1 << 20,                              \
        NULL,    NULL,       "size of the state"                                                   \
    },                                                                                             \
        { "return",                                                                                \
          OPTION_CHOICE,                                                                           \
          OPTION_AT(Type, base.result),                                                            \
          0,                                                                                       \
          0,                                                                                       \
          "sequence|last",                                                                         \
          "sequence",                                                                              \
          "sequence: the state at every position, (T, U); last: the state at the end, (U)" },      \
        { "reverse",                                                                               \
          OPTION_BOOL,                                                                             \
          OPTION_AT(Type, base.reverse),                                                           \
          0,                                                                                       \
          0,                                                                                       \
          NULL,                                                                                    \
          "false",                                                                                 \
          "reads from the last position to the first" },                                           \
        { "bias", OPTION_BOOL, OPTION_AT(Type, base.bias),           0, 0,                         \
          NULL,   "true",      "b_ih and b_hh, one for each product" },                            \
        { "initial",                                                                               \
          OPTION_CHOICE,                                                                           \
          OPTION_AT(Type, base.initial),                                                           \
          0,                                                                                       \
          0,                                                                                       \
          "zeros|learned",                                                                         \
          "zeros",                                                                                 \
          "the state before the first position; learned: a parameter that starts at 0" },          \
    {                                                                                              \
        "recurrent_init", OPTION_STRING, OPTION_AT(Type, base.recurrent_init), 0, 0, NULL,         \
            "torch", "initialiser of W_hh, fan_in = U; `init` is that of W_ih, fan_in = F"         \
    }

/* Members of LayerType; `plan` is told the cell. */
bool recurrent_plan(Layer *layer, const RecurrentCell *cell, Layout *layout, Err *err);
void recurrent_allocate(Layer *layer, int max_batch);
void recurrent_release(Layer *layer);
size_t recurrent_scratch(const Layer *layer, int max_batch);
void recurrent_begin_step(Layer *layer, Layout *layout, int global_batch);
void recurrent_forward(Layer *layer, const Pass *pass, const float *x, float *y);
void recurrent_backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                        const float *dy, float *dx);

#endif
