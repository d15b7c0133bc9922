/* Optimizers: one file in src/opt/methods, one line in src/opt/optimizers.def.
 *
 * An optimizer works on ranges of a tensor. Replicated, node-sharded and cluster-sharded updates
 * are the same code: only the slice differs. The norms it needs are block sums completed by an
 * Exchange, so they are the same bits for every slice cut. All scalar coefficients are doubles.
 *
 * One step (optimizer_step):
 *   1. clip_value: g is clamped. Global norm, tensor norms of g and w where clipping or the method
 *      needs them                                         -> complete -> clip factor, trust ratios
 *   2. `direction` (methods whose trust ratio is over their own direction, e.g. LAMB): moments,
 *      block squares of the direction and of w            -> complete -> trust ratios
 *   3. `update` of every block of the slice, with its tensor's scalars.
 * When nothing is needed beforehand, the squares of g (for the log) are taken in pass 3, while a
 * block is in cache. */
#ifndef LOCKSTEP_OPTIMIZER_H
#define LOCKSTEP_OPTIMIZER_H

#include "lockstep/config.h"
#include "lockstep/layout.h"

#define OPTIMIZER_MAX_STATES 4

/* What the schedule says for this step. */
typedef struct Rates {
    double lr;
    int64_t step; /* 0-based; methods that count from 1 use step + 1 */
} Rates;

/* What a method may use about one tensor in one step. Norms are there if `needs` asks for them,
 * from the moment that the table above says. */
typedef struct TensorStep {
    double lr;           /* of this tensor */
    double base_lr;      /* the same before the schedule: the config's lr */
    int64_t t;           /* 1-based step number */
    double weight_decay; /* of this tensor */
    bool adapt;          /* trust ratio applies to this tensor */
    double scale;        /* to multiply every g by: the clip factor, negative when maximizing */
    double norm_w;       /* |w| before the update; not yet known in `direction` */
    double norm_g;       /* |scale * g| */
    double norm_u;       /* |direction|; known in `update` only */
    double trust;        /* trust_ratio of this step, 1 where there is none */
} TensorStep;

enum OptimizerNorms { OPTIMIZER_NORM_W = 1, OPTIMIZER_NORM_G = 2, OPTIMIZER_NORM_U = 4 };

/* A range of one tensor, at most a block: 64-byte aligned, n a multiple of 16. Padding is zero when
 * it comes in; `update` may leave anything there. */
typedef struct OptimizerRange {
    float *w;
    const float *g;
    float *state[OPTIMIZER_MAX_STATES];
    size_t n;
} OptimizerRange;

typedef struct OptimizerType {
    const char *name, *help, *formula, *source;
    const Option *options; /* beside the common ones */
    size_t options_bytes;
    int states; /* floats of state per parameter */
    const char *state_names[OPTIMIZER_MAX_STATES];
    double default_lr, default_weight_decay; /* when the config gives none */
    double default_clip_norm;                /* 0: off */
    double clip_epsilon; /* clip factor = min(1, clip_norm / (norm + clip_epsilon)) */

    /* Cross-checks options. NULL: nothing to check. */
    bool (*check)(const void *options, Err *err);
    /* Which states these options use: bit i for state i. The others are not allocated and NULL in
     * every range. NULL: all. */
    unsigned (*state_mask)(const void *options);
    /* Which norms these options make the method need. NULL: none. */
    unsigned (*needs)(const void *options);
    /* First pass over a range, if OPTIMIZER_NORM_U is needed: updates moments, returns the sum of
     * squares of the direction (fixed order). */
    double (*direction)(const void *options, const TensorStep *step, const OptimizerRange *range);
    /* Of a tensor with `adapt`. NULL if the method has none. */
    double (*trust_ratio)(const void *options, const TensorStep *step);
    void (*update)(const void *options, const TensorStep *step, const OptimizerRange *range);
} OptimizerType;

typedef struct Optimizer {
    const OptimizerType *type;
    void *options;
    double lr, weight_decay;      /* lr: the config's base lr, before scaling */
    double clip_norm, clip_value; /* 0: off */
    bool maximize;
    unsigned needs;                     /* enum OptimizerNorms */
    const Layout *layout;               /* borrowed */
    Slice slice;                        /* what this rank updates */
    float *state[OPTIMIZER_MAX_STATES]; /* owned, NULL if unused; element i of the arena is at
                                           [i - slice.lo] */
    double *tensor_lr;                  /* per tensor: factor of the lr; owned */
    double *tensor_decay;               /* per tensor; owned */
    bool *tensor_adapt;                 /* per tensor; owned */
    double *squares_w, *squares_g, *squares_u, *squares_pairs; /* per block; owned */
    TensorStep *steps;  /* per tensor, of the last step; owned */
    double grad_norm;   /* last step: global norm before any clipping */
    double clip_factor; /* last step: 1 if nothing was clipped */
    double *trust;      /* last step, per tensor: trust ratio, 1 where there is none; owned */
} Optimizer;

/* Reads {type, lr, weight_decay, clip_norm, clip_value, decay_all, adapt_all, norm_bias_lr_factor,
 * maximize, method options}. Allocates state for `slice`. layout must outlive the optimizer.
 * Statistics and frozen tensors of the layout are passed over by everything here. Afterwards the
 * caller may set tensor_lr, tensor_decay and tensor_adapt one by one. Always optimizer_free, also
 * after an error. Not collective. */
bool optimizer_init(Optimizer *optimizer, const Config *config, ConfigNode *node,
                    const Layout *layout, Slice slice, Err *err);
void optimizer_free(Optimizer *optimizer);

/* One update of the slice: w (whole arena) by the mean gradient g. Methods of one pass ask for
 * every block of g once; others keep it in g.sums, where clip_value changes it. False, on every
 * rank alike, if the gradient's norm is not finite: training has diverged and the weights are not
 * to be used. No allocation. Collective if exchange has a function. */
bool optimizer_step(Optimizer *optimizer, const Rates *rates, float *w, Gradient g,
                    Exchange exchange);

/* Floats of state per parameter that these options use. */
int optimizer_states(const Optimizer *optimizer);

const OptimizerType *optimizer_find(const char *name);
const OptimizerType *const *optimizer_all(int *count);
/* For `lockstep list`. The defaults of lr, weight_decay and clip_norm are those of the method. */
extern const Option optimizer_common_options[];

#endif
