/* Optimizers: one file in src/opt/methods, one line in src/opt/optimizers.def. Wrappers, which work
 * around any of them: one file in src/opt/wrappers, one line in src/opt/wrappers.def.
 *
 * A method works on ranges of a tensor, so that replicated, node-sharded and cluster-sharded
 * updates are the same code: only the slice differs. Methods that need whole tensors (Muon,
 * Shampoo) say so by having update_tensor; the cut into slices then leaves their tensors whole.
 * What they need to know about more than a range are block sums completed by an Exchange and added
 * in block order, so they are the same bits for every slice cut. All scalar coefficients are
 * doubles.
 *
 * One step (optimizer_step), for every method and wrapper that is in use:
 *   1. `begin`: scalars of this step.
 *   2. Wrappers' `gradient` and clip_value change g.
 *   3. Global norm, tensor norms of g and w where clipping, a method or a wrapper needs them
 *                                 -> complete -> clip factor, norms; wrappers' `decide`, `tensor`
 *   4. `direction` (methods whose trust ratio is over their own direction, e.g. LAMB) or `gather`
 *      (methods that need sums over all their tensors, e.g. Prodigy): moments, block sums
 *                                 -> complete -> methods' `decide`, `tensor`, trust ratios
 *   5. `update` of every block of the slice with its tensor's scalars, then wrappers' `weights`.
 * When nothing is needed beforehand, the squares of g (for the log) are taken in pass 5, while a
 * block is in cache. */
#ifndef LOCKSTEP_OPTIMIZER_H
#define LOCKSTEP_OPTIMIZER_H

#include "lockstep/batch_plan.h"
#include "lockstep/config.h"
#include "lockstep/layout.h"

#define OPTIMIZER_MAX_STATES 4
#define OPTIMIZER_MAX_SCALARS 8
#define OPTIMIZER_MAX_SUMS 2
#define OPTIMIZER_MAX_BUFFERS 12
#define OPTIMIZER_MAX_WRAPPERS 8

/* What is known about a step from outside. */
typedef struct Rates {
    double lr;             /* what the schedule says */
    int64_t step;          /* 0-based; methods that count from 1 use step + 1 */
    double momentum;       /* what the schedule says; 0: nothing, methods use their own */
    double loss;           /* mean over the global batch, at the weights before this step */
    uint64_t seed;         /* of the run, for random numbers */
    const BatchPlan *plan; /* epochs and samples of a step; NULL: every step is an epoch */
} Rates;

/* What a method or wrapper knows about a step beyond single tensors. */
typedef struct MethodStep {
    int64_t t;                             /* 1-based step number */
    double lr, base_lr, loss;              /* of this step; of the config; see Rates */
    const BatchPlan *plan;                 /* of Rates, never NULL; only in `begin` */
    double norm;                           /* of the whole gradient before any clipping; in `decide`
                                              and with OPTIMIZER_NORM_G only */
    double sums[OPTIMIZER_MAX_SUMS];       /* of `gather`, over the method's tensors; in `decide` */
    double scalars[OPTIMIZER_MAX_SCALARS]; /* kept between steps, zero at first, the same on every
                                              rank */
} MethodStep;

/* What a method may use about one tensor in one step. Norms are there if `needs` asks for them,
 * from the moment that the table above says. */
typedef struct TensorStep {
    double lr;             /* of this tensor */
    double base_lr;        /* the same before the schedule: the config's lr */
    double momentum;       /* scheduled, 0: the method's own; see optimizer_momentum */
    int64_t t;             /* 1-based step number */
    double weight_decay;   /* of this tensor */
    bool adapt;            /* trust ratio applies to this tensor */
    double scale;          /* to multiply every g by: the clip factor, negative when maximizing */
    double norm_w;         /* |w| before the update; not yet known in `direction` */
    double norm_g;         /* |scale * g| */
    double norm_u;         /* |direction|; known in `update` only */
    double trust;          /* trust_ratio of this step, 1 where there is none */
    bool clamped;          /* a bound of the method's options has changed it */
    double *scalars;       /* tensor_scalars of them: kept between steps, zero at first, the same on
                              every rank */
    const double *globals; /* MethodStep.scalars */
    int tensor;            /* index in the layout */
    uint64_t seed;         /* of the run */
} TensorStep;

