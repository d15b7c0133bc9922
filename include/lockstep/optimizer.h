/* Optimizers: one file in src/opt/methods, one line in src/opt/optimizers.def.
 *
 * An optimizer works on ranges of a tensor. Replicated, node-sharded and cluster-sharded updates are the
 * same code: only the slice differs. The norms it needs are block sums completed by an Exchange, so they
 * are the same bits for every slice cut. All scalar coefficients are doubles.
 *
 * One step (optimizer_step):
 *   1. block squares of g and, if asked for, of w           -> complete -> clip factor, tensor norms
 *   2. `direction` (methods whose norm is over the update, e.g. LAMB): writes block squares of its own
 *                                                            -> complete -> tensor norms of the direction
 *   3. `update` of every range of the slice, with the tensor's scalars. */
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

/* What a method may use about one tensor in one step. */
typedef struct TensorStep {
    double lr;
    int64_t t;           /* 1-based step number */
    double weight_decay; /* of this tensor */
    bool adapt;          /* trust ratio applies to this tensor */
    double norm_w;       /* |w| before the update, if needs_norms has OPTIMIZER_NORM_W */
    double norm_g;       /* |g| after clipping, if OPTIMIZER_NORM_G */
    double norm_u;       /* |direction|, if the method has one */
} TensorStep;

enum OptimizerNorms { OPTIMIZER_NORM_W = 1, OPTIMIZER_NORM_G = 2 };

/* A range of one tensor: 64-byte aligned, n a multiple of 16 (padding is zero in and zero out). */
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
    unsigned needs_norms;
    double default_lr, default_weight_decay; /* when the config gives none */
    double default_clip_norm;                /* 0: off */

    /* Cross-checks options. NULL: nothing to check. */
    bool (*check)(const void *options, Err *err);
    /* First pass over a range of at most one block: updates moments, returns the sum of squares of the
     * direction (fixed order). NULL if the method has no direction pass. */
    double (*direction)(const void *options, const TensorStep *step, const OptimizerRange *range);
    void (*update)(const void *options, const TensorStep *step, const OptimizerRange *range);
    /* The trust ratio of a tensor, for logs. NULL if the method has none. */
    double (*trust_ratio)(const void *options, const TensorStep *step);
} OptimizerType;

typedef struct Optimizer {
    const OptimizerType *type;
    void *options;
    double lr, weight_decay;            /* lr: the config's base lr, before scaling */
    double clip_norm, clip_value;       /* 0: off */
    const Layout *layout;               /* borrowed */
    Slice slice;                        /* what this rank updates */
    float *state[OPTIMIZER_MAX_STATES]; /* each layout->n floats; owned; valid inside the slice */
    double *tensor_decay;               /* per tensor */
    bool *tensor_adapt;                 /* per tensor */
    double *squares_w, *squares_g, *squares_u; /* per block; owned */
    double grad_norm;                          /* last step: global norm before clipping */
    double clip_factor;                        /* last step: 1 if nothing was clipped */
    double *trust; /* last step, per tensor: trust ratio, 1 where there is none */
} Optimizer;

/* Reads {type: ..., lr, weight_decay, clip_norm, clip_value, decay_all, adapt_all, method options}.
 * Allocates state for `slice`. layout and config must outlive the optimizer. */
bool optimizer_init(Optimizer *optimizer, const Config *config, ConfigNode *node,
                    const Layout *layout, Slice slice, Err *err);
void optimizer_free(Optimizer *optimizer);

/* One update of the slice: w by the mean gradient g (both whole arenas; g may be scaled in place by
 * clipping). Collective if exchange has a function. */
void optimizer_step(Optimizer *optimizer, const Rates *rates, float *w, float *g,
                    Exchange exchange);

const OptimizerType *optimizer_find(const char *name);
const OptimizerType *const *optimizer_all(int *count);
extern const Option optimizer_common_options[]; /* for `lockstep list` */

#endif