enum OptimizerNorms { OPTIMIZER_NORM_W = 1, OPTIMIZER_NORM_G = 2, OPTIMIZER_NORM_U = 4 };

/* A range of one tensor, at most a block: 64-byte aligned, n a multiple of 16. The padding is zero,
 * and made zero again after `start` and `update`. */
typedef struct OptimizerRange {
    float *w;
    const float *g;
    float *state[OPTIMIZER_MAX_STATES];
    size_t n;
    size_t first;         /* floats of the tensor before this range */
    const float *before;  /* wrappers' `weights`, if wants_before: w before this step */
    const float *hessian; /* an estimate of the Hessian's diagonal, in steps that have one */
} OptimizerRange;

/* State of a tensor beyond floats per parameter: arrays of any size, owned by the tensor's rank. */
typedef enum BufferType { BUFFER_FLOAT, BUFFER_DOUBLE, BUFFER_INT64 } BufferType;
typedef struct OptimizerBuffer {
    const char *name;
    BufferType type;
    size_t count;
} OptimizerBuffer;

/* A whole tensor, row-major, with padding behind it. */
typedef struct OptimizerTensor {
    const LayoutTensor *shape;
    float *w;
    const float *g;
    float *state[OPTIMIZER_MAX_STATES];
    void *buffer[OPTIMIZER_MAX_BUFFERS]; /* as `buffers` has listed them; zero at first */
    void *scratch;                       /* `scratch` bytes; anything in it */
} OptimizerTensor;

/* A method. Every function but update or update_tensor may be NULL. */
typedef struct OptimizerType {
    const char *name, *help, *formula, *source;
    const Option *options; /* beside the common ones */
    size_t options_bytes;
    int states; /* floats of state per parameter */
    int flops;  /* operations per parameter of an update at the defaults, a root or a quotient
                   counting one; methods of whole tensors say it by `cost` */
    int floats; /* that an update at the defaults reads and writes per parameter; 0: w and all
                   states both ways, g, and w or g once more for their norms */
    const char *state_names[OPTIMIZER_MAX_STATES];
    const char *scalars[OPTIMIZER_MAX_SCALARS];        /* names of MethodStep.scalars */
    const char *tensor_scalars[OPTIMIZER_MAX_SCALARS]; /* names of TensorStep.scalars */
    double default_lr, default_weight_decay;           /* when the config gives none */
    double default_clip_norm;                          /* 0: off */
    double clip_epsilon; /* clip factor = min(1, clip_norm / (norm + clip_epsilon)) */
    int sums;            /* numbers that `gather` adds up */

    /* Cross-checks options. NULL: nothing to check. */
    bool (*check)(const void *options, Err *err);
    /* Which norms these options make the method need. NULL: none. */
    unsigned (*needs)(const void *options);
    /* Bit i: state i is used with these options; others are NULL. NULL: all are. */
    unsigned (*state_mask)(const void *options);
    /* Before the first step: states that do not start at zero, from w. */
    void (*start)(const void *options, const OptimizerRange *range);
    /* On every rank alike: at the start of a step; when norms and sums are known. */
    void (*begin)(const void *options, MethodStep *step);
    void (*decide)(const void *options, MethodStep *step);
    /* For every tensor, on every rank alike, after `decide`: tensor_scalars. */
    void (*tensor)(const void *options, TensorStep *step);
    /* First pass over a range, if OPTIMIZER_NORM_U is needed: updates moments, returns the sum of
     * squares of the direction (fixed order). */
    double (*direction)(const void *options, const TensorStep *step, const OptimizerRange *range);
    /* First pass over a range for methods with sums: what the range adds to them (fixed order). */
    void (*gather)(const void *options, const TensorStep *step, const OptimizerRange *range,
                   double *sums);
    /* Of a tensor with `adapt`; *clamped: a bound has changed it (false before). NULL if the
     * method has none. */
    double (*trust_ratio)(const void *options, const TensorStep *step, bool *clamped);
    void (*update)(const void *options, const TensorStep *step, const OptimizerRange *range);
    /* Does step t (1-based) want an estimate of the Hessian's diagonal? */
    bool (*curvature)(const void *options, int64_t t);
    /* The weights to evaluate, if they are not w: written to `out`. */
    void (*evaluate)(const void *options, const TensorStep *step, const OptimizerRange *range,
                     float *out);

    /* Instead of `update`, for methods that work on whole tensors. `buffers` lists the state of a
     * tensor and returns how many arrays there are; `scratch` says how many bytes update_tensor
     * wants to work in; `cost` estimates the FLOPs of a step, so that ranks get equal shares. */
    void (*update_tensor)(const void *options, const TensorStep *step,
                          const OptimizerTensor *tensor);
    int (*buffers)(const void *options, const LayoutTensor *shape,
                   OptimizerBuffer buffers[OPTIMIZER_MAX_BUFFERS]);
    size_t (*scratch)(const void *options, const LayoutTensor *shape);
    double (*cost)(const void *options, const LayoutTensor *shape);
} OptimizerType;

/* Something around a method: it changes the gradient before the method sees it, the step's scalars,
 * or the weights after it, and keeps states of its own. Wrappers act in the order of the list
 * `optimizer.wrap`; a later one sees what earlier ones have done. */
typedef struct WrapperType {
    const char *name, *help, *formula, *source;
    const Option *options;
    size_t options_bytes;
    int states;
    const char *state_names[OPTIMIZER_MAX_STATES];
    const char *scalars[OPTIMIZER_MAX_SCALARS], *tensor_scalars[OPTIMIZER_MAX_SCALARS];
    bool wants_before; /* OptimizerRange.before, in `weights` */

    bool (*check)(const void *options, Err *err);
    unsigned (*needs)(const void *options); /* OPTIMIZER_NORM_W, OPTIMIZER_NORM_G */
    void (*start)(const void *options, const OptimizerRange *range);
    void (*begin)(const void *options, MethodStep *step);
    /* Changes g of a range; or of a whole tensor, which is then never cut. Not yet multiplied by
     * step->scale. */
    void (*gradient)(const void *options, const TensorStep *step, const OptimizerRange *range,
                     float *g);
    void (*gradient_tensor)(const void *options, const TensorStep *step,
                            const OptimizerTensor *tensor, float *g);
    void (*decide)(const void *options, MethodStep *step);
    /* May change scale, norm_g, lr and weight_decay. */
    void (*tensor)(const void *options, TensorStep *step);
    void (*weights)(const void *options, const TensorStep *step, const OptimizerRange *range);
    void (*evaluate)(const void *options, const TensorStep *step, const OptimizerRange *range,
                     float *out);
} WrapperType;

/* A method with its options; tensors point to theirs. */
typedef struct OptimizerMethod {
    const OptimizerType *type;
    void *options;          /* owned */
    double lr;              /* the config's */
    unsigned needs, states; /* of these options: norms; bit i: state i is used */
    MethodStep step;
} OptimizerMethod;

typedef struct OptimizerWrapper {
    const WrapperType *type;
    void *options; /* owned */
    MethodStep step;
    float *state[OPTIMIZER_MAX_STATES]; /* owned; element i of the arena is at [i - slice.lo] */
    double *tensor_scalars;             /* (tensors, scalars); owned */
} OptimizerWrapper;

typedef struct Optimizer {
    const OptimizerType *type;    /* of the method of every tensor that no group takes */
    const void *options;          /* its options; borrowed from methods */
    double lr, weight_decay;      /* lr: the config's base lr, before scaling */
    double clip_norm, clip_value; /* 0: off */
    bool maximize;
    OptimizerMethod *methods; /* [0] is `type`; owned */
    int method_count, wrapper_count;
    OptimizerWrapper wrappers[OPTIMIZER_MAX_WRAPPERS];
    unsigned needs;       /* enum OptimizerNorms, of all methods and wrappers */
    const Layout *layout; /* borrowed */
    int64_t t;            /* steps done */
    const float *hessian; /* of the slice, for the next step alone, or NULL; borrowed */
    bool measured;        /* squares_g and grad_norm are those of the next step's gradient */

    double *tensor_lr;    /* per tensor: factor of the lr; owned */
    double *tensor_decay; /* per tensor; owned */
    bool *tensor_adapt;   /* per tensor; owned */
    bool *tensor_lazy;    /* per tensor: rows without gradient are left as they are; owned */
    int *tensor_method;   /* per tensor: index in methods; owned */

    /* From optimizer_own. */
    Slice slice;                            /* what this rank updates */
    float *state[OPTIMIZER_MAX_STATES];     /* owned; element i of the arena is at [i - slice.lo] if
                                              all tensors have the same method; see state_at */
    size_t *state_at[OPTIMIZER_MAX_STATES]; /* per block of the arena: its place in state; owned */
    void **buffers;                         /* (tensors, OPTIMIZER_MAX_BUFFERS); owned */
    double *tensor_scalars;                 /* (tensors, OPTIMIZER_MAX_SCALARS); owned */
    void *scratch;                          /* for update_tensor and lazy rows; owned */
    float *before;                          /* w of a tensor before its step; owned */
    double *squares_w, *squares_g, *squares_u, *sums[OPTIMIZER_MAX_SUMS]; /* per block; owned */
    double *squares_mean; /* per block: of g before clip_value and wrappers change it; owned */
    float *probe_w, *probe_g, *estimate; /* of the slice, where a method wants curvature; owned */
    double *exchanged;                   /* scratch of the exchange; owned */
    TensorStep *steps;                   /* per tensor, of the last step; owned */
    double grad_norm;                    /* last step: global norm before any clipping */
    double clip_factor;                  /* last step: 1 if nothing was clipped */
    double *trust; /* last step, per tensor: trust ratio, 1 where there is none; owned */
} Optimizer;

/* Reads {type, lr, weight_decay, clip_norm, clip_value, decay_all, adapt_all, norm_bias_lr_factor,
 * maximize, groups, wrap, method options}. layout must outlive the optimizer. Statistics and frozen
 * tensors of the layout are passed over by everything here. Afterwards the caller may set
 * tensor_lr, tensor_decay and tensor_adapt one by one. Always optimizer_free, also after an error.
 * Not collective. */
bool optimizer_init(Optimizer *optimizer, const Config *config, ConfigNode *node,
                    const Layout *layout, Err *err);
void optimizer_free(Optimizer *optimizer);

/* Cuts the arena into slices for `parts` ranks: slice p is the blocks [bounds[p], bounds[p + 1]).
 * Tensors whose method or wrapper works on whole tensors are not cut, and the largest share of the
 * work is as small as it can be; where no tensor is whole, it is layout_slice. */
void optimizer_cut(const Optimizer *optimizer, int parts, size_t *bounds);

/* Allocates the state of a slice: after optimizer_init, once. */
void optimizer_own(Optimizer *optimizer, Slice slice);

/* Floats of state per parameter that the main method uses. */
int optimizer_states(const Optimizer *optimizer);

/* Floats that an update reads and writes per parameter if nothing stays in the cache, in one pass
 * or two. Methods of whole tensors: w and states per parameter, whatever else they work on. */
int optimizer_floats(const Optimizer *optimizer);
int optimizer_passes(const Optimizer *optimizer);

/* For callers that would rather leave a step out than spoil the weights: finishes the slice of g in
 * its arena (a pass over memory that optimizer_step alone need not make), and takes its norm.
 * False, on every rank alike, if a gradient or an increment of a running statistic is not finite.
 * The next optimizer_step gives the same bits as without. Collective if exchange has a function. */
bool optimizer_measure(Optimizer *optimizer, Gradient *g, Exchange exchange);

/* One update of the slice: w (whole arena) by the mean gradient g. Methods of one pass ask for
 * every block of g once; others keep it in g.sums, where clip_value and wrappers change it. False,
 * on every rank alike, if the gradient's norm is not finite: training has diverged and the weights
 * are not to be used. No allocation. Collective if exchange has a function. */
bool optimizer_step(Optimizer *optimizer, const Rates *rates, float *w, Gradient g,
                    Exchange exchange);

/* About the last step: squares of the mean gradient per block, of all ranks' slices, before
 * anything changed it (frozen tensors and statistics: nothing); has a tensor a trust ratio? Floats
 * of w that an update changes at once: the largest tensor of the slice that is never cut, at least
 * a block. */
const double *optimizer_gradient_squares(const Optimizer *optimizer);
bool optimizer_has_trust(const Optimizer *optimizer, int tensor);
size_t optimizer_update_floats(const Optimizer *optimizer);

/* Methods that want an estimate of the Hessian's diagonal in step t (1-based): optimizer_probe
 * moves the slice of w to a point nearby, the caller finds the gradient of the same batch there,
 * and optimizer_take_curvature puts w back, keeps the estimate for the next optimizer_step and
 * returns the first gradient, in the arena of the second. */
bool optimizer_wants_curvature(const Optimizer *optimizer, int64_t t);
void optimizer_probe(Optimizer *optimizer, const Rates *rates, float *w, Gradient g);
Gradient optimizer_take_curvature(Optimizer *optimizer, const Rates *rates, float *w, Gradient g);

/* Are the weights to evaluate others than those that are trained (averages, Schedule-Free)? Then
 * the second writes this rank's slice of them into another arena. Statistics are copied. */
bool optimizer_averages(const Optimizer *optimizer);
void optimizer_evaluated(const Optimizer *optimizer, float *w, float *out);

/* A method's own momentum, unless the schedule has one. */
static inline double optimizer_momentum(const TensorStep *step, double own)
{
    return step->momentum > 0 ? step->momentum : own;
}

/* Everything that has to be saved to go on bit for bit, as a list that is the same on every rank:
 * of each piece the rank holds the elements [first, first + count), none of them or all. Pieces
 * that every rank holds whole and alike are `replicated`. Another cut gives other ranges of the
 * same pieces. The same list takes the values in again: data points into the optimizer. */
typedef struct OptimizerPiece {
    char name[192]; /* "dense.weight/mean", "method0/d", "wrap1.ema/steps", "steps" */
    BufferType type;
    int tensor;   /* index in the layout; -1: of no tensor */
    size_t total; /* elements of the whole piece */
    size_t first, count;
    void *data; /* borrowed: element `first`; NULL if count is 0 */
    bool replicated;
} OptimizerPiece;
/* Piece number `index`; false behind the last. */
bool optimizer_piece(Optimizer *optimizer, int index, OptimizerPiece *piece);

/* For workers that have an optimizer each: the name of the first method or wrapper whose state is
 * more than numbers beside the parameters (whole tensors, averages, curvature; any wrapper), or
 * NULL. State number `state` of a block of the slice, or NULL if there is none. Everything beside
 * such states: step numbers and scalars. */
const char *optimizer_not_by_blocks(const Optimizer *optimizer);
float *optimizer_state_block(Optimizer *optimizer, int state, int block);
void optimizer_copy_scalars(Optimizer *to, const Optimizer *from);

/* Bytes of all states of the slice. */
size_t optimizer_bytes(const Optimizer *optimizer);

const OptimizerType *optimizer_find(const char *name);
const OptimizerType *const *optimizer_all(int *count);
const WrapperType *wrapper_find(const char *name);
const WrapperType *const *wrapper_all(int *count);
/* For `lockstep list`. The defaults of lr, weight_decay and clip_norm are those of the method. */
extern const Option optimizer_common_options[];
extern const Option optimizer_group_options[];

#endif
